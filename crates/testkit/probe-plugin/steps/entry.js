// The host's entry of a thread, without its bulk.
export default ({ api, params }) => {
  const entry = api.runtime.agent.session.getSessionEntry({ agentId: "main", sessionKey: params.sessionKey });
  if (!entry) return null;
  const { skillsSnapshot, systemPromptReport, ...rest } = entry;
  return rest;
};
