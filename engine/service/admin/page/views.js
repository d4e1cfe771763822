// What the views are made of. Text only ever gets into the page as text.
"use strict";

export const at = (id) => document.getElementById(id);
export const count = (n) => n.toLocaleString("en");
export const micros = (us) => (us === null || us === undefined ? "–" : us >= 1e6 ? `${us / 1e6} s` : us >= 1000 ? `${us / 1000} ms` : `${us} µs`);
export const rate = (n) => `${n >= 10000 ? `${(n / 1000).toFixed(1)}k` : n >= 10 ? count(Math.round(n)) : n.toFixed(n > 0 ? 1 : 0)}/s`;
export const bytes = (n) => (n >= 1 << 20 ? `${(n / (1 << 20)).toFixed(1)} MiB` : n >= 1024 ? `${(n / 1024).toFixed(1)} KiB` : `${n} B`);
export const clock = (millis) => new Date(millis).toLocaleTimeString("en-GB");
export const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

export function ago(millis, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - millis) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

export function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

function make(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
export const h = (name, attributes = {}, ...children) => make(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) => make(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

// Replaces what is in a place only when it says something else than before, so that nobody loses focus or selection to a clock tick.
const said = new WeakMap();
export function fill(place, key, nodes) {
  const text = JSON.stringify(key);
  if (said.get(place) === text) return;
  said.set(place, text);
  place.replaceChildren(...nodes().filter((node) => node !== null));
}

export const state = (level, word) => h("span", { class: `state ${level}` }, word);
export const empty = (text) => h("p", { class: "empty" }, text);

export function table(caption, heads, rows) {
  const head = heads.map((name) => h("th", { scope: "col", class: name.startsWith("#") ? "number" : null }, name.replace("#", "")));
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": `${caption}, table` },
    h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)));
}

function tile(name, figure, under, level, extra) {
  return h("div", { class: "tile" }, h("dl", { class: "bare" }, h("dt", {}, name), h("dd", { class: `figure ${level ?? ""}` }, figure), h("dd", { class: "under" }, under)), extra);
}

function spark(points, pick, name) {
  const values = points.map(pick);
  const most = Math.max(1, ...values);
  const x = (index) => (values.length < 2 ? 0 : (index / (values.length - 1)) * 120);
  const y = (value) => 31 - (value / most) * 28;
  const line = values.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  return svg("svg", { viewBox: "0 0 120 34", preserveAspectRatio: "none", role: "img", "aria-label": `${name} over the last two minutes, at most ${count(most)}` },
    svg("path", { class: "spark-area", d: `${line}L120 34L0 34Z` }), svg("path", { class: "spark", d: line }));
}

export function tiles(place, live, history) {
  const worst = live.sides.reduce((most, side) => Math.max(most, side.delivery_p99_us ?? 0), 0) || null;
  const half = live.sides.reduce((most, side) => Math.max(most, side.delivery_p50_us ?? 0), 0) || null;
  const bounced = live.sides.reduce((sum, side) => sum + side.bounced_last_minute, 0);
  const received = live.sides.reduce((sum, side) => sum + side.received_per_second, 0);
  place.replaceChildren(
    tile("Stanzas in", rate(received), "all sides together", "", history.length > 1 ? spark(history, (point) => point.received, "Stanzas received a second") : null),
    tile("Delivered within", micros(worst), `99 of 100, last minute; half ${micros(half)}`, worst > 1e6 ? "warn" : ""),
    tile("Held now", count(live.held), `${bytes(live.spool_bytes)} in spools`, live.held > 10000 ? "warn" : "", history.length > 1 ? spark(history, (point) => point.held, "Stanzas held") : null),
    live.spool ? tile("On disk", count(live.spool.waiting), live.spool.failing ?? (live.spool.full ? `full: ${bytes(live.spool.bytes)}` : live.spool.waiting ? `the oldest for ${span(live.spool.oldest_seconds ?? 0)}, ${bytes(live.spool.bytes)}` : `nothing waits, ${bytes(live.spool.bytes)}`), live.spool.failing || live.spool.full ? "bad" : (live.spool.oldest_seconds ?? 0) > 60 ? "warn" : "") : "",
    tile("Refused", count(bounced), "told to senders, last minute", "", history.length > 1 ? spark(history, (point) => point.bounced, "Stanzas refused a second") : null),
    tile("Directory", count(live.users), live.directory_failing ?? `users, ${live.directory_from_disk ? "from the disk, confirmed" : "confirmed"} ${span(live.directory_age_seconds)} ago`, live.directory_failing ? "bad" : live.directory_from_disk ? "warn" : ""),
  );
}

export function migration(place, live) {
  const homes = live.sides.slice(1);
  const total = Math.max(1, live.users);
  fill(place, [homes.map((home) => [home.users, home.moved_today]), live.users, live.changed_users, live.moving_users], () => {
    const bar = h("div", { class: "sides", role: "img", "aria-label": homes.map((home) => `${home.name} ${count(home.users)} users`).join(", ") });
    homes.forEach((home, index) => {
      const part = h("span", { class: `home-${Math.min(index, 2)}` });
      part.style.flexGrow = String(home.users);
      bar.append(part);
    });
    const legend = homes.map((home, index) => h("div", { class: `home-${Math.min(index, 2)}` }, h("dt", {}, home.name),
      h("dd", {}, count(home.users), h("span", { class: "under" }, `${((home.users / total) * 100).toFixed(1).replace(".0", "")} % · ${count(home.moved_today)} moved here today`))));
    if (live.users_elsewhere) legend.push(h("div", {}, h("dt", {}, "no home"), h("dd", {}, count(live.users_elsewhere), h("span", { class: "under" }, "in the cloud, or on pools nobody serves"))));
    const note = live.moving_users ? `${count(live.moving_users)} are being moved at this moment.`
      : live.changed_users ? `${count(live.changed_users)} moved by hand are elsewhere in the directory yet.` : "The directory and the router agree.";
    return [bar, h("dl", { class: "legend" }, ...legend), h("p", { class: "soft" }, note)];
  });
}

export function certificates(place, list) {
  fill(place, list, () => (list.length === 0 ? [empty("None is configured.")] : list.map((one) => {
    const level = one.days_left < 7 ? "bad" : one.days_left < 30 ? "warn" : "good";
    const meter = h("div", { class: `meter ${level}`, "aria-hidden": "true" }, h("span"));
    meter.firstChild.style.width = `${Math.max(2, Math.min(100, (one.days_left / 365) * 100))}%`;
    const word = one.days_left < 0 ? "has ended" : `${count(one.days_left)} days left`;
    return h("div", { class: "certificate" }, h("div", {}, h("strong", {}, one.names.slice(0, 3).join(", ") || one.file),
      h("div", { class: "soft" }, `until ${day(one.not_after_unix)} · ${one.used_by.join(", ")}`)), state(level, word), meter);
  })));
}

export function queues(place, list) {
  const news = list.filter((queue) => queue.stanzas > 0 || queue.failures > 0 || ["blocked", "resting", "closing"].includes(queue.state));
  const key = news.map(({ again_seconds, ...rest }) => rest);
  fill(place, key, () => (news.length === 0 ? [empty("Nothing waits: every destination takes what it is given.")] : [table("Queues", ["Destination", "Side", "State", "#Waiting", "#Bytes", "#Failures"],
    news.map((queue) => h("tr", {}, h("th", { scope: "row" }, queue.theirs, queue.ours ? h("span", { class: "soft" }, ` from ${queue.ours}`) : null), h("td", {}, queue.side),
      h("td", {}, state(queue.failures ? "bad" : queue.stanzas ? "warn" : "none", queue.state)),
      h("td", { class: "number" }, count(queue.stanzas)), h("td", { class: "number" }, bytes(queue.bytes)), h("td", { class: "number" }, count(queue.failures)))))]));
}

const LEVEL = { trouble: "bad", unknown: "warn", connecting: "warn", good: "good", idle: "none" };

export function partnerCards(place, list, words) {
  fill(place, list, () => (list.length === 0 ? [empty("No partner is configured.")] : list.map(({ domain, additional_domains, type, tls, sasl, dialback, proxy, health }) => {
    const isBad = health.last_error && (!health.last_good || health.last_error.at_unix_millis > health.last_good.at_unix_millis);
    const word = health.state === "trouble" || isBad ? health.last_error : health.last_good;
    const days = health.certificate_days_left;
    const facts = [health.received_per_second === null ? null : ["Now", `${rate(health.received_per_second)} from it, ${rate(health.delivered_per_second)} to it`],
      days === null ? null : ["Its certificate", days < 0 ? "has ended" : `${count(days)} days left`], ["Streams", `${health.streams_in} in, ${health.streams_out} out`], ["Waiting", health.waiting ? `${count(health.waiting)} (${bytes(health.waiting_bytes)})` : "nothing"],
      health.failures ? ["Failed attempts", count(health.failures)] : null, ["Type", type], ["TLS", tls], ["SASL", sasl], ["Dialback", dialback ? "yes" : "no"], proxy ? ["Proxy", proxy] : null];
    return h("article", { class: "card partner-card" }, h("h2", {}, domain), state(LEVEL[health.state], words[health.state]),
      h("p", { class: word && word === health.last_error ? "last-error" : "soft" }, word ? `${clock(word.at_unix_millis)} ${word.text}` : "Nothing was heard of it since the start."),
      h("dl", {}, ...facts.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
        additional_domains.length ? h("div", {}, h("dt", {}, "Also"), h("dd", {}, additional_domains.join(", "))) : null));
  })));
}

// Sessions with a pool belong to no stream of it, so what its users got is counted nowhere by stream.
export function streams(place, list, more, pools) {
  const marks = (link) => [link.both_ways && "both ways", link.resumed && "resumed", link.acknowledged && "acknowledged"].filter(Boolean).join(", ");
  fill(place, [list, more, pools], () => (list.length === 0 ? [empty("No connection is open.")] : [table("Streams", ["Peer", "Side", "Way", "State", "Proven by", "Marks", "#In", "#Out", "#Unanswered"],
    list.map((link) => h("tr", {}, h("th", { scope: "row" }, link.theirs.join(", ") || link.address || link.link, link.ours ? h("span", { class: "soft" }, ` with ${link.ours}`) : null), h("td", {}, link.side), h("td", {}, link.direction),
      h("td", {}, [link.state, link.tls].filter(Boolean).join(", ")), h("td", {}, link.proof), h("td", {}, marks(link)),
      h("td", { class: "number" }, count(link.received)), h("td", { class: "number" }, pools.includes(link.side) ? "–" : count(link.delivered)), h("td", { class: "number" }, count(link.stanzas))))),
  more ? empty("There are more: GET /api/links.") : null]));
}

const OUTCOME = { good: "good", note: "warn", bad: "bad", skipped: "none" };

// What was done step by step, as a probe or a test message tells it.
export function steps(place, { good, steps: list, diagnosis }, well) {
  const rows = list.map((one) => h("li", {}, h("span", { class: "soft" }, one.millis ? `${count(one.millis)} ms` : ""), state(OUTCOME[one.outcome] ?? "none", one.step), h("span", { class: "why" }, [one.about, one.text].filter(Boolean).join(": "))));
  place.replaceChildren(h("ul", { class: "steps" }, ...rows),
    ...diagnosis.map(({ what, cure }) => h("p", {}, h("strong", {}, what), ` ${cure}`)),
    ...(good && diagnosis.length === 0 ? [h("p", {}, state("good", well))] : []));
}

const JOB = { running: ["warn", "running"], cancelling: ["warn", "stopping"], done: ["good", "done"], cancelled: ["none", "cancelled"], failed: ["bad", "failed"] };

export function jobs(place, list, cancel) {
  fill(place, [list, cancel !== null], () => (list.length === 0 ? [empty("No move since the start.")] : list.map((job) => {
    const [level, word] = JOB[job.state] ?? ["none", job.state];
    const running = job.state === "running";
    const late = job.late_batches ? ` ${count(job.late_batches)} batches moved before everything under way had arrived.` : "";
    return h("article", { class: "job", "data-job": job.id, "data-state": job.state },
      h("h3", {}, `${count(job.total)} users to ${job.home}`), running && cancel ? h("button", { type: "button", click: () => cancel(job) }, "Cancel") : state(level, word),
      h("progress", { max: Math.max(1, job.total), value: job.done, "aria-label": `Move ${job.id}` }, `${job.done} of ${job.total}`),
      h("p", {}, `${count(job.done)} of ${count(job.total)} looked after, ${count(job.moved)} moved · asked by ${job.who} at ${clock(job.begun_unix_millis)} · held ${count(job.held_millis_max)} ms at most.${late}`),
      job.error ? h("p", { class: "form-error" }, job.error) : null);
  })));
}

const STEP = { delivered: "good", bounced: "bad", dropped: "warn", "given back": "warn", held: "warn", waits: "warn" };

export function traces(place, steps) {
  // The newest step comes first, so with the arrival a stanza is complete. Without an id, steps of the same two within a second
  // are taken for one stanza's.
  const [stanzas, open] = [[], new Map()];
  for (const step of steps) {
    const key = [step.from, step.to, step.element, step.id].join(" ");
    let list = open.get(key);
    if (!list || (!step.id && list.at(-1).at_unix_millis - step.at_unix_millis > 1000)) {
      list = [];
      stanzas.push(list);
      open.set(key, list);
    }
    list.push(step);
    if (step.step === "arrived") open.delete(key);
  }
  place.replaceChildren(...(stanzas.length === 0 ? [empty("Nothing was found.")] : [h("div", { class: "card" }, ...stanzas.slice(0, 100).map((list) => {
    const [one] = list;
    const rows = list.toReversed().map((step) => h("li", {}, h("span", { class: "soft" }, `${clock(step.at_unix_millis)}.${String(step.at_unix_millis % 1000).padStart(3, "0")}`),
      state(STEP[step.step] ?? "none", step.step), h("span", { class: "why" }, [step.side, step.why].filter(Boolean).join(" · "))));
    return h("article", { class: "stanza" }, h("h2", {}, `${one.from} → ${one.to}`),
      h("p", { class: "soft" }, `${one.made ? "made by the router: " : ""}${one.element}${one.id ? ` · id ${one.id}` : ""} · shard ${one.shard}`), h("ul", { class: "steps" }, ...rows));
  }))]));
}

function eventText({ kind, data }) {
  if (kind === "note") return [data.level, `${data.about ? `${data.about}: ` : ""}${data.text}`];
  if (kind === "audit") return [data.status >= 400 ? "error" : "", `${data.who}: ${data.action} – ${data.result}`];
  if (kind === "move") return ["move", `${data.id} to ${data.home}: ${data.state}, ${data.done} of ${data.total}`];
  return [kind, data.summary ?? JSON.stringify(data)];
}

export function entries(place, list, none) {
  fill(place, list.map((event) => event.number), () => (list.length === 0 ? [empty(none)] : [h("ul", { class: "entries", tabindex: "0" }, ...list.map((event) => {
    const [level, text] = eventText(event);
    return h("li", {}, h("span", { class: "when" }, clock(event.at_unix_millis)), level === "" ? null : h("span", { class: level }, `${level === "error" && event.kind === "audit" ? "refused" : level} `), text);
  }))]));
}

export function diff(place, { keys, keys_total, certificates: changed, users_added, users_removed, users_moved, users, needs_restart }) {
  const lines = [];
  if (needs_restart) lines.push(h("p", { class: "form-error" }, `${needs_restart} cannot change without a restart.`));
  const total = keys_total + changed.length + users_added + users_removed + users_moved;
  if (total === 0 && !needs_restart) lines.push(empty("Nothing: the files say what is in use."));
  if (keys.length) lines.push(table("Keys", ["Key", "Before", "After"], keys.map((key) => h("tr", {}, h("th", { scope: "row" }, key.key), h("td", {}, key.before ?? "–"), h("td", {}, key.after ?? "–")))));
  for (const one of changed) lines.push(h("p", {}, `Certificate ${one.file}: ${one.before_not_after_unix === null ? "new" : `until ${day(one.before_not_after_unix)}`} → ${one.after_not_after_unix === null ? "gone" : `until ${day(one.after_not_after_unix)}`}`));
  if (users_added + users_removed + users_moved) {
    lines.push(h("p", {}, `Users: ${count(users_added)} new, ${count(users_removed)} gone, ${count(users_moved)} moved.`));
    lines.push(table("Users", ["User", "Before", "After"], users.slice(0, 20).map((user) => h("tr", {}, h("th", { scope: "row" }, user.user), h("td", {}, user.before ?? "–"), h("td", {}, user.after ?? "–")))));
  }
  place.replaceChildren(...lines);
}
