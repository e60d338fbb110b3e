// Which threads have a turn running, seen from the gate on. The earliest sign is
// our own pass in before_dispatch; the host's lifecycle events come up to two
// seconds later when Claude Code has to be started, and entry.status after them.
import { shared } from "./shared.js";

/** A pass without a run after this long was a command, or ended before it began. */
const PASS_MS = 6_000;
/** Passes remembered per thread, and threads with passes. */
const PASSES = 16;
const THREADS = 1_024;

/** @param {string} session */
function of(session) {
  let turns = shared.turns.get(session);
  if (!turns) {
    if (shared.turns.size >= THREADS) {
      for (const [key, old] of shared.turns) {
        if (old.running.size === 0) shared.turns.delete(key);
      }
    }
    turns = { passed: [], running: new Set() };
    shared.turns.set(session, turns);
  }
  return turns;
}

/** The gate let a message in. @param {string} session */
export function passed(session) {
  const turns = of(session);
  if (turns.passed.length === PASSES) turns.passed.shift();
  turns.passed.push(Date.now());
}

/** A pass that has not become a run yet. @param {string} session */
export function pending(session) {
  const turns = shared.turns.get(session);
  if (!turns) return false;
  const since = Date.now() - PASS_MS;
  turns.passed = turns.passed.filter((at) => at > since);
  return turns.passed.length > 0;
}

/** Whether a turn runs or is about to. @param {string} session */
export function running(session) {
  return pending(session) || (shared.turns.get(session)?.running.size ?? 0) > 0;
}

/** Follows the host's runs. @param {import("./types.js").Api} api @returns {() => void} */
export function follow(api) {
  const off = api.runtime.events.onAgentEvent((event) => {
    const { stream, sessionKey, runId, data } = /** @type {any} */ (event);
    if (stream !== "lifecycle" || !sessionKey) return;
    const turns = of(sessionKey);
    if (data?.phase === "start") {
      turns.passed.shift();
      turns.running.add(runId);
    } else if (data?.phase === "end" || data?.phase === "error") {
      turns.running.delete(runId);
    }
  });
  return typeof off === "function" ? off : () => {};
}
