// The plugin's restore against a host that keeps its entries in memory: what became of two
// entries, of which a turn beside the ride has bound the first one elsewhere.
const { act } = await import(process.argv[2]);

const bound = (claude) => ({ cliSessionBindings: { "claude-cli": { sessionId: claude } } });
const claude = (entry) => entry?.cliSessionBindings?.["claude-cli"]?.sessionId;
const sync = new Proxy({}, { get: () => () => Promise.resolve("null") });
const parked = ["slipped", "parked"].map((session) => ({
  session,
  binding: { sessionId: "ridden" },
  resetMark: undefined,
}));

const came = [];
for (const over of [false, true, undefined]) {
  const entries = { slipped: bound("other"), parked: {} };
  const session = {
    getSessionEntry: ({ sessionKey }) => entries[sessionKey],
    patchSessionEntry: async ({ sessionKey, update }) =>
      Object.assign(entries[sessionKey], update(entries[sessionKey])),
  };
  const api = { logger: console, runtime: { agent: { session } } };
  const effect = { key: "slipped", op: 1, act: { act: "restore", parked, claude: "ridden", over } };
  const { outcome, sessions } = await act(api, sync, effect);
  came.push([outcome, sessions ?? [], claude(entries.slipped), claude(entries.parked)]);
}
console.log(JSON.stringify(came));
