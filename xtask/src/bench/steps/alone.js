// The gate in a Node of its own. Argument: { plugin, stateDir, stores: { name: lockDir }, keys, calls? };
// with `calls` only that many are made, for a count of system calls from outside.
import { gateOf, measure, messages, run } from "./loop.js";

const { plugin, stateDir, stores, keys, calls } = JSON.parse(process.argv[2]);
const handlers = { noop: () => undefined };
for (const [name, lockDir] of Object.entries(stores)) {
  handlers[name] = await gateOf(plugin, {
    pluginConfig: { lockDir },
    logger: { info() {}, error: (text) => console.error(text) },
    runtime: { state: { resolveStateDir: () => stateDir }, agent: { session: { getSessionEntry: () => undefined } } },
  });
}
const events = messages(keys);
if (calls === undefined) console.log(JSON.stringify(measure(handlers, events)));
else for (const handler of Object.values(handlers)) run(handler, events, calls);
