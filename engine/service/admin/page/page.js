// The dashboard: which view is shown, what is asked when, and what follows from buttons.
"use strict";

import { ask, listen, token } from "./api.js";
import { picture, sorted, WORD } from "./estate.js";
import { ago, at, certificates, count, diff, empty, entries, fill, h, jobs, migration, partnerCards, queues, state, steps, streams, table, tiles, traces } from "./views.js";

const VIEWS = ["overview", "partners", "moves", "trace", "events", "control"];
const narrow = matchMedia("(max-width: 44rem)");
const now = { live: null, liveAt: 0, history: [], partners: [], certificates: [], queues: [], links: [], moreLinks: false, moves: [], events: [], audit: [], me: null, last: null };
let view = "overview";
let stop = null;
// Grows with every sign-in and sign-out: what was asked before has nothing to say any more.
let session = 0;

// ---------------------------------------------------------------------------------------------- theme
const THEMES = ["auto", "light", "dark"];
function theme(chosen) {
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  at("theme").textContent = { auto: "Theme: automatic", light: "Theme: light", dark: "Theme: dark" }[chosen];
}
let chosen = THEMES.includes(localStorage.getItem("turnout-theme")) ? localStorage.getItem("turnout-theme") : "auto";
theme(chosen);
at("theme").addEventListener("click", () => {
  chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
  localStorage.setItem("turnout-theme", chosen);
  theme(chosen);
});

// ---------------------------------------------------------------------------------------------- what is wrong
function problems() {
  const { live } = now;
  const found = [];
  const say = (level, text, where) => found.push({ level, text, where });
  if (!live.alive) say("bad", "A part of turnout stands still. Save the log and restart it.", "events");
  if (live.unaccounted) say("bad", `${count(live.unaccounted)} stanzas are unaccounted for: a fault of turnout. Keep the log.`, "events");
  if (live.store_failing) say("bad", `The store of contacts cannot be written: ${live.store_failing}`, "events");
  if (live.spool?.failing) say("bad", `The disk of the spool cannot be written: ${live.spool.failing}`, "events");
  if (live.spool?.full) say("bad", "The spool on disk is full: what waits now is in memory alone.", "overview");
  for (const side of live.sides.slice(1)) {
    if (side.nodes && side.nodes_failing >= side.nodes) say("bad", `${side.name} cannot be reached: ${side.nodes === 1 ? "its node does not answer" : `none of its ${side.nodes} nodes answers`}.`, "overview");
    else if (side.nodes_failing) say("warn", `${side.nodes_failing} of the ${side.nodes} nodes of ${side.name} do not answer.`, "overview");
  }
  const troubled = sorted(now.partners).filter(({ health }) => health.state === "trouble");
  for (const { domain, health } of troubled.slice(0, 3)) say("warn", `${domain}: ${health.last_error?.text ?? "cannot be reached"}`, "partners");
  if (troubled.length > 3) say("warn", `${count(troubled.length - 3)} more partners are in trouble.`, "partners");
  for (const one of now.certificates.filter(({ days_left }) => days_left < 30)) {
    const name = one.names[0] ?? one.file;
    say(one.days_left < 7 ? "bad" : "warn", one.days_left < 0 ? `The certificate of ${name} has ended.` : `The certificate of ${name} ends in ${one.days_left} days.`, "overview");
  }
  for (const { domain, health } of now.partners.filter(({ health }) => (health.certificate_days_left ?? 99) < 14)) {
    say("warn", health.certificate_days_left < 0 ? `The certificate of ${domain} has ended.` : `The certificate of ${domain} ends in ${health.certificate_days_left} days: tell the partner.`, "partners");
  }
  if (live.held > 10000) say("warn", `${count(live.held)} stanzas wait in the router.`, "overview");
  if (live.draining) say("warn", "turnout is stopping: it takes no new connections.", "control");
  return found.sort((a, b) => (a.level === b.level ? 0 : a.level === "bad" ? -1 : 1));
}

function verdict() {
  const found = problems();
  const bad = found.filter(({ level }) => level === "bad").length;
  const level = bad ? "bad" : found.length ? "warn" : "good";
  const text = level === "good" ? "All is well." : found.length === 1 ? "One thing needs a look." : `${found.length} things need a look.`;
  at("verdict").dataset.level = level;
  if (at("headline").textContent !== text) at("headline").textContent = text;
  fill(at("problems"), found, () => found.slice(0, 6).map((one) => h("li", {}, one.where === view ? one.text : h("a", { href: `#${one.where}` }, one.text))));
  document.title = level === "good" ? "turnout – all is well" : `${level === "bad" ? "■" : "▲"} turnout – ${text}`;
}

// ---------------------------------------------------------------------------------------------- showing
function operates() { return now.me?.role === "operate"; }

function show() {
  const { live } = now;
  if (!live) return;
  at("domains").textContent = live.domains.join(", ");
  at("version").textContent = `turnout ${live.version}`;
  verdict();
  if (view === "overview") {
    picture(at("picture"), live, now.partners, narrow.matches);
    tiles(at("tiles"), live, now.history);
    migration(at("migration"), live);
    certificates(at("certificates"), now.certificates);
    queues(at("queues"), now.queues);
  } else if (view === "partners") {
    const bad = now.partners.filter(({ health }) => health.state === "trouble").length;
    at("partners-note").textContent = `${count(now.partners.length)} ${now.partners.length === 1 ? "partner" : "partners"}, ${bad ? `${count(bad)} in trouble` : "none in trouble"}.`;
    partnerCards(at("partner-list"), sorted(now.partners), WORD);
    const names = now.partners.map(({ domain }) => domain).sort();
    fill(at("probe-partner"), names, () => names.map((name) => h("option", { value: name }, name)));
    streams(at("streams"), now.links, now.moreLinks, live.sides.filter(({ backend }) => backend === "sip").map(({ name }) => name));
  } else if (view === "moves") {
    homesInto(at("move-from"), at("move-home"));
    const running = new Map(live.moves.map((job) => [job.id, job]));
    jobs(at("jobs"), now.moves.map((job) => running.get(job.id) ?? job), operates() ? cancelJob : null);
  } else if (view === "events") {
    entries(at("log"), now.events, "Nothing since the start.");
    entries(at("audit"), now.audit, "Nobody has changed anything since the start.");
  }
}

function homesInto(...places) {
  const names = now.live.sides.slice(1).map((side) => side.name);
  for (const place of places) {
    fill(place, names, () => names.map((name) => h("option", { value: name }, name)));
  }
  if (at("move-home").dataset.chosen === undefined && names.length > 1) {
    at("move-home").dataset.chosen = "";
    at("move-home").value = names[names.length - 1];
  }
}

// ---------------------------------------------------------------------------------------------- asking
const guarded = (work) => async (...words) => {
  const asked = session;
  try { return await work(...words); } catch (error) {
    if (error.status === 401 && asked === session) signOut(token.get() ? "This token is not known here." : "");
    return null;
  }
};
const refreshers = {
  overview: guarded(async () => {
    const [partners, waiting] = await Promise.all([ask("/api/partners"), ask("/api/queues")]);
    [now.partners, now.queues] = [partners.partners, waiting.queues];
  }),
  partners: guarded(async () => {
    now.partners = (await ask("/api/partners")).partners;
    if (view !== "partners") return;
    const found = await ask("/api/links?limit=100");
    [now.links, now.moreLinks] = [found.links, Boolean(found.next_after)];
  }),
  moves: guarded(async () => { now.moves = (await ask("/api/moves")).moves; }),
  events: guarded(async () => {
    const [events, audit] = await Promise.all([ask("/api/events?limit=100"), ask("/api/audit?limit=100")]);
    now.events = events.events.filter(({ kind }) => kind !== "audit");
    now.audit = audit.entries.map((entry) => ({ number: entry.number, at_unix_millis: entry.at_unix_millis, kind: "audit", data: entry }));
  }),
};
const slow = guarded(async () => { now.certificates = (await ask("/api/certificates")).certificates; });

async function refresh() {
  await (refreshers[view] ?? (async () => {}))();
  if (view !== "overview" && view !== "partners") await refreshers.partners();
  show();
}

// One request after the other: a slow answer is never overtaken by the next question.
let busy = false;
async function tick() {
  if (!busy && now.me && document.visibilityState === "visible") {
    busy = true;
    try { await refresh(); } finally { busy = false; }
  }
  const stale = now.live && Date.now() - now.liveAt > 5000;
  document.documentElement.classList.toggle("stale", Boolean(stale));
  at("link-state").textContent = stale ? `No word from turnout since ${ago(now.liveAt)}` : "";
}

function take(kind, data) {
  if (kind === "live") {
    now.live = data;
    now.liveAt = Date.now();
    const received = data.sides.reduce((sum, side) => sum + side.received_per_second, 0);
    const bounced = data.sides.reduce((sum, side) => sum + side.bounced_last_minute, 0) / 60;
    now.history.push({ received: Math.round(received), bounced: Math.round(bounced), held: data.held });
    if (now.history.length > 120) now.history.shift();
    show();
  } else if (kind === "event") {
    now.last = data.number;
    if (["audit", "move", "reload"].includes(data.kind)) void tick();
    if (data.kind === "reload") void slow();
  }
}

async function follow() {
  const own = session;
  for (let wait = 1; own === session; wait = Math.min(wait * 2, 10)) {
    stop = new AbortController();
    try {
      await listen(now.last, (kind, data) => { wait = 1; if (own === session) take(kind, data); }, stop.signal);
    } catch (error) {
      if (own !== session) return undefined;
      if (error.status === 401) return signOut("This token is not known any more.");
      if (error.status === 503) await guarded(async () => take("live", await ask("/api/live")))();
    }
    await new Promise((done) => setTimeout(done, wait * 1000));
  }
  return undefined;
}

// ---------------------------------------------------------------------------------------------- views
function go() {
  const wanted = location.hash.slice(1);
  view = VIEWS.includes(wanted) ? wanted : "overview";
  for (const name of VIEWS) at(name).hidden = name !== view || !now.me;
  at("login").hidden = Boolean(now.me);
  at("nav").hidden = !now.me;
  for (const link of at("nav").children) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!now.me) return;
  if (view === "control") controls();
  if (view === "trace") traceNote();
  show();
  void tick();
}
addEventListener("hashchange", () => { go(); at("main").focus({ preventScroll: true }); scrollTo(0, 0); });
narrow.addEventListener("change", show);

// ---------------------------------------------------------------------------------------------- in and out
function signOut(why) {
  session += 1;
  token.clear();
  stop?.abort();
  Object.assign(now, { me: null, live: null, partners: [], moves: [], events: [], audit: [], history: [] });
  at("leave").hidden = true;
  at("who").textContent = "";
  at("login-error").textContent = why;
  document.title = "turnout – sign in";
  go();
  at("token").focus();
}

async function signIn() {
  const me = await ask("/api/whoami");
  session += 1;
  now.me = me;
  at("who").textContent = now.me.tokens ? `${now.me.name} · ${operates() ? "may operate" : "may look"}` : "";
  at("leave").hidden = !now.me.tokens;
  // A link carries no token.
  at("links").hidden = now.me.tokens;
  for (const part of document.querySelectorAll(".operate")) {
    for (const field of part.querySelectorAll("input, select, textarea, button")) field.disabled = !operates();
  }
  await slow();
  const first = await guarded(() => ask("/api/live"))();
  if (first) {
    now.history = first.history ?? [];
    take("live", first);
  }
  go();
  void follow();
}

at("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  token.set(at("token").value.trim());
  at("token").value = "";
  at("login-error").textContent = "";
  try { await signIn(); } catch (error) { signOut(error.status === 401 ? "This token is not known here." : error.message); }
});
at("leave").addEventListener("click", () => signOut(""));

// ---------------------------------------------------------------------------------------------- changing
function confirm(title, text, yes) {
  const dialog = at("ask");
  at("ask-title").textContent = title;
  at("ask-text").textContent = text;
  at("ask-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

at("move-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const wanted = { home: form.get("home"), batch: Number(form.get("batch")) };
  if (form.get("by") === "names") wanted.users = form.get("users").split(/[\s,;]+/).filter(Boolean);
  else Object.assign(wanted, { from: form.get("from"), prefix: form.get("prefix") });
  at("move-error").textContent = "";
  try {
    if (wanted.users?.length === 0) throw new Error("Name somebody, one address a line.");
    const counted = await ask("/api/moves", "POST", { ...wanted, dry_run: true });
    if (counted.moved === 0) throw new Error(`Nobody is to be moved: of ${count(counted.total)} users all live on ${wanted.home} already.`);
    const sure = await confirm(`Move ${count(counted.moved)} users to ${wanted.home}?`, "Have they been moved on the servers (Move-CsUser)? Otherwise their messages go to where they are not.", "Move them");
    if (sure) now.moves.unshift(await ask("/api/moves", "POST", wanted));
    show();
  } catch (error) { at("move-error").textContent = error.text ?? error.message; }
});
for (const id of ["move-users", "move-from", "move-prefix"]) {
  at(id).addEventListener("focus", () => { at("move-form").elements.by.value = id === "move-users" ? "names" : "home"; });
}
const cancelJob = guarded(async (job) => { await ask(`/api/moves/${job.id}`, "DELETE"); await refresh(); });

at("find-form").addEventListener("submit", guarded(async (event) => {
  event.preventDefault();
  const found = await ask(`/api/users?limit=20&prefix=${encodeURIComponent(at("find-prefix").value.trim())}`);
  const marks = (user) => [user.changed && "moved by hand", !user.enabled && "disabled", !user.federation_enabled && "no federation", !user.xmpp_enabled && "no XMPP"].filter(Boolean).join(", ");
  at("found").replaceChildren(found.users.length === 0 ? empty("Nobody.") : table("Users found", ["User", "Lives on", ""],
    found.users.map((user) => h("tr", {}, h("th", { scope: "row" }, user.user), h("td", {}, user.home ?? user.pool ?? user.residence), h("td", { class: "soft" }, marks(user))))));
  if (found.next_after) at("found").append(empty("There are more; give more of the address."));
}));

function traceNote(mode = now.live?.trace) {
  at("trace-note").textContent = mode === "all" ? "Every step is remembered." : mode === "failures" ? "Only what was not delivered is remembered; under Control you can have every step." : mode === "off" ? "Nothing is remembered: switch it on under Control." : "";
}
at("trace-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const wanted = new URLSearchParams({ limit: "500" });
  for (const name of ["who", "id", "failures"]) if (form.get(name)?.trim()) wanted.set(name, form.get(name).trim());
  if (form.get("minutes")) wanted.set("since_unix_millis", String(Date.now() - Number(form.get("minutes")) * 60000));
  try {
    const found = await ask(`/api/trace?${wanted}`);
    traceNote(found.mode);
    traces(at("trace-steps"), found.steps);
  } catch (error) { at("trace-note").textContent = error.text ?? error.message; }
});

const controls = guarded(async () => {
  at("control-note").textContent = operates() ? "Every change is written down with your name." : "Your token may look and not change.";
  const fields = ["log-filter", "tracing-mode", "tracing-only"].map(at);
  const before = fields.map((field) => field.value);
  const [log, trace] = await Promise.all([ask("/api/log"), ask("/api/trace?limit=1")]);
  // What somebody has begun to write in the meantime stays.
  [log.filter, trace.mode, trace.only.join(" ")].forEach((value, index) => { if (fields[index].value === before[index]) fields[index].value = value; });
});
const told = (place, work) => async (event) => {
  event.preventDefault();
  place.textContent = "…";
  try { await work(); } catch (error) { place.replaceChildren(h("span", { class: "form-error" }, error.text ?? error.message)); }
};
at("probe-form").addEventListener("submit", told(at("probe-result"), async () => {
  const report = await ask("/api/probe", "POST", { partner: at("probe-partner").value });
  steps(at("probe-result"), report, `Nothing stands between ${report.from} and ${report.partner}.`);
}));
const reason = (refusal) => `${refusal.condition}: ${refusal.text}${refusal.detail ? ` [${refusal.detail}]` : ""}`;
at("selftest-form").addEventListener("submit", told(at("selftest-result"), async () => {
  const [from, to] = [at("selftest-from").value.trim(), at("selftest-to").value.trim()];
  const done = [];
  const tell = (step, about, outcome, text, millis = 0) => {
    done.push({ step, about, outcome, text, millis });
    const good = step === "message" && outcome === "good";
    steps(at("selftest-result"), { good, steps: done, diagnosis: [] }, "The partner's server has it.");
    if (outcome === "skipped") done.pop();
    return outcome === "good";
  };
  // The same questions, in the same order, as `turnout selftest` puts.
  const user = await ask(`/api/users/${encodeURIComponent(from)}`);
  if (!tell("user", from, user.home ? "good" : "bad", user.home ? `lives on ${user.home}` : "lives in no home")) return;
  for (const [step, one, other] of [["way there", from, to], ["way back", to, from]]) {
    const way = await ask(`/api/explain?${new URLSearchParams({ from: one, to: other })}`);
    if (!tell(step, `${one} to ${other}`, way.route ? "good" : "bad", way.route ? `goes to ${way.route}` : reason(way.refusal))) return;
  }
  tell("message", `${from} to ${to}`, "skipped", "under way …");
  const sent = await ask("/api/selftest", "POST", { from, to });
  tell("message", `${from} to ${to}`, sent.delivered ? "good" : "bad", sent.delivered ? "the partner's server has it" : reason(sent.refusal), sent.millis);
}));
at("preview").addEventListener("click", told(at("reload-result"), async () => diff(at("reload-result"), (await ask("/api/reload/preview", "POST")).diff)));
at("reload").addEventListener("click", told(at("reload-result"), async () => {
  const done = await ask("/api/reload", "POST");
  diff(at("reload-result"), done.diff);
  at("reload-result").prepend(h("p", {}, state("good", `Reloaded: configuration ${done.generation}, ${count(done.users)} users.`)));
}));
at("log-form").addEventListener("submit", told(at("watch-result"), async () => {
  at("watch-result").textContent = `The log writes ${(await ask("/api/log", "PUT", { filter: at("log-filter").value.trim() })).filter}.`;
}));
at("tracing-form").addEventListener("submit", told(at("watch-result"), async () => {
  const only = at("tracing-only").value.split(/[\s,;]+/).filter(Boolean);
  const set = await ask("/api/trace", "PUT", { mode: at("tracing-mode").value, only });
  at("watch-result").textContent = `Remembered from now on: ${set.mode}${set.only.length ? ` of ${set.only.join(", ")}` : ""}.`;
}));
at("drain").addEventListener("click", told(at("drain-result"), async () => {
  const sure = await confirm("Drain and stop turnout?", "Partners cannot reach anybody until it runs again.", "Stop it");
  at("drain-result").textContent = sure ? (await ask("/api/drain", "POST")).accepted : "";
}));

// ---------------------------------------------------------------------------------------------- go
setInterval(tick, 2000);
setInterval(() => { if (now.me) void slow(); }, 60000);
signIn().catch((error) => signOut(error.status === 401 && token.get() ? "This token is not known here." : error.status === 401 ? "" : error.message));
