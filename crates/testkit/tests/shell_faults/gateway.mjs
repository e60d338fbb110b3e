// One gateway of the random world, a process of its own: told what to do line by line.
import { closeSync, openSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { dice } from "./dice.mjs";
import { makeHost } from "./host.mjs";
import { writeTurn } from "./transcript.mjs";

const { name, seed, stateDir, lockDir, history, claude, transcript, copies, count } = JSON.parse(process.argv[2]);
const chance = dice(seed);
const record = openSync(history, "a");
/** Descriptors that are taken away from the gateway. @type {number[]} */
const taken = [];
let slow = 0;

const host = makeHost({
  stateDir,
  config: { lockDir },
  turnMs: () => chance(40),
  patchMs: () => (slow > 0 ? chance(slow) : 0),
  sendFails: () => ["refused", "unknown"][chance(30)],
  noted: (line) => writeSync(record, `${JSON.stringify({ gateway: name, ...line })}\n`),
  write(turn) {
    if (turn.claude !== claude) return;
    // Claude Code is another process, with descriptors of its own.
    const lent = taken.pop();
    if (lent !== undefined) closeSync(lent);
    writeTurn(transcript, claude, turn.text, `answer to ${turn.text}`);
  },
});

let copy = 0;
let loaded = await host.load(`${copies}/${copy}`);
const commands = {
  message: ({ key, text, sender }) => host.message(key, text, { id: text, sender }),
  call: ({ method, params, client }) =>
    host.call(method, params, client === undefined ? undefined : { connId: client }),
  /** The plugin is loaded anew, as the host does when its configuration changes. */
  async reload() {
    const old = loaded;
    copy += 1;
    const ended = host.unload(old);
    loaded = await host.load(`${copies}/${copy % count}`);
    await ended;
  },
  /** The process has no descriptor left for a while. */
  async descriptors({ ms }) {
    try {
      for (;;) taken.push(openSync("/dev/null"));
    } catch {
      await host.pause(ms);
    }
    for (const file of taken.splice(0)) closeSync(file);
  },
  slow: ({ ms }) => {
    slow = ms;
  },
  binding: ({ key }) => host.claudeOf(host.entries.get(key)) ?? null,
};
for await (const line of createInterface({ input: process.stdin })) {
  const { id, what, ...how } = JSON.parse(line);
  Promise.resolve(commands[what](how)).then(
    (answer) => console.log(JSON.stringify({ id, answer: answer ?? null })),
    (error) => console.log(JSON.stringify({ id, failed: String(error) })),
  );
}
process.exit(0);
