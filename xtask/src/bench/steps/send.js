// One text through the channel's own adapter, and when it was called: the host's
// part of a relayed send and nothing else.
export default async ({ api, probe, params }) => {
  const { channel, to, threadId, text } = params;
  return await probe.outside(async () => {
    const adapter = await api.runtime.channel.outbound.loadAdapter(channel);
    const called = process.hrtime.bigint();
    await adapter.sendText({ cfg: api.runtime.config.current(), to, text, threadId });
    return { called: called.toString() };
  });
};
