// The host's own list of all entries, on its event loop: what the index is there for.
export default ({ api }) => {
  const begin = performance.now();
  const { length } = api.runtime.agent.session.listSessionEntries({ agentId: "main" });
  return { entries: length, ms: performance.now() - begin };
};
