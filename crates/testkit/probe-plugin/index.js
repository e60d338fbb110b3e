// ride-probe: records what the host tells a third-party plugin, holds messages when asked,
// and runs one measuring step at a time. Methods: probe_log, probe_gate, probe_step.
import { AsyncLocalStorage } from "node:async_hooks";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// 9.x loads one module copy per registration: everything shared lives on globalThis.
const probe = (globalThis[Symbol.for("ride-probe")] ??= {
  log: [],
  gates: new Map(), // session key -> "hold" | "pass"
  als: new AsyncLocalStorage(), // set around our own hand-over
  flow: new AsyncLocalStorage(), // entered by message_received, to see whether before_dispatch continues it
  services: {},
  registrations: [],
});

const ALWAYS = ["message_received", "before_dispatch", "before_agent_reply", "agent_end"];

function plain(value, depth = 0) {
  if (value === null || typeof value === "boolean" || typeof value === "number") return value;
  if (typeof value === "string") return value.length > 4000 ? `${value.slice(0, 4000)}…` : value;
  if (typeof value === "function") return "[function]";
  if (typeof value !== "object") return String(value);
  if (depth > 6) return "[deep]";
  if (Array.isArray(value)) return value.slice(0, 20).map((v) => plain(v, depth + 1));
  const out = {};
  for (const key of Object.keys(value)) {
    if (value[key] === undefined) continue;
    if (["cfg", "config", "systemPrompt", "messages", "historyMessages", "token"].includes(key)) continue;
    out[key] = plain(value[key], depth + 1);
  }
  return out;
}

function note(kind, data) {
  probe.log.push({ n: probe.log.length, t: Date.now(), kind, ...data });
}

function register(api) {
  const mode = api.registrationMode ?? "?";
  probe.registrations.push(mode);
  note("register", { mode });
  const config = api.pluginConfig ?? {};

  for (const hook of new Set([...ALWAYS, ...(config.observe ?? [])])) {
    api.on(hook, (event, ctx) => {
      const handover = probe.als.getStore();
      const flow = probe.flow.getStore();
      if (hook === "message_received") probe.flow.enterWith(event.messageId);
      note("hook", {
        hook,
        mode,
        event: plain(event),
        ctx: plain(ctx),
        ...(handover && { handover }),
        ...(flow && { flow }),
      });
      if (hook !== "before_dispatch") return undefined;
      const held = probe.gates.get(event.sessionKey ?? ctx?.sessionKey) === "hold" && !handover;
      if (held) note("held", { sessionKey: event.sessionKey, content: event.content });
      return held ? { handled: true } : undefined;
    });
  }

  api.registerService({
    id: "ride-probe",
    start(ctx) {
      probe.services[mode] = (probe.services[mode] ?? 0) + 1;
      probe.gatewayEvents = ctx?.gatewayEvents;
      // Work started from a request inherits its admission, which closes with the answer.
      probe.outside = AsyncLocalStorage.snapshot();
      note("service", {
        mode,
        at: "start",
        keys: Object.keys(ctx ?? {}),
        events: Object.keys(ctx?.gatewayEvents ?? {}),
      });
      const off = [
        ctx?.gatewayEvents?.onSessionsChanged?.((e) => note("sessionsChanged", { event: plain(e) })),
        api.runtime.events?.onAgentEvent?.((e) => note("agentEvent", { event: plain(e) })),
        api.runtime.events?.onSessionTranscriptUpdate?.((e) => note("transcript", { event: plain(e) })),
      ];
      probe.stop = () => off.forEach((f) => typeof f === "function" && f());
    },
    stop() {
      note("service", { mode, at: "stop" });
      probe.stop?.();
    },
  });

  for (const [name, requireAuth] of [
    ["probe", false],
    ["probeauth", true],
  ]) {
    api.registerCommand?.({
      name,
      description: `ride-probe answers, ridden or not (${requireAuth ? "authorized senders" : "anyone"})`,
      acceptsArgs: true,
      requireAuth,
      handler: (ctx) => {
        note("command", { name, ctx: plain(ctx) });
        return { text: `${name}: authorized=${ctx.isAuthorizedSender} owner=${ctx.senderIsOwner}` };
      },
    });
  }

  const method = (name, scope, run) =>
    api.registerGatewayMethod(
      name,
      async (opts) => {
        try {
          opts.respond(true, await run(opts.params ?? {}, opts));
        } catch (error) {
          opts.respond(false, undefined, { code: "INVALID_REQUEST", message: String(error?.stack ?? error) });
        }
      },
      { scope },
    );

  method("probe_log", "operator.read", ({ since = 0, kinds }) =>
    probe.log.slice(since).filter((e) => !kinds || kinds.includes(e.kind)),
  );
  method("probe_gate", "operator.write", ({ sessionKey, mode: gate }) => {
    if (gate) probe.gates.set(sessionKey, gate);
    else probe.gates.delete(sessionKey);
    return Object.fromEntries(probe.gates);
  });
  method("probe_step", "operator.write", async ({ step, ...params }, request) => {
    const url = pathToFileURL(join(config.steps, `${step}.js`));
    const { default: run } = await import(`${url}?at=${Date.now()}`);
    const sdk = (name) => import(`openclaw/plugin-sdk/${name}`);
    return plain(await run({ api, probe, note, sdk, request, params })) ?? null;
  });
}

export default { id: "ride-probe", name: "ride-probe", description: "Measures a stock gateway.", register };
