// Hands a held message to the agent as if it arrived now: its own sender, chat,
// topic and media, through the host's public inbound kernel (docs/hosts.md, A).
// The sender's authority is what the host computes from the id; commands are never
// authorised here, since an authorised `/new` would reset the thread whoever wrote it.
import { textOf } from "./addon.js";
import { agentOf, entryOf } from "./host.js";
import { shared } from "./process_state.js";
import { busy } from "./turns.js";

/**
 * @param {import("./types.js").Api} api @param {string} session @param {any} held
 * @returns {Promise<import("./types.js").Outcome>}
 */
export async function hand(api, session, held) {
  const channel = /** @type {any} */ (api.runtime.channel);
  if (!channel?.inbound?.buildContext || !channel.inbound.dispatchReply) {
    return { outcome: "failed", what: "this OpenClaw has no public way to handle a held message", reason: "HOST" };
  }
  const entry = /** @type {any} */ (entryOf(api, session));
  // Beside a running turn the host queues it, or on 2026.7.1 drops that turn's answer.
  if (busy(api, session)) return { outcome: "notYet", what: "a turn is running" };
  const handing = { session, used: false };
  let result;
  try {
    result = await detached(() => shared.handing.run(handing, () => dispatch(api, channel, session, entry, held)));
  } catch (error) {
    // Once it went in, a turn may have run whatever failed afterwards.
    const what = textOf(error);
    return handing.used ? { outcome: "unknown", what } : { outcome: "failed", what, reason: "HOST" };
  }
  if (!handing.used && !result?.dispatchResult?.deferredToActiveRun) {
    return { outcome: "failed", what: "the host took it for a duplicate", reason: "HOST" };
  }
  return { outcome: "ok" };
}

/**
 * Runs what must not inherit an admission. 2026.8 and later refuse new work in one that
 * has ended; a service that is started by a hot reload runs in the reload's for good.
 * @template T @param {() => Promise<T>} run @returns {Promise<T>}
 */
async function detached(run) {
  const sdk = await import("openclaw/plugin-sdk/webhook-request-guards").catch(() => undefined);
  return sdk?.runDetachedWebhookWork ? sdk.runDetachedWebhookWork(run) : run();
}

/**
 * The kind of conversation that the gate kept with the message. One that an older version
 * kept has none: then the thread's own, as the host has it. Where nobody tells, it is taken
 * for a group, since a direct chat may be trusted with more.
 * @param {any} host @param {any} entry @returns {"direct" | "group" | "channel"}
 */
function kindOf(host, entry) {
  const kind = host?.kind ?? entry?.chatType;
  return kind === "direct" || kind === "channel" ? kind : "group";
}

/** What the host knows of a conversation with several people. @param {string} kind @param {any} entry @param {any} meta @param {import("./types.js").Route} route */
function extra(kind, entry, meta, route) {
  if (kind === "direct") return {};
  const name = entry?.groupChannel ?? meta.channelName;
  const subject = entry?.subject ?? name;
  return kind === "channel"
    ? { ...(subject ? { GroupSubject: subject } : {}), ...(name ? { GroupChannel: name } : {}) }
    : { GroupSubject: subject, IsForum: route.threadId !== undefined };
}

/**
 * @param {import("./types.js").Api} api @param {any} channel the host's channel runtime
 * @param {string} session @param {any} entry @param {any} held
 */
async function dispatch(api, channel, session, entry, held) {
  const { inbound, session: sessions, reply } = channel;
  const { route, host } = held;
  const event = host?.event ?? {};
  const meta = event.metadata ?? {};
  const cfg = /** @type {any} */ (api.runtime.config.current());
  const agentId = agentOf(session);
  const peer = route.to.startsWith(`${route.channel}:`) ? route.to.slice(route.channel.length + 1) : route.to;
  const kind = kindOf(host, entry);
  const threadId = event.threadId ?? route.threadId;
  const text = held.repeat ? `(may be a repeat) ${held.text}` : held.text;
  const ctxPayload = await inbound.buildContext({
    channel: route.channel,
    accountId: route.accountId,
    // The held id itself would be swallowed as a duplicate of what the gate stopped.
    messageId: `${event.messageId ?? held.seq}-ride${held.attempts + 1}`,
    timestamp: event.timestamp ?? held.atMs,
    from: event.from ?? `${route.channel}:${peer}`,
    sender: { id: held.sender, name: held.name, username: meta.senderUsername },
    conversation: {
      kind,
      id: peer.split(":topic:")[0],
      routePeer: { kind, id: peer },
      label: kind === "direct" ? held.name : (entry?.subject ?? entry?.groupChannel ?? meta.channelName),
      ...(meta.guildId ? { spaceId: meta.guildId } : {}),
      threadId: route.threadId,
    },
    route: { agentId, accountId: route.accountId, routeSessionKey: session },
    reply: { to: route.to, messageThreadId: threadId },
    message: { rawBody: text, bodyForAgent: text, commandBody: text },
    access: { commands: { authorized: false } },
    media: (meta.mediaPaths ?? []).map((/** @type {string} */ path, /** @type {number} */ i) => ({
      path,
      contentType: meta.mediaTypes?.[i],
    })),
    extra: extra(kind, entry, meta, route),
  });
  const adapter = /** @type {any} */ (await api.runtime.channel.outbound.loadAdapter(route.channel));
  return inbound.dispatchReply({
    cfg,
    channel: route.channel,
    accountId: route.accountId,
    agentId,
    routeSessionKey: session,
    storePath: sessions.resolveStorePath(cfg.session?.store, { agentId }),
    ctxPayload,
    recordInboundSession: sessions.recordInboundSession,
    dispatchReplyWithBufferedBlockDispatcher: reply.dispatchReplyWithBufferedBlockDispatcher,
    delivery: {
      durable: { to: route.to, threadId },
      deliver: (/** @type {any} */ payload) =>
        adapter.sendText({
          cfg,
          to: route.to,
          text: payload.text,
          accountId: route.accountId,
          threadId: route.threadId,
        }),
      onError: (/** @type {unknown} */ error) => api.logger.error(`claude-code-sync: ${session}: ${String(error)}`),
    },
    replyPipeline: {},
  });
}
