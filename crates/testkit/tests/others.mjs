// What a gateway says to another one that claims a Claude session, and what its own claim waits
// for: turns that were let in, and on hosts before 2026.8 turns that passed no gate. The clock
// is ours.
const lib = process.argv[2];
const { act } = await import(`${lib}/effects.js`);
const { answerOthers } = await import(`${lib}/others.js`);
const { passed, follow } = await import(`${lib}/turns.js`);

let skipped = 0;
const now = Date.now;
Date.now = () => now() + skipped;
process.uptime = () => 1_000;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A host of a version, with the entry of one thread. */
function host(version, entry) {
  const listeners = new Set();
  const session = {
    getSessionEntry: () => entry,
    patchSessionEntry: async ({ update }) => Object.assign(entry, update(entry) ?? {}),
  };
  const events = { onAgentEvent: (listen) => (listeners.add(listen), () => listeners.delete(listen)) };
  const api = { logger: console, runtime: { version, agent: { session }, events } };
  follow(api);
  const tell = (sessionKey, runId, phase) =>
    listeners.forEach((listen) => listen({ stream: "lifecycle", sessionKey, runId, data: { phase } }));
  return { api, tell };
}
const bound = () => ({ cliSessionBindings: { "claude-cli": { sessionId: "ridden" } } });

/** What another gateway is told, looked at after a moment. */
async function other(version) {
  const key = `agent:main:other-${version}`;
  const { api, tell } = host(version, bound());
  const told = [];
  const sync = {
    owed: () => JSON.stringify(told.length ? [] : [{ claude: "ridden", since: 5 }]),
    bound: () => [key],
    call: async (what, text) => (told.push([what, JSON.parse(text)]), "{}"),
  };
  passed(key);
  const stop = answerOthers(api, sync, () => true);
  const seen = [];
  await sleep(500);
  seen.push(told.length);
  tell(key, "r1", "start");
  skipped += 4_500;
  await sleep(500);
  seen.push(told.length);
  tell(key, "r1", "end");
  // What waited behind it has its time, too.
  skipped += 6_500;
  await sleep(500);
  stop();
  return [...seen, told];
}

/** What a claim of this gateway waits for, stage by stage. */
async function own(version, waits) {
  const key = `agent:main:own-${version}`;
  const { api, tell } = host(version, bound());
  const sync = { changed: () => {}, inFlight: () => true, call: async () => JSON.stringify(waits) };
  const does = async (what) => {
    const { outcome, what: text } = await act(api, sync, {
      key,
      op: 1,
      act: { sessions: [key], claude: "ridden", ...what },
    });
    return text ? `${outcome}: ${text}` : outcome;
  };
  const came = [await does({ act: "settle" }), await does({ act: "park" }), await does({ act: "acknowledge" })];
  // An `agent` request that had read the binding before: it is announced, runs and ends.
  tell(key, "r2", "start");
  came.push(await does({ act: "acknowledge" }));
  tell(key, "r2", "end");
  came.push(await does({ act: "acknowledge" }));
  // And once more from the beginning, with nothing beside it.
  skipped += 10;
  came.push(await does({ act: "settle" }), await does({ act: "park" }));
  skipped += 4_100;
  came.push(await does({ act: "acknowledge" }));
  return came;
}

console.log(
  JSON.stringify({
    other: { new: await other("2026.9.6"), old: await other("2026.7.1") },
    own: {
      new: await own("2026.9.6", []),
      old: await own("2026.7.1", []),
      waits: await own("2026.9.6", ["/elsewhere"]),
    },
  }),
);
