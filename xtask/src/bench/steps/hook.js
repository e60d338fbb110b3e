// The hook as one would write it for Node: standard input to the socket, the answer to
// standard output, and a prompt blocked whatever goes wrong.
import http from "node:http";

const block = (why) => process.stdout.write(JSON.stringify({ decision: "block", reason: `not sent: ${why}` }));
let input = "";
process.stdin.on("data", (chunk) => (input += chunk));
process.stdin.on("end", () => {
  const request = http.request(
    {
      socketPath: process.env.OPENCLAW_RIDE_SOCKET,
      path: `/hook/${process.argv[2]}`,
      method: "POST",
      headers: {
        authorization: `Bearer ${process.env.OPENCLAW_RIDE_TOKEN}`,
        "content-length": Buffer.byteLength(input),
      },
      timeout: 6000,
    },
    (response) => {
      let answer = "";
      response.on("data", (chunk) => (answer += chunk));
      response.on("end", () => (response.statusCode === 200 ? process.stdout.write(answer) : block(answer)));
    },
  );
  request.on("timeout", () => request.destroy(new Error("no answer")));
  request.on("error", (error) => block(error.message));
  request.end(input);
});
