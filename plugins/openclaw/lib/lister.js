// Lists a host's entries in a process of its own, so that the gateway's event loop
// is not held: through the host's public SDK, one line of JSON per entry, projected.
// Reads only. Its one argument says which SDK and which agents.
import { readdirSync } from "node:fs";
import { setPriority } from "node:os";
import { join } from "node:path";
import { project } from "./host.js";

/** Bytes written at once. */
const CHUNK = 256 * 1024;

// The gateway goes first.
try {
  setPriority(5);
} catch {
  /* where that is not allowed, it is not */
}

const { sdk, stateDir, agents } = JSON.parse(process.argv[2] ?? "{}");
const { listSessionEntries } = await import(sdk);
let [text, done] = ["", 0];
for (const { agentId, storePath } of [...agents, ...unlisted()]) {
  for (const { sessionKey, entry } of listSessionEntries({ agentId, storePath, readOnly: true })) {
    text += `${JSON.stringify({ key: sessionKey, agentId, entry: project(entry) })}\n`;
    done++;
    if (text.length > CHUNK) await flush();
  }
}
text += `${JSON.stringify({ done })}\n`;
await flush();
process.exit(0);

/** Agents that are in no configuration any more, but have entries. @returns {{ agentId: string, storePath?: string }[]} */
function unlisted() {
  try {
    return readdirSync(join(stateDir, "agents"), { withFileTypes: true })
      .filter(
        (folder) => folder.isDirectory() && !agents.some((/** @type {any} */ agent) => agent.agentId === folder.name),
      )
      .map((folder) => ({ agentId: folder.name }));
  } catch {
    return [];
  }
}

/** @returns {Promise<void>} */
function flush() {
  const chunk = text;
  text = "";
  return new Promise((resolve, reject) => process.stdout.write(chunk, (error) => (error ? reject(error) : resolve())));
}
