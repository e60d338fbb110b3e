// The host's objects, projected: only the fields the addon reads leave here.

const FIELDS = [
  "chatType",
  "channel",
  "groupId",
  "subject",
  "topicName",
  "displayName",
  "label",
  "deliveryContext",
  "lastChannel",
  "lastTo",
  "lastAccountId",
  "lastThreadId",
  "lastInteractionAt",
  "updatedAt",
  "archivedAt",
  "claudeCliSessionId",
  "spawnedCwd",
  "visibility",
  "incognito",
  "createdActor",
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
  const claude = claudeOf(entry);
  if (claude) fields.claudeCliSessionId = claude;
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

/** Whether the host runs our before_agent_reply: it is an agent hook, to be allowed by the person. @param {import("./types.js").Api} api */
export function confirms(api) {
  const cfg = /** @type {any} */ (api.config);
  return cfg?.plugins?.entries?.[api.id]?.hooks?.allowConversationAccess === true;
}

/** The Claude session an entry is bound to. @param {any} entry @returns {string | undefined} */
export function claudeOf(entry) {
  return (
    entry?.cliSessionBindings?.["claude-cli"]?.sessionId ??
    entry?.cliSessionIds?.["claude-cli"] ??
    entry?.claudeCliSessionId
  );
}

/** The folder of a thread's agent, where the host tells it. @param {import("./types.js").Api} api @param {string} key @returns {string | undefined} */
export function workspaceOf(api, key) {
  const agent = /** @type {any} */ (api.runtime.agent);
  try {
    return agent.resolveAgentWorkspaceDir?.(api.runtime.config.current(), agentOf(key));
  } catch {
    return undefined;
  }
}

/** The configured agents, and where each keeps its entries if not where all do. @param {import("./types.js").Api} api @returns {{ agentId: string, storePath?: string }[]} */
export function agents(api) {
  const cfg = /** @type {any} */ (api.runtime.config.current());
  const { list, entries } = cfg.agents ?? {};
  const listed = [
    ...(list ?? []).map((/** @type {any} */ agent) => agent.id).filter(Boolean),
    ...Object.keys(entries ?? {}),
  ];
  const store = cfg.session?.store;
  return (listed.length > 0 ? [...new Set(listed)] : ["main"]).map((agentId) =>
    store ? { agentId, storePath: api.runtime.agent.session.resolveStorePath(store, { agentId }) } : { agentId },
  );
}

/** The configured channels and accounts. @param {import("./types.js").Api} api */
export function channels(api) {
  const cfg = /** @type {any} */ (api.runtime.config.current());
  const on = (/** @type {any} */ what) => what?.enabled !== false;
  return Object.entries(cfg.channels ?? {})
    .filter(([id, channel]) => id !== "defaults" && channel && typeof channel === "object")
    .map(([id, channel]) => ({
      id,
      enabled: on(channel) && on(cfg.plugins?.entries?.[id]),
      accounts: Object.fromEntries(
        Object.entries(/** @type {any} */ (channel).accounts ?? {}).map(([name, account]) => [name, on(account)]),
      ),
    }));
}

/** Whether the host is older than a version. @param {import("./types.js").Api} api @param {...number} version */
export function before(api, ...version) {
  const own = String(api.runtime.version ?? "")
    .split(/[.-]/)
    .map(Number);
  const at = version.findIndex((part, i) => (own[i] || 0) !== part);
  return at >= 0 && (own[at] || 0) < /** @type {number} */ (version[at]);
}

/** Who asks, as the host has found out. @param {import("./types.js").Api} api @param {any} client */
export function person(api, client) {
  const cfg = /** @type {any} */ (api.runtime.config.current());
  const profile = client?.authenticatedUserProfile?.profileId;
  return {
    admin: client?.connect?.scopes?.includes("operator.admin") === true,
    device: client?.connect?.device?.id,
    user: client?.authenticatedUserId,
    profile: profile === "gateway-owner" ? undefined : profile,
    roles: cfg.gateway?.roles !== undefined,
    // A paired device has its own token: that it was let in does not make it the owner.
    owner:
      profile === "gateway-owner" ||
      (client?.usesSharedGatewayAuth === true &&
        client.isDeviceTokenAuth !== true &&
        profile === undefined &&
        client.authenticatedUserId === undefined),
  };
}
