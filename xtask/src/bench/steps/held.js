// How long the gateway's event loop is held at a stretch: from `begin` to the next call.
import { monitorEventLoopDelay } from "node:perf_hooks";

export default ({ probe, params }) => {
  if (params.begin) {
    probe.loop = monitorEventLoopDelay({ resolution: 1 });
    probe.loop.enable();
    return {};
  }
  probe.loop.disable();
  return { longestMs: probe.loop.max / 1e6 };
};
