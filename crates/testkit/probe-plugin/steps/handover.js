// Runs a message that was held, later and outside any request, as its own sender.
// params: messageId of the held message (its message_received is in the log), via, authorized, text.
import { setTimeout as sleep } from "node:timers/promises";

const received = (probe, messageId) =>
  probe.log.findLast((e) => e.hook === "message_received" && e.event.messageId === messageId);

function contextOf({ api, params }, { event, ctx }) {
  const meta = event.metadata ?? {};
  const channel = ctx.channelId;
  const isGroup = event.from.includes(":group:");
  const peer = meta.to.replace(`${channel}:`, "");
  const text = params.text ?? event.content;
  const entry = api.runtime.agent.session.getSessionEntry({ agentId: "main", sessionKey: event.sessionKey });
  const paths = meta.mediaPaths ?? (meta.mediaPath ? [meta.mediaPath] : []);
  const types = meta.mediaTypes ?? (meta.mediaType ? [meta.mediaType] : []);
  return {
    channel,
    accountId: ctx.accountId,
    messageId: params.newMessageId ?? event.messageId,
    messageIdFull: params.fullMessageId,
    timestamp: event.timestamp,
    from: event.from,
    sender: { id: event.senderId, name: meta.senderName, username: meta.senderUsername },
    conversation: {
      kind: isGroup ? "group" : "direct",
      id: peer.split(":topic:")[0],
      routePeer: { kind: isGroup ? "group" : "direct", id: peer },
      label: entry?.subject ?? meta.senderName,
      threadId: event.threadId === undefined ? undefined : String(event.threadId),
    },
    route: { agentId: "main", accountId: ctx.accountId, routeSessionKey: event.sessionKey },
    reply: { to: meta.to, messageThreadId: event.threadId },
    message: { rawBody: text, bodyForAgent: text, commandBody: text },
    access: { commands: { authorized: params.authorized === true } },
    media: paths.map((path, i) => ({ path, contentType: types[i] })),
    extra: isGroup ? { GroupSubject: entry?.subject, IsForum: event.threadId !== undefined } : {},
  };
}

// The kernel was called `turn` before it was called `inbound`.
const kernel = ({ api }) => api.runtime.channel.inbound ?? api.runtime.channel.turn;

const delivery = (step, built, out) => ({
  async deliver(payload, info) {
    const adapter = await step.api.runtime.channel.outbound.loadAdapter(built.channel);
    const sent = await adapter.sendText({
      cfg: step.api.runtime.config.current(),
      to: built.reply.to,
      text: payload.text ?? "",
      threadId: built.reply.messageThreadId,
      accountId: built.accountId,
    });
    out.delivered.push({ kind: info?.kind, text: payload.text, by: "deliver", messageId: sent?.messageId });
    return { messageIds: sent?.messageId ? [String(sent.messageId)] : [], visibleReplySent: true };
  },
  onDelivered: (payload, info, result) => out.settled.push({ kind: info?.kind, result }),
  onError: (error) => out.errors.push(String(error)),
});

const routes = {
  // The kernel's routed turn, core delivers durably to the frozen target.
  async durable(step, built, out) {
    const inbound = kernel(step);
    return inbound.dispatch({
      cfg: step.api.runtime.config.current(),
      channel: built.channel,
      accountId: built.accountId,
      route: { agentId: built.route.agentId, sessionKey: built.route.routeSessionKey },
      ctxPayload: await inbound.buildContext(built),
      messageId: built.messageId,
      delivery: {
        ...delivery(step, built, out),
        durable: { to: built.reply.to, threadId: built.reply.messageThreadId },
      },
      replyPipeline: {},
    });
  },
  // The same, but the reply goes out through our own adapter call.
  async direct(step, built, out) {
    const inbound = kernel(step);
    return inbound.dispatch({
      cfg: step.api.runtime.config.current(),
      channel: built.channel,
      accountId: built.accountId,
      route: { agentId: built.route.agentId, sessionKey: built.route.routeSessionKey },
      ctxPayload: await inbound.buildContext(built),
      messageId: built.messageId,
      delivery: delivery(step, built, out),
      replyPipeline: {},
    });
  },
  // Raw event through the kernel: ingest, resolve, record, dispatch, finalize.
  async run(step, built, out) {
    const inbound = kernel(step);
    const cfg = step.api.runtime.config.current();
    return inbound.run({
      channel: built.channel,
      accountId: built.accountId,
      raw: built,
      adapter: {
        ingest: () => ({ id: built.messageId, timestamp: built.timestamp, rawText: built.message.rawBody, raw: built }),
        resolveTurn: async () => ({
          cfg,
          channel: built.channel,
          accountId: built.accountId,
          route: { agentId: built.route.agentId, sessionKey: built.route.routeSessionKey },
          ctxPayload: await inbound.buildContext(built),
          delivery: {
            ...delivery(step, built, out),
            durable: { to: built.reply.to, threadId: built.reply.messageThreadId },
          },
          replyPipeline: {},
        }),
      },
    });
  },
  // Caller-assembled turn: the host hands us the record and dispatch functions.
  async assembled(step, built, out) {
    const inbound = kernel(step);
    const { session, reply } = step.api.runtime.channel;
    const cfg = step.api.runtime.config.current();
    return inbound.dispatchReply({
      cfg,
      channel: built.channel,
      accountId: built.accountId,
      agentId: built.route.agentId,
      routeSessionKey: built.route.routeSessionKey,
      storePath: session.resolveStorePath(cfg.session?.store, { agentId: built.route.agentId }),
      ctxPayload: await inbound.buildContext(built),
      recordInboundSession: session.recordInboundSession,
      dispatchReplyWithBufferedBlockDispatcher: reply.dispatchReplyWithBufferedBlockDispatcher,
      delivery: {
        ...delivery(step, built, out),
        durable: { to: built.reply.to, threadId: built.reply.messageThreadId },
      },
      replyPipeline: {},
    });
  },
  // The reply layer alone: no kernel.
  async buffered(step, built, out) {
    const { reply } = step.api.runtime.channel;
    const { deliver } = delivery(step, built, out);
    return reply.dispatchReplyWithBufferedBlockDispatcher({
      ctx: reply.finalizeInboundContext({
        Body: built.message.rawBody,
        BodyForAgent: built.message.bodyForAgent,
        RawBody: built.message.rawBody,
        CommandBody: built.message.commandBody,
        From: built.from,
        To: built.reply.to,
        SessionKey: built.route.routeSessionKey,
        AccountId: built.accountId,
        MessageSid: built.messageId,
        ChatType: built.conversation.kind,
        ConversationLabel: built.conversation.label,
        GroupSubject: built.extra.GroupSubject,
        SenderName: built.sender.name,
        SenderUsername: built.sender.username,
        SenderId: built.sender.id,
        Timestamp: built.timestamp,
        Provider: built.channel,
        Surface: built.channel,
        MessageThreadId: built.reply.messageThreadId,
        IsForum: built.extra.IsForum,
        CommandAuthorized: built.access.commands.authorized,
        OriginatingChannel: built.channel,
        OriginatingTo: built.reply.to,
        MediaPath: built.media[0]?.path,
        MediaType: built.media[0]?.contentType,
        MediaPaths: built.media.length ? built.media.map((m) => m.path) : undefined,
        MediaTypes: built.media.length ? built.media.map((m) => m.contentType) : undefined,
      }),
      cfg: step.api.runtime.config.current(),
      dispatcherOptions: { deliver, onError: (error) => out.errors.push(String(error)) },
    });
  },
};

export default async (step) => {
  const { params, probe, note } = step;
  const source = received(probe, String(params.messageId));
  if (!source) throw new Error(`no message_received for ${params.messageId}`);
  const built = contextOf(step, source);
  const out = { via: params.via, delivered: [], settled: [], errors: [] };
  const job = async () => {
    await sleep(50); // the request below is answered first
    const start = Date.now();
    try {
      out.result = await probe.als.run({ handover: built.messageId }, () => routes[params.via](step, built, out));
      if (out.result?.ctxPayload) delete out.result.ctxPayload;
    } catch (error) {
      out.errors.push(String(error?.stack ?? error));
    }
    note("handover", { ...out, ms: Date.now() - start });
  };
  if (params.inherit) setTimeout(job, 10);
  else probe.outside(() => setTimeout(job, 10));
  return { started: built };
};
