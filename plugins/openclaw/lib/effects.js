// The effects the host performs. Each ends in an outcome, never in an exception:
// what cannot be told is said to be unknown. The rest is the addon's.
import { textOf } from "./addon.js";
import { follow } from "./chat_turns.js";
import { hand } from "./hand_over.js";
import { agentOf, claudeOf, entryOf, project } from "./host.js";
import { resetMark, ridden } from "./keep.js";
import { acknowledge, begins, parked } from "./others.js";
import { busy } from "./turns.js";

/** How long an effect may take; to hand over and to follow is a whole turn of the agent. */
const LIMIT_MS = { send: 90_000, turn: 2 * 3_600_000, other: 60_000 };

/**
 * Performs one effect within its limit.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync
 * @param {{ key: string, op: number, act: any }} effect of this thread, and its number
 * @returns {Promise<import("./types.js").Outcome>}
 */
export async function act(api, sync, { key, op, act: what }) {
  const limit =
    what.act === "send" ? LIMIT_MS.send : what.act === "hand" || what.act === "follow" ? LIMIT_MS.turn : LIMIT_MS.other;
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  /** @type {Promise<import("./types.js").Outcome>} */
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve(lost(what, `no answer within ${limit / 1000} s`)), limit);
  });
  try {
    return await Promise.race([perform(api, sync, what, () => sync.inFlight(key, op)), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Effects that may have happened, or may still happen, when nobody can tell what came of them. */
const IN_DOUBT = new Set(["send", "hand", "park", "restore", "adopt"]);

/** What is said of an effect nobody can tell about. @param {any} what @param {string} text @returns {import("./types.js").Outcome} */
function lost(what, text) {
  return { outcome: IN_DOUBT.has(what.act) ? "unknown" : "notYet", what: text };
}

/**
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {any} what
 * @param {() => boolean} mine whether this operation is still in flight
 * @returns {Promise<import("./types.js").Outcome>}
 */
async function perform(api, sync, what, mine) {
  try {
    switch (what.act) {
      case "settle":
        return settle(api, what);
      case "copy":
        return copy(api, what);
      case "park":
        return await park(api, sync, what, mine);
      case "acknowledge":
        return await acknowledge(api, sync, what);
      case "barrier":
        return await barrier(api, what);
      case "restore":
        return await restore(api, sync, what, mine);
      case "adopt":
        return await adopt(api, sync, what, mine);
      case "send":
        return await send(api, sync, what);
      case "follow":
        return await follow(api, what.session, what.id);
      case "hand":
        return await hand(api, what.session, what.held);
      default:
        return JSON.parse(await sync.call("act", JSON.stringify(what)));
    }
  } catch (error) {
    return lost(what, textOf(error));
  }
}

/** @param {import("./types.js").Api} api @param {any} what @returns {import("./types.js").Outcome} */
function settle(api, { sessions }) {
  for (const session of sessions) {
    begins(session);
    if (busy(api, session)) return { outcome: "notYet", what: "a turn is running" };
  }
  return { outcome: "ok" };
}

/** @param {any} map */
function without(map) {
  const { "claude-cli": _gone, ...rest } = map ?? {};
  return rest;
}

/** The fields that bind an entry to a Claude session, which is then reused by force. @param {any} entry @param {string} claude @param {any} binding */
function bound(entry, claude, binding) {
  return {
    cliSessionBindings: {
      ...entry.cliSessionBindings,
      "claude-cli": { ...binding, sessionId: claude, forceReuse: true },
    },
    cliSessionIds: { ...entry.cliSessionIds, "claude-cli": claude },
    ...("claudeCliSessionId" in entry ? { claudeCliSessionId: claude } : {}),
  };
}

/** @param {import("./types.js").Api} api @param {any} what @returns {import("./types.js").Outcome} */
function copy(api, { sessions, claude }) {
  const bindings = [];
  for (const session of sessions) {
    const entry = entryOf(api, session);
    if (claudeOf(entry) !== claude) continue;
    bindings.push({
      session,
      binding: entry.cliSessionBindings?.["claude-cli"] ?? { sessionId: claude },
      resetMark: resetMark(entry),
    });
  }
  return { outcome: "copied", bindings };
}

/**
 * Takes the binding out of the entries. A patch replaces each field it names.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {any} what @param {() => boolean} mine
 * @returns {Promise<import("./types.js").Outcome>}
 */
async function park(api, sync, { sessions, claude }, mine) {
  for (const session of sessions) {
    await patch(api, sync, session, mine, (entry) =>
      claudeOf(entry) !== claude
        ? null
        : {
            cliSessionBindings: without(entry.cliSessionBindings),
            cliSessionIds: without(entry.cliSessionIds),
            ...("claudeCliSessionId" in entry ? { claudeCliSessionId: undefined } : {}),
          },
    );
    parked(session);
  }
  return { outcome: "ok" };
}

/**
 * Passes an empty patch through the critical section of each entry: when it is through,
 * a patch whose update was asked before it is written (docs/hosts.md, T).
 * @param {import("./types.js").Api} api @param {any} what @returns {Promise<import("./types.js").Outcome>}
 */
async function barrier(api, { sessions }) {
  for (const sessionKey of sessions) {
    await api.runtime.agent.session.patchSessionEntry({
      agentId: agentOf(sessionKey),
      sessionKey,
      preserveActivity: true,
      update: () => null,
    });
  }
  return { outcome: "ok" };
}

/**
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {any} what @param {() => boolean} mine
 * @returns {Promise<import("./types.js").Outcome>}
 */
async function restore(api, sync, { parked: bindings, claude, over }, mine) {
  /** @type {string[]} */
  const sessions = [];
  let [reset, deleted] = [false, false];
  for (const { session, binding, resetMark: before } of bindings) {
    let [mark, beside] = [before, false];
    const restored = await patch(api, sync, session, mine, (entry) => {
      const now = claudeOf(entry);
      // Nothing shows a turn beside the ride but this entry: it stays until that was told of.
      if (over === false && now && now !== claude) {
        sessions.push(now);
        beside = true;
        return null;
      }
      mark = resetMark(entry);
      reset ||= mark !== before;
      return {
        ...bound(entry, claude, binding),
        // A `/stop` during the ride stopped nothing: the next turn must not be told to go on with unfinished work.
        ...(entry.abortedLastRun ? { abortedLastRun: false } : {}),
      };
    });
    if (beside) continue;
    deleted ||= !restored;
    if (restored) await ridden(api, sync, session, claude, mark);
  }
  if (sessions.length > 0) return { outcome: "slipped", sessions };
  return reset || deleted ? { outcome: "restoredOver", reset, deleted } : { outcome: "ok" };
}

/**
 * Binds an entry to another Claude session, which belongs to its own folder.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {any} what @param {() => boolean} mine
 * @returns {Promise<import("./types.js").Outcome>}
 */
async function adopt(api, sync, { session, claude, from }, mine) {
  let [mark, moved] = ["", false];
  const there = await patch(api, sync, session, mine, (entry) => {
    mark = resetMark(entry);
    // A turn that was waited for may have bound it to another; done before, it is done.
    const now = claudeOf(entry) ?? null;
    moved = now !== (from ?? null) && now !== claude.id;
    if (moved) return null;
    return {
      spawnedCwd: claude.cwd,
      ...bound(entry, claude.id, {}),
    };
  });
  if (moved)
    return {
      outcome: "failed",
      what: "the thread was bound to another Claude session while the adoption waited",
      reason: "HOST",
    };
  if (!there) return { outcome: "failed", what: "the host has no entry of this thread", reason: "UNKNOWN_THREAD" };
  await ridden(api, sync, session, claude.id, mark);
  return { outcome: "ok" };
}

/**
 * Patches an entry, if this operation is still in flight. It is asked where the host's own
 * update runs, inside its critical section: a patch that comes late changes nothing.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {string} sessionKey
 * @param {() => boolean} mine @param {(entry: any) => any} change
 */
async function patch(api, sync, sessionKey, mine, change) {
  let late = false;
  const update = (/** @type {any} */ entry) => {
    late = !mine();
    return late ? null : change(entry);
  };
  try {
    const entry = await api.runtime.agent.session.patchSessionEntry({
      agentId: agentOf(sessionKey),
      sessionKey,
      preserveActivity: true,
      update,
    });
    if (late) throw new Error("another performer has this operation by now");
    return entry;
  } finally {
    // No host announces what a plugin patches.
    sync.changed(sessionKey);
  }
}

/**
 * Sends one platform message through the channel's own adapter: no transcript row,
 * no retry but ours.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {any} what
 * @returns {Promise<import("./types.js").Outcome>}
 */
async function send(api, sync, { session, item }) {
  const route = item.route;
  if (session) {
    const entry = entryOf(api, session);
    const now = entry ? sync.route(JSON.stringify(project(entry))) : "null";
    // A host that forgot it, as 2026.6 does in a reset, has not moved the thread.
    const stored = JSON.parse(now);
    if (stored && !sameRoute(stored, route)) return { outcome: "routeChanged", to: now };
  }
  const adapter = /** @type {any} */ (await api.runtime.channel.outbound.loadAdapter(route.channel));
  if (!adapter?.sendText)
    return { outcome: "notSent", what: `channel ${route.channel} is not configured`, retry: false };
  try {
    const sent = await adapter.sendText({
      cfg: api.runtime.config.current(),
      to: route.to,
      text: item.text,
      accountId: route.accountId,
      threadId: route.threadId,
    });
    return { outcome: "sent", messageId: String(sent?.messageId ?? "") };
  } catch (error) {
    return failed(error);
  }
}

/** @param {import("./types.js").Route} a @param {import("./types.js").Route} b */
function sameRoute(a, b) {
  return a.channel === b.channel && a.to === b.to && a.accountId === b.accountId && a.threadId === b.threadId;
}

/** No connection was made, so nothing was sent. */
const NOT_REACHED = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "ENETDOWN",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** Errors in which the platform answered, or was never reached: surely not sent. @param {unknown} error @returns {import("./types.js").Outcome} */
function failed(error) {
  const what = textOf(error);
  for (let cause = /** @type {any} */ (error); cause; cause = cause.cause ?? cause.error) {
    if (cause.code === "OPENCLAW_PLATFORM_MESSAGE_NOT_DISPATCHED")
      return { outcome: "notSent", what, retry: cause.retryable !== false };
    if (typeof cause.error_code === "number") {
      const wait = cause.parameters?.retry_after;
      const retry = cause.error_code === 429 || cause.error_code >= 500;
      return { outcome: "notSent", what, retry, ...(wait ? { afterMs: wait * 1000 } : {}) };
    }
    if (NOT_REACHED.has(cause.code)) return { outcome: "notSent", what, retry: true };
  }
  return { outcome: "unknown", what };
}
