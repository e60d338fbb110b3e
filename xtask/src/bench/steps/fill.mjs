// Fills a stopped gateway's store with forum topics, through the host's own SDK.
const [sdk, count] = process.argv.slice(2);
const { upsertSessionEntry } = await import(sdk);
const hash = () => crypto.randomUUID().replaceAll("-", "").repeat(2);
for (let i = 0; i < Number(count); i++) {
  const to = `telegram:-100${i}:topic:42`;
  const [context, sessionId] = [{ channel: "telegram", to, accountId: "default", threadId: 42 }, crypto.randomUUID()];
  await upsertSessionEntry({
    agentId: "main",
    sessionKey: `agent:main:telegram:group:-100${i}:topic:42`,
    entry: {
      sessionId: crypto.randomUUID(),
      updatedAt: 1795000000000 + i,
      lastInteractionAt: 1795000000000 + i,
      chatType: "group",
      groupId: `-100${i}:topic:42`,
      subject: `Forum ${i}`,
      topicName: "Plans",
      displayName: `telegram:g-forum-${i}-plans`,
      delivery: {
        kind: "external",
        context,
        route: { channel: "telegram", accountId: "default", target: { to }, thread: { id: 42 } },
      },
      cliSessionIds: { "claude-cli": sessionId },
      cliSessionBindings: {
        "claude-cli": {
          sessionId,
          extraSystemPromptHash: hash(),
          messageToolPolicyHash: hash(),
          cwdHash: hash(),
          mcpConfigHash: hash(),
        },
      },
      // Real entries carry about 15 KB of it.
      skillsSnapshot: { prompt: "a skill and what it is for. ".repeat(150), skills: [] },
    },
  });
}
process.exit(0);
