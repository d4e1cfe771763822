// Shows /api/status and /api/homes, once a second. Text only ever gets into the page as text.
"use strict";

const EVERY_MS = 1000;
const at = (id) => document.getElementById(id);
const count = (n) => n.toLocaleString("en");
const micros = (us) => (us === null ? "–" : us >= 1000 ? `${us / 1000} ms` : `${us} µs`);
let before = null;

function fill(id, rows) {
  at(id).replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const cell of cells) {
      const [text, className] = Array.isArray(cell) ? cell : [cell, ""];
      const td = document.createElement("td");
      td.textContent = text;
      td.className = className;
      row.append(td);
    }
    return row;
  }));
}

function state(text, good) {
  at("state").textContent = text;
  at("state").className = good ? "good" : "bad";
}

function show(status, homes, now) {
  const good = status.alive && !status.draining && status.stanzas.sums_agree;
  state(status.draining ? "stopping" : !status.alive ? "a shard is stuck" : good ? "running" : "sums disagree", good);
  at("facts").textContent =
    `${status.domains.join(", ")} · version ${status.version} · driver ${status.driver} · ${status.shards.length} shards · ` +
    `up ${count(status.uptime_seconds)} s · configuration ${status.generation} · ${count(status.directory.users)} users, ` +
    `${count(status.directory.changed_users)} moved by hand, ${status.directory.from_disk ? 'from the disk, confirmed' : 'confirmed'} ${count(status.directory.age_seconds)} s ago${status.directory.failing ? ': ' + status.directory.failing : ''}`;
  fill("flows", [["passed on", status.stanzas.passed], ["made here", status.stanzas.made]].map(
    ([name, flow]) => [name, count(flow.received), count(flow.delivered), count(flow.bounced), count(flow.dropped)]));
  at("sums").textContent = `${count(status.stanzas.held)} held, ${count(status.spool_bytes)} bytes in spools, ` +
    `${count(status.stanzas.unaccounted)} unaccounted for`;
  fill("sides", status.sides.map((side, index) => {
    const last = before?.sides[index];
    const rate = last?.name === side.name ? (side.delivered - last.delivered) * 1000 / (now - before.now) : null;
    return [side.name, count(side.links), count(side.received), count(side.delivered),
      rate === null ? "–" : count(Math.round(rate)), count(side.bounced), micros(side.delivery_p50_us),
      micros(side.delivery_p99_us), count(side.failed), count(side.faults)];
  }));
  fill("nodes", homes.homes.flatMap((home) => home.nodes.map((node) => [home.name, home.backend, node.node,
    node.healthy ? ["works", "good"] : [`${node.failures} failures`, "bad"]])));
  before = { sides: status.sides, now };
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer.json();
}

async function turn() {
  try {
    const [status, homes] = await Promise.all([ask("/api/status"), ask("/api/homes")]);
    show(status, homes, performance.now());
  } catch (error) {
    state(`no answer: ${error.message}`, false);
  }
  setTimeout(turn, EVERY_MS);
}

turn();
