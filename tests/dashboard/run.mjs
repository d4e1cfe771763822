// The dashboard in a real browser: `node run.mjs TURNOUT [SCREENSHOTS]`. Two routers are started, the demo with its estate and traffic, and one
// that asks for tokens; both on ports the kernel chose. Invariant: nothing waits for a length of time, only for what is to be seen, with
// a generous limit; whatever happens, what was started is ended.
import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const PATIENCE_MILLIS = 30_000;
const [binary, pictures] = process.argv.slice(2);
const scratch = mkdtempSync(join(tmpdir(), "turnout-dashboard-"));
const ended = [];

// ---------------------------------------------------------------------------------------------- what is started
function start(args, options, sign) {
  const child = spawn(binary, args, { stdio: ["pipe", "pipe", "pipe"], ...options });
  ended.push(() => child.kill("SIGKILL"));
  let said = "";
  const ready = new Promise((resolve, reject) => {
    const look = (chunk) => {
      said += chunk;
      const found = said.match(sign);
      if (found) resolve(found[1]);
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    child.on("exit", (code) => reject(new Error(`${args[0]} ended with ${code}: ${said}`)));
  });
  return { child, ready, said: () => said };
}

function withTokens() {
  const folder = join(scratch, "tokens");
  execFileSync(binary, ["dev-certs", folder]);
  const token = (name, role) => {
    execFileSync(binary, ["token", name, "--role", role, "--tokens", join(folder, "admin-tokens"), "--out", join(folder, name)]);
    return readFileSync(join(folder, name), "utf8").trim();
  };
  const tokens = { operate: token("anna", "operate"), read: token("grafana", "read") };
  writeFileSync(join(folder, "turnout.toml"), `
domains = ["contoso.com"]
[federation]
listen = ["127.0.0.1:0"]
certificate = "contoso.com.pem"
key = "contoso.com.key"
ca_file = "ca.pem"
[[partner]]
domain = "partner.example"
type = "federated"
proxy = "127.0.0.1:1"
[home.legacy]
backend = "xmpp"
connect = ["127.0.0.1:2"]
listen = "127.0.0.1:0"
registrar_pools = ["sfb2015.contoso.com"]
[directory]
source = "csv"
file = "users.csv"
default_xmpp_access = true
[engine]
shards = 1
[spool]
mode = "durable"
path = "spool"
[admin]
listen = "127.0.0.1:0"
tokens_file = "admin-tokens"
`);
  const router = start(["run", "--config", join(folder, "turnout.toml")], {}, /admin=([\d.]+:\d+)/);
  return { ...router, tokens, folder };
}

// ---------------------------------------------------------------------------------------------- what is looked at
async function accessible(page, name) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => `${node.target} ${node.any[0]?.message ?? ""}`).join(" | ")}`);
  assert.deepEqual(found, [], `${name} is not accessible`);
}

async function open(browser, base, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light", reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(PATIENCE_MILLIS);
  const page = await context.newPage();
  pages.push(page);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`${error}`));
  page.on("console", (message) => { if (message.type() === "error" && !/status of 4\d\d/.test(message.text())) wrong.push(message.text()); });
  page.on("request", (request) => { if (!request.url().startsWith(base)) wrong.push(`asks elsewhere: ${request.url()}`); });
  await page.goto(base);
  return { context, page, wrong };
}

// The pictures that are kept in docs/.
const KEPT = ["light", "dark", "phone", "trouble", "moves", "trace", "partners"];

async function shot(page, name) {
  if (!pictures || !KEPT.includes(name)) return;
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: join(pictures, `dashboard-${name}.png`), scale: "css" });
}

const headline = (page, text) => page.getByRole("heading", { level: 1, name: text }).waitFor();
const view = async (page, name) => {
  await page.getByRole("navigation").getByRole("link", { name }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
};
const steps = [];
const pages = [];
async function step(name, work) {
  const begun = Date.now();
  try {
    await work();
  } catch (error) {
    // What the page says tells more than what it did not say.
    for (const page of pages) if (!page.isClosed()) console.error(`not ok ${name}; the page says:\n${await page.locator("main").innerText()}`);
    if (pictures) for (const [at, page] of pages.entries()) if (!page.isClosed()) await page.screenshot({ path: join(pictures, `failed-${at}.png`) });
    throw error;
  }
  steps.push(name);
  console.log(`ok ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
}

// ---------------------------------------------------------------------------------------------- the cases
async function estate(browser, demo, base) {
  const { page, wrong, context } = await open(browser, base);
  await step("the overview says in one line that all is well, and shows what flows", async () => {
    await headline(page, "All is well.");
    await page.waitForFunction(() => [...document.querySelectorAll("#picture .rate")].filter((text) => parseFloat(text.textContent) > 20).length >= 6);
    await page.waitForFunction(() => document.querySelectorAll(".tile svg").length === 3 && /\d/.test(document.querySelector("#migration dd")?.textContent));
    const picture = await page.locator("#picture svg").getAttribute("aria-label");
    for (const word of ["partner.example: connected", "legacy: ", "sfb2019: ", "users"]) assert.ok(picture.includes(word), `${word} in ${picture}`);
    assert.match(await page.locator("#certificates").innerText(), /contoso\.com[\s\S]*days left/);
    // At the very start a stream may still be opening.
    await page.locator("#queues").getByText(/Nothing waits/).waitFor();
    await accessible(page, "overview");
    await shot(page, "light");
  });
  await step("it is dark where the system is, or where it is told", async () => {
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.emulateMedia({ colorScheme: "dark" });
    const dark = await ground();
    assert.notEqual(light, dark);
    await accessible(page, "overview, dark");
    await shot(page, "dark");
    await page.getByRole("button", { name: "Theme: automatic" }).click();
    assert.equal(await ground(), light, "light, though the system is dark");
    await page.getByRole("button", { name: "Theme: light" }).click();
    await page.emulateMedia({ colorScheme: "light" });
    assert.equal(await ground(), dark, "dark, though the system is light");
    await page.getByRole("button", { name: "Theme: dark" }).click();
  });
  await step("all of it can be reached by keyboard", async () => {
    await page.keyboard.press("Tab");
    const names = [];
    for (let count = 0; count < 12; count += 1) {
      names.push(await page.evaluate(() => document.activeElement?.textContent?.trim()));
      await page.keyboard.press("Tab");
    }
    for (const name of ["Overview", "Partners", "Moves", "Trace", "Events", "Control"]) assert.ok(names.includes(name), `${name} in ${names}`);
  });
  await step("the partner's view shows streams and how they are proven", async () => {
    await view(page, "Partners");
    await page.getByText(/\d+ in, \d+ out/).first().waitFor();
    await page.getByText("connected", { exact: true }).waitFor();
    const card = page.locator("#partner-list article");
    await card.getByText(/\d+ days left/).first().waitFor();
    await card.getByText(/\d+(\.\d)?\/s from it, \d+(\.\d)?\/s to it/).first().waitFor();
    await page.waitForFunction(() => [...document.querySelectorAll("#streams tbody tr")].some((row) => row.innerText.includes("partner.example") && parseInt(row.children[6].textContent.replace(",", ""), 10) + parseInt(row.children[7].textContent.replace(",", ""), 10) > 50));
    await accessible(page, "partners");
    await shot(page, "partners");
  });
  await step("the way to a partner is gone, and a test message sent, step by step", async () => {
    await page.getByLabel("Partner", { exact: true }).selectOption("partner.example");
    await page.getByRole("button", { name: "Probe" }).click();
    await page.locator("#probe-result li").nth(4).waitFor();
    const said = await page.locator("#probe-result").innerText();
    for (const word of ["policy", "tls", "certificate"]) assert.ok(said.includes(word), `${word} in ${said}`);
    await page.getByLabel("From the local user").fill("u3@contoso.com");
    await page.getByLabel("To the partner's user").fill("bob@partner.example");
    await page.getByRole("button", { name: "Send" }).click();
    await page.locator("#selftest-result").getByText("The partner's server has it.").waitFor();
    const told = (await page.locator("#selftest-result li .state").allInnerTexts()).map((text) => text.trim());
    assert.deepEqual(told, ["user", "way there", "way back", "message"]);
    await page.getByLabel("From the local user").fill("nobody@contoso.com");
    await page.getByRole("button", { name: "Send" }).click();
    await page.locator("#selftest-result .state.bad, #selftest-result .form-error").first().waitFor();
    await accessible(page, "partners, tried");
  });
  await step("many users are moved in batches, with progress, and a move is cancelled", async () => {
    await view(page, "Moves");
    await page.getByLabel("Everybody who lives on a home").check();
    await page.getByLabel("Home now").selectOption("legacy");
    await page.getByLabel("Address begins with").first().fill("u1");
    await page.getByLabel("Where to").selectOption("sfb2019");
    await page.getByLabel("At a time").fill("1");
    await page.getByRole("button", { name: "Count and confirm…" }).click();
    await page.getByRole("heading", { name: /Move \d+ users to sfb2019\?/ }).waitFor();
    await accessible(page, "confirmation");
    await page.getByRole("button", { name: "Move them" }).click();
    const job = page.locator("article.job").first();
    await page.waitForFunction(() => document.querySelector("article.job progress")?.value > 0);
    await accessible(page, "moves");
    await shot(page, "moves");
    await job.getByRole("button", { name: "Cancel" }).click();
    await page.locator('article.job[data-state="cancelled"]').waitFor();
    await page.getByLabel("These users", { exact: true }).check();
    await page.getByLabel("Addresses, one a line").fill("u0@contoso.com\nu2@contoso.com u4@contoso.com");
    for (const home of ["legacy", "sfb2019"]) {
      // The demo moves users all the time, so one of the two has something to do.
      await page.getByLabel("Where to").selectOption(home);
      await page.getByRole("button", { name: "Count and confirm…" }).click();
      const asked = page.getByRole("button", { name: "Move them" });
      await Promise.race([asked.waitFor(), page.getByText("Nobody is to be moved").waitFor()]);
      if (!(await asked.isVisible())) continue;
      await asked.click();
      await page.locator('article.job[data-state="done"]').first().waitFor();
      break;
    }
    await page.getByRole("heading", { name: /3 users to/ }).waitFor();
    await page.getByLabel("Address begins with").last().fill("u19");
    await page.getByRole("button", { name: "Find" }).click();
    await page.getByRole("rowheader", { name: "u19@contoso.com" }).waitFor();
    await page.getByLabel("Addresses, one a line").fill("nobody@contoso.com");
    await page.getByRole("button", { name: "Count and confirm…" }).click();
    await page.getByRole("alert").getByText("nobody@contoso.com is not in the directory").waitFor();
  });
  await step("what became of a stanza is found, once every step is remembered", async () => {
    await view(page, "Control");
    await page.getByLabel("Remember of stanzas").selectOption("all");
    await page.getByLabel("Only of these users and domains (empty: everybody)").fill("u7@contoso.com");
    await page.locator("#tracing-form").getByRole("button", { name: "Set" }).click();
    await page.getByText("Remembered from now on: all of u7@contoso.com.").waitFor();
    await view(page, "Trace");
    await page.getByLabel("User or domain").fill("u7@contoso.com");
    await page.waitForFunction(async () => {
      document.querySelector("#trace-form button").click();
      await new Promise((done) => setTimeout(done, 250));
      const text = document.querySelector("#trace-steps").innerText;
      return text.includes("arrived") && text.includes("delivered");
    });
    await page.getByText("Every step is remembered.").waitFor();
    await accessible(page, "trace");
    await shot(page, "trace");
    await page.getByLabel("User or domain").fill("@");
    await page.getByRole("button", { name: "Search" }).click();
    await page.getByText(/write a user as/).waitFor();
  });
  await step("the log is told to say more, and a reload is looked at before it is done", async () => {
    await view(page, "Control");
    await page.getByLabel("Log filter").fill("=,=");
    await page.locator("#log-form").getByRole("button", { name: "Set" }).click();
    await page.getByText(/write a level/).waitFor();
    await page.getByLabel("Log filter").fill("warn");
    await page.locator("#log-form").getByRole("button", { name: "Set" }).click();
    await page.getByText("The log writes warn.").waitFor();
    await page.getByRole("button", { name: "What would change?" }).click();
    await page.getByText("Nothing: the files say what is in use.").waitFor();
    await page.getByRole("button", { name: "Reload", exact: true }).click();
    await page.getByText(/Reloaded: configuration \d+, 200 users/).waitFor();
    await accessible(page, "control");
    await shot(page, "control");
  });
  await step("who changed what is written down", async () => {
    await view(page, "Events");
    await page.locator("#audit").getByText("PUT /api/log").first().waitFor();
    await page.locator("#audit").getByText(/POST \/api\/moves – move \d+: 3 users/).first().waitFor();
    await page.locator("#log").getByText("is open by").first().waitFor();
    await accessible(page, "events");
    await shot(page, "events");
  });
  await step("a partner that goes away is said to be away, in words, and is well again when he is back", async () => {
    await view(page, "Overview").catch(() => {});
    await page.goto(`${base}/#overview`);
    demo.child.stdin.write("down\n");
    await headline(page, "One thing needs a look.");
    await page.locator("#problems").getByText(/partner\.example: /).waitFor();
    assert.match(await page.title(), /needs a look/);
    assert.match(await page.locator("#picture svg").getAttribute("aria-label"), /partner\.example: trouble/);
    await shot(page, "trouble");
    // Mended before the rest is looked at: the longer it is away, the later it is tried again.
    demo.child.stdin.write("up\n");
    await accessible(page, "overview, in trouble");
    await page.getByRole("link", { name: /partner\.example: / }).click();
    await page.getByText("connected", { exact: true }).waitFor();
    await page.goto(`${base}/#overview`);
    await headline(page, "All is well.");
  });
  await step("on a phone nothing has to be scrolled sideways", async () => {
    for (const [name, colorScheme] of [["phone", "light"], ["phone-dark", "dark"]]) {
      const phone = await open(browser, base, { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme });
      await headline(phone.page, "All is well.");
      await phone.page.waitForFunction(() => document.querySelector("#picture svg")?.getAttribute("viewBox")?.startsWith("0 0 360"));
      await phone.page.waitForFunction(() => [...document.querySelectorAll("#picture .rate")].some((text) => parseFloat(text.textContent) > 20));
      for (const hash of ["overview", "partners", "moves", "trace", "events", "control"]) {
        await phone.page.goto(`${base}/#${hash}`);
        const [wide, screen] = await phone.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(wide <= screen, `${hash} is ${wide} wide on a screen of ${screen}`);
      }
      await phone.page.goto(`${base}/#overview`);
      await accessible(phone.page, name);
      await shot(phone.page, name);
      assert.deepEqual(phone.wrong, []);
      await phone.context.close();
    }
  });
  assert.deepEqual(wrong, []);
  await context.close();
}

async function doors(browser, router, base) {
  const { page, wrong, context } = await open(browser, base);
  await step("who has no token sees nothing, and one that is wrong is refused", async () => {
    await headline(page, "Sign in");
    await accessible(page, "sign in");
    await shot(page, "sign-in");
    await page.getByLabel("Token").fill("turnout_wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").getByText("This token is not known here.").waitFor();
  });
  await step("a token to read shows everything and changes nothing", async () => {
    await page.getByLabel("Token").fill(router.tokens.read);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("grafana · may look").waitFor();
    await view(page, "Control");
    await page.getByText("Your token may look and not change.").waitFor();
    for (const name of ["Reload", "Drain and stop…"]) assert.ok(await page.getByRole("button", { name, exact: true }).isDisabled(), name);
    await view(page, "Moves");
    assert.ok(await page.getByRole("button", { name: "Count and confirm…" }).isDisabled());
    await view(page, "Partners");
    for (const name of ["Probe", "Send"]) assert.ok(await page.getByRole("button", { name, exact: true }).isDisabled(), name);
    await page.getByRole("button", { name: "Sign out" }).click();
    await headline(page, "Sign in");
  });
  await step("the token stays in the tab alone", async () => {
    await page.getByLabel("Token").fill(router.tokens.operate);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("anna · may operate").waitFor();
    await page.reload();
    await page.getByText("anna · may operate").waitFor();
    assert.equal(await page.evaluate(() => document.cookie), "");
    const kept = await page.evaluate(() => [JSON.stringify(localStorage), location.href].join(" "));
    assert.ok(!kept.includes(router.tokens.operate));
    const other = await context.newPage();
    await other.goto(base);
    await headline(other, "Sign in");
    await other.close();
  });
  await step("what waits on disk is told, and that the disk is full", async () => {
    await page.goto(`${base}/#overview`);
    const tile = page.locator(".tile").filter({ hasText: "On disk" });
    await tile.getByText(/nothing waits/).waitFor();
    // What this router cannot be brought to without peers is put into its answers.
    const spool = { waiting: 7, queued: 0, bytes: 3 << 20, oldest_seconds: 90, full: false, failing: null };
    await page.route("**/api/events/stream", (route) => route.fulfill({ status: 503, json: {} }));
    await page.route("**/api/live", async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, json: { ...(await answer.json()), spool } });
    });
    await page.reload();
    await tile.getByText("the oldest for 1 min, 3.0 MiB").waitFor();
    assert.equal(await tile.locator(".figure").innerText(), "7");
    assert.ok(await tile.locator(".figure.warn").isVisible());
    spool.full = true;
    await page.locator("#problems").getByText("The spool on disk is full").waitFor();
    await tile.getByText("full: 3.0 MiB").waitFor();
    await accessible(page, "overview, with a full spool");
    await page.unrouteAll({ behavior: "wait" });
    await page.reload();
    await tile.getByText(/nothing waits/).waitFor();
  });
  await step("a reload tells what changed", async () => {
    const path = join(router.folder, "turnout.toml");
    writeFileSync(path, readFileSync(path, "utf8").replace('type = "federated"', 'type = "federated"\ntls = "optional"'));
    await view(page, "Control");
    await page.getByRole("button", { name: "What would change?" }).click();
    await page.getByRole("rowheader", { name: "partner[partner.example].tls" }).waitFor();
    await page.getByRole("button", { name: "Reload", exact: true }).click();
    await page.getByText(/Reloaded: configuration 2/).waitFor();
  });
  await step("the router is asked to stop, and the page says that it is gone", async () => {
    await page.getByRole("button", { name: "Drain and stop…" }).click();
    const gone = new Promise((done) => router.child.on("exit", done));
    await page.getByRole("button", { name: "Stop it" }).click();
    assert.equal(await gone, 0);
    await page.getByText(/No word from turnout since/).waitFor();
    assert.ok(!router.said().includes(router.tokens.operate), "the log holds no token");
    assert.match(router.said(), /who="?anna"?.*POST \/api\/drain/);
  });
  assert.deepEqual(wrong.filter((text) => !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE|Failed to load resource|ERR_EMPTY/.test(text)), []);
  await context.close();
}

async function main() {
  if (!binary) throw new Error("usage: node run.mjs TURNOUT [FOLDER FOR PICTURES]");
  if (pictures) mkdirSync(pictures, { recursive: true });
  const demo = start(["demo", "--rate", "300", "--keys", "--admin", "127.0.0.1:0"], {}, /dashboard: http:\/\/([\d.]+:\d+)\//);
  const router = withTokens();
  router.ready.catch(() => {});
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  ended.push(() => browser.close());
  // Two routers, two windows: neither has to wait for the other.
  const both = [doors(browser, router, `http://${await router.ready}`), demo.ready.then((at) => estate(browser, demo, `http://${at}`))];
  await Promise.all(both);
  console.log(`${steps.length} good`);
}

try {
  await main();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  for (const end of ended.reverse()) await end();
  rmSync(scratch, { recursive: true, force: true });
}
