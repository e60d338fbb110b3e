// Looks for a process that writes to a ridden Claude session and is not its driver's. Who
// that is, and that the ride ends by it, is the addon's to decide.
import { wake } from "./process_state.js";

/** How often the ridden threads are looked at. A second writer is seen at the latest after this long. */
const LOOK_MS = 2_000;

/**
 * Looks at once where the host announces a run on a held thread, and else every two seconds.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {() => boolean} performs
 * @returns {() => void}
 */
export function lookForWriters(api, sync, performs) {
  let looking = false;
  const look = async () => {
    if (looking || !performs()) return;
    looking = true;
    await lookAtAll(api, sync);
    looking = false;
  };
  const off = api.runtime.events.onAgentEvent((event) => {
    const { stream, sessionKey, data } = /** @type {any} */ (event);
    if (stream === "lifecycle" && data?.phase === "start" && sessionKey) void look();
  });
  const timer = setInterval(() => void look(), LOOK_MS);
  return () => {
    clearInterval(timer);
    if (typeof off === "function") off();
  };
}

/** @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync */
async function lookAtAll(api, sync) {
  try {
    for (const key of sync.busy()) {
      // One thread whose processes cannot be looked at does not keep the others from it.
      const ended = await sync.call("writer", JSON.stringify(key)).catch((error) => {
        api.logger.warn(`claude-code-sync: ${key}: no look at who writes: ${String(error)}`);
        return "false";
      });
      if (JSON.parse(ended)) wake(key);
    }
  } catch (error) {
    api.logger.error(`claude-code-sync: no look at who writes: ${String(error)}`);
  }
}
