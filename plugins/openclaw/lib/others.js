// Other gateways of this lockDir: before a Claude session is a driver's, each of them says
// that no turn that it let in is on the session. Its gate holds from the moment the index
// names the session; what it let in before is waited for here. And of this gateway's own
// turns those that passed no gate.
import { before, claudeOf, entryOf } from "./host.js";
import { shared } from "./process_state.js";
import { busy } from "./turns.js";

/** How often it is looked whether another gateway waits: one system call. */
const LOOK_MS = 200;
/**
 * From reading its binding to the host's announcement a turn needs up to 2 s (docs/hosts.md, D).
 * One that passed no gate, as an `agent` request does on 2026.7 and before, begins within this time.
 */
const QUIET_MS = 4_000;

/** When a thread was parked, or first looked at. @type {Map<string, number>} */
const quietSince = new Map();
/** Claude sessions that another gateway holds, and when that was first seen here. @type {Map<string, { since: number, at: number }>} */
const seen = new Map();

/** A claim begins: what was noted of one before is void. @param {string} session */
export function begins(session) {
  quietSince.delete(session);
}

/** The binding of a thread was taken out. @param {string} session */
export function parked(session) {
  quietSince.set(session, Date.now());
}

/** Whether turns may begin on this host that no gate sees. @param {import("./types.js").Api} api */
function ungated(api) {
  return before(api, 2026, 8);
}

/**
 * What keeps a claim from the proof: turns of this gateway that passed no gate, and gateways that
 * have not said that none of theirs is on the Claude session.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {any} what
 * @returns {Promise<import("./types.js").Outcome>}
 */
export async function acknowledge(api, sync, { sessions, claude }) {
  const waits = ungated(api)
    ? sessions.map((/** @type {string} */ session) => quiet(api, session)).find(Boolean)
    : undefined;
  if (waits) return waits;
  const [other] = JSON.parse(await sync.call("unacknowledged", JSON.stringify(claude)));
  if (!other) return { outcome: "ok" };
  return {
    outcome: "notYet",
    what: `the gateway of ${other} shares the lockDir and has not said that no turn of it is on the Claude session`,
  };
}

/** @param {import("./types.js").Api} api @param {string} session @returns {import("./types.js").Outcome | undefined} */
function quiet(api, session) {
  const since = quietSince.get(session) ?? Date.now();
  quietSince.set(session, since);
  if (busy(api, session)) return { outcome: "notYet", what: "a turn is running" };
  // It may have bound the entry again when it ended.
  if ((shared.turns.get(session)?.ended ?? 0) >= since) return { outcome: "childAgain" };
  if (Date.now() - since < QUIET_MS) return { outcome: "notYet", what: "a turn that passed no gate could still begin" };
  return undefined;
}

/**
 * Looks whether another gateway waits for this one, and answers.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {() => boolean} performs
 * @returns {() => void}
 */
export function answerOthers(api, sync, performs) {
  let answering = false;
  const look = async () => {
    if (answering || !performs()) return;
    answering = true;
    try {
      const owed = JSON.parse(sync.owed());
      if (owed.length === 0) seen.clear();
      for (const one of owed) if (isFree(api, sync, one)) await sync.call("letGo", JSON.stringify(one));
    } catch (error) {
      // Whoever waits names this gateway when it gives up.
      api.logger.error(`claude-code-sync: another gateway waits, and could not be answered: ${String(error)}`);
    }
    answering = false;
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  return () => clearInterval(timer);
}

/**
 * Whether no turn that was let in here is on a Claude session, or may still come to it.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {{ claude: string, since: number }} owed
 */
function isFree(api, sync, { claude, since }) {
  const first = seen.get(claude)?.since === since ? seen.get(claude) : undefined;
  const at = first?.at ?? Date.now();
  seen.set(claude, { since, at });
  if (ungated(api) && Date.now() - at < QUIET_MS) return false;
  const active = [...shared.turns]
    .filter(([, turns]) => turns.passed.length > 0 || turns.running.size > 0)
    .map(([session]) => session);
  const bound = [...new Set([...active, ...sync.bound(claude)])].filter(
    (session) => claudeOf(entryOf(api, session)) === claude,
  );
  return !bound.some((session) => busy(api, session));
}
