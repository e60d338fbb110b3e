// Samples what tells that a turn runs: the entry's status and the child's registry status.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

function registry(dir) {
  const live = {};
  try {
    for (const name of readdirSync(dir).filter((n) => n.endsWith(".json"))) {
      const { pid, sessionId, status } = JSON.parse(readFileSync(join(dir, name), "utf8"));
      live[pid] = `${sessionId?.slice(0, 8)} ${status}`;
    }
  } catch {}
  return live;
}

export default async ({ api, probe, note, params }) => {
  const job = async () => {
    let before = "";
    for (const end = Date.now() + params.ms; Date.now() < end; await sleep(10)) {
      const entry = api.runtime.agent.session.getSessionEntry({ agentId: "main", sessionKey: params.sessionKey });
      const seen = {
        status: entry?.status,
        startedAt: entry?.startedAt,
        endedAt: entry?.endedAt,
        registry: registry(params.dir),
      };
      const now = JSON.stringify(seen);
      if (now !== before) note("watch", seen);
      before = now;
    }
    note("watch", { end: true });
  };
  probe.outside(() => setTimeout(job, 1));
  return {};
};
