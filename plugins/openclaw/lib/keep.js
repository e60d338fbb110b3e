// Threads once ridden keep their Claude session. OpenClaw 2026.6 and before begins a new
// one when the surfaces alternate (a message, then the Control UI) unless the binding
// says `forceReuse`, and each run writes the binding back without it. So it is set
// before each turn the gate lets in, and after each turn for those that pass no gate.
import { agentOf, before, claudeOf, entryOf } from "./host.js";
import { shared } from "./process_state.js";

/** The run writes its binding up to 0.1 s after its end (docs/hosts.md, D), later on a busy machine. */
const WRITTEN_MS = 1_500;
/** How often it is looked for: a turn that comes sooner may begin a new session. */
const LOOK_MS = 100;

/** Whether this host begins new Claude sessions by itself. @param {import("./types.js").Api} api */
function forgets(api) {
  return before(api, 2026, 7);
}

/**
 * Reads which threads were ridden, and follows the ends of their turns.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync
 * @returns {() => void}
 */
export function keepThreads(api, sync) {
  if (!forgets(api)) return () => {};
  const kept = (shared.kept ??= new Map());
  sync.call("kept", "null").then(
    (all) => {
      for (const { session, claude, resetMark } of JSON.parse(all)) kept.set(session, { claude, mark: resetMark });
    },
    (error) =>
      api.logger.error(`claude-code-sync: threads ridden before may lose their Claude session: ${String(error)}`),
  );
  const off = api.runtime.events.onAgentEvent((event) => {
    const { stream, sessionKey, data } = /** @type {any} */ (event);
    if (stream !== "lifecycle" || data?.phase === "start" || !kept.has(sessionKey)) return;
    void afterRun(api, sync, sessionKey, Date.now() + WRITTEN_MS);
  });
  return () => {
    if (typeof off === "function") off();
  };
}

/** @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {string} session @param {number} until */
async function afterRun(api, sync, session, until) {
  await keepWhole(api, sync, session);
  if (Date.now() < until && isKept(session))
    setTimeout(() => void afterRun(api, sync, session, until), LOOK_MS).unref();
}

/**
 * A thread came back from a ride.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {string} session @param {string} claude @param {string} mark
 */
export async function ridden(api, sync, session, claude, mark) {
  if (!shared.kept) return;
  shared.kept.set(session, { claude, mark });
  // It is back all the same, and remembered until the gateway is restarted.
  await sync
    .call("keep", JSON.stringify({ session, claude, resetMark: mark }))
    .catch((error) =>
      api.logger.error(`claude-code-sync: ${session}: could not be remembered as ridden: ${String(error)}`),
    );
}

/** Whether a thread is one to keep. @param {string} session */
export function isKept(session) {
  return shared.kept?.has(session) === true;
}

/**
 * Has the host reuse the thread's Claude session in its next turn, or says that it did not.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {string} session
 * @returns {Promise<void>}
 */
export async function keepWhole(api, sync, session) {
  const kept = shared.kept?.get(session);
  if (!kept) return;
  try {
    const entry = entryOf(api, session);
    const now = claudeOf(entry);
    if (now !== kept.claude) {
      // Parked again is not lost; a reset ends what was to be kept.
      if ([1, 4].includes(sync.gate(session))) return;
      shared.kept?.delete(session);
      await sync.call("forget", JSON.stringify(session));
      if (now && resetMark(entry) === kept.mark) {
        api.logger.warn(
          `claude-code-sync: ${session}: the host went on in Claude session ${now} instead of ${kept.claude}`,
        );
      }
      return;
    }
    if (entry.cliSessionBindings?.["claude-cli"]?.forceReuse === true) return;
    await api.runtime.agent.session.patchSessionEntry({
      agentId: agentOf(session),
      sessionKey: session,
      preserveActivity: true,
      update: (/** @type {any} */ fresh) =>
        claudeOf(fresh) !== kept.claude || !fresh.cliSessionBindings?.["claude-cli"]
          ? null
          : {
              cliSessionBindings: {
                ...fresh.cliSessionBindings,
                "claude-cli": { ...fresh.cliSessionBindings["claude-cli"], forceReuse: true },
              },
            },
    });
  } catch (error) {
    // The turn goes on; at worst the host begins a new Claude session, which is looked at afterwards.
    api.logger.error(`claude-code-sync: ${session}: could not keep its Claude session: ${String(error)}`);
  }
}

/** Changes when the host's conversation is reset: a new id before 2026.8, a revision since. @param {any} entry */
export function resetMark(entry) {
  return `${entry?.sessionId ?? ""} ${entry?.lifecycleRevision ?? ""}`;
}
