// The plugin's gate and hand-over against a host of a few objects: what is asked of the
// addon for messages without an id, and as what kind of conversation a held message comes back.
const lib = process.argv[2];
const { registerGate } = await import(`${lib}/gate.js`);
const { hand } = await import(`${lib}/hand_over.js`);

/** What the gate asked the addon. */
const asked = [];
const sync = {
  gate: () => 1,
  route: () => "null",
  call: async (what, payload) => {
    if (what === "message") asked.push(JSON.parse(payload));
    return JSON.stringify({ reply: { reply: "hold" }, turn: true });
  },
};
let entry;
/** As what a message was handed over. */
const handed = [];
const api = {
  id: "claude-code-sync",
  config: {},
  logger: { info() {}, warn() {}, error: console.error },
  on: (name, hook) => {
    hooks[name] = hook;
  },
  runtime: {
    version: "2026.9.6",
    agent: { session: { getSessionEntry: () => entry } },
    config: { current: () => ({}) },
    channel: {
      inbound: {
        buildContext: async (given) => {
          handed.push(given);
          return {};
        },
        dispatchReply: async () => ({ dispatchResult: { deferredToActiveRun: true } }),
      },
      session: { resolveStorePath: () => "" },
      reply: {},
      outbound: { loadAdapter: async () => ({}) },
    },
  },
};
const hooks = {};
registerGate(api, () => sync);

/** A message passes both hooks, as the host calls them. */
async function writes(session, channel, { content, timestamp, isGroup, metadata }) {
  const sender = { senderId: "7", timestamp, content, sessionKey: session };
  const ctx = { channelId: channel, accountId: "default", conversationId: "C1", sessionKey: session };
  hooks.message_received(
    { from: `${channel}:7`, ...sender, metadata: { to: `${channel}:C1`, provider: channel, ...metadata } },
    ctx,
  );
  await hooks.before_dispatch({ channel, ...sender, isGroup }, ctx);
  return asked.at(-1);
}

const out = { ids: [], kinds: [] };
entry = { chatType: "direct" };
for (const content of ["one", "two", "two"]) {
  out.ids.push(await writes("agent:main:sms:direct:7", "sms", { content, timestamp: 5, isGroup: false, metadata: {} }));
}
const cases = [
  ["discord", "channel", true, { channelName: "#lab", guildId: "g1" }],
  ["slack", "channel", true, { channelName: "#lab" }],
  ["slack", "group", true, {}],
  // The host has not written the entry of this conversation yet.
  ["discord", undefined, true, { channelName: "#lab", guildId: "g1" }],
  ["telegram", undefined, true, {}],
  ["telegram", "direct", false, {}],
];
for (const [channel, chatType, isGroup, metadata] of cases) {
  entry = { chatType };
  const message = await writes(`agent:main:${channel}:channel:C1`, channel, {
    content: "x",
    timestamp: 9,
    isGroup,
    metadata,
  });
  await hand(api, message.key, { ...message, seq: 1, atMs: 9, attempts: 0 });
  out.kinds.push(handed.at(-1).conversation.kind);
}
// Held by an older version: the host's entry tells, or nobody does.
for (const chatType of ["direct", "channel", undefined]) {
  entry = { chatType };
  await hand(api, "agent:main:x:C1", {
    sender: "7",
    name: "T",
    text: "x",
    route: { channel: "x", to: "x:C1" },
    host: null,
    seq: 1,
    atMs: 9,
    attempts: 0,
  });
  out.kinds.push(handed.at(-1).conversation.kind);
}
console.log(JSON.stringify(out));
process.exit(0);
