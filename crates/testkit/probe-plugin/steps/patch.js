// Parks, restores or marks the claude-cli binding of a thread.
export default async ({ api, params }) => {
  const { sessionKey, verb, binding } = params;
  let seen;
  const entry = await api.runtime.agent.session.patchSessionEntry({
    agentId: "main",
    sessionKey,
    preserveActivity: true,
    update: (e) => {
      seen = e.cliSessionBindings?.["claude-cli"];
      const without = (map) => Object.fromEntries(Object.entries(map ?? {}).filter(([k]) => k !== "claude-cli"));
      const legacy = "claudeCliSessionId" in e;
      if (verb === "park") {
        return {
          cliSessionBindings: without(e.cliSessionBindings),
          cliSessionIds: without(e.cliSessionIds),
          ...(legacy && { claudeCliSessionId: undefined }),
        };
      }
      if (verb === "restore") {
        return {
          cliSessionBindings: { ...e.cliSessionBindings, "claude-cli": { ...binding, forceReuse: true } },
          cliSessionIds: { ...e.cliSessionIds, "claude-cli": binding.sessionId },
          ...((legacy || params.legacy) && { claudeCliSessionId: binding.sessionId }),
        };
      }
      return params.patch;
    },
  });
  const show = (e) =>
    e &&
    Object.fromEntries(
      [
        "sessionId",
        "updatedAt",
        "cliSessionBindings",
        "cliSessionIds",
        "claudeCliSessionId",
        "spawnedCwd",
        "status",
      ].map((k) => [k, e[k]]),
    );
  const now = api.runtime.agent.session.getSessionEntry({ agentId: "main", sessionKey });
  return { seen, returned: show(entry), now: show(now) };
};
