// The gate while the store cannot be opened, or has no index: what becomes of messages in a
// thread that is ridden and in one that is not.
import { spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { makeHost } from "./host.mjs";

const [fault, driver, folder, stateDir, lockDir] = process.argv.slice(2);
const host = makeHost({ stateDir, config: { lockDir } });
const [RIDDEN, FREE] = ["agent:main:telegram:direct:7", "agent:main:telegram:direct:8"];
for (const key of [RIDDEN, FREE]) {
  const context = { channel: "telegram", to: "telegram:1" };
  host.entries.set(key, { chatType: "direct", lastChannel: "telegram", lastTo: "telegram:1", delivery: { context } });
}

/** What becomes of a message in each of both. */
const both = async (name) => [await host.message(RIDDEN, `${name} 1`), await host.message(FREE, `${name} 2`)];
/** The same once it is as given, or as it is after a while. */
async function until(name, wanted) {
  for (let looks = 0; ; looks++) {
    const seen = await both(`${name} ${looks}`);
    if (String(seen) === String(wanted) || looks === 100) return seen;
    await host.pause(100);
  }
}

const first = await host.load(`${folder}/first`);
const claim = { key: RIDDEN, driver: JSON.parse(driver), secret: "0".repeat(32), waitMs: 20_000 };
const granted = await host.call("ride_claim", claim);
if (!granted.ok) throw new Error(JSON.stringify(granted));
const out = { before: await both("before") };

const index = `${lockDir}/index.json`;
const gateways = () => readdirSync(lockDir).filter((name) => !name.includes("."));
const faults = {
  /** The process has no descriptor left when the plugin is loaded again. */
  async descriptors() {
    await import(`${folder}/second/index.js`);
    const taken = [];
    try {
      for (;;) taken.push(openSync("/dev/null"));
    } catch (error) {
      out.error = error.code;
    }
    return () => taken.forEach((file) => closeSync(file));
  },
  /** A disk without room, after a restart of the machine: no index counts. */
  async full() {
    unlinkSync(index);
    const ballast = `${lockDir}/ballast`;
    try {
      for (let n = 0; ; n++) writeFileSync(`${ballast}.${n}`, Buffer.alloc(n < 100 ? 4_096 : 1));
    } catch (error) {
      out.error = error.code;
    }
    return () =>
      readdirSync(lockDir)
        .filter((name) => name.startsWith("ballast"))
        .forEach((name) => rmSync(`${lockDir}/${name}`));
  },
  /** Nothing can be written. */
  async readonly() {
    const all = [lockDir, ...gateways().map((name) => `${lockDir}/${name}`)];
    const files = all.flatMap((dir) =>
      readdirSync(dir)
        .filter((name) => name.endsWith(".lock"))
        .map((name) => `${dir}/${name}`),
    );
    for (const file of files) chmodSync(file, 0o400);
    for (const dir of all) chmodSync(dir, 0o500);
    return () => {
      for (const dir of all) chmodSync(dir, 0o700);
      for (const file of files) chmodSync(file, 0o600);
    };
  },
  /** The states are there and cannot be read. */
  async unreadable() {
    chmodSync(lockDir, 0o000);
    return () => chmodSync(lockDir, 0o700);
  },
  /** The package has no addon for this platform. */
  async absent() {
    const native = `${folder}/second/native`;
    renameSync(native, `${native}.aside`);
    return () => renameSync(`${native}.aside`, native);
  },
  /** The index is gone while another process changes a thread of another gateway. */
  async locked() {
    const [other] = gateways().filter((name) => readdirSync(`${lockDir}/${name}`).includes("other"));
    const holder = spawn("flock", [`${lockDir}/${other}/store.lock`, "sh", "-c", "echo held; cat"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await new Promise((resolve) => holder.stdout.once("data", resolve));
    unlinkSync(index);
    return () => holder.stdin.end();
  },
};
await host.unload(first);
const end = await faults[fault]();
try {
  await host.load(`${folder}/second`);
} catch (error) {
  out.refused = error.message;
}
if (fault === "locked") {
  // The event loop goes on, or the other process is never told to let go.
  const waiting = both("during");
  await host.pause(300);
  out.waits = host.history.every(({ text }) => !text?.startsWith("during"));
  end();
  out.during = await waiting;
} else {
  out.during = await both("during");
  if (fault === "absent") {
    const threads = gateways()
      .map((name) => `${lockDir}/${name}/threads`)
      .filter((dir) => existsSync(dir));
    for (const dir of threads) renameSync(dir, `${dir}.aside`);
    out.without = await both("without states");
    for (const dir of threads) renameSync(`${dir}.aside`, dir);
  }
  end();
}
out.after = await until("after", ["kept", "turn"]);
out.history = host.history.filter(({ text }) => text?.startsWith("during"));
console.log(JSON.stringify(out));
process.exit(0);
