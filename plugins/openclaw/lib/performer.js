// The registered service: the one copy that holds the performer lock takes the
// effects that follow from the threads' states, performs them and says what came
// of each. Effects of one thread of different kinds may run side by side; the
// addon gives out at most one of each kind.
import { AsyncLocalStorage } from "node:async_hooks";
import { act } from "./acts.js";
import { changed, shared } from "./shared.js";
import { follow } from "./turns.js";

/** How often the list of busy threads is looked at: one system call. */
const LOOK_MS = 1_000;
/** How long effects under way are waited for when the plugin is reloaded. */
const END_MS = 8_000;

/** @param {import("./types.js").Api} api @param {() => import("./types.js").Addon} sync */
export function registerPerformer(api, sync) {
  /** @type {(() => Promise<void>) | undefined} */
  let stop;
  api.registerService({
    id: "claude-code-sync",
    async start(ctx) {
      await stop?.();
      stop = perform(api, sync(), /** @type {any} */ (ctx)?.gatewayEvents);
    },
    async stop() {
      await stop?.();
      stop = undefined;
    },
  });
}

/** @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {any} gatewayEvents */
function perform(api, sync, gatewayEvents) {
  // Work begun in a request inherits its admission, which ends with the answer.
  const outside = AsyncLocalStorage.snapshot();
  /** @type {Map<string, NodeJS.Timeout>} */
  const timers = new Map();
  /** Threads being taken from, and whether to look again after that. @type {Map<string, boolean>} */
  const taking = new Map();
  /** Operations under way, by thread. @type {Map<string, Map<number, Promise<void>>>} */
  const flying = new Map();
  let stopped = false;

  const tell = (/** @type {string} */ key) => {
    changed(key);
    gatewayEvents?.emit("changed", { key }, { scope: "operator.read" });
  };

  /** @param {string} key */
  async function take(key) {
    if (stopped || !sync.perform()) return;
    if (taking.has(key)) {
      taking.set(key, true);
      return;
    }
    taking.set(key, false);
    clearTimeout(timers.get(key));
    timers.delete(key);
    try {
      const ops = flying.get(key) ?? new Map();
      const work = JSON.parse(await sync.call("take", JSON.stringify({ key, flying: [...ops.keys()] })));
      for (const effect of work.effects) {
        ops.set(effect.op, run(key, effect).finally(() => ended(key, effect.op)));
        flying.set(key, ops);
      }
      if (work.wakeInMs !== undefined && work.wakeInMs !== null && !stopped) {
        timers.set(key, setTimeout(() => void take(key), work.wakeInMs + 1));
      }
    } catch (error) {
      api.logger.error(`claude-code-sync: ${key}: ${String(error)}`);
    }
    const again = taking.get(key);
    taking.delete(key);
    if (again) void take(key);
  }

  /** Performs one effect and says what came of it. @param {string} key @param {{ op: number, act: any }} effect */
  async function run(key, effect) {
    try {
      const outcome = await act(api, sync, effect.act);
      await sync.call("done", JSON.stringify({ key, op: effect.op, outcome }));
    } catch (error) {
      // It is not under way any more: the next look takes its outcome for unknown.
      api.logger.error(`claude-code-sync: ${key}: ${effect.act.act}: ${String(error)}`);
    }
  }

  /** @param {string} key @param {number} op */
  function ended(key, op) {
    const ops = flying.get(key);
    ops?.delete(op);
    if (ops?.size === 0) flying.delete(key);
    tell(key);
    void take(key);
  }

  const wake = (/** @type {string} */ key) => {
    tell(key);
    outside(() => void take(key));
  };
  const look = () => {
    try {
      if (!sync.perform()) return;
      for (const key of sync.busy()) if (!timers.has(key)) void take(key);
    } catch (error) {
      api.logger.error(`claude-code-sync: could not look for work: ${String(error)}`);
    }
  };
  const unfollow = follow(api);
  shared.wake.add(wake);
  const timer = setInterval(look, LOOK_MS);
  look();
  return async () => {
    stopped = true;
    clearInterval(timer);
    for (const pending of timers.values()) clearTimeout(pending);
    shared.wake.delete(wake);
    // What is under way says what came of it; the next performer need not guess.
    const enough = new Promise((resolve) => setTimeout(resolve, END_MS).unref());
    const under = [...flying.values()].flatMap((ops) => [...ops.values()]);
    await Promise.race([Promise.allSettled(under), enough]);
    unfollow();
    sync.resign();
  };
}
