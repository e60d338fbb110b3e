// The shell: registers with the host, projects its objects, performs effects.
// Every decision is the addon's. Registering has no effect by itself: hosts do
// it several times per process, and in other commands too.
import { openOnce } from "./lib/addon.js";
import { registerCommand } from "./lib/command.js";
import { openEntries } from "./lib/entries.js";
import { registerGate } from "./lib/gate.js";
import { registerMethods } from "./lib/methods.js";
import { registerPerformer } from "./lib/performer.js";

/** What all registrations of this copy share: hosts before 2026.9 register several times. @type {Map<string, { sync: () => import("./lib/types.js").Addon, entries: import("./lib/entries.js").Entries }>} */
const opened = new Map();

export default {
  id: "claude-code-sync",
  name: "Claude Code sync",
  description: "Ride a channel thread from the terminal: one driver, nothing lost.",
  /** @param {import("./lib/types.js").Api} api */
  register(api) {
    const config = JSON.stringify(api.pluginConfig ?? {});
    const { sync, entries } = opened.get(config) ?? open(api, config);
    registerMethods(api, sync, entries);
    registerGate(api, sync);
    registerCommand(api, sync);
    registerPerformer(api, sync, entries);
  },
};

/** @param {import("./lib/types.js").Api} api @param {string} config */
function open(api, config) {
  const sync = openOnce(api);
  const both = { sync, entries: openEntries(api, sync) };
  opened.set(config, both);
  return both;
}
