// The host's objects, projected: only the fields the addon reads leave here.

const FIELDS = [
  "chatType", "channel", "groupId", "subject", "topicName", "displayName", "label",
  "deliveryContext", "lastChannel", "lastTo", "lastAccountId", "lastThreadId",
  "lastInteractionAt", "updatedAt", "archivedAt",
  "cliSessionBindings", "cliSessionIds", "claudeCliSessionId", "spawnedCwd",
];

/** The agent of a session key. @param {string} key */
export function agentOf(key) {
  const [kind, agent] = key.split(":");
  return kind === "agent" && agent ? agent : "main";
}

/** @param {any} entry */
export function project(entry) {
  /** @type {Record<string, unknown>} */
  const fields = {};
  for (const name of FIELDS) {
    if (entry[name] !== undefined && entry[name] !== null) fields[name] = entry[name];
  }
  if (entry.delivery?.context) fields.delivery = { context: entry.delivery.context };
  if (entry.origin?.label ?? entry.delivery?.origin?.label) {
    fields.origin = { label: entry.origin?.label ?? entry.delivery.origin.label };
  }
  return fields;
}

/** One thread's entry as the host has it now. @param {import("./types.js").Api} api @param {string} sessionKey @returns {any} */
export function entryOf(api, sessionKey) {
  return api.runtime.agent.session.getSessionEntry({ agentId: agentOf(sessionKey), sessionKey });
}

/** The Claude session an entry is bound to. @param {any} entry @returns {string | undefined} */
export function claudeOf(entry) {
  return entry?.cliSessionBindings?.["claude-cli"]?.sessionId
    ?? entry?.cliSessionIds?.["claude-cli"] ?? entry?.claudeCliSessionId;
}

/** All entries of all agents. @param {import("./types.js").Api} api @returns {{ key: string, agentId: string, entry: any }[]} */
export function allEntries(api) {
  const cfg = /** @type {any} */ (api.runtime.config.current());
  /** @type {string[]} */
  const listed = (cfg.agents?.list ?? []).map((/** @type {any} */ a) => a.id).filter(Boolean);
  const agents = listed.length > 0 ? listed : ["main"];
  return agents.flatMap((agentId) =>
    api.runtime.agent.session.listSessionEntries({ agentId })
      .map(({ sessionKey, entry }) => ({ key: sessionKey, agentId, entry })));
}

/** The configured channels. @param {import("./types.js").Api} api */
export function channels(api) {
  const cfg = /** @type {any} */ (api.runtime.config.current());
  return Object.entries(cfg.channels ?? {})
    .filter(([, channel]) => channel && /** @type {any} */ (channel).enabled !== false)
    .map(([name]) => name);
}
