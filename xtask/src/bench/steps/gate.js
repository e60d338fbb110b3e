// The gate inside the gateway, with the host's own api: its session store answers.
// `store` puts another store of ours in place of the gateway's.
import { gateOf, measure, messages } from "./loop.js";

export default async ({ api, params }) => {
  const { plugin, keys, rounds, store } = params;
  const state = { value: { resolveStateDir: () => store.stateDir } };
  const ours = {
    pluginConfig: { value: store ? { lockDir: store.lockDir } : {} },
    ...(store && { runtime: { value: Object.create(api.runtime, { state }) } }),
  };
  const gate = await gateOf(plugin, Object.create(api, ours));
  return measure({ noop: () => undefined, gate }, messages(keys), rounds);
};
