// Ties this Claude Code to the `ride` that started it: asks before a prompt, a
// turn or a compaction begins, reports each row that becomes a prompt or an
// answer under the id it has in the transcript, and draws the line `ride` sends.
//
// Invariants: without ride's two variables nothing is hooked into effect; no
// answer in time means no; reports arrive in the order things happened.
// Absent on purpose: every decision. They are made in ride.
//
// Claude Code's API for this is early access; measured on 2.1.330.

// ride answers within 4 s or says no itself; a hook has 10 s of its own time.
const ANSWER_MS = 5_000;
// All of an exit's hooks share 1.5 s.
const FAREWELL_MS = 1_000;
const RETRY_MS = 1_000;

let link; // { socketPath, token }; null where ride did not start this Claude
let isInteractive = false;
let greeted = false;
let band = { line: "", warn: false, said: 0 }; // above the prompt; the number of lines put into the conversation
let reports = Promise.resolve();
let gave = false; // what was typed and not sent, before the end

// `$.env.get` wants its names as literals, so that `validate` can list them.
async function launcher($) {
  if (link === undefined) {
    const socketPath = await $.env.get("OPENCLAW_RIDE_SOCKET");
    const token = await $.env.get("OPENCLAW_RIDE_TOKEN");
    link = socketPath && token ? { socketPath, token } : null;
  }
  return link;
}

async function post($, path, body) {
  const { socketPath, token } = await launcher($);
  const answer = await $.http.fetch(`http://ride${path}`, {
    method: "POST",
    socketPath,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ session: await $.session.id(), ...body }),
  });
  const said = JSON.parse(answer.text);
  if (!answer.ok) throw Object.assign(new Error(said.error), { code: said.code });
  return said;
}

async function within($, ms, work) {
  const bell = new AbortController();
  const late = $.clock.sleep(ms, { signal: bell.signal }).then(() => {
    throw new Error(`no answer within ${ms / 1000} s`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    bell.abort();
  }
}

async function greet($) {
  if (greeted) return;
  const cwd = await $.session.cwd();
  const { version } = await $.session.version();
  try {
    await within($, ANSWER_MS, post($, "/hello", { protocol: 1, cwd, version, isInteractive }));
    greeted = true;
  } catch (error) {
    // A Claude Code started from within a ride inherits its variables, not its place.
    if (error.code === "stranger") link = null;
    else throw error;
  }
}

// Answers `{ allow, reason }`; whatever goes wrong is a no.
async function ask($, path, body) {
  try {
    await greet($);
    if (link === null) return { allow: true };
    return await within($, ANSWER_MS, post($, path, body));
  } catch (error) {
    $.ui.log(`ride: ${error.message}`, { to: "debug" });
    const reason = error.code ? error.message : "ride does not answer";
    return { allow: false, reason: `not sent: ${reason}` };
  }
}

// Reports one after another. Waits a bounded time; a late report still arrives.
async function report($, path, body, ms = ANSWER_MS) {
  const told = { session: await $.session.id(), ...body };
  reports = reports
    .then(() => post($, path, told))
    .catch((error) => {
      $.ui.log(`ride: ${path} not reported: ${error.message}`, { to: "debug" });
    });
  await within($, ms, reports).catch(() => {});
}

// What is typed and not sent ends with this Claude Code: ride shows it again afterwards.
async function giveDraft($) {
  gave = true;
  let text = "";
  try {
    text = (await $.prompt.read()).text;
  } catch {
    // A version without the call: what is typed is not known.
  }
  await report($, "/draft", { text }, FAREWELL_MS);
}

// Long poll: ride answers when the line changes, or after a while with the same.
async function watch($) {
  for (;;) {
    try {
      const { lines, ending, ...now } = await post($, "/status", band);
      band = now;
      for (const line of lines) $.ui.log(line);
      if (ending && !gave) await giveDraft($);
    } catch {
      band = { ...band, line: "ride does not answer: prompts are refused", warn: true };
      await $.clock.sleep(RETRY_MS);
    }
    $.ui.invalidate("ui.render");
  }
}

export const register = (on) => {
  on("session.start", async ($, e, next) => {
    if (await launcher($)) {
      isInteractive = e.isInteractive;
      await greet($).catch((error) => $.ui.log(`ride: no greeting: ${error.message}`));
      // A pending poll would hold up the end of a `-p` run.
      if (link && isInteractive) void watch($);
    }
    return next(e);
  });

  // At Enter, also for a prompt that then waits for the running turn.
  on("prompt.submit", async ($, e, next) => {
    if (await launcher($)) {
      const { text, origin, turnId, command } = e;
      const verdict = await ask($, "/prompt", { text, origin, turnId, command: command?.name });
      if (!verdict.allow) return { drop: verdict.reason };
      if (verdict.context) return next({ ...e, context: [...(e.context ?? []), verdict.context] });
    }
    return next(e);
  }).catch(($, e, next) => (next.called ? next(e) : { drop: "not sent: ride could not be asked" }));

  // When a turn is about to make its first request: a prompt that waited is not
  // submitted again, and the turns of `!command` never were. (`turn.start` does
  // not hold the request up.) Without `next` no request is made.
  on("turn.step", { index: 0 }, async function* ($, e, next) {
    if (e.agentId === undefined && (await launcher($))) {
      const verdict = await ask($, "/turn/start", { turnId: e.turnId });
      if (!verdict.allow) {
        $.ui.log(`Turn stopped: ${verdict.reason}`);
        await $.turn.abort({ turnId: e.turnId }).catch(() => {});
        return { turnId: e.turnId, index: e.index, answer: "", toolUses: [] };
      }
    }
    return yield* next(e);
  });

  on("session.compact", async ($, e, next) => {
    if (e.agentId === undefined && (await launcher($))) {
      const verdict = await ask($, "/compact", { trigger: e.trigger });
      if (!verdict.allow) return { skip: verdict.reason };
    }
    return next(e);
  }).catch(($, e, next) => (next.called ? next(e) : { skip: "ride could not be asked" }));

  // The one place where a prompt or an answer has its transcript id, and before
  // it is stored. Which rows count is decided in ride.
  on("session.append", { door: ["prompt", "command", "delivery", "response"] }, async ($, e, next) => {
    if (e.agentId === undefined && (await launcher($))) {
      const { door, origin, uuid, message } = e;
      const text = message.content
        .filter((block) => block.type === "text")
        .map((block) => block.text)
        .join("\n");
      const row = { door, origin, uuid, isMeta: message.isMeta, hasText: text.trim() !== "" };
      await report($, "/row", door === "response" ? row : { ...row, text });
    }
    return next(e);
  });

  on("turn.complete", async ($, e, next) => {
    if (e.agentId === undefined && (await launcher($))) {
      const { turnId, reason, answer, durationMs } = e;
      await report($, "/turn/end", { turnId, reason, answer, durationMs });
    }
    return next(e);
  });

  // /clear and /resume go on under another session id, without a `session.start`.
  on("classic.SessionStart", async ($, e, next) => {
    if (greeted) await report($, "/session", { session: e.session_id, source: e.source });
    return next(e);
  });

  on("session.end", async ($, e, next) => {
    if (greeted && e.reason !== "clear" && e.reason !== "resume") {
      await report($, "/bye", { session: e.sessionId, reason: e.reason }, FAREWELL_MS);
    }
    return next(e);
  });

  on("ui.render", { component: "AbovePrompt" }, async ($, e, next) => {
    if (!band.line || e.props.hasSurvey) return next(e);
    const { Box, Text } = $.ui.resolve(e);
    return h(Box, {}, h(Text, { color: band.warn ? "yellow" : "cyan", wrap: "truncate" }, band.line));
  });
};
