// Finished turns are mirrored: when a run of a thread that was claimed once ends, when a
// driver has handed a turn over, and, because neither is told of after a crash, when a
// transcript is not as it was at a slow look. What is copied, and how, is the addon's, off
// the event loop; one call at a time. Without `syncMirrorDir` nothing is listened to.
import { agentOf, entryOf, project } from "./host.js";
import { shared } from "./process_state.js";

/** Claude Code writes its last lines of a turn, and the host the binding, within this of its end (docs/hosts.md, D). */
const SETTLED_MS = 2_000;
/** How often every transcript is looked at: one system call each. */
const LOOK_MS = 60_000;
/** The first look, after what a start has to do. */
const FIRST_MS = 5_000;
/** Threads per call, so that entries are read in short slices. */
const MANY = 16;
/** Threads that wait to be looked at; more are found by the slow look. */
const WAITING = 4_096;

/**
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync
 * @param {() => boolean} performing whether this copy is the one that acts
 * @returns {() => void}
 */
export function mirrorTurns(api, sync, performing) {
  if (!(/** @type {any} */ (api.pluginConfig)?.syncMirrorDir)) return () => {};
  /** Threads that were claimed once. @type {Set<string>} */
  const followed = new Set();
  /** @type {Set<string>} */
  const due = new Set();
  let [begun, working, said] = [false, false, ""];
  /** @type {NodeJS.Timeout | undefined} */
  let timer;

  const soon = (/** @type {string} */ key) => {
    if (due.size < WAITING) due.add(key);
    timer ??= setTimeout(() => void work(), SETTLED_MS).unref();
  };

  /** Looks at what is due, and with `slow` at everything. @param {boolean} [slow] */
  async function work(slow) {
    timer = undefined;
    if (working || !performing()) return;
    working = true;
    try {
      if (slow && begun) {
        const { trouble } = tell(await sync.call("mirrorAll", "null"));
        if (!trouble) said = "";
      }
      if (!begun) for (const key of JSON.parse(await sync.call("mirrorable", "null"))) due.add(key);
      begun = true;
      while (due.size > 0 && performing()) {
        const some = [...due].slice(0, MANY);
        for (const key of some) due.delete(key);
        tell(await sync.call("mirror", JSON.stringify(some.map(asked))));
      }
    } catch (error) {
      log(String(error));
    }
    working = false;
    // What came meanwhile found it working.
    if (due.size > 0 && performing()) timer ??= setTimeout(() => void work(), SETTLED_MS).unref();
  }

  /** @param {string} key */
  function asked(key) {
    const entry = entryOf(api, key);
    return { key, entry: entry ? { key, agentId: agentOf(key), entry: project(entry) } : null };
  }

  /** @param {string} looked */
  function tell(looked) {
    const { followed: these = [], trouble } = JSON.parse(looked);
    for (const key of these) followed.add(key);
    if (trouble) log(trouble);
    return { trouble };
  }

  /** Says a trouble once, and again when it was another, or none, meanwhile. @param {string} trouble */
  function log(trouble) {
    if (trouble !== said) api.logger.error(`claude-code-sync: a finished turn is not mirrored: ${trouble}`);
    said = trouble;
  }

  const off = api.runtime.events.onAgentEvent((event) => {
    const { stream, sessionKey, data } = /** @type {any} */ (event);
    if (stream === "lifecycle" && data?.phase !== "start" && followed.has(sessionKey)) soon(sessionKey);
  });
  shared.changed.add(soon);
  const first = setTimeout(() => void work(), FIRST_MS).unref();
  const looks = setInterval(() => void work(true), LOOK_MS).unref();
  return () => {
    shared.changed.delete(soon);
    clearTimeout(first);
    clearInterval(looks);
    clearTimeout(timer);
    if (typeof off === "function") off();
  };
}
