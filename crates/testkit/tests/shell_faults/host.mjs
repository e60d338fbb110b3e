// A host of a few objects around the whole plugin: its hooks, methods and service, and entries
// in memory. A turn of the agent takes a moment and is on the Claude session that its entry
// names when it begins. What happens is noted in order, for the tests to judge.
import { AsyncLocalStorage } from "node:async_hooks";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

/**
 * @typedef {object} Options
 * @property {string} stateDir
 * @property {object} [config]
 * @property {string} [version]
 * @property {() => number} [turnMs] how long a turn takes
 * @property {() => number} [patchMs] how long a change of an entry waits, before it and in it
 * @property {() => string | undefined} [sendFails] how a send to the channel fails
 * @property {(line: object) => void} [noted] told of each line of the history
 * @property {(turn: { key: string, claude: string | undefined, text: string }) => void} [write] writes a turn's lines
 */

/** @param {Options} options */
export function makeHost(options) {
  const { stateDir, config = {}, version = "2026.9.6", turnMs = () => 5, patchMs = () => 0 } = options;
  const history = [];
  const told = [];
  // What a host keeps over a restart.
  const stored = `${stateDir}/entries.json`;
  const entries = new Map(existsSync(stored) ? JSON.parse(readFileSync(stored, "utf8")) : []);
  /** Fails before anything is changed, as where the process has no descriptor left. */
  const store = (key, entry) => {
    const all = new Map(entries).set(key, JSON.parse(JSON.stringify(entry)));
    writeFileSync(`${stored}.new`, JSON.stringify([...all]));
    renameSync(`${stored}.new`, stored);
    entries.set(key, all.get(key));
  };
  const events = new Set();
  /** What each copy of the plugin registered; the newest is asked. */
  let generations = [];
  let patches = Promise.resolve();
  let ids = 0;
  const note = (what, more = {}) => {
    history.push({ what, ...more });
    options.noted?.({ what, ...more });
  };
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const emit = (event) => events.forEach((listen) => listen(event));

  const session = {
    getSessionEntry: ({ sessionKey }) => structuredClone(entries.get(sessionKey)),
    listSessionEntries: () =>
      [...entries].map(([sessionKey, entry]) => ({ sessionKey, entry: structuredClone(entry) })),
    resolveStorePath: () => `${stateDir}/sessions.json`,
    // One critical section; `update` is asked in it, and its answer written a moment later.
    patchSessionEntry: async ({ sessionKey, update }) => {
      await pause(patchMs());
      const mine = patches.then(async () => {
        const entry = entries.get(sessionKey);
        if (!entry) return undefined;
        const change = update(structuredClone(entry));
        await pause(patchMs());
        if (change) store(sessionKey, { ...entry, ...change });
        return structuredClone(entries.get(sessionKey));
      });
      patches = mine.catch(() => {});
      return mine;
    },
  };

  const claudeOf = (entry) => entry?.cliSessionBindings?.["claude-cli"]?.sessionId;

  async function first(name, event, ctx) {
    for (const hook of generations.at(-1)?.hooks[name] ?? []) {
      const answer = await hook(event, ctx);
      if (answer) return answer;
    }
    return undefined;
  }

  /** A turn of the agent, as the host runs it once a message was let in. */
  async function turn(key, text, runId) {
    // The binding is read some time before the turn is told of.
    const claude = claudeOf(entries.get(key));
    emit({ stream: "lifecycle", sessionKey: key, runId, data: { phase: "start" } });
    const kept = await first("before_agent_reply", { prompt: text }, { sessionKey: key, trigger: "user", runId });
    if (kept?.handled) {
      note("stopped", { key, text, reply: kept.reply?.text });
    } else {
      note("turn begins", { key, text, claude });
      await pause(turnMs());
      options.write?.({ key, text, claude });
      note("turn ends", { key, text, claude });
    }
    emit({ stream: "lifecycle", sessionKey: key, runId, data: { phase: "end" } });
    return kept?.handled ? "refused" : "turn";
  }

  /** A message of a channel, through both hooks. */
  async function message(key, text, { id = `m${++ids}`, sender = "7" } = {}) {
    const event = {
      from: `telegram:${sender}`,
      content: text,
      timestamp: 1_000 + ids,
      messageId: id,
      senderId: sender,
      sessionKey: key,
      metadata: { to: "telegram:1", provider: "telegram", senderName: "Ada" },
    };
    const ctx = { channelId: "telegram", accountId: "default", conversationId: "1", sessionKey: key };
    for (const hook of generations.at(-1)?.hooks.message_received ?? []) hook(event, ctx);
    const answer = await first("before_dispatch", { ...event, channel: "telegram", isGroup: false }, ctx);
    if (answer?.handled) {
      note(answer.text ? "refused" : "kept", { key, text, reply: answer.text });
      return answer.text ? "refused" : "kept";
    }
    return turn(key, text, id);
  }

  const adapter = {
    sendText: async ({ text }) => {
      const failure = options.sendFails?.();
      if (failure === "refused") throw Object.assign(new Error("not reached"), { code: "ECONNREFUSED" });
      told.push(text);
      note("sent", { text });
      if (failure === "unknown") throw new Error("the answer was lost");
      return { messageId: String(told.length) };
    },
  };
  const channel = {
    inbound: {
      buildContext: async (given) => given,
      dispatchReply: async ({ ctxPayload, routeSessionKey }) => {
        const text = ctxPayload.message.rawBody;
        const event = {
          content: text,
          messageId: ctxPayload.messageId,
          senderId: ctxPayload.sender.id,
          sessionKey: routeSessionKey,
        };
        const ctx = { channelId: "telegram", accountId: "default", conversationId: "1", sessionKey: routeSessionKey };
        const answer = await first("before_dispatch", { ...event, channel: "telegram" }, ctx);
        if (answer?.handled) return {};
        note("handed", { key: routeSessionKey, text });
        await turn(routeSessionKey, text, ctxPayload.messageId);
        return {};
      },
    },
    session: { resolveStorePath: () => "" },
    reply: {},
    outbound: { loadAdapter: async () => adapter },
  };

  /** Loads a copy of the plugin and registers it, as a start or a reload does. */
  async function load(folder, { start = true } = {}) {
    const { default: plugin } = await import(`${folder}/index.js`);
    const one = { hooks: {}, methods: {}, services: [] };
    const logged = (...what) => process.env.SHOW && console.error(stateDir.at(-1), history.length, ...what);
    plugin.register({
      id: "claude-code-sync",
      config: { plugins: { entries: { "claude-code-sync": { hooks: { allowConversationAccess: true } } } } },
      pluginConfig: config,
      logger: { info: logged, warn: logged, error: logged },
      on: (name, hook) => (one.hooks[name] ??= []).push(hook),
      registerGatewayMethod: (name, method) => {
        one.methods[name] = method;
      },
      registerCommand: () => {},
      registerService: (service) => one.services.push(service),
      runtime: {
        version,
        state: { resolveStateDir: () => stateDir },
        agent: { session },
        events: {
          onAgentEvent: (listen) => (events.add(listen), () => events.delete(listen)),
          onSessionTranscriptUpdate: () => () => {},
        },
        config: { current: () => ({ channels: { telegram: {} } }) },
        channel,
      },
    });
    generations.push(one);
    if (start) for (const service of one.services) await service.start({ gatewayEvents: { emit() {} } });
    return one;
  }

  /** Ends a copy; without one that is loaded the gateway has none. */
  async function unload(one) {
    generations = generations.filter((other) => other !== one);
    for (const service of one.services) await service.stop();
  }

  /** Calls a method of the newest copy. */
  function call(method, params, client = { connId: "c1" }) {
    return new Promise((resolve) => {
      const respond = (ok, answer, error) => resolve(ok ? { ok: answer } : { error });
      // A request has a context of its own.
      new AsyncLocalStorage().run({}, () => generations.at(-1).methods[method]({ params, client, respond }));
    });
  }

  return { entries, history, told, message, load, unload, call, note, pause, claudeOf };
}
