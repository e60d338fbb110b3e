// Sends one text the way the relay does: the channel's own adapter, no transcript row.
export default async ({ api, probe, params }) => {
  const { channel, to, threadId, accountId, text } = params;
  return await probe.outside(async () => {
    const adapter = await api.runtime.channel.outbound.loadAdapter(channel);
    if (!adapter) return { adapter: null };
    return adapter.sendText({ cfg: api.runtime.config.current(), to, text, threadId, accountId });
  });
};
