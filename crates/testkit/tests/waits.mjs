// How many releases one client may wait for, and that a copy goes on at once: what was answered.
const { registerMethods } = await import(process.argv[2]);

const methods = {};
const pending = [];
let looks = 0;
const sync = {
  call: async (what, payload) => {
    if (what === "request")
      return JSON.stringify({ wait: { method: JSON.parse(payload).method, key: "k", waitMs: 60_000 } });
    if (JSON.parse(payload).method === "ride_copy")
      return JSON.stringify(++looks < 20 ? { wait: { again: true } } : { ok: { looks } });
    return new Promise((resolve) => pending.push(() => resolve(JSON.stringify({ ok: { open: true } }))));
  },
};
const api = {
  logger: { ...console, error() {} },
  registerGatewayMethod: (name, handler) => {
    methods[name] = handler;
  },
};
registerMethods(api, () => sync, {});

const ask = (client, method = "ride_release") => {
  const asked = { answer: "none" };
  asked.done = methods[method]({
    client,
    params: { key: "k" },
    respond: (ok, value, error) => {
      asked.answer = ok ? value : error;
    },
  });
  return asked;
};
const settle = () => new Promise((resolve) => setTimeout(resolve, 50));
const [one, other] = [{}, {}];
const first = Array.from({ length: 9 }, () => ask(one));
await settle();
const elsewhere = ask(other);
await settle();
const came = {
  waiting: first.map((asked) => asked.answer === "none"),
  refused: first[8].answer,
  elsewhere: elsewhere.answer,
};
pending.shift()();
await first[0].done;
const later = ask(one);
await settle();
came.later = later.answer;
for (const end of pending.splice(0)) end();
await Promise.all([...first, elsewhere, later].map((asked) => asked.done));
const began = Date.now();
const copy = ask(one, "ride_copy");
await copy.done;
came.copy = copy.answer;
came.quick = Date.now() - began < 5_000;
console.log(JSON.stringify(came));
