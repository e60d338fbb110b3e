// Whether a host's patch of an entry is a critical section: an empty patch that begins while
// the update callback of another one runs ends behind what that one writes; an entry that is
// not there, and one of another key, too. Argument: the host's installed package.
import { createRequire } from "node:module";

const from = createRequire(`${process.argv[2]}/package.json`);
const { patchSessionEntry, upsertSessionEntry, getSessionEntry } = await import(
  from.resolve("openclaw/plugin-sdk/session-store-runtime")
);

const key = (name) => `agent:main:telegram:group:-100${name}`;
const at = (name) => ({ agentId: "main", sessionKey: key(name) });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
for (const name of ["one", "two"])
  await upsertSessionEntry({ ...at(name), entry: { sessionId: `s-${name}`, updatedAt: 1, label: "before" } });

const order = [];
const slow = patchSessionEntry({
  ...at("one"),
  preserveActivity: true,
  update: async () => {
    order.push("asked");
    await sleep(300);
    order.push("agreed");
    return { label: "after" };
  },
});
await sleep(100);
const empty = (name, read) =>
  patchSessionEntry({
    ...at(name),
    preserveActivity: true,
    update: (entry) => (order.push(`empty ${name} finds ${entry.label}`), null),
  }).then(() => order.push(`empty ${name} ended, ${read} is ${getSessionEntry(at(read)).label}`));
await Promise.all([empty("one", "one"), empty("none", "one"), empty("two", "one"), slow]);
console.log(JSON.stringify(order));
