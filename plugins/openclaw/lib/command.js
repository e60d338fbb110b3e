// `/ride` in the chat: who rides the thread, for how long, and what waits. `/unride`
// takes it back. Native commands of plugins do not go through the gate, so they work
// while ridden too. What they say and do is the addon's.
import { claudeOf, entryOf } from "./host.js";
import { changed, nameOf, wake } from "./process_state.js";

/** @param {import("./types.js").Api} api @param {() => import("./types.js").Addon} sync */
export function registerCommand(api, sync) {
  /** @param {string} name @param {string} description @param {(key: string, ctx: any) => Promise<string>} answer */
  const register = (name, description, answer) =>
    api.registerCommand({
      name,
      description,
      acceptsArgs: false,
      requireAuth: true,
      async handler(ctx) {
        const key = /** @type {any} */ (ctx).sessionKey;
        if (!key) return { text: "⇄ This is not a thread that can be ridden." };
        try {
          return { text: await answer(key, ctx) };
        } catch (error) {
          api.logger.error(`claude-code-sync: /${name} in ${key}: ${String(error)}`);
          return { text: "⇄ The state of this thread could not be read." };
        }
      },
    });
  register("ride", "Who rides this thread from a terminal", async (key) => {
    const claude = claudeOf(entryOf(api, key)) ?? null;
    return JSON.parse(await sync().call("chat", JSON.stringify({ key, claude })));
  });
  register("unride", "Take this thread back from the terminal that rides it", async (key, ctx) => {
    // Hosts name a command's sender by its id only; the message before it, by its name too.
    const sender = ctx.senderId
      ? { channel: ctx.channel, id: String(ctx.senderId), name: nameOf(ctx.channel, String(ctx.senderId)) ?? null }
      : null;
    const said = JSON.parse(await sync().call("unride", JSON.stringify({ key, sender })));
    wake(key);
    changed(key);
    return said;
  });
}
