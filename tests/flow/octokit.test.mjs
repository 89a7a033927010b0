// SPDX-License-Identifier: Apache-2.0
// Every payload that GitHub's own library ships as an example, as JSON and as a form: signed it is accepted and kept byte for byte, with
// one byte changed it is refused, and each stands in the ledger.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import examples from "@octokit/webhooks-examples" with { type: "json" };

const secret = "It's a Secret to Everybody";
const binary = process.env.HOOKMESH_BIN ?? "build/hookmesh";
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
const payloads = examples.flatMap(({ name, examples }) => examples.map((payload) => ({ name, payload })));
let directory, server, ended, base;
let log = "";

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "hookmesh-"));
  mkdirSync(join(directory, "config"));
  writeFileSync(
    join(directory, "config/main.yaml"),
    'triggers:\n  - {type: webhook, path: /hooks/github, write: "in.{run}.event"}\nsettings: {ledger_max: 100000}\n',
  );
  server = spawn(
    binary,
    ["serve", "--config", join(directory, "config"), "--data", join(directory, "data"), "--listen", "127.0.0.1:0"],
    { env: { PATH: process.env.PATH, HOME: directory, HOOKMESH_SECRET_GITHUB: secret }, stdio: ["ignore", "ignore", "pipe"] },
  );
  ended = new Promise((resolve) => server.once("exit", (code, signal) => resolve(code ?? signal)));
  const ready = new Promise((resolve) => {
    server.stderr.setEncoding("utf8").on("data", (text) => {
      log += text;
      if (log.includes("mod=serve event=ready")) resolve();
    });
  });
  await Promise.race([ready, ended.then((code) => assert.fail(`the server ended with ${code}:\n${log}`))]);
  base = /mod=serve event=listening url=(\S+)/.exec(log)[1];
});

after(async () => {
  agent.destroy();
  server?.kill("SIGTERM");
  assert.equal(await ended, 0, log.slice(-3000));
  rmSync(directory, { recursive: true });
});

const request = (method, path, headers = {}, body) =>
  new Promise((resolve, reject) => {
    const q = http.request(new URL(path, base), { method, headers, agent }, (r) => {
      const pieces = [];
      r.on("data", (piece) => pieces.push(piece));
      r.on("end", () => resolve({ status: r.statusCode, headers: r.headers, text: Buffer.concat(pieces).toString() }));
      r.on("error", reject);
    });
    q.on("error", reject);
    q.end(body);
  });

const sign = (body) => "sha256=" + createHmac("sha256", secret).update(body).digest("hex");

const deliver = (name, type, body, signature) => {
  const id = randomUUID();
  const headers = {
    "content-type": type,
    "content-length": body.length,
    "x-github-event": name,
    "x-github-delivery": id,
    "x-hub-signature-256": signature,
    "user-agent": "GitHub-Hookshot/0000000",
  };
  return request("POST", "/hooks/github", headers, body).then((answer) => ({ id, answer }));
};

// As many at once as the agent has sockets; the first failure ends the test.
const forAll = async (items, fn) => {
  const queue = items.entries();
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (const [i, item] of queue) await fn(item, i);
    }),
  );
};

// The whole ledger, sender's id -> line, once it has at least so many lines.
const ledger = async (count) => {
  for (;;) {
    const lines = new Map();
    for (let path = "/v1/deliveries?limit=500"; path; ) {
      const page = await request("GET", path);
      assert.equal(page.status, 200, page.text);
      for (const line of JSON.parse(page.text)) lines.set(line.delivery, line);
      path = /<([^>]+)>; rel="next"/.exec(page.headers.link ?? "")?.[1];
    }
    if (lines.size >= count) return lines;
  }
};

const forms = {
  JSON: { type: "application/json", encode: (text) => Buffer.from(text) },
  "a form": {
    type: "application/x-www-form-urlencoded",
    encode: (text) => Buffer.from(new URLSearchParams({ payload: text }).toString()),
  },
};

let sent = 0;
for (const [form, { type, encode }] of Object.entries(forms)) {
  test(`every example as ${form} is accepted with its signature and kept byte for byte`, async () => {
    assert.ok(payloads.length > 300);
    const ids = new Map();
    await forAll(payloads, async ({ name, payload }) => {
      const text = JSON.stringify(payload, null, form === "JSON" ? 2 : 0);
      const body = encode(text);
      const { id, answer } = await deliver(name, type, body, sign(body));
      assert.equal(answer.status, name === "ping" ? 200 : 202, `${name}: ${answer.text}`);
      ids.set(id, name === "ping" ? "ping" : "accepted");
      if (name === "ping") return;
      const { run_id } = JSON.parse(answer.text);
      assert.equal(answer.headers.location, `/v1/runs/${run_id}`);
      const input = await request("GET", `/v1/kv/in.${run_id}.event`);
      assert.equal(input.status, 200);
      assert.ok(input.text.endsWith(`,"payload":${text}}`), name);
      assert.equal(JSON.parse(input.text).event, name);
    });
    sent += ids.size;
    const lines = await ledger(sent);
    for (const [id, outcome] of ids) assert.equal(lines.get(id)?.outcome, outcome);
  });

  test(`every example as ${form} with one byte changed is refused and stands in the ledger`, async () => {
    const ids = [];
    await forAll(payloads, async ({ name, payload }, i) => {
      const body = encode(JSON.stringify(payload));
      const signature = sign(body);
      body[(i * 7919) % body.length] ^= 1;
      const { id, answer } = await deliver(name, type, body, signature);
      assert.equal(answer.status, 401, `${name}: ${answer.text}`);
      assert.equal(answer.headers["content-type"], "application/problem+json");
      assert.match(JSON.parse(answer.text).detail, /signature does not match/);
      ids.push(id);
    });
    sent += ids.length;
    const lines = await ledger(sent);
    for (const id of ids) {
      assert.equal(lines.get(id)?.outcome, "rejected");
      assert.match(lines.get(id).reason, /signature does not match/);
      assert.equal(lines.get(id).status, 401);
    }
  });
}
