// Claims and releases a thread as the store does, with a lock of `proper-lockfile` and a
// file replaced and synced like ours. Each line on stdin is one claim and release.
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";

const lockfile = createRequire(import.meta.url)(process.argv[2]);
const folder = process.argv[3];
const file = path.join(folder, "thread.json");

function replace(value) {
  const temporary = `${file}.new`;
  const fd = fs.openSync(temporary, "w", 0o600);
  fs.writeSync(fd, JSON.stringify(value));
  fs.fsyncSync(fd);
  fs.closeSync(fd);
  fs.renameSync(temporary, file);
  const dir = fs.openSync(folder, "r");
  fs.fsyncSync(dir);
  fs.closeSync(dir);
}

function change(decide) {
  const release = lockfile.lockSync(file, { realpath: false });
  replace(decide(JSON.parse(fs.readFileSync(file, "utf8"))));
  release();
}

const state = "s".repeat(5700);
replace({ epoch: 0, driver: null, state });
createInterface({ input: process.stdin }).on("line", () => {
  const begin = process.hrtime.bigint();
  const grant = randomUUID();
  change((thread) => {
    if (thread.driver !== null) throw new Error("held");
    return { epoch: thread.epoch + 1, driver: grant, state };
  });
  change((thread) => {
    if (thread.driver !== grant) throw new Error("not ours");
    return { ...thread, driver: null };
  });
  process.stdout.write(`${process.hrtime.bigint() - begin}\n`);
});
