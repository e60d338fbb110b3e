// What this host's runtime offers, by name, and what a method handler is given.
export default async ({ api, probe, note, request, sdk }) => {
  const { runtime } = api;
  const names = (o) => Object.keys(o ?? {}).sort();
  const { client } = request;
  let closes = "none";
  if (client?.connectionSignal) {
    closes = "connectionSignal";
    client.connectionSignal.addEventListener("abort", () => note("closed", { by: "connectionSignal" }), { once: true });
  }
  if (typeof client?.socket?.once === "function") {
    closes += "+socket";
    client.socket.once("close", () => note("closed", { by: "socket" }));
  }
  request.signal?.addEventListener?.("abort", () => note("closed", { by: "request.signal" }), { once: true });
  const tried = async (name) => {
    try {
      return names(await sdk(name));
    } catch (error) {
      return String(error.message).slice(0, 120);
    }
  };
  probe.gatewayEvents?.emit?.("changed", { rev: 1 }, { scope: "operator.read" });
  return {
    version: runtime.version,
    registrations: probe.registrations,
    services: probe.services,
    inbound: names(runtime.channel?.inbound ?? runtime.channel?.turn),
    turn: runtime.channel?.turn ? names(runtime.channel.turn) : null,
    reply: names(runtime.channel?.reply),
    channelSession: names(runtime.channel?.session),
    session: names(runtime.agent?.session),
    events: names(runtime.events),
    gatewayEvents: names(probe.gatewayEvents),
    adapter: names(await runtime.channel?.outbound?.loadAdapter?.("telegram")),
    handler: names(request),
    client: names(client),
    closes,
    gatewayRuntime: await tried("gateway-runtime").then((n) =>
      Array.isArray(n) ? n.includes("callGatewayFromCli") : n,
    ),
    channelOutbound: await tried("channel-outbound").then((n) =>
      Array.isArray(n) ? n.includes("sendDurableMessageBatch") : n,
    ),
    node: process.version,
  };
};
