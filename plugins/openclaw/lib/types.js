// Types only. The host's are its own published ones.
/** @typedef {import("openclaw/plugin-sdk/plugin-entry").OpenClawPluginApi} Api */
/**
 * @typedef {object} Addon
 * @property {(session: string) => number} gate
 * @property {() => boolean} prepared
 * @property {(claude: string) => boolean} ridden
 * @property {(key: string, entry: string) => void} learn
 * @property {(key: string) => void} changed
 * @property {() => number[]} known
 * @property {(limit: number) => string[]} stale
 * @property {(claude: string) => string[]} bound
 * @property {() => number} beginList
 * @property {(session: string, op: number) => boolean} inFlight
 * @property {() => boolean} riding
 * @property {() => string} waits
 * @property {(config: string) => void} configure
 * @property {(entry: string) => string} route
 * @property {() => boolean} perform
 * @property {() => void} leave
 * @property {() => string} owed
 * @property {() => void} resign
 * @property {() => string[]} busy
 * @property {(what: string, payload: string) => Promise<string>} call
 */
/** @typedef {{ channel: string, to: string, accountId?: string, threadId?: string }} Route */
/** @typedef {{ outcome: string, [field: string]: unknown }} Outcome */
export {};
