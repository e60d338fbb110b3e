// Hands a held message to the agent as if it arrived now: its own sender, chat,
// topic and media, through the host's public inbound kernel. The sender's
// authority is what the host computes from the id; commands are never authorised
// here, since an authorised `/new` would reset the thread whoever wrote it.
import { agentOf, entryOf } from "./host.js";
import { shared } from "./shared.js";

/** @param {import("./types.js").Api} api @param {string} session @param {any} held @returns {Promise<import("./types.js").Outcome>} */
export async function hand(api, session, held) {
  const inbound = /** @type {any} */ (api.runtime.channel)?.inbound;
  if (!inbound?.buildContext || !inbound?.dispatch) {
    return { outcome: "failed", what: "this OpenClaw has no public way to handle a held message", reason: "HOST" };
  }
  const handing = { session, used: false };
  const result = await shared.handing.run(handing, () => dispatch(api, inbound, session, held));
  // Swallowed by the host's own duplicate check: neither run nor queued.
  if (!handing.used && !result?.dispatchResult?.deferredToActiveRun) {
    return { outcome: "failed", what: "the host took it for a duplicate", reason: "HOST" };
  }
  return { outcome: "ok" };
}

/** @param {import("./types.js").Api} api @param {any} inbound @param {string} session @param {any} held */
async function dispatch(api, inbound, session, held) {
  const { route, host } = held;
  const event = host?.event ?? {};
  const meta = event.metadata ?? {};
  const entry = entryOf(api, session);
  const agentId = agentOf(session);
  const peer = route.to.startsWith(`${route.channel}:`) ? route.to.slice(route.channel.length + 1) : route.to;
  const kind = String(event.from ?? "").includes(":group:") || entry?.chatType === "group" ? "group" : "direct";
  // The held id itself would be taken for a duplicate of the message the gate stopped.
  const messageId = `${event.messageId ?? held.seq}-ride${held.attempts + 1}`;
  const ctxPayload = await inbound.buildContext({
    channel: route.channel,
    accountId: route.accountId,
    messageId,
    timestamp: event.timestamp ?? held.atMs,
    from: event.from ?? `${route.channel}:${peer}`,
    sender: { id: held.sender, name: held.name, username: meta.senderUsername },
    conversation: { kind, id: peer.split(":topic:")[0], routePeer: { kind, id: peer }, label: entry?.subject ?? held.name, threadId: route.threadId },
    route: { agentId, accountId: route.accountId, routeSessionKey: session },
    reply: { to: route.to, messageThreadId: event.threadId ?? route.threadId },
    message: { rawBody: held.text, bodyForAgent: held.text, commandBody: held.text },
    access: { commands: { authorized: false } },
    media: (meta.mediaPaths ?? []).map((/** @type {string} */ path, /** @type {number} */ i) => ({ path, contentType: meta.mediaTypes?.[i] })),
    extra: kind === "group" ? { GroupSubject: entry?.subject, IsForum: route.threadId !== undefined } : {},
  });
  const adapter = /** @type {any} */ (await api.runtime.channel.outbound.loadAdapter(route.channel));
  const cfg = api.runtime.config.current();
  return inbound.dispatch({
    cfg,
    channel: route.channel,
    accountId: route.accountId,
    route: { agentId, sessionKey: session },
    ctxPayload,
    messageId,
    delivery: {
      durable: { to: route.to, threadId: event.threadId ?? route.threadId },
      deliver: (/** @type {any} */ payload) =>
        adapter.sendText({ cfg, to: route.to, text: payload.text, accountId: route.accountId, threadId: route.threadId }),
    },
    replyPipeline: {},
  });
}
