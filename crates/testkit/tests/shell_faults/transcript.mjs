// A Claude session's transcript, written as Claude Code writes it: behind the last line.
import { randomUUID } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";

/**
 * Writes a turn and gives the ids of its lines. The file is open only meanwhile: whoever has it
 * open counts as a writer.
 * @param {string} path @param {string} claude @param {string} prompt @param {string} answer
 */
export function writeTurn(path, claude, prompt, answer) {
  const file = openSync(path, "a+");
  try {
    const { size } = fstatSync(file);
    const bytes = Buffer.alloc(Math.min(size, 65_536));
    readSync(file, bytes, 0, bytes.length, size - bytes.length);
    const last = JSON.parse(bytes.toString("utf8").trimEnd().split("\n").at(-1) ?? "");
    const line = (/** @type {string} */ parentUuid, /** @type {string} */ type, /** @type {object} */ message) => ({
      parentUuid,
      isSidechain: false,
      type,
      message,
      uuid: randomUUID(),
      timestamp: new Date().toISOString(),
      userType: "external",
      cwd: "/home/p/proj",
      sessionId: claude,
      version: "2.1.330",
    });
    const content = [{ type: "text", text: answer }];
    const user = line(last.uuid, "user", { role: "user", content: prompt });
    const said = line(user.uuid, "assistant", { role: "assistant", content, stop_reason: "end_turn" });
    writeSync(file, `${JSON.stringify(user)}\n${JSON.stringify(said)}\n`);
    return [user.uuid, said.uuid];
  } finally {
    closeSync(file);
  }
}
