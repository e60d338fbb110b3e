// The gateway methods: scope, the host facts each needs, and the wait for a
// claim or release to be carried out. What they mean is the addon's.
import { textOf } from "./addon.js";
import { agentOf, channels, claudeOf, entryOf, person, project, workspaceOf } from "./host.js";
import { resetMark, ridden } from "./keep.js";
import { changed, shared, wake } from "./process_state.js";
import { look } from "./ridden_changes.js";
import { conditionOf } from "./self_report.js";
import { turnsOf } from "./turns.js";

/** @type {Record<string, "operator.read" | "operator.write">} */
const METHODS = {
  sessions_rideable: "operator.read",
  ride_claim: "operator.write",
  ride_renew: "operator.write",
  ride_relay: "operator.write",
  ride_say: "operator.write",
  ride_inbox: "operator.write",
  ride_take: "operator.write",
  ride_release: "operator.write",
  ride_take_back: "operator.write",
  ride_adopt: "operator.write",
  ride_copy: "operator.write",
  ride_pull: "operator.read",
  ride_push: "operator.write",
  ride_check: "operator.read",
  ride_open: "operator.write",
  ride_status: "operator.read",
  ride_config: "operator.read",
};

/** Looks again at least this often while a claim or release is carried out. */
const LOOK_MS = 500;
/** Claims, releases and copies that one client waits for at most: a driver waits for one. */
const WAITING = 8;
const WAITS = ["ride_claim", "ride_release", "ride_take_back", "ride_adopt", "ride_copy", "ride_open"];

/** @param {import("./types.js").Api} api @param {() => import("./types.js").Addon} sync @param {import("./entries.js").Entries} entries */
export function registerMethods(api, sync, entries) {
  const condition = conditionOf(api);
  for (const [method, scope] of Object.entries(METHODS)) {
    api.registerGatewayMethod(
      method,
      async (request) => {
        const { client, respond } = /** @type {any} */ (request);
        const params = /** @type {any} */ (request.params ?? {});
        try {
          sync();
        } catch (error) {
          const message = textOf(error);
          const config = /** @type {any} */ (error)?.code === "InvalidArg";
          respond(false, undefined, {
            code: "UNAVAILABLE",
            message,
            details: config
              ? { reason: "CONFIG", hint: "correct plugins.entries.claude-code-sync.config on the gateway" }
              : { reason: "STORE" },
          });
          return;
        }
        const waits = WAITS.includes(method) ? waitsOf(client) : undefined;
        if (waits && waits.count >= WAITING) {
          const message = `this connection waits for ${WAITING} claims, releases or copies already`;
          respond(false, undefined, {
            code: "UNAVAILABLE",
            message,
            details: { reason: "BAD_REQUEST", hint: "wait for one of them to be answered" },
          });
          return;
        }
        if (waits) waits.count++;
        try {
          let answer =
            method === "ride_relay" && typeof params.key === "string" && shared.relay
              ? await shared.relay(params.key, params)
              : JSON.parse(
                  await sync().call(
                    "request",
                    JSON.stringify({
                      method,
                      params,
                      host:
                        method === "ride_config"
                          ? { plugin: condition() }
                          : await facts(api, entries, client, method, params),
                    }),
                  ),
                );
          // A renewal changes nothing that anybody waits for; a relay has been taken up already.
          if (
            (["ride_claim", "ride_release", "ride_take_back", "ride_adopt", "ride_take"].includes(method) ||
              (!shared.relay && method === "ride_relay")) &&
            typeof params.key === "string"
          ) {
            wake(params.key);
            changed(params.key);
          }
          const opened = method === "ride_open" ? (answer.wait?.key ?? answer.ok?.key) : undefined;
          if (opened) {
            wake(opened);
            changed(opened);
            await keep(api, sync(), opened, String(params.cliSessionId));
          }
          // From the first moment on: a driver that goes while it waits withdraws its claim.
          const fence =
            method === "ride_claim" || method === "ride_adopt"
              ? answer.wait?.fence
              : method === "ride_renew" && answer.ok
                ? params.fence
                : undefined;
          if (fence) onDisconnect(client, sync(), params.key, fence);
          // Where the host tells of no changes (2026.7 and before), they are seen here.
          if (method === "ride_renew" && answer.ok) look(api, sync(), params.key);
          if (answer.wait) answer = await carriedOut(sync(), answer.wait);
          if (answer.ok) respond(true, answer.ok);
          else respond(false, undefined, answer.error);
        } catch (error) {
          const message = textOf(error);
          api.logger.error(`claude-code-sync: ${method}: ${message}`);
          respond(false, undefined, { code: "UNAVAILABLE", message, details: { reason: "STORE" } });
        } finally {
          if (waits) waits.count--;
        }
      },
      { scope },
    );
  }
}

/**
 * What the addon must know of the host.
 * @param {import("./types.js").Api} api @param {import("./entries.js").Entries} entries @param {any} client
 * @param {string} method @param {any} params
 */
async function facts(api, entries, client, method, params) {
  if (method === "ride_status" || method === "ride_check") return { person: person(api, client) };
  if (!["sessions_rideable", "ride_claim", "ride_take_back", "ride_adopt", "ride_open"].includes(method)) return {};
  const around = { channels: channels(api), person: person(api, client) };
  if (method === "ride_take_back") return { ...around, entry: entryFor(api, params.key) };
  if (method === "ride_open") {
    const bound = await boundTo(entries, String(params.cliSessionId));
    const [key, ...twins] = bound;
    return { ...around, twins, turns: turnsOf(api, bound), entry: entryFor(api, key) };
  }
  await entries.ready();
  if (method === "sessions_rideable" || typeof params.key !== "string") return around;
  // Who else is bound to the Claude session that is to be ridden, or adopted.
  const claude = method === "ride_adopt" ? String(params.cliSessionId) : claudeOf(entryOf(api, params.key));
  const twins = await entries.twins(params.key, claude);
  return { ...around, twins, entry: entryFor(api, params.key), workspace: workspaceOf(api, params.key) };
}

/** The threads that are bound to a Claude session. @param {import("./entries.js").Entries} entries @param {string} claude */
async function boundTo(entries, claude) {
  const known = await entries.twins("", claude);
  if (known.length > 0) return known;
  await entries.ready();
  return entries.twins("", claude);
}

/**
 * A thread whose Claude session was opened in a terminal keeps it, on hosts that forget.
 * @param {import("./types.js").Api} api @param {import("./types.js").Addon} sync @param {string} key @param {string} claude
 */
async function keep(api, sync, key, claude) {
  const entry = entryOf(api, key);
  if (claudeOf(entry) === claude) await ridden(api, sync, key, claude, resetMark(entry));
}

/** A thread's entry as the addon takes it. @param {import("./types.js").Api} api @param {unknown} key */
function entryFor(api, key) {
  const entry = typeof key === "string" ? entryOf(api, key) : undefined;
  return entry ? { key, agentId: agentOf(/** @type {string} */ (key)), entry: project(entry) } : undefined;
}

/** How much each client waits for. @type {WeakMap<object, { count: number }>} */
const waiting = new WeakMap();
/** Of requests without a client. */
const nobody = {};

/** @param {any} client */
function waitsOf(client) {
  const key = client && typeof client === "object" ? client : nobody;
  const waits = waiting.get(key) ?? { count: 0 };
  waiting.set(key, waits);
  return waits;
}

/** Waits until a claim is granted or refused, or a release is through. @param {import("./types.js").Addon} sync @param {any} waiting */
async function carriedOut(sync, waiting) {
  const deadline = Date.now() + waiting.waitMs;
  for (;;) {
    const answer = JSON.parse(await sync.call("pending", JSON.stringify(waiting)));
    if (!answer.wait) return answer;
    if (Date.now() >= deadline) return JSON.parse(await sync.call("late", JSON.stringify(waiting)));
    // A part of it was done: the next one, after whatever else there is.
    if (answer.wait.again) await new Promise((resolve) => setImmediate(resolve));
    else await next(waiting.key);
  }
}

/** Resolves when the thread changed, or after a while. @param {string} key @returns {Promise<void>} */
function next(key) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      shared.changed.delete(tell);
      resolve();
    };
    const tell = (/** @type {string} */ which) => which === key && done();
    const timer = setTimeout(done, LOOK_MS);
    shared.changed.add(tell);
  });
}

/** The connection each ride was last heard on, and with which fence. @type {Map<string, { connId: string, fence: unknown }>} */
const heardOn = new Map();
/** @type {WeakMap<object, Set<string>>} */
const watched = new WeakMap();

/**
 * Reports a lost connection, once, unless the driver has been heard on another since.
 * @param {any} client @param {import("./types.js").Addon} sync @param {string} key @param {unknown} fence
 */
function onDisconnect(client, sync, key, fence) {
  if (!client?.connId) return;
  heardOn.set(key, { connId: client.connId, fence });
  const keys = watched.get(client) ?? new Set();
  watched.set(client, keys);
  if (keys.has(key)) return;
  keys.add(key);
  const gone = async () => {
    keys.delete(key);
    const heard = heardOn.get(key);
    if (!heard || heard.connId !== client.connId) return;
    heardOn.delete(key);
    try {
      await sync.call("drop", JSON.stringify({ key, fence: heard.fence }));
    } catch {
      // Its lease decides.
    }
    wake(key);
  };
  // It may have gone while the request was being answered.
  if (client.connectionSignal?.aborted || client.socket?.readyState > 1) void gone();
  else if (client.connectionSignal) client.connectionSignal.addEventListener("abort", gone, { once: true });
  else client.socket?.once?.("close", gone);
}
