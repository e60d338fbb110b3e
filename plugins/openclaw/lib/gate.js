// The gate: before_dispatch is the only deciding message hook. message_received
// is an observer that runs just before it and knows what it lacks: topic, sender's
// name, media. Where the addon cannot answer, the state files do, read without a lock; where
// they cannot be read either, no turn runs, and the sender is asked to send again.
import { mayBeClosed, notOpened, prepared, textOf } from "./addon.js";
import { began } from "./chat_turns.js";
import { claudeOf, confirms, entryOf, project } from "./host.js";
import { isKept, keepWhole } from "./keep.js";
import { named, shared, wake } from "./process_state.js";
import { perhapsStop } from "./ridden_changes.js";
import { admitted, passed, pending, recovers } from "./turns.js";

/** Messages remembered between the two hooks. */
const REMEMBERED = 256;
/** What the addon's gate answers while it cannot tell. */
const UNKNOWN = 4;
/** How long a message waits for the addon to be prepared. */
const WAIT_MS = 5_000;
const UNSAFE =
  "⇄ The state of this thread could not be read, so your message was not handled. Send it again in a moment.";
const RIDDEN =
  "⇄ The Claude session of this conversation is ridden from a terminal, so your message was not handled. Send it again once that is over.";

/** @param {import("./types.js").Api} api @param {() => import("./types.js").Addon} sync */
export function registerGate(api, sync) {
  const confirmed = confirms(api);
  /** What message_received told and before_dispatch has not asked for yet. @type {{ event: any, ctx: any }[]} */
  const received = [];

  api.on("message_received", (event, ctx) => {
    if (received.length === REMEMBERED) received.shift();
    const seen = { event, ctx };
    received.push(seen);
    const meta = event.metadata ?? {};
    named(
      ctx.channelId ?? "",
      String(event.senderId ?? ctx.senderId ?? meta.senderId ?? ""),
      meta.senderName ?? meta.senderUsername,
    );
    shared.flow.enterWith(seen);
    const session = event.sessionKey ?? ctx.sessionKey;
    const taken = () => !received.includes(seen);
    if (session) perhapsStop(api, sync, session, event, taken, routeOf(event, ctx, seen, ctx.channelId));
  });

  api.on("before_dispatch", (event, ctx) => {
    const session = event.sessionKey ?? ctx.sessionKey;
    if (!session) return undefined;
    return answered(
      sync,
      session,
      (addon, gate) => decide(addon, gate, session, event, ctx),
      (error) => byFiles(session, error),
    );
  });

  /**
   * @param {import("./types.js").Addon} addon @param {number} gate @param {string} session
   * @param {any} event @param {any} ctx
   */
  function decide(addon, gate, session, event, ctx) {
    if (handing(session)) {
      // Its Claude session was claimed, here or through a twin, since it was taken up:
      // it stays in the inbox, and the hand-over is told that it was not let in.
      const claude = claudeOf(entryOf(api, session));
      if (claude !== undefined && addon.ridden(claude)) return { handled: true };
      enter(session);
      return isKept(session) ? keepWhole(api, addon, session) : undefined;
    }
    if (!isClosed(api, addon, session, gate, confirmed)) {
      passed(session);
      return isKept(session) ? keepWhole(api, addon, session) : undefined;
    }
    const flow = shared.flow.getStore();
    // Whatever the host carries through, it must be this very message.
    const sure = received.findIndex(
      (seen) => same(seen, event, ctx) && (seen === flow || idOf(event, ctx) !== undefined),
    );
    const alike = received.findIndex((seen) => same(seen, event, ctx) && seen.event.content === event.content);
    const at = [sure, alike, received.findIndex((seen) => same(seen, event, ctx))].find((found) => found >= 0) ?? -1;
    const [seen] = at < 0 ? [] : received.splice(at, 1);
    return ask(api, addon, session, event, ctx, seen, sure >= 0).catch((error) => unsafe(api, session, error));
  }

  /** The answer where the addon has none: what the state files say. @param {string} session @param {unknown} error */
  async function byFiles(session, error) {
    // Before the look: a claim that begins meanwhile waits for this turn.
    const withdraw = passed(session);
    if (!(await closedByFiles(api, session, error))) return undefined;
    withdraw();
    return unsafe(api, session, error);
  }

  // The net for turns that pass no message hook. What a heartbeat or a cron run
  // would say is not lost: it comes again.
  api.on("before_agent_reply", (_event, ctx) => {
    const { sessionKey: session, trigger } = ctx;
    if (!session || shared.handing.getStore()?.session === session) return undefined;
    const routine = trigger === "heartbeat" || trigger === "cron";
    // The turn that a claim waits for was let in before the gate closed, or by the process before; a driver's own, by the gate.
    const letIn = () => !routine && (pending(session) || admitted(session, ctx.runId) || recovers(api, session));
    /** @param {string} text */
    const declined = (text) => ({ handled: true, ...(routine ? {} : { reply: { text } }) });
    return answered(
      sync,
      session,
      (addon, gate) => {
        if (gate === 0) return undefined;
        if (gate === 1) return letIn() ? undefined : declined(RIDDEN);
        // Let in by what the index knew of its Claude session: it must not run there.
        const claude = claudeOf(entryOf(api, session));
        return claude && addon.ridden(claude) ? declined(RIDDEN) : undefined;
      },
      async (error) => {
        if (!(await closedByFiles(api, session, error)) || letIn()) return undefined;
        api.logger.error(`claude-code-sync: CANCEL (error) ${session}: ${textOf(error)}`);
        return declined(UNSAFE);
      },
    );
  });
}

/**
 * Has a gate answered: at once where the addon can tell, after its preparation where that takes
 * a moment, and by `otherwise` where it fails.
 * @typedef {{ handled: boolean, text?: string, reply?: { text: string } } | void} Answer
 * @param {() => import("./types.js").Addon} sync @param {string} session
 * @param {(addon: import("./types.js").Addon, gate: number) => Answer | Promise<Answer>} decide
 * @param {(error: unknown) => Promise<Answer>} otherwise
 * @returns {Answer | Promise<Answer>}
 */
function answered(sync, session, decide, otherwise) {
  try {
    const addon = sync();
    const gate = addon.gate(session);
    if (gate !== UNKNOWN) return decide(addon, gate);
    return soon(prepared(addon))
      .then(() => {
        const now = addon.gate(session);
        if (now === UNKNOWN) throw new Error("the index of all threads is gone again");
        return decide(addon, now);
      })
      .catch(otherwise);
  } catch (error) {
    return otherwise(error);
  }
}

/** @param {Promise<void>} work */
async function soon(work) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the index of all threads is not there after ${WAIT_MS} ms`)), WAIT_MS);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Whether the state files say that a thread may be closed; what cannot be told is yes.
 * @param {import("./types.js").Api} api @param {string} session @param {unknown} error why the addon has no answer
 */
async function closedByFiles(api, session, error) {
  notOpened(api, error);
  try {
    return await mayBeClosed(api, session, claudeOf(entryOf(api, session)));
  } catch (unread) {
    api.logger.error(`claude-code-sync: ${session}: ${textOf(unread)}`);
    return true;
  }
}

/**
 * Whether the gate holds a thread. Which Claude session another one is bound to is in
 * the index, if `confirmed`: then before_agent_reply asks the host once more.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {string} session @param {number} gate what the addon's gate answered @param {boolean} confirmed
 */
function isClosed(api, sync, session, gate, confirmed) {
  if (gate < 2) return gate === 1;
  if (gate === 3 && confirmed) return false;
  const entry = entryOf(api, session);
  sync.learn(session, JSON.stringify(entry ? project(entry) : null));
  const claude = claudeOf(entry);
  return claude !== undefined && sync.ridden(claude);
}

/** Whether this is our own hand-over, which passes once. @param {string} session */
function handing(session) {
  const ours = shared.handing.getStore();
  return ours !== undefined && ours.session === session && !ours.used;
}

/** Lets our own hand-over in. @param {string} session */
function enter(session) {
  const ours = shared.handing.getStore();
  if (ours) ours.used = true;
  passed(session);
}

/**
 * Has the message kept, or refused, by the addon.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {string} session
 * @param {any} event @param {any} ctx @param {{ event: any, ctx: any } | undefined} seen
 * @param {boolean} sure that `seen` is this message, and not one like it
 */
async function ask(api, sync, session, event, ctx, seen, sure) {
  const meta = seen?.event.metadata ?? {};
  const channel = ctx.channelId ?? event.channel;
  const messageId = seen?.event.messageId ?? event.messageId;
  const sender = String(event.senderId ?? ctx.senderId ?? "");
  const entry = entryOf(api, session);
  const route = routeOf(event, ctx, seen, channel) ?? slashRoute(sync, ctx, seen, entry);
  const message = {
    key: session,
    id: [channel, ctx.accountId ?? "", ctx.conversationId ?? session, messageId ?? `at:${event.timestamp ?? ""}`].join(
      "|",
    ),
    // Without an id of the host's, the addon tells apart what is alike and came at one time.
    unnamed: messageId === undefined ? { run: shared.run, timed: event.timestamp !== undefined } : null,
    sender,
    name: meta.senderName ?? meta.senderUsername ?? sender,
    text: event.content ?? event.body ?? "",
    // Only the very id of a `chat.send` lets a driver's prompt in.
    client: sure && !route ? (messageId ?? null) : null,
    route,
    host: {
      ...(seen ? { event: kept(seen.event), ctx: { channelId: channel, accountId: ctx.accountId } } : {}),
      kind: kindOf(event, seen, entry),
    },
    claude: claudeOf(entry) ?? null,
    behind: null,
  };
  const { reply, turn } = JSON.parse(await sync.call("message", JSON.stringify(message)));
  if (reply.reply === "admit") {
    api.logger.info(`claude-code-sync: ALLOW (${reply.because}) ${session} ${messageId ?? "(no id)"}`);
    // A command that shows something is no turn to be waited for.
    if (turn) passed(session);
    if (reply.because === "the driver's prompt") {
      began(messageId);
      wake(session);
    }
    return undefined;
  }
  api.logger.info(`claude-code-sync: CANCEL (ridden) ${session} ${messageId ?? "(no id)"}`);
  wake(session);
  return reply.reply === "decline" ? { handled: true, text: reply.text } : { handled: true };
}

/**
 * What kind of conversation a message was written in, as the host says: of this message
 * whether it is in a group, of the thread which kind. Nothing is read from a key.
 * @param {any} event @param {{ event: any } | undefined} seen @param {any} entry
 * @returns {"direct" | "group" | "channel"}
 */
function kindOf(event, seen, entry) {
  const kind = entry?.chatType;
  const shared = kind === "group" || kind === "channel";
  if (event.isGroup === false && !shared) return "direct";
  if (shared) return kind;
  if (kind === "direct" && event.isGroup === undefined) return "direct";
  // A group that its entry does not tell of yet: what has a name of its own is a channel.
  return seen?.event.metadata?.channelName ? "channel" : "group";
}

/** Where a message came from; `null` for the Control UI and other clients. @param {any} event @param {any} ctx @param {{ event: any, ctx: any } | undefined} seen @param {string} channel */
function routeOf(event, ctx, seen, channel) {
  const meta = seen?.event.metadata ?? {};
  if (!channel || channel === "webchat" || meta.provider === "webchat") return null;
  const conversation = ctx.conversationId ? `${channel}:${ctx.conversationId}` : undefined;
  const to = [meta.originatingTo, meta.to, conversation].find((place) => place && !isSlash(place));
  if (!to) return null;
  const threadId = seen?.event.threadId;
  return {
    channel,
    to,
    ...(ctx.accountId ? { accountId: ctx.accountId } : {}),
    ...(threadId === undefined ? {} : { threadId: String(threadId) }),
  };
}

/**
 * Native commands arrive from `slash:<sender>`, which is no place to answer to: as the
 * conversation on 2026.7 and before, as the address from 2026.8 on.
 * @param {unknown} place
 */
function isSlash(place) {
  return /(^|:)slash(:|$)/.test(String(place));
}

/** The thread's own route for such a command. @param {import("./types.js").Addon} sync @param {any} ctx @param {{ event: any, ctx: any } | undefined} seen @param {any} entry */
function slashRoute(sync, ctx, seen, entry) {
  const meta = seen?.event.metadata ?? {};
  return [ctx.conversationId, meta.originatingTo, meta.to].some(isSlash) && entry
    ? JSON.parse(sync.route(JSON.stringify(project(entry))))
    : null;
}

/** What handling the message later needs. @param {any} event */
function kept(event) {
  const { from, content, timestamp, threadId, messageId, senderId, metadata = {} } = event;
  const {
    to,
    provider,
    senderName,
    senderUsername,
    topicName,
    channelName,
    guildId,
    mediaPath,
    mediaPaths,
    mediaType,
    mediaTypes,
  } = metadata;
  return {
    from,
    content,
    timestamp,
    threadId,
    messageId,
    senderId,
    metadata: {
      to,
      provider,
      senderName,
      senderUsername,
      topicName,
      channelName,
      guildId,
      mediaPaths: mediaPaths ?? (mediaPath ? [mediaPath] : []),
      mediaTypes: mediaTypes ?? (mediaType ? [mediaType] : []),
    },
  };
}

/**
 * Whether both hooks speak of one message: by its id, or where the second hook has
 * none (2026.6 and 2026.7) by thread, sender and time, oldest first. A native command
 * is received under its sender's key and comes to the gate under the thread's.
 * @param {{ event: any, ctx: any }} seen @param {any} event @param {any} ctx
 */
function same(seen, event, ctx) {
  const key = seen.event.sessionKey ?? seen.ctx.sessionKey;
  const native = isSlash(key) && seen.event.senderId === event.senderId;
  if (key !== (event.sessionKey ?? ctx.sessionKey) && !native) return false;
  const id = idOf(event, ctx);
  if (id !== undefined) return seen.event.messageId === id;
  return seen.event.senderId === event.senderId && seen.event.timestamp === event.timestamp;
}

/** The message's id, where the deciding hook has it. @param {any} event @param {any} ctx */
function idOf(event, ctx) {
  return event.messageId ?? ctx.messageId;
}

/** @param {import("./types.js").Api} api @param {string} session @param {unknown} error */
function unsafe(api, session, error) {
  api.logger.error(`claude-code-sync: CANCEL (error) ${session}: ${textOf(error)}`);
  return { handled: true, text: UNSAFE };
}
