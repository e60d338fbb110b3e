// Opens the native addon of this platform, prebuilt inside the package.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { shared } from "./process_state.js";

const require = createRequire(import.meta.url);

function libc() {
  if (process.platform !== "linux") return "";
  const report = /** @type {any} */ (process.report?.getReport());
  return report?.header?.glibcVersionRuntime ? "-gnu" : "-musl";
}

/** This platform's addon; an error says which are in the package. @returns {any} */
function load() {
  const folder = new URL("../native/", import.meta.url);
  const platform = `${process.platform}-${process.arch}${libc()}`;
  const name = `claude-code-sync.${platform}.node`;
  if (existsSync(new URL(name, folder))) return require(`../native/${name}`);
  const there = existsSync(folder) ? readdirSync(folder).map((file) => file.split(".")[1]) : [];
  throw new NoAddon(
    `this claude-code-sync is not built for ${platform}, only for ${there.join(", ") || "no platform at all"}`,
  );
}

/** The package has no addon for this platform. */
class NoAddon extends Error {}

/** Whether a later attempt to open the addon may succeed where this one failed. @param {unknown} error */
export function mayPass(error) {
  return !(error instanceof NoAddon) && /** @type {any} */ (error)?.code !== "InvalidArg";
}

/** How long after a failure the same is tried again: first, and at most. */
const AGAIN_MS = 250;
const AGAIN_AT_MOST_MS = 30_000;
/** Where the addon remembers which folder has the threads' states. */
const PLACE = "claude-code-sync.json";

/** @param {import("./types.js").Api} api */
function options(api) {
  const config = /** @type {any} */ (api.pluginConfig ?? {});
  return { stateDir: api.runtime.state.resolveStateDir(), config, pid: process.pid };
}

/**
 * Opens on first use and once per loaded copy of the plugin; where that fails, again later,
 * and until then it throws what failed. With `lockBackend: "none"` the values live in the
 * first copy's memory, for all.
 * @param {import("./types.js").Api} api
 * @returns {() => import("./types.js").Addon}
 */
export function openOnce(api) {
  /** @type {import("./types.js").Addon | undefined} */
  let opened;
  const open = () => {
    const config = /** @type {any} */ (api.pluginConfig ?? {});
    // What is ridden in memory stays there whatever the configuration says by now.
    if (shared.memory && (config.lockBackend === "none" || shared.memory.busy().length > 0)) {
      shared.memory.configure(JSON.stringify(config));
      return shared.memory;
    }
    const { Sync } = load();
    const sync = /** @type {import("./types.js").Addon} */ (new Sync(JSON.stringify(options(api))));
    (shared.addons ??= new Set()).add(sync);
    const waits = sync.waits();
    if (waits) api.logger.warn(`claude-code-sync: ${waits}`);
    else if (config.lockBackend === "none") shared.memory = sync;
    return sync;
  };
  const failure = backOff();
  return () => {
    if (opened) return opened;
    failure.check();
    try {
      opened = open();
      return opened;
    } catch (error) {
      throw failure.note(error);
    }
  };
}

/** Preparations under way, and those that failed. @type {WeakMap<object, { failure: ReturnType<typeof backOff>, running?: Promise<void> }>} */
const preparations = new WeakMap();

/**
 * Makes a copy of the addon able to answer the gate at once: off the event loop, because it
 * may wait for another process.
 * @param {import("./types.js").Addon} sync
 * @returns {Promise<void>}
 */
export async function prepared(sync) {
  const one = preparations.get(sync) ?? { failure: backOff() };
  preparations.set(sync, one);
  one.failure.check();
  one.running ??= sync
    .call("prepare", "null")
    .then(
      () => one.failure.clear(),
      (error) => {
        throw one.failure.note(error);
      },
    )
    .finally(() => {
      one.running = undefined;
    });
  return one.running;
}

/** @param {unknown} error */
export function textOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** Makes a function that logs a failure, but not the same failure twice in a row. @param {string} what */
export function saysOnce(what) {
  let said = "";
  return (/** @type {import("./types.js").Api} */ api, /** @type {unknown} */ error) => {
    const text = textOf(error);
    if (text !== said) api.logger.error(`claude-code-sync: ${what}: ${text}`);
    said = text;
  };
}

/** Logs what keeps the store from being used. */
export const notOpened = saysOnce("nothing can be ridden");

/** What failed last, which is the answer until it may be tried again. */
function backOff() {
  /** @type {{ error: unknown, until: number } | undefined} */
  let failed;
  let pause = AGAIN_MS;
  return {
    /** Throws what failed, as long as it is too early to try again. */
    check() {
      if (failed && Date.now() < failed.until) throw failed.error;
    },
    /** @template T @param {T} error @returns {T} */
    note(error) {
      failed = { error, until: Date.now() + pause };
      pause = Math.min(pause * 2, AGAIN_AT_MOST_MS);
      return error;
    },
    clear() {
      failed = undefined;
      pause = AGAIN_MS;
    },
  };
}

/** Whether the folder in force has the state of any thread. Throws if that cannot be read. @param {string} stateDir */
function hasStates(stateDir) {
  const place = ifThere(() => readFileSync(`${stateDir}/${PLACE}`, "utf8"));
  if (place === undefined) return false;
  const { lockDir } = JSON.parse(place);
  const gateways = ifThere(() => readdirSync(lockDir)) ?? [];
  return gateways.some((name) => ifThere(() => readdirSync(`${lockDir}/${name}/threads`))?.length);
}

/** The result of `read`; `undefined` if there is no such file or folder. @template T @param {() => T} read */
function ifThere(read) {
  try {
    return read();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(/** @type {any} */ (error)?.code)) return undefined;
    throw error;
  }
}

/**
 * Whether the gate of a thread may hold, as the state files say: read only, off the event
 * loop, and also where this copy could not be opened.
 * @param {import("./types.js").Api} api @param {string} session @param {string | undefined} claude
 * @returns {Promise<boolean>}
 */
export async function mayBeClosed(api, session, claude) {
  let addon;
  try {
    addon = load();
  } catch (error) {
    // Without the addon it can only be told whether any thread has a state.
    if (hasStates(api.runtime.state.resolveStateDir())) throw error;
    return false;
  }
  return addon.Sync.mayBeClosed(JSON.stringify(options(api)), session, claude ?? null);
}
