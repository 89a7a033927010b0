// SPDX-License-Identifier: Apache-2.0
// People are told of what failed: once for each dead letter, and for an alert once when it begins to fail and once when it is well again,
// whoever dies in between and however many servers judge.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { Hookmesh, receiver, smtp, until } from "./outside.mjs";

// A job `flip` that fails while a file is there.
const flip = (dir, more = "") => `
jobs:
  - name: flip
    command: [sh, -c, "cat; test ! -e ${dir}/broken"]
    retry: {max_attempts: 1}
${more}`;

const alert = (condition, more = "") => `
scheduler:
  alerts:
    - condition: ${condition}
      notify: slack
      channel: "#ops-alerts"
      retry: {max_attempts: 30, backoff: fixed, initial_delay: 100ms}
      ${more}
`;

const ended = (h, id) => h.runUntil(id, (r) => !["queued", "running", "waiting"].includes(r.state));

// Every step that follows the run has been done.
const told = (h, id) => h.runUntil(id, (r) => r.finished && r.steps.filter((s) => s.after).every((s) => !s.fed || ["succeeded", "failed"].includes(s.state)));

test("each dead letter is told once, with what is needed to act", async (t) => {
  const mail = await smtp(t);
  const h = await Hookmesh.start(
    t,
    `
scheduler:
  dead_letter: {enabled: true, retention: 7d, notify: ops@example.com}
jobs:
  - name: sync
    command: [sh, -c, "echo could not reach the moon >&2; exit 1"]
    retry: {max_attempts: 3, backoff: fixed, initial_delay: 20ms}
`,
    { HOOKMESH_SMTP_URL: mail.url, HOOKMESH_PUBLIC_URL: "https://hooks.example.com" },
  );
  const id = await h.start("sync", { password: "in the input" });
  await h.step(id, "dead-letter", "succeeded");
  const [got] = await mail.have(1);
  assert.deepEqual(got.to, ["ops@example.com"]);
  assert.equal(got.headers.subject, "sync failed: the command ended with status 1: could not reach the moon");
  for (const line of [
    "sync failed after 3 attempts.", `Run:     ${id}`, "Step:    run", "Error:   the command ended with status 1: could not reach the moon",
    `hookmesh dlq show ${id}`, `hookmesh dlq retry ${id}`, `https://hooks.example.com/#/runs/${id}`,
  ])
    assert.ok(got.text.includes(line), `${line}\n${got.text}`);
  assert.ok(!got.text.includes("in the input"));

  // Taken up again it fails again: that is another dead letter, and another mail.
  assert.equal((await h.fetch(`/v1/runs/${id}/retry`, { method: "POST" })).status < 300, true);
  await mail.have(2);
  assert.notEqual(mail.mails[1].headers["message-id"], got.headers["message-id"]);
  await h.kill9();
  await h.serve();
  const other = await h.start("sync");
  await h.step(other, "dead-letter", "succeeded");
  await mail.have(3);
});

test("a document that fails is told as well, and a notice that fails fails no run and makes no notice", async (t) => {
  const hook = await receiver(t, (q) => ({ status: q.url === "/well" ? 200 : 400 }));
  const h = await Hookmesh.start(
    t,
    `
scheduler:
  dead_letter: {notify: ["${hook.url}/well", "${hook.url}/ill"]}
pipelines:
  - name: doc
    stages:
      - {name: parse, watch: "doc.*.raw", command: [cat, /nowhere], write: "doc.{1}.out", retry: {max_attempts: 1}}
`,
  );
  assert.equal((await h.fetch("/v1/kv/doc.a-1.raw", { method: "PUT", body: "1" })).status, 201);
  await until("both notices", () => hook.got.length === 2);
  const got = hook.got.find((q) => q.url === "/well").json;
  assert.equal(got.type, "run.dead");
  assert.equal(got.data.run, "doc.a-1");
  assert.equal(got.data.job, "doc");
  assert.equal(got.data.step, "parse");
  assert.equal(got.data.attempts, 1);
  assert.match(got.data.error, /\/nowhere/);
  const run = await told(h, "doc.a-1");
  assert.equal(run.state, "dead");
  assert.equal(hook.got.length, 2);
});

test("an alert is told once when a job begins to fail, and once when it is well again", async (t) => {
  const slack = await receiver(t, () => ({ status: 200, body: "ok" }));
  const h = new Hookmesh(t, { HOOKMESH_SLACK_WEBHOOK: slack.url, HOOKMESH_PUBLIC_URL: "https://hooks.example.com" });
  h.config(flip(h.dir) + alert("job_failed"));
  await h.serve();
  const broken = join(h.dir, "broken");
  const texts = () => slack.got.map((q) => q.json.text.split("\n")[0]);
  await told(h, await h.start("flip", 1));
  assert.deepEqual(texts(), []);
  for (let round = 0; round < 2; round++) {
    writeFileSync(broken, "");
    let first;
    for (let i = 0; i < 3; i++) {
      const id = await h.start("flip", 1);
      first ??= id;
      assert.equal((await told(h, id)).state, "dead");
    }
    rmSync(broken);
    for (let i = 0; i < 3; i++) assert.equal((await told(h, await h.start("flip", 1))).state, "succeeded");
    assert.ok(slack.got[2 * round].json.text.includes(`Run:        ${first}`));
  }
  const bad = "*[alert] flip: job_failed*", good = "*[recovered] flip: job_failed*";
  assert.deepEqual(texts(), [bad, good, bad, good]);
  assert.equal(slack.got[0].json.channel, "#ops-alerts");
  assert.match(slack.got[0].json.text, /flip failed: the command ended with status 1/);
  assert.match(slack.got[1].json.text, /flip is well again/);
});

test("a slow run is told while it runs, and the next quick one says that it is over", async (t) => {
  const slack = await receiver(t, () => ({ status: 200, body: "ok" }));
  const h = new Hookmesh(t, { HOOKMESH_SLACK_WEBHOOK: slack.url });
  const stop = join(h.dir, "stop");
  h.config(`
jobs:
  - name: slow
    command: [sh, -c, "until [ -e ${stop} ]; do sleep 0.02; done; echo 1"]
${alert("duration > 300ms")}`);
  await h.serve();
  const id = await h.start("slow");
  await until("the alert", () => slack.got.length === 1);
  assert.equal((await h.run(id)).state, "running");
  assert.match(slack.got[0].json.text, /slow has been running for more than 300ms/);
  writeFileSync(stop, "");
  assert.equal((await told(h, id)).state, "succeeded");
  assert.equal(slack.got.length, 1);
  await told(h, await h.start("slow"));
  await until("the recovery", () => slack.got.length === 2);
  assert.match(slack.got[1].json.text, /^\*\[recovered\] slow: duration &gt; 300ms\*/);
});

test("outputs that are empty, and results that are missing, are told", async (t) => {
  const hook = await receiver(t);
  const h = await Hookmesh.start(
    t,
    `
scheduler:
  alerts:
    - {condition: output.items == 0, notify: http, url: "${hook.url}/items"}
    - {condition: missing RESULT.path, notify: http, url: "${hook.url}/path", job: digest}
jobs:
  - {name: digest, command: [cat]}
  - {name: other, command: [cat]}
`,
  );
  const news = () => hook.got.map((q) => `${q.url} ${q.json.type} ${q.json.data.job}`).sort();
  await told(h, await h.start("digest", { items: 3, path: "a.md" }));
  assert.deepEqual(news(), []);
  await told(h, await h.start("digest", { items: 0, path: "a.md" }));
  await told(h, await h.start("digest", { items: [], path: "a.md" }));
  await told(h, await h.start("other", { items: [], path: null }));
  assert.deepEqual(news(), ["/items alert.failing digest", "/items alert.failing other"]);
  await told(h, await h.start("digest", { items: 1 }));
  assert.deepEqual(news(), [
    "/items alert.failing digest", "/items alert.failing other", "/items alert.recovered digest", "/path alert.failing digest",
  ]);
  const why = hook.got.find((q) => q.url === "/path").json.data;
  assert.equal(why.why, "digest ended without output.path");
  assert.equal(why.alert, "missing RESULT.path");
});

test("an alert cannot fail a run, and is told when its channel is back", async (t) => {
  let well = false;
  const slack = await receiver(t, () => (well ? { status: 200, body: "ok" } : { status: 503 }));
  const h = new Hookmesh(t, { HOOKMESH_SLACK_WEBHOOK: slack.url });
  h.config(flip(h.dir) + alert("output == 1"));
  await h.serve();
  const id = await h.start("flip", 1);
  await until("two attempts", () => slack.got.length >= 2);
  assert.equal((await h.run(id)).state, "succeeded");
  const other = await h.start("flip", 1); // says the same meanwhile
  await ended(h, other);
  well = true;
  await told(h, id);
  await told(h, other);
  const before = slack.got.length;
  await told(h, await h.start("flip", 1));
  assert.equal(slack.got.length, before);
  await told(h, await h.start("flip", 2));
  assert.equal(slack.got.length, before + 1);
  assert.match(slack.got.at(-1).json.text, /^\*\[recovered\]/);
});

test("what is over before it could be told is not told", async (t) => {
  let well = false;
  const slack = await receiver(t, () => (well ? { status: 200, body: "ok" } : { status: 503 }));
  const h = new Hookmesh(t, { HOOKMESH_SLACK_WEBHOOK: slack.url });
  h.config(flip(h.dir) + alert("output == 1"));
  await h.serve();
  const id = await h.start("flip", 1);
  await until("an attempt", () => slack.got.length >= 1);
  await ended(h, await h.start("flip", 2));
  await told(h, id);
  const failed = slack.got.length;
  well = true;
  await told(h, await h.start("flip", 3));
  assert.equal(slack.got.length, failed);
  await told(h, await h.start("flip", 1));
  assert.equal(slack.got.length, failed + 1);
});

test("a server that dies while it tells sends at most once more", async (t) => {
  let silent = true;
  const slack = await receiver(t, () => (silent ? null : { status: 200, body: "ok" }));
  const h = new Hookmesh(t, { HOOKMESH_SLACK_WEBHOOK: slack.url });
  h.config(flip(h.dir) + alert("output == 1"));
  await h.serve();
  const id = await h.start("flip", 1);
  await until("the alert", () => slack.got.length === 1);
  await h.kill9();
  silent = false;
  await h.serve();
  await told(h, id);
  await told(h, await h.start("flip", 1));
  assert.equal(slack.got.length, 2);
  assert.equal(slack.got[0].body, slack.got[1].body);
  await told(h, await h.start("flip", 2));
  assert.equal(slack.got.length, 3);
});

const redis = async (t, h) => {
  const socket = join(h.dir, "r.sock");
  const child = spawn("redis-server", ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", h.dir], { stdio: "ignore" });
  t.after(() => child.kill("SIGKILL"));
  await until("redis", async () => (await command(socket, "PING")) === "PONG");
  return socket;
};

const command = (socket, ...words) =>
  new Promise((resolve) => {
    let out = "";
    const child = spawn("redis-cli", ["-s", socket, ...words], { stdio: ["ignore", "pipe", "ignore"] });
    child.stdout.on("data", (d) => (out += d));
    child.once("close", () => resolve(out.trim()));
  });

test("two servers that judge the same runs tell each change once", async (t) => {
  const slack = await receiver(t, () => ({ status: 200, body: "ok" }));
  const h = new Hookmesh(t, { HOOKMESH_SLACK_WEBHOOK: slack.url });
  const socket = await redis(t, h);
  h.config(flip(h.dir) + alert("output == 1"));
  await h.serve({ data: "one", redis: `unix://${socket}` });
  await h.serve({ data: "two", redis: `unix://${socket}` });
  for (const [n, changes] of [[1, 1], [2, 2], [1, 3]]) {
    const ids = await Promise.all(
      Array.from({ length: 30 }, async (_, i) => {
        const r = await fetch(new URL("/v1/jobs/flip/runs", h.servers[i % 2].base), { method: "POST", body: JSON.stringify(n) });
        return (await r.json()).run_id;
      }),
    );
    await Promise.all(ids.map((id) => told(h, id)));
    assert.equal(slack.got.length, changes, slack.got.map((q) => q.json.text.split("\n")[0]).join("\n"));
  }
  assert.equal(await command(socket, "HLEN", "hm:alerts"), "1");
});

test("a missed tick is told, and the next one in time says that it is over", async (t) => {
  const slack = await receiver(t, () => ({ status: 200, body: "ok" }));
  const h = new Hookmesh(t, { HOOKMESH_SLACK_WEBHOOK: slack.url });
  const socket = await redis(t, h);
  h.config(`
settings: {misfire_grace: 1s}
jobs:
  - {name: often, command: [echo, "1"], schedule: "* * * * * *", overlap: allow}
${alert("missed_tick")}`);
  await h.serve({ redis: `unix://${socket}` });
  await until("a tick", async () => (await h.fetch("/v1/runs?job=often")).json.runs?.length || (await h.fetch("/v1/runs?job=often")).json.length);
  await h.kill9();
  // As if nobody had been there for two minutes.
  const past = String(Date.now() - 120_000);
  const name = (await command(socket, "ZRANGE", "hm:cron", "0", "0")).split("\n")[0];
  assert.equal(await command(socket, "ZADD", "hm:cron", "XX", "CH", past, name), "1");
  await h.serve({ redis: `unix://${socket}` });
  await until(() => `the alert\n${h.log.slice(-2000)}`, () => slack.got.length >= 1);
  await until("the recovery", () => slack.got.length >= 2);
  assert.match(slack.got[0].json.text, /^\*\[alert\] often: missed_tick\*\noften missed \d+ ticks/);
  assert.match(slack.got[1].json.text, /^\*\[recovered\] often: missed_tick\*/);
});
