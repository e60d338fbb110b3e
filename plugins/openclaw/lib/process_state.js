// What all copies of the plugin in this process share: hosts from 2026.9 on load
// a module copy per registration. Nothing here is needed after a restart.
import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";

/**
 * @typedef {object} Shared
 * @property {string} run this process, for messages without an id
 * @property {AsyncLocalStorage<{ session: string, used: boolean }>} handing a hand-over of ours is running in this context
 * @property {Map<string, { passed: number[], running: Map<string, number>, ended: number, admitted?: string }>} turns by session key: when turns were let in, runs began, the last one ended, and which run was let in last
 * @property {AsyncLocalStorage<{ event: any, ctx: any }>} flow what message_received told of the message under way (2026.6 and 2026.7)
 * @property {Map<string, import("./chat_turns.js").Run>} runs the turns of chat rides, by the driver's id
 * @property {Set<(key: string) => void>} wake performers to tell that a thread has work
 * @property {(key: string, params: unknown) => Promise<any>} [relay] the performer's way to take a relay over
 * @property {Set<(key: string) => void>} changed who wants to know that a thread changed
 * @property {Map<string, string>} names what channels call their senders, by channel and id
 * @property {Map<string, { claude: string, mark: string }>} [kept] threads once ridden, on hosts that would not keep their Claude session
 * @property {Set<import("./types.js").Addon>} [addons] every copy of the addon, which tells other gateways that this one lives
 * @property {boolean} [begun] somebody has performed in this process
 * @property {(text: string) => boolean} [stops] the host's own reading of what stops a turn
 * @property {import("./types.js").Addon} [memory] the addon of `lockBackend: "none"`
 */

const name = Symbol.for("claude-code-sync/2");
const global = /** @type {any} */ (globalThis);

/** @type {Shared} */
export const shared = (global[name] ??= {
  run: randomUUID(),
  handing: new AsyncLocalStorage(),
  turns: new Map(),
  flow: new AsyncLocalStorage(),
  runs: new Map(),
  wake: new Set(),
  changed: new Set(),
  names: new Map(),
});

// Another generation of the plugin may have made it without them.
shared.names ??= new Map();

/** People whose names are remembered: those who wrote last. */
const NAMES = 256;

/** Remembers how a channel names a sender; its commands tell the id alone. @param {string} channel @param {string} sender @param {unknown} name */
export function named(channel, sender, name) {
  if (!sender || typeof name !== "string" || name.trim() === "") return;
  const key = `${channel}|${sender}`;
  shared.names.delete(key);
  if (shared.names.size === NAMES) shared.names.delete(shared.names.keys().next().value ?? "");
  shared.names.set(key, name);
}

/** What the channel called a sender last. @param {string} channel @param {string} sender */
export function nameOf(channel, sender) {
  return shared.names.get(`${channel}|${sender}`);
}
// A copy of an older version may have made it.
shared.run ??= randomUUID();

/** Tells the performer that a thread has something to do. @param {string} key */
export function wake(key) {
  for (const tell of shared.wake) tell(key);
}

/** Tells whoever waits that a thread changed. @param {string} key */
export function changed(key) {
  for (const tell of [...shared.changed]) tell(key);
}
