// The gate as the host calls it: the packed plugin's own before_dispatch handler,
// with an event and a context as OpenClaw 2026.9.6 makes them for a forum topic.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** Rounds of each handler, alternately. */
const ROUNDS = 200;

/** The handler, registered with this api. */
export async function gateOf(plugin, api) {
  const load = (file) => import(pathToFileURL(join(plugin, "lib", file)));
  const [{ openOnce, prepared }, { registerGate }] = await Promise.all([load("addon.js"), load("gate.js")]);
  const hooks = new Map();
  const recording = Object.create(api, { on: { value: (hook, handler) => hooks.set(hook, handler) } });
  const sync = openOnce(recording);
  await prepared(sync());
  registerGate(recording, sync);
  return hooks.get("before_dispatch");
}

/** Messages of these threads. */
export function messages(keys) {
  return keys.map((sessionKey, i) => ({
    sessionKey,
    messageId: String(100 + i),
    content: "when does the train to the coast leave tomorrow?",
    body: "when does the train to the coast leave tomorrow?",
    channel: "telegram",
    senderId: "1001",
    replyToId: "42",
    replyToSender: "Tess Ter",
    isGroup: true,
    timestamp: 1795331537000 + i,
  }));
}

export const CTX = {
  channelId: "telegram",
  accountId: "default",
  conversationId: "-1002222222222:topic:42",
  senderId: "1001",
};

/** Calls a handler; a message that is held would measure something else. */
export function run(handler, events, calls) {
  for (let i = 0; i < calls; i++) {
    if (handler(events[i % events.length], CTX) !== undefined) throw new Error("the gate held a message");
  }
}

/**
 * Nanoseconds per call, each round's, as text by handler name. `calls` make a round: to be shorter than the
 * kernel's time slice, so that the median round was not preempted. `warm` come before the first, for the compiler.
 */
export function measure(handlers, events, { calls = 250, warm = 20_000 } = {}) {
  const all = Object.entries(handlers).map(([name, handler]) => ({ name, handler, took: [] }));
  for (const { handler } of all) run(handler, events, warm);
  for (let round = 0; round < ROUNDS; round++) {
    for (const { handler, took } of all) {
      const begin = process.hrtime.bigint();
      run(handler, events, calls);
      took.push(Math.round(Number(process.hrtime.bigint() - begin) / calls));
    }
  }
  return Object.fromEntries(all.map(({ name, took }) => [name, took.join(" ")]));
}
