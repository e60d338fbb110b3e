// Opens the native addon of this platform, prebuilt inside the package.
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { shared } from "./shared.js";

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
  throw new Error(
    `this claude-code-sync is not built for ${platform}, only for ${there.join(", ") || "no platform at all"}`,
  );
}

/**
 * Opens on first use and once per loaded copy of the plugin. With
 * `lockBackend: "none"` the values live in the first copy's memory, for all.
 * @param {import("./types.js").Api} api
 * @returns {() => import("./types.js").Addon}
 */
export function openOnce(api) {
  /** @type {import("./types.js").Addon | undefined} */
  let opened;
  /** @type {unknown} */
  let failed;
  const open = () => {
    const config = /** @type {any} */ (api.pluginConfig ?? {});
    // What is ridden in memory stays there whatever the configuration says by now.
    if (shared.memory && (config.lockBackend === "none" || shared.memory.busy().length > 0)) {
      shared.memory.configure(JSON.stringify(config));
      return shared.memory;
    }
    const { Sync } = load();
    const options = { stateDir: api.runtime.state.resolveStateDir(), config, pid: process.pid };
    const sync = /** @type {import("./types.js").Addon} */ (new Sync(JSON.stringify(options)));
    (shared.addons ??= new Set()).add(sync);
    const waits = sync.waits();
    if (waits) api.logger.warn(`claude-code-sync: ${waits}`);
    else if (config.lockBackend === "none") shared.memory = sync;
    return sync;
  };
  return () => {
    if (opened) return opened;
    // Once is enough: what failed to open does so again for every message.
    if (failed) throw failed;
    try {
      return (opened = open());
    } catch (error) {
      failed = error;
      throw error;
    }
  };
}
