// Which threads have a turn running, seen from the gate on. The earliest sign is
// our own pass in before_dispatch; the host's lifecycle events come up to two
// seconds later when Claude Code has to be started, and entry.status after them.
import { before, entryOf } from "./host.js";
import { shared } from "./process_state.js";

/** A run is in the host's entry at the latest after this long; one that is not has ended unseen. */
const RUN_MS = 5_000;
/** A pass without a run after this long was a command, or ended before it began. */
const PASS_MS = 6_000;
/** A turn that the gateway was killed in is begun again within this time of its start, or not at all (docs/hosts.md, Q). */
const RECOVERY_MS = 60_000;
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
    turns = { passed: [], running: new Map(), ended: 0 };
    shared.turns.set(session, turns);
  }
  return turns;
}

/** The gate let a message in. @param {string} session @returns {() => void} takes it back, where it does not come in after all */
export function passed(session) {
  const turns = of(session);
  if (turns.passed.length === PASSES) turns.passed.shift();
  const at = Date.now();
  turns.passed.push(at);
  return () => {
    const found = turns.passed.lastIndexOf(at);
    if (found >= 0) turns.passed.splice(found, 1);
  };
}

/** A pass that has not become a run yet. @param {string} session */
export function pending(session) {
  const turns = shared.turns.get(session);
  if (!turns) return false;
  const since = Date.now() - PASS_MS;
  // Behind a running turn a message waits for as long as that takes.
  if (turns.running.size === 0) turns.passed = turns.passed.filter((at) => at > since);
  return turns.passed.length > 0;
}

/** Whether a run is of a message the gate let in: 2026.9 tells of its start before it asks once more. @param {string} session @param {string | undefined} runId */
export function admitted(session, runId) {
  return runId !== undefined && shared.turns.get(session)?.admitted === runId;
}

/**
 * Whether a turn runs on a thread or is about to.
 * @param {import("./types.js").Api} api @param {string} session
 */
export function busy(api, session) {
  if (pending(session)) return true;
  const entry = entryOf(api, session);
  const turns = shared.turns.get(session);
  // `running` stays behind after a crash of the gateway, and on 2026.6.35 after `/stop`.
  const told = Math.max(Date.now() - process.uptime() * 1_000, turns?.ended ?? 0);
  if (entry?.status === "running" && (!(entry.startedAt < told) || recovers(api, session))) return true;
  return [...(turns?.running.values() ?? [])].some((at) => at > Date.now() - RUN_MS);
}

/** What the addon must know of the turns of some threads. @param {import("./types.js").Api} api @param {string[]} sessions */
export function turnsOf(api, sessions) {
  const ended = Math.max(0, ...sessions.map((session) => shared.turns.get(session)?.ended ?? 0));
  return {
    running: sessions.some((session) => busy(api, session)),
    endedMsAgo: ended > 0 ? Math.max(0, Date.now() - ended) : null,
  };
}

/**
 * Whether the host may still begin a turn again that it was killed in.
 * @param {import("./types.js").Api} api @param {string} session
 */
export function recovers(api, session) {
  if (process.uptime() * 1_000 >= RECOVERY_MS || shared.turns.get(session)?.ended) return false;
  const entry = entryOf(api, session);
  // 2026.6.1 does so only where it was stopped in order.
  return entry?.status === "running" && (entry.abortedLastRun === true || !before(api, 2026, 6, 2));
}

/** Follows the host's runs. @param {import("./types.js").Api} api @returns {() => void} */
export function follow(api) {
  const off = api.runtime.events.onAgentEvent((event) => {
    const { stream, sessionKey, runId, data } = /** @type {any} */ (event);
    if (stream !== "lifecycle" || !sessionKey) return;
    const turns = of(sessionKey);
    if (data?.phase === "start") {
      if (turns.passed.shift() !== undefined) turns.admitted = runId;
      turns.running.set(runId, Date.now());
    } else if (data?.phase === "end" || data?.phase === "error") {
      turns.running.delete(runId);
      turns.ended = Date.now();
      // What waited behind it begins now, and has its time from now.
      turns.passed.fill(Date.now());
    }
  });
  return typeof off === "function" ? off : () => {};
}
