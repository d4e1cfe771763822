// The way to the API: the token, requests, and the stream of events. The token is kept in this tab alone (sessionStorage) and travels
// in a header, so no other page can make the browser send it.
"use strict";

const KEY = "turnout-token";

export class Problem extends Error {
  constructor(status, problem) {
    super(problem.error ?? `status ${status}`);
    this.status = status;
    this.hint = problem.hint;
  }
  get text() { return this.hint ? `${this.message}; ${this.hint}` : this.message; }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  clear: () => sessionStorage.removeItem(KEY),
};

function headers(more = {}) {
  const known = token.get();
  return known ? { ...more, Authorization: `Bearer ${known}` } : more;
}

export async function ask(path, method = "GET", body = undefined, seconds = method === "GET" ? 15 : 310) {
  const changes = method !== "GET";
  const answer = await fetch(path, {
    method,
    headers: headers(changes ? { "Content-Type": "application/json" } : {}),
    body: changes ? JSON.stringify(body ?? {}) : undefined,
    signal: AbortSignal.timeout(seconds * 1000),
    cache: "no-store",
    redirect: "error",
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, said);
  return said;
}

// Reads server-sent events until the connection ends. EventSource cannot send a header, so this reads the stream itself.
export async function listen(last, tell, stop) {
  const answer = await fetch("/api/events/stream", {
    headers: headers(last === null ? {} : { "Last-Event-ID": String(last) }), cache: "no-store", signal: stop,
  });
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const fields = new Map(part.split("\n").filter((line) => !line.startsWith(":") && line.includes(": "))
        .map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      if (fields.has("data")) tell(fields.get("event") ?? "message", JSON.parse(fields.get("data")));
    }
  }
}
