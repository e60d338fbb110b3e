// The turns of chat rides: from the moment the gate let a driver's prompt in to the
// agent's last words. The host names every event of such a turn by the driver's own id
// (docs/hosts.md, E and O); what a restart has swallowed is read from its history.

import { shared } from "./process_state.js";
import { busy } from "./turns.js";

/** Turns remembered after their end, for a follower that comes late. */
const RUNS = 256;
/** Characters of an answer that are kept: as many bytes as one relay item may have, at least. */
const TEXT_MAX = 262_144;
/** How often a turn that shows no end is looked for in the host's entry. */
const LOOK_MS = 1_000;
/** Looks in a row without a running turn until its end counts as missed: a host may be slow to begin one, or to take one up again after a restart. */
const MISSED = { known: 20, unknown: 10 };
/** An end is believed when nothing follows for so long: a host may begin again with another model. */
const SETTLE_MS = 300;
/** Rows of the host's history that are searched for a turn. */
const HISTORY_ROWS = 100;
/** What an agent says instead of an answer where it has none. */
const SILENT = "NO_REPLY";

/**
 * @typedef {object} Run one turn of a chat ride
 * @property {string} text the last message so far
 * @property {string | undefined} row the last message as the transcript has it
 * @property {"complete" | "aborted" | "failed" | undefined} how once it has ended
 */

/** The gate let a driver's prompt in. @param {string} id */
export function began(id) {
  if (shared.runs.size >= RUNS) shared.runs.delete(shared.runs.keys().next().value ?? "");
  shared.runs.set(id, { text: "", row: undefined, how: undefined });
}

/** Hears the host's events of such turns. @param {import("./types.js").Api} api @returns {() => void} */
export function listen(api) {
  const offs = [
    api.runtime.events.onAgentEvent((event) => heard(/** @type {any} */ (event))),
    api.runtime.events.onSessionTranscriptUpdate((update) => written(/** @type {any} */ (update))),
  ];
  return () => offs.forEach((off) => typeof off === "function" && off());
}

/** @param {any} event */
function heard({ runId, stream, data }) {
  const run = shared.runs.get(runId);
  if (!run) return;
  // What is said beside a tool is no answer (2026.7 and later mark it).
  if (stream === "assistant" && typeof data?.text === "string" && data.phase !== "commentary")
    run.text = data.text.slice(0, TEXT_MAX);
  if (stream !== "lifecycle") return;
  // An abort is told twice on some hosts, first as a plain end.
  if (data?.phase === "start") run.how = undefined;
  else if (data?.phase === "end") run.how = data.aborted ? "aborted" : (run.how ?? "complete");
  else if (data?.phase === "error") run.how = data.aborted || run.how === "aborted" ? "aborted" : "failed";
}

/** @param {any} update */
function written({ message, runId }) {
  if (message?.role !== "assistant") return;
  const key = String(message.idempotencyKey ?? "");
  const id = runId ?? message.__openclaw?.runId ?? (key.startsWith("cli-assistant:") ? key.slice(14) : "");
  const run = shared.runs.get(id);
  if (run && message.stopReason !== "error") run.row = words(message) || run.row;
}

/** The text of a message, without what it says beside a tool it uses. @param {any} message */
function words(message) {
  const { content, stopReason } = message;
  if (stopReason === "toolUse") return "";
  const blocks =
    typeof content === "string" ? [{ type: "text", text: content }] : Array.isArray(content) ? content : [];
  const text = blocks
    .filter((block) => block?.type === "text")
    .map((block) => block.text ?? "")
    .join("\n")
    .trim();
  return text === SILENT ? "" : text.slice(0, TEXT_MAX);
}

/**
 * Sees a turn to its end.
 * @param {import("./types.js").Api} api @param {string} session @param {string} id
 * @returns {Promise<import("./types.js").Outcome>}
 */
export async function follow(api, session, id) {
  for (let idle = 0; ; ) {
    const run = shared.runs.get(id);
    if (run?.how) {
      const how = run.how;
      await sleep(SETTLE_MS);
      if (run.how !== how) continue;
      const said = run.row ?? (run.text.trim() === SILENT ? "" : run.text);
      return { outcome: "answered", how, text: how === "failed" ? "" : said };
    }
    idle = busy(api, session) ? 0 : idle + 1;
    if (idle > (run ? MISSED.known : MISSED.unknown))
      return { outcome: "answered", ...(await lookedUp(session, id, run)) };
    await sleep(LOOK_MS);
  }
}

/**
 * A turn whose end nobody heard: the plugin or the gateway was restarted meanwhile.
 * @param {string} session @param {string} id @param {Run | undefined} run
 */
async function lookedUp(session, id, run) {
  const sdk = /** @type {any} */ (await import("openclaw/plugin-sdk/gateway-runtime"));
  const options = { json: true, timeout: "15000" };
  const history = await sdk.callGatewayFromCli(
    "chat.history",
    options,
    { sessionKey: session, limit: HISTORY_ROWS },
    { progress: false },
  );
  const rows = /** @type {any[]} */ (history?.messages ?? []);
  const at = rows.findIndex((row) => (row.idempotencyKey ?? row.__openclaw?.idempotencyKey) === `${id}:user`);
  let text = "";
  for (const row of at < 0 ? [] : rows.slice(at + 1)) {
    if (row.role === "user") break;
    if (row.role === "assistant" && row.stopReason !== "error") text = words(row) || text;
  }
  if (text) return { how: "complete", text };
  return { how: run ? "complete" : "lost", text: "" };
}

/** @param {number} ms @returns {Promise<void>} */
function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
