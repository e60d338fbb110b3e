// What the shell knows of the plugin itself, for `ride doctor`.
import { confirms } from "./host.js";
import { shared } from "./process_state.js";

/**
 * Whether the host registered our conversation hook is decided by its configuration
 * at this moment; a later change counts from the next registration on.
 * @param {import("./types.js").Api} api
 */
export function conditionOf(api) {
  const conversationHooks = confirms(api);
  return () => ({ conversationHooks, performing: shared.relay !== undefined });
}
