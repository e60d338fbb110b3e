// The registered service: the one copy that holds the performer lock takes the
// effects that follow from the threads' states, performs them and says what came
// of each. Effects of one thread of different kinds may run side by side; the
// addon gives out at most one of each kind.
import { AsyncLocalStorage } from "node:async_hooks";
import { mayPass, notOpened, prepared, saysOnce } from "./addon.js";
import { listen } from "./chat_turns.js";
import { act } from "./effects.js";
import { keepThreads } from "./keep.js";
import { mirrorTurns } from "./mirror.js";
import { answerOthers } from "./others.js";
import { changed, shared } from "./process_state.js";
import { watch } from "./ridden_changes.js";
import { follow } from "./turns.js";
import { lookForWriters } from "./writers.js";

/** How often the list of busy threads is looked at: one system call. */
const LOOK_MS = 1_000;
/** How long effects under way are waited for when the plugin is reloaded. */
const END_MS = 8_000;

/** @param {import("./types.js").Api} api @param {() => import("./types.js").Addon} sync @param {import("./entries.js").Entries} entries */
export function registerPerformer(api, sync, entries) {
  /** @type {(() => Promise<void>) | undefined} */
  let stop;
  api.registerService({
    id: "claude-code-sync",
    async start(ctx) {
      await stop?.();
      stop = opened(api, sync, (addon) => {
        const events = /** @type {any} */ (ctx)?.gatewayEvents;
        const end = perform(api, addon, events);
        const unfollow = entries.follow(events);
        return () => {
          unfollow();
          return end();
        };
      });
    },
    async stop() {
      await stop?.();
      stop = undefined;
    },
  });
}

/**
 * Tries to open the addon until it succeeds, and then begins; the result ends it. An error that
 * no later attempt can mend is thrown: the host then says which service could not start.
 * @param {import("./types.js").Api} api
 * @param {() => import("./types.js").Addon} sync
 * @param {(addon: import("./types.js").Addon) => () => Promise<void>} begin
 * @returns {() => Promise<void>}
 */
function opened(api, sync, begin) {
  /** @type {(() => Promise<void>) | undefined} */
  let end;
  const attempt = () => {
    if (end) return;
    /** @type {import("./types.js").Addon} */
    let addon;
    try {
      addon = sync();
    } catch (error) {
      if (!mayPass(error)) {
        clearInterval(timer);
        throw error;
      }
      // Every method says why too, and the gate when a message comes.
      notOpened(api, error);
      return;
    }
    clearInterval(timer);
    end = begin(addon);
  };
  const timer = setInterval(attempt, LOOK_MS);
  attempt();
  return async () => {
    clearInterval(timer);
    await end?.();
  };
}

/**
 * @typedef {object} Round what is known here of one thread's work
 * @property {Map<number, Promise<void>>} flying operations under way
 * @property {{ op: number, outcome: import("./types.js").Outcome }[]} done what came of those that ended
 * @property {{ params: unknown, resolve: (answer: any) => void, reject: (error: unknown) => void }[]} relays waiting to be answered
 * @property {boolean} turning a round is under way
 * @property {boolean} again another one is wanted after it
 * @property {NodeJS.Timeout} [timer] the next one by itself
 */

/** @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {any} gatewayEvents */
function perform(api, sync, gatewayEvents) {
  // Work begun in a request inherits its admission, which ends with the answer.
  const outside = AsyncLocalStorage.snapshot();
  /** @type {Map<string, Round>} */
  const rounds = new Map();
  /** No new work is taken; then: nothing is done any more. */
  let [closing, stopped] = [false, false];

  const tell = (/** @type {string} */ key) => {
    changed(key);
    gatewayEvents?.emit("changed", { key }, { scope: "operator.read" });
  };

  /** @param {string} key @returns {Round} */
  function of(key) {
    const round = rounds.get(key) ?? { flying: new Map(), done: [], relays: [], turning: false, again: false };
    rounds.set(key, round);
    return round;
  }

  /** Takes rounds until nothing is new: acknowledges, takes relays over, takes work, in one commit each. @param {string} key */
  async function turn(key) {
    const round = of(key);
    round.again = true;
    if (round.turning) return;
    round.turning = true;
    try {
      while (round.again && !stopped && sync.perform()) {
        round.again = false;
        clearTimeout(round.timer);
        round.timer = undefined;
        await once(key, round);
      }
    } catch (error) {
      // The next look begins again.
      api.logger.error(`claude-code-sync: ${key}: ${String(error)}`);
    }
    round.turning = false;
    for (const relay of round.relays.splice(0)) relay.reject(new Error("the plugin is being reloaded; send it again"));
    if (round.flying.size === 0 && !round.timer && round.done.length === 0) rounds.delete(key);
  }

  /** @param {string} key @param {Round} round */
  async function once(key, round) {
    const [done, relays] = [round.done.splice(0), round.relays.splice(0)];
    const flying = [...round.flying.keys()];
    try {
      const payload = { key, take: !closing, flying, done, relays: relays.map((relay) => relay.params) };
      const work = JSON.parse(await sync.call("take", JSON.stringify(payload)));
      relays.forEach((relay, i) => relay.resolve(work.answers[i]));
      for (const effect of work.effects) round.flying.set(effect.op, run(key, round, effect));
      if (typeof work.wakeInMs === "number") round.timer = setTimeout(() => void turn(key), work.wakeInMs + 1);
      if (done.length > 0 || relays.length > 0) tell(key);
    } catch (error) {
      // What was to be acknowledged is not under way any more: its outcome is taken for unknown.
      api.logger.error(`claude-code-sync: ${key}: ${String(error)}`);
      for (const relay of relays) relay.reject(error);
    }
  }

  /** Performs one effect. @param {string} key @param {Round} round @param {{ op: number, act: any }} effect */
  async function run(key, round, effect) {
    const outcome = await act(api, sync, { key, ...effect });
    round.flying.delete(effect.op);
    round.done.push({ op: effect.op, outcome });
    void turn(key);
  }

  const wake = (/** @type {string} */ key) => {
    tell(key);
    outside(() => void turn(key));
  };
  /** Has a relay taken over in the same commit that takes the work it makes. @param {string} key @param {unknown} params */
  const relay = (key, params) =>
    new Promise((resolve, reject) => {
      of(key).relays.push({ params, resolve, reject });
      outside(() => void turn(key));
    });
  const notPrepared = saysOnce("could not look for work");
  const look = () => {
    if (closing) return;
    try {
      const performing = sync.perform();
      shared.relay = performing ? relay : shared.relay === relay ? undefined : shared.relay;
      if (!performing) return;
      if (!sync.prepared()) {
        prepared(sync).then(look, (error) => notPrepared(api, error));
        return;
      }
      if (!shared.begun) {
        shared.begun = true;
        // Connections ended with the process before: whoever was on one is looked for.
        sync
          .call("restarted", "null")
          .catch((error) =>
            api.logger.error(`claude-code-sync: drivers of before the start are not looked for: ${String(error)}`),
          );
      }
      for (const key of sync.busy()) if (!rounds.get(key)?.timer) void turn(key);
    } catch (error) {
      api.logger.error(`claude-code-sync: could not look for work: ${String(error)}`);
    }
  };
  const offs = [
    follow(api),
    listen(api),
    watch(api, sync, gatewayEvents),
    keepThreads(api, sync),
    mirrorTurns(api, sync, () => !closing && shared.relay === relay),
    answerOthers(api, sync, () => shared.relay === relay),
    lookForWriters(api, sync, () => shared.relay === relay),
  ];
  shared.wake.add(wake);
  const timer = setInterval(look, LOOK_MS);
  look();
  return async () => {
    closing = true;
    clearInterval(timer);
    shared.wake.delete(wake);
    if (shared.relay === relay) shared.relay = undefined;
    // What is under way says what came of it; the next performer need not guess.
    const under = [...rounds.values()].flatMap((round) => [...round.flying.values()]);
    const enough = new Promise((resolve) => setTimeout(resolve, END_MS).unref());
    await Promise.race([Promise.allSettled(under), enough]);
    await settled();
    stopped = true;
    for (const round of rounds.values()) clearTimeout(round.timer);
    for (const off of offs) off();
    try {
      // Another generation in this process answers for the gateway.
      if (shared.wake.size === 0) shared.addons?.forEach((addon) => addon.leave());
      sync.resign();
    } catch (error) {
      // The lock ends with this copy's process at the latest.
      api.logger.error(`claude-code-sync: could not stop performing: ${String(error)}`);
    }
  };

  /** Lets the rounds under way end. */
  async function settled() {
    for (let looks = 0; looks < 50 && [...rounds.values()].some((round) => round.turning); looks++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
