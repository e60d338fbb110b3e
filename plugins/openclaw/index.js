// The shell: registers with the host, projects its objects, performs effects.
// Every decision is the addon's. Registering has no effect by itself: hosts do
// it several times per process, and in other commands too.
import { openOnce } from "./lib/addon.js";
import { registerCommand } from "./lib/command.js";
import { registerGate } from "./lib/gate.js";
import { registerMethods } from "./lib/methods.js";
import { registerPerformer } from "./lib/performer.js";

export default {
  id: "claude-code-sync",
  name: "Claude Code sync",
  description: "Ride a channel thread from the terminal: one driver, nothing lost.",
  /** @param {import("./lib/types.js").Api} api */
  register(api) {
    const sync = openOnce(api);
    registerMethods(api, sync);
    registerGate(api, sync);
    registerCommand(api, sync);
    registerPerformer(api, sync);
  },
};
