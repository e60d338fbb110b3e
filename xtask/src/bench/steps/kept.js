// The gate for a thread once ridden, inside a gateway that would not keep its Claude
// session by itself: as a run leaves its binding, and as the plugin does after the run.
// By turns with a thread that was never ridden. Milliseconds, as text by case.
import { CTX, gateOf, messages } from "./loop.js";

const [ROUNDS, WARM] = [100, 20];

export default async ({ api, params }) => {
  const gate = await gateOf(params.plugin, Object.create(api, { pluginConfig: { value: {} } }));
  const { kept } = globalThis[Symbol.for("claude-code-sync/2")];
  if (!kept) throw new Error("this OpenClaw keeps Claude sessions by itself: nothing to measure");
  const entry = (sessionKey) => api.runtime.agent.session.getSessionEntry({ agentId: "main", sessionKey });
  const { sessionId, cliSessionBindings } = entry(params.kept);
  kept.set(params.kept, { claude: cliSessionBindings["claude-cli"].sessionId, mark: `${sessionId} ` });
  const took = { written: [], kept: [], never: [] };
  const events = messages([params.kept, params.kept, params.never]);
  for (let round = -WARM; round < ROUNDS; round++) {
    await api.runtime.agent.session.patchSessionEntry({
      agentId: "main",
      sessionKey: params.kept,
      preserveActivity: true,
      update: ({ cliSessionBindings: all }) => {
        const { forceReuse: _, ...binding } = all["claude-cli"];
        return { cliSessionBindings: { ...all, "claude-cli": binding } };
      },
    });
    for (const [i, name] of Object.keys(took).entries()) {
      const begin = process.hrtime.bigint();
      await gate(events[i], CTX);
      if (round >= 0) took[name].push(Number(process.hrtime.bigint() - begin) / 1e6);
    }
  }
  const reused = entry(params.kept).cliSessionBindings["claude-cli"].forceReuse === true;
  kept.delete(params.kept);
  if (!reused) throw new Error("the entry was not patched");
  return Object.fromEntries(Object.entries(took).map(([name, all]) => [name, all.join(" ")]));
};
