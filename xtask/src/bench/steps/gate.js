// The gate inside the gateway, with the host's own api: its session store answers.
import { gateOf, measure, messages } from "./loop.js";

export default async ({ api, params }) => {
  const gate = await gateOf(params.plugin, Object.create(api, { pluginConfig: { value: {} } }));
  return measure({ noop: () => undefined, gate }, messages(params.keys), params.rounds);
};
