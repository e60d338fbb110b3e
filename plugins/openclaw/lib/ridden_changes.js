// What happens to a ridden thread beside its messages: a stop, which the host acts on
// before any plugin, and changes of its entry (a reset, a deletion, a turn of the
// agent that passed no gate). Projected here; what it means is the addon's.
import { claudeOf, entryOf, project } from "./host.js";
import { resetMark } from "./keep.js";
import { shared, wake } from "./process_state.js";

/** before_dispatch follows message_received within 16 ms (docs/hosts.md, C and K); what it has not asked for after this long, the host kept for itself. */
const KEPT_MS = 2_000;
/** Threads whose entry is remembered. */
const THREADS = 1_024;

/** Entries as they were last told, by session key. @type {Map<string, string>} */
const told = new Map();

/**
 * Follows the host's session changes, where it tells of them (2026.8 and later), and the
 * ends of its runs.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {any} gatewayEvents
 * @returns {() => void}
 */
export function watch(api, sync, gatewayEvents) {
  import("openclaw/plugin-sdk/command-primitives-runtime")
    .then((sdk) => {
      shared.stops = sdk.isAbortRequestText;
    })
    .catch((error) =>
      api.logger.warn(
        `claude-code-sync: a stop in the chat of a ridden thread cannot be told from a message here: ${String(error)}`,
      ),
    );
  const offs = [
    gatewayEvents?.onSessionsChanged?.((/** @type {any} */ event) => look(api, sync, event?.sessionKey ?? event?.key)),
    api.runtime.events.onAgentEvent((event) => {
      const { stream, sessionKey, data } = /** @type {any} */ (event);
      if (stream === "lifecycle" && data?.phase !== "start") look(api, sync, sessionKey);
    }),
  ];
  return () => offs.forEach((off) => typeof off === "function" && off());
}

/**
 * Tells how a ridden thread's entry stands, if that is new.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {string | undefined} session
 */
export function look(api, sync, session) {
  try {
    if (!session || sync.gate(session) !== 1) return;
    const entry = entryOf(api, session);
    const seen = {
      seen: "entry",
      there: entry !== undefined && entry !== null,
      resetMark: resetMark(entry),
      claude: claudeOf(entry) ?? null,
    };
    const text = JSON.stringify(seen);
    if (told.get(session) === text) return;
    if (told.size === THREADS) told.clear();
    told.set(session, text);
    tell(api, sync, session, seen);
  } catch (error) {
    api.logger.error(`claude-code-sync: could not look at ${session}: ${String(error)}`);
  }
}

/**
 * Whether a message may be a stop: then it is looked at again once the gate must have had it.
 * @param {import("./types.js").Api} api @param {() => import("./types.js").Addon} sync
 * @param {string} session @param {any} event @param {() => boolean} taken whether the gate had it
 * @param {import("./types.js").Route | null} route
 */
export function perhapsStop(api, sync, session, event, taken, route) {
  if (!shared.stops?.(event.content ?? "")) return;
  setTimeout(() => {
    try {
      if (taken()) return;
      const name = event.metadata?.senderName ?? event.metadata?.senderUsername ?? String(event.senderId ?? "somebody");
      for (const key of about(api, sync(), session, route)) tell(api, sync(), key, { seen: "stop", name, route });
    } catch (error) {
      api.logger.error(`claude-code-sync: could not tell of a stop in ${session}: ${String(error)}`);
    }
  }, KEPT_MS).unref();
}

/**
 * The held threads a message is about: its own, or where a native command was received
 * under its sender's key, those of the place it was written in.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync
 * @param {string} session @param {import("./types.js").Route | null} route
 */
function about(api, sync, session, route) {
  if (sync.gate(session) === 1) return [session];
  if (!session.includes(":slash:") || !route) return [];
  return sync.busy().filter((key) => {
    const entry = entryOf(api, key);
    const stored = entry ? JSON.parse(sync.route(JSON.stringify(project(entry)))) : null;
    return (
      sync.gate(key) === 1 &&
      stored?.channel === route.channel &&
      stored.to === route.to &&
      stored.threadId === route.threadId
    );
  });
}

/** @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {string} session @param {object} seen */
function tell(api, sync, session, seen) {
  sync.call("seen", JSON.stringify({ key: session, ...seen })).then(
    (answer) => {
      // Nothing is made of it before the grant: it is told again then.
      if (JSON.parse(answer).phase !== "ridden") told.delete(session);
      wake(session);
    },
    (error) => {
      told.delete(session);
      api.logger.error(`claude-code-sync: ${session}: ${String(error)}`);
    },
  );
}
