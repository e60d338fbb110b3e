// Two gateways on one `lockDir`, their agents, writers in their chats and drivers that ride one
// Claude session through either, while gateways are reloaded, killed and run out of what they
// need. It only acts and records; the history is judged elsewhere.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { dice } from "./dice.mjs";
import { writeTurn } from "./transcript.mjs";

const { seed, ms, settleMs, home, lockDir, driver, script, claude, transcript, copies } = JSON.parse(process.argv[2]);
const chance = dice(seed);
const history = `${home}/history.jsonl`;
const note = (what, more) => appendFileSync(history, `${JSON.stringify({ what, ...more })}\n`);
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
const began = Date.now();
const over = () => Date.now() - began > ms;

const BOUND = { a: "agent:main:telegram:direct:1", b: "agent:main:telegram:direct:2" };
const FREE = { a: "agent:main:telegram:direct:3", b: "agent:main:telegram:direct:4" };

/** One gateway's process, which may be killed and started again. @param {"a" | "b"} name */
function gateway(name) {
  const stateDir = `${home}/state-${name}`;
  mkdirSync(stateDir, { recursive: true });
  const context = { channel: "telegram", to: `telegram:${name}` };
  const entry = (key, binding) => [
    key,
    {
      chatType: "direct",
      lastChannel: "telegram",
      lastTo: context.to,
      delivery: { context },
      spawnedCwd: "/home/p/proj",
      ...(binding
        ? { cliSessionBindings: { "claude-cli": { sessionId: claude } }, cliSessionIds: { "claude-cli": claude } }
        : {}),
    },
  ];
  writeFileSync(`${stateDir}/entries.json`, JSON.stringify([entry(BOUND[name], true), entry(FREE[name], false)]));
  let child;
  let asked = new Map();
  let ids = 0;
  function start() {
    const options = {
      name,
      seed: chance(1_000_000),
      stateDir,
      lockDir,
      history,
      claude,
      transcript,
      copies: `${home}/copies`,
      count: copies,
    };
    child = spawn(process.execPath, [script, JSON.stringify(options)], { stdio: ["pipe", "pipe", "inherit"] });
    const mine = asked;
    child.stdin.on("error", () => {});
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { id, answer, failed } = JSON.parse(line);
      mine.get(id)?.(failed ? { failed } : { answer });
      mine.delete(id);
    });
    child.on("exit", () => {
      for (const tell of mine.values()) tell({ failed: "the gateway was killed" });
      mine.clear();
    });
  }
  start();
  return {
    name,
    ask(what, how = {}) {
      const id = ++ids;
      const asking = asked;
      return new Promise((resolve) => {
        asking.set(id, resolve);
        child.stdin.write(`${JSON.stringify({ id, what, ...how })}\n`);
      });
    },
    async kill() {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
      note("killed", { gateway: name });
      asked = new Map();
      start();
    },
    end: () => child.stdin.end(),
  };
}
const gateways = { a: gateway("a"), b: gateway("b") };

/** Somebody writes in a chat. @param {string} key @param {"a" | "b"} name @param {number} nth */
async function says(key, name, nth) {
  const text = `message ${nth} to ${key}`;
  note("said", { key, text });
  const { answer } = await gateways[name].ask("message", { key, text, sender: String(nth % 16) });
  note("came", { key, text, answer: answer ?? "in doubt" });
}

async function writers() {
  for (let nth = 0; !over(); nth++) {
    const name = chance(2) ? "a" : "b";
    void says((chance(4) ? BOUND : FREE)[name], name, nth);
    await pause(20 + chance(80));
  }
}

/** Rides through one gateway, again and again. @param {"a" | "b"} name */
async function rides(name) {
  const key = BOUND[name];
  const call = async (method, params) =>
    (await gateways[name].ask("call", { method, params, client: `driver ${name}` })).answer;
  for (let nth = 0; !over(); nth++) {
    await pause(chance(600));
    const secret = randomUUID().replaceAll("-", "");
    const granted = await call("ride_claim", { key, driver, secret, waitMs: 3_000 });
    if (!granted?.ok) {
      note("not granted", { key, text: granted?.error?.message ?? "no answer" });
      // A grant whose answer was lost is withdrawn by its silence.
      continue;
    }
    const { fence } = granted.ok;
    note("granted", { key, claude, driver: name });
    let holds = true;
    for (let turn = chance(4); turn > 0 && holds; turn--) {
      const renewed = await call("ride_renew", { key, fence, secret, active: true });
      if (renewed?.error && renewed.error.code !== "UNAVAILABLE") holds = false;
      if (!renewed?.ok) {
        await pause(100);
        continue;
      }
      const items = write(`${name} ${nth} ${turn}`);
      note("wrote", { key, claude, driver: name });
      for (let tries = 0; tries < 200; tries++) {
        const relayed = await call("ride_relay", { key, fence, items });
        if (relayed?.ok) note("relayed", { key, texts: items.map((item) => item.text) });
        if (relayed?.ok || (relayed?.error && relayed.error.code !== "UNAVAILABLE")) break;
        await pause(50);
      }
    }
    note("ends", { key, claude, driver: name });
    for (let tries = 0; tries < 600; tries++) {
      const released = await call("ride_release", { key, fence, waitMs: 3_000 });
      if (released?.ok?.open || (released?.error && released.error.code !== "UNAVAILABLE")) {
        note("released", { key, answer: released });
        break;
      }
      await pause(100);
    }
  }
}

/** The driver's Claude Code writes a turn, and `ride` relays it. @param {string} text */
function write(text) {
  const [prompt, answer] = [`prompt ${text};`, `answer ${text};`];
  const [asked, said] = writeTurn(transcript, claude, prompt, answer);
  return [
    { id: asked, kind: "prompt", text: prompt },
    { id: said, kind: "answer", text: answer },
  ];
}

async function faults() {
  /** Each kind comes once before any comes again. @type {string[]} */
  let left = [];
  while (!over()) {
    await pause(200 + chance(500));
    const one = gateways[chance(2) ? "a" : "b"];
    if (left.length === 0) left = ["reload", "reload", "kill", "descriptors", "slow", "fast", "index"];
    const [which] = left.splice(chance(left.length), 1);
    note("fault", { gateway: one.name, text: which });
    if (which === "kill") await one.kill();
    else if (which === "reload") await Promise.race([one.ask("reload"), pause(2_000)]);
    else if (which === "descriptors") await one.ask("descriptors", { ms: chance(400) });
    else if (which === "index") rmSync(`${lockDir}/index.json`, { force: true });
    else await one.ask("slow", { ms: which === "slow" ? 200 : 0 });
  }
}

await Promise.all([writers(), rides("a"), rides("b"), faults()]);
note("calm", {});
for (const one of Object.values(gateways)) await one.ask("slow", { ms: 0 });
/** Whether every message that was kept has reached the agent. */
const settled = () => {
  const lines = readFileSync(history, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  const begun = new Set(
    lines.filter(({ what }) => what === "turn begins").map(({ text }) => text.replace("(may be a repeat) ", "")),
  );
  const came = lines.filter(({ what }) => what === "came");
  const said = lines.filter(({ what }) => what === "said");
  return said.length === came.length && came.every(({ answer, text }) => answer !== "kept" || begun.has(text));
};
for (let looks = 0; looks < settleMs / 100 && !settled(); looks++) await pause(100);
// What is on its way to the channel.
await pause(2_000);
for (const [name, one] of Object.entries(gateways)) {
  const status = (await one.ask("call", { method: "ride_status", params: {} })).answer;
  note("end", { gateway: name, binding: (await one.ask("binding", { key: BOUND[name] })).answer, status });
  one.end();
}
process.exit(0);
