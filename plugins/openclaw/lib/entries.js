// The host's side of the index: what is read when, so that the event loop is never
// held for long. A list of all entries is made by lister.js in a process of its own;
// what the host says has changed is read again in short slices. Hosts before 2026.8
// do not say: there the list is made again, at most every few seconds, when a store's
// file has changed; on a busy machine the one before is answered from meanwhile.

import { statSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { agents, claudeOf, entryOf, project } from "./host.js";

/** How long reading may hold the event loop at a stretch. */
const SLICE_MS = 3;
/** Fewer entries than this are listed on the event loop, unless that was seen to take longer than a slice. */
const FEW = 150;
/** More changes than this are cheaper to read in one list. */
const MANY = 400;
/** Where the host tells no changes: how old a list may be. */
const FRESH_MS = 2_000;
/** And where it does: not everything is told. What another plugin patches is seen so long after. */
const AGED_MS = 300_000;
/** How long a newer list is waited for where an older one is there. */
const PATIENCE_MS = 1_500;
/** What changed is read again this long after, while something is ridden. */
const SETTLE_MS = 1_000;

/**
 * @typedef {object} Entries
 * @property {() => Promise<void>} ready resolves when the index is as the host is
 * @property {(session: string, claude: string | undefined) => Promise<string[]>} twins other threads bound to a Claude session, of those known when `ready`
 * @property {(events: any) => () => void} follow takes the host's change notices until the returned function is called
 */

/** @param {import("./types.js").Api} api @param {() => import("./types.js").Addon} sync @returns {Entries} */
export function openEntries(api, sync) {
  /** The host tells what changes. */
  let told = false;
  /** @type {Promise<void> | undefined} */
  let listing;
  let [listedAt, mark, slow] = [0, "", false];
  /** @type {NodeJS.Timeout | undefined} */
  let timer;

  async function ready() {
    const [filled, stale] = sync().known();
    const age = Date.now() - listedAt;
    const old = told ? age > AGED_MS : age > FRESH_MS && mark !== marked();
    if (!filled || old || stale > MANY) {
      listing ??= list().finally(() => (listing = undefined));
      // Nobody may wait for its end.
      listing.catch((error) => api.logger.error(`claude-code-sync: ${String(error)}`));
      await (filled ? Promise.race([listing, pause(PATIENCE_MS)]) : listing);
    }
    await refresh();
  }

  async function list() {
    const [filled, , count] = sync().known();
    const before = marked();
    const round = sync().beginList();
    if (!(filled && count < FEW && !slow)) {
      try {
        await sync().call("list", JSON.stringify({ round, ...lister() }));
        [listedAt, mark] = [Date.now(), before];
        return;
      } catch (error) {
        api.logger.error(`claude-code-sync: ${String(error)}; they are listed on the event loop, which holds it`);
      }
    }
    const begin = performance.now();
    const entries = agents(api).flatMap(({ agentId, storePath }) =>
      api.runtime.agent.session
        .listSessionEntries({ agentId, storePath })
        .map(({ sessionKey, entry }) => ({ key: sessionKey, agentId, entry: project(entry) })),
    );
    slow = performance.now() - begin > SLICE_MS;
    await sync().call("listed", JSON.stringify({ round, entries }));
    [listedAt, mark] = [Date.now(), before];
  }

  /** How the list is made elsewhere. */
  function lister() {
    const argument = JSON.stringify({ sdk: sdk(), stateDir: api.runtime.state.resolveStateDir(), agents: agents(api) });
    return { node: process.execPath, script: fileURLToPath(new URL("./lister.js", import.meta.url)), argument };
  }

  /** Reads again what has changed, a slice at a time. */
  async function refresh() {
    for (;;) {
      const stale = sync().stale(64);
      if (stale.length === 0) return;
      const begin = performance.now();
      for (const key of stale) {
        const entry = entryOf(api, key);
        sync().learn(key, JSON.stringify(entry ? project(entry) : null));
        if (performance.now() - begin > SLICE_MS) break;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** What tells that a store may have changed, where the host does not. */
  function marked() {
    if (told) return "";
    return agents(api)
      .map(({ agentId, storePath }) => {
        try {
          const path = storePath ?? api.runtime.agent.session.resolveStorePath(undefined, { agentId });
          const { ino, size, mtimeMs } = statSync(path);
          return `${ino} ${size} ${mtimeMs}`;
        } catch {
          return "";
        }
      })
      .join();
  }

  async function twins(/** @type {string} */ session, /** @type {string | undefined} */ claude) {
    if (!claude) return [];
    const found = [];
    let begin = performance.now();
    for (const key of sync().bound(claude)) {
      if (key !== session && claudeOf(entryOf(api, key)) === claude) found.push(key);
      if (performance.now() - begin < SLICE_MS) continue;
      await new Promise((resolve) => setImmediate(resolve));
      begin = performance.now();
    }
    return found;
  }

  /** Reads again what changed while something is ridden; else the next listing does. */
  async function settled() {
    timer = undefined;
    try {
      if (sync().riding()) await refresh();
    } catch (error) {
      api.logger.error(`claude-code-sync: ${String(error)}`);
    }
  }

  /** @param {any} events */
  function follow(events) {
    if (!events?.onSessionsChanged) return () => {};
    told = true;
    const off = events.onSessionsChanged((/** @type {any} */ event) => {
      if (!event?.sessionKey) return;
      try {
        sync().changed(event.sessionKey);
      } catch (error) {
        // What changed is not known: all are listed again.
        listedAt = 0;
        api.logger.error(`claude-code-sync: ${event.sessionKey} changed, which could not be noted: ${String(error)}`);
      }
      timer ??= setTimeout(() => void settled(), SETTLE_MS).unref();
    });
    return () => {
      told = false;
      clearTimeout(timer);
      timer = undefined;
      if (typeof off === "function") off();
    };
  }

  return { ready, twins, follow };
}

/** @param {number} ms @returns {Promise<void>} */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

/** Where the host's public SDK is, for another process. */
function sdk() {
  const name = "openclaw/plugin-sdk/session-store-runtime";
  try {
    return import.meta.resolve(name);
  } catch {
    // A package may always ask for its own exports.
    return String(new URL(`file://${createRequire(process.argv[1] ?? "").resolve(name)}`));
  }
}
