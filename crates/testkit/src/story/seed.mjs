// Writes session entries into a host's store through its own public SDK, from outside
// the gateway: what a long life would have left there.
const { sdk, entries } = JSON.parse(process.argv[2]);
const { upsertSessionEntry } = await import(sdk);
for (const { agentId, sessionKey, entry } of entries) await upsertSessionEntry({ agentId, sessionKey, entry });
process.exit(0);
