// `/ride` in the chat: who rides the thread, for how long, and what waits. Native
// commands of plugins do not go through the gate, so it answers while ridden too.
// What it says is the addon's.
import { claudeOf, entryOf } from "./host.js";

/** @param {import("./types.js").Api} api @param {() => import("./types.js").Addon} sync */
export function registerCommand(api, sync) {
  api.registerCommand({
    name: "ride",
    description: "Who rides this thread from a terminal",
    acceptsArgs: false,
    requireAuth: true,
    async handler(ctx) {
      const session = /** @type {any} */ (ctx).sessionKey;
      if (!session) return { text: "⇄ This is not a thread that can be ridden." };
      try {
        const claude = claudeOf(entryOf(api, session)) ?? null;
        return { text: JSON.parse(await sync().call("chat", JSON.stringify({ key: session, claude }))) };
      } catch (error) {
        api.logger.error(`claude-code-sync: /ride in ${session}: ${String(error)}`);
        return { text: "⇄ The state of this thread could not be read." };
      }
    },
  });
}
