// Patches of a host entry that come late: a host that queues them, an operation that is not in
// flight any more when its turn comes, and the empty patch of the next performer behind it.
const { act } = await import(process.argv[2]);

const bound = { cliSessionBindings: { "claude-cli": { sessionId: "ridden" } } };
const claude = (entry) => entry.cliSessionBindings?.["claude-cli"]?.sessionId ?? null;
const parked = [{ session: "t", binding: { sessionId: "ridden" }, resetMark: " " }];
const acts = {
  park: { act: "park", sessions: ["t"], claude: "ridden" },
  restore: { act: "restore", parked, claude: "ridden", over: true },
  adopt: { act: "adopt", session: "t", claude: { id: "other", cwd: "/w" }, from: "ridden" },
};

/** A host with one entry. Its patches wait for each other, and the first one for `opens`. */
function host(entry, opens) {
  let queue = opens;
  const patchSessionEntry = ({ update }) => {
    const patched = queue.then(async () => Object.assign(entry, (await update(entry)) ?? {}));
    queue = patched.catch(() => {});
    return patched;
  };
  return { logger: console, runtime: { agent: { session: { patchSessionEntry, getSessionEntry: () => entry } } } };
}

const came = {};
for (const [name, what] of Object.entries(acts)) {
  const entry = name === "restore" ? {} : structuredClone(bound);
  let open;
  const api = host(
    entry,
    new Promise((resolve) => {
      open = resolve;
    }),
  );
  let flying = true;
  const asked = [];
  const sync = { changed: () => {}, inFlight: (key, op) => (asked.push([key, op]), flying) };
  const first = act(api, sync, { key: "t", op: 7, act: what });
  // The performer stops meanwhile; the next one passes its empty patch behind.
  flying = false;
  const barrier = act(api, sync, { key: "t", op: 8, act: { act: "barrier", sessions: ["t"] } });
  const early = await Promise.race([barrier, new Promise((resolve) => setTimeout(() => resolve("waits"), 50))]);
  open();
  came[name] = { early, barrier: (await barrier).outcome, late: (await first).outcome, claude: claude(entry), asked };
}

// What cannot be asked is not written either.
const entry = structuredClone(bound);
const sync = {
  changed: () => {},
  inFlight: () => {
    throw new Error("the disk is gone");
  },
};
const { outcome, what } = await act(host(entry, Promise.resolve()), sync, { key: "t", op: 7, act: acts.park });
came.unasked = { outcome, what, claude: claude(entry) };
console.log(JSON.stringify(came));
