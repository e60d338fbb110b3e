// Holds the host's work admission of a thread for a while, and notes what happens inside.
import { setTimeout as sleep } from "node:timers/promises";

export default async ({ api, probe, note, params }) => {
  const { session } = api.runtime.agent;
  if (typeof session.runWithWorkAdmission !== "function") return { exists: false };
  const storePath = session.resolveStorePath(api.runtime.config.current().session?.store, { agentId: "main" });
  const job = async () => {
    const asked = Date.now();
    try {
      await session.runWithWorkAdmission({ storePath, sessionKey: params.sessionKey }, async (...given) => {
        note("admission", { at: "in", waited: Date.now() - asked, given: given.map((g) => typeof g) });
        await sleep(params.ms);
        note("admission", { at: "out" });
      });
      note("admission", { at: "done", ms: Date.now() - asked });
    } catch (error) {
      note("admission", { at: "failed", error: String(error?.stack ?? error) });
    }
  };
  probe.outside(() => setTimeout(job, 10));
  return { exists: true, storePath };
};
