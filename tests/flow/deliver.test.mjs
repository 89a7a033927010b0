// SPDX-License-Identifier: Apache-2.0
// Results are delivered over every channel, each on its own, to real servers: that are well, down, slow, overloaded, or say no.
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Webhook } from "standardwebhooks";

import { Hookmesh, receiver, smtp, until } from "./outside.mjs";

const soon = "retry: {max_attempts: 20, backoff: fixed, initial_delay: 100ms}";
const job = (output, more = "") => `
settings: {delivery_timeout: 5s}
jobs:
  - name: daily
    command: [cat]
    output:
${output
  .trim()
  .split("\n")
  .map((line) => `      ${line}`)
  .join("\n")}
${more}`;

test("a result is mailed to all recipients, and the run shows it", async (t) => {
  const mail = await smtp(t);
  const h = await Hookmesh.start(t, job("- email: team@example.com, Ops@example.com"), {
    HOOKMESH_SMTP_URL: mail.url,
    HOOKMESH_SMTP_FROM: "Hook Mesh <robot@example.com>",
    HOOKMESH_PUBLIC_URL: "https://hooks.example.com/",
  });
  const id = await h.start("daily", { summary: "Grüße 🚀: alles gut.\n.\n..Ende", items: 3 });
  const step = await h.step(id, "email", "succeeded");
  const [got] = await mail.have(1);
  assert.deepEqual(got.to, ["team@example.com", "Ops@example.com"]);
  assert.equal(got.from, "robot@example.com");
  assert.equal(got.headers.from, "Hook Mesh <robot@example.com>");
  assert.equal(got.headers.subject, "daily succeeded");
  assert.equal(got.headers["auto-submitted"], "auto-generated");
  assert.equal(got.headers["content-type"], "text/plain; charset=utf-8");
  assert.ok(Math.abs(Date.parse(got.headers.date) - Date.now()) < 60_000);
  assert.equal(
    got.text,
    `Grüße 🚀: alles gut.\r\n.\r\n..Ende\r\n\r\n-- \r\ndaily, run ${id}\r\nhttps://hooks.example.com/#/runs/${id}\r\n`,
  );
  assert.equal(step.after, true);
  assert.equal(step.kind, "email");
  assert.equal(step.result.message_id, got.headers["message-id"]);
  assert.match(step.result.said, /^250 .*4F1/);
});

test("subject and text come from the run, and no payload adds a header, a recipient or a command", async (t) => {
  const mail = await smtp(t);
  const h = await Hookmesh.start(
    t,
    job("- email: {to: team@example.com, subject: .input.title, text: .output.body}"),
    { HOOKMESH_SMTP_URL: mail.url },
  );
  const evil = [
    ["Hi\r\nBcc: victim@example.com\r\n\r\nBuy!", "x\r\n.\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: y\r\n\r\nz"],
    ["=?UTF-8?Q?=0D=0ABcc:_victim@example.com?=", "a\n.\nQUIT\n"],
    ["\u0000\u0001Bcc:\u2028x\u0085y", "\r.\r"],
    ["ü".repeat(900), "long ".repeat(20_000)],
  ];
  for (const [n, [title, body]] of evil.entries()) {
    const id = await h.start("daily", { title, body });
    await h.step(id, "email", "succeeded");
    const got = (await mail.have(n + 1)).at(-1);
    assert.deepEqual(got.to, ["team@example.com"]);
    assert.equal(got.from.split("@")[0], "hookmesh");
    assert.deepEqual(Object.keys(got.headers).sort(), [
      "auto-submitted", "content-transfer-encoding", "content-type", "date", "from", "message-id", "mime-version", "subject", "to", "x-hookmesh-run",
    ]);
    assert.equal(got.text.replace(/\r\n$/, ""), body.replace(/\r\n?|\n/g, "\r\n").replace(/\r\n$/, ""));
    for (const line of got.data.split("\r\n")) assert.ok(line.length <= 78 && /^[\t\x20-\x7e]*$/.test(line), line);
  }
  const id = await h.start("daily", { title: "no body" });
  const step = await h.step(id, "email", "failed");
  assert.match(step.error, /there is nothing at \.output\.body/);
  assert.equal(step.attempt, 1);
});

test("a mail server that is away or busy gets the mail later, once", async (t) => {
  const mail = await smtp(t);
  const h = await Hookmesh.start(t, job(`- {email: busy@example.com, ${soon}}`), { HOOKMESH_SMTP_URL: mail.url });
  const id = await h.start("daily", "busy for two times");
  const step = await h.step(id, "email", "succeeded");
  assert.equal(step.attempt, 3);
  await mail.have(1);

  mail.child.kill("SIGKILL");
  await mail.ended;
  const other = await h.start("daily", "away");
  const failing = await h.runUntil(other, (r) => r.steps.find((s) => s.name === "email").failed_attempts >= 2);
  assert.equal(failing.state, "succeeded");
  const back = await smtp(t, "--port", String(mail.port)); // forgot how busy it was: two more times
  await h.step(other, "email", "succeeded");
  await back.have(1);
});

test("a mail server that is slow runs into delivery_timeout, and is asked again", async (t) => {
  const mail = await smtp(t);
  const h = await Hookmesh.start(
    t,
    `
settings: {delivery_timeout: 300ms}
jobs:
  - name: daily
    command: [cat]
    output:
      - {email: silent@example.com, retry: {max_attempts: 2, backoff: fixed, initial_delay: 50ms}}
`,
    { HOOKMESH_SMTP_URL: mail.url },
  );
  const id = await h.start("daily");
  const step = await h.step(id, "email", "failed");
  assert.equal(step.attempt, 2);
  assert.match(step.error, /127\.0\.0\.1 did not answer in time/);
  assert.equal((await h.run(id)).state, "succeeded");
});

test("a mail that is refused for good fails at once, saying what the server said", async (t) => {
  const mail = await smtp(t);
  const h = await Hookmesh.start(t, job("- email: unknown@example.com\n- email: unknown@example.com, team@example.com"), {
    HOOKMESH_SMTP_URL: mail.url,
  });
  const id = await h.start("daily");
  const none = await h.step(id, "email", "failed");
  assert.equal(none.attempt, 1);
  assert.match(none.error, /127\.0\.0\.1 refused the mail: 550 5\.1\.1 no such mailbox; look at the addresses/);
  const part = await h.step(id, "email-2", "failed");
  assert.match(part.error, /went out, but not to unknown@example\.com \(550 5\.1\.1 no such mailbox\)/);
  assert.deepEqual((await mail.have(1))[0].to, ["team@example.com"]);
});

test("who has a mail already does not get it again when another recipient is tried again", async (t) => {
  const mail = await smtp(t);
  const h = await Hookmesh.start(t, job(`- {email: "team@example.com, busy@example.com, ops@example.com", ${soon}}`), { HOOKMESH_SMTP_URL: mail.url });
  const step = await h.step(await h.start("daily", "hello"), "email", "succeeded");
  assert.equal(step.attempt, 3);
  assert.deepEqual((await mail.have(2)).map((m) => m.to), [["team@example.com", "ops@example.com"], ["busy@example.com"]]);
  assert.equal(mail.mails[0].headers["message-id"], mail.mails[1].headers["message-id"]);
  assert.equal(mail.mails[1].headers.to, "team@example.com, busy@example.com, ops@example.com");
});

test("login and STARTTLS are used, and no error or log line holds the password", async (t) => {
  const h = new Hookmesh(t, {});
  const mail = await smtp(t, "--starttls", h.dir, "--require-starttls", "--auth", "me:correct-horse");
  Object.assign(h.env, {
    HOOKMESH_SMTP_URL: mail.url, HOOKMESH_SMTP_USER: "me", HOOKMESH_SMTP_PASSWORD: "correct-horse", HOOKMESH_TLS_CA: join(h.dir, "cert.pem"),
  });
  h.config(job("- email: team@example.com"));
  await h.serve();
  await h.step(await h.start("daily"), "email", "succeeded");
  await mail.have(1);
  assert.equal(mail.mails[0].tls, true);
  assert.equal(mail.mails[0].user, "me");

  await h.kill9();
  h.env.HOOKMESH_SMTP_PASSWORD = "battery-staple";
  await h.serve();
  const step = await h.step(await h.start("daily"), "email", "failed");
  assert.match(step.error, /127\.0\.0\.1 refused the login: 535.*; look at HOOKMESH_SMTP_USER and HOOKMESH_SMTP_PASSWORD/);

  await h.kill9();
  delete h.env.HOOKMESH_TLS_CA; // nobody vouches for the server: the password stays here
  await h.serve();
  const id = await h.start("daily");
  const run = await h.runUntil(id, (r) => r.steps.find((s) => s.name === "email").failed_attempts >= 1);
  assert.equal(run.state, "succeeded");
  for (const secret of ["correct-horse", "battery-staple", Buffer.from("\0me\0battery-staple").toString("base64")]) {
    assert.ok(!h.log.includes(secret));
    assert.ok(!JSON.stringify(await h.run(id)).includes(secret));
  }
});

test("what is not configured fails at once and says what to set", async (t) => {
  const h = await Hookmesh.start(
    t,
    job(`
- email: team@example.com
- slack: "#daily"
- github: {repository: o/r, sha: .input.sha}
- http: {url: "http://127.0.0.1:1", secret_env: TELL_SECRET}
`),
  );
  const id = await h.start("daily", { sha: "a".repeat(40) });
  const said = {};
  for (const name of ["email", "slack", "github", "http"]) {
    const step = await h.step(id, name, "failed");
    assert.equal(step.attempt, 1);
    said[name] = step.error;
  }
  assert.match(said.email, /set HOOKMESH_SMTP_URL/);
  assert.match(said.slack, /set HOOKMESH_SLACK_WEBHOOK, or HOOKMESH_SLACK_WEBHOOK_FILE/);
  assert.match(said.github, /set HOOKMESH_GITHUB_TOKEN/);
  assert.match(said.http, /set TELL_SECRET or TELL_SECRET_FILE/);
  assert.equal((await h.run(id)).state, "succeeded");
});

test("Slack gets escaped text, and nothing tells its secret address", async (t) => {
  const slack = await receiver(t, (q, all) => (all.length === 1 ? { status: 200, body: "ok" } : { status: 404, body: "channel_not_found" }));
  const h = await Hookmesh.start(t, job('- slack: "#daily-metrics"'), {
    HOOKMESH_SLACK_WEBHOOK: `${slack.url}/services/T0/B0/hush-hush`,
    HOOKMESH_PUBLIC_URL: "https://hooks.example.com",
  });
  const id = await h.start("daily", { markdown: "<!channel> a & b *c* <https://evil.example|click>" });
  const step = await h.step(id, "slack", "succeeded");
  assert.deepEqual(slack.got[0].json, {
    text: `*daily succeeded*\n&lt;!channel&gt; a &amp; b *c* &lt;https://evil.example|click&gt;\n\n-- \ndaily, run ${id}\nhttps://hooks.example.com/#/runs/${id}\n`,
    channel: "#daily-metrics",
    unfurl_links: false,
  });
  assert.equal(slack.got[0].url, "/services/T0/B0/hush-hush");
  assert.deepEqual(step.result, { sent: "slack", channel: "#daily-metrics", status: 200 });

  const other = await h.start("daily", "x".repeat(500_000));
  const failed = await h.step(other, "slack", "failed");
  assert.equal(failed.attempt, 1);
  assert.match(failed.error, /^Slack answered 404: channel_not_found; look at HOOKMESH_SLACK_WEBHOOK/);
  assert.ok(slack.got[1].json.text.length < 4100);
  assert.ok(!(h.log + JSON.stringify(await h.run(other)) + JSON.stringify(await h.run(id))).includes("hush-hush"));
});

test("Retry-After of a 429 is honoured, and a 500 is tried again", async (t) => {
  const slack = await receiver(t, (q, all) => [{ status: 429, headers: { "retry-after": "2" } }, { status: 500 }, { status: 200, body: "ok" }][all.length - 1]);
  const h = await Hookmesh.start(t, job(`- {slack: , ${soon}}`), { HOOKMESH_SLACK_WEBHOOK: slack.url });
  const id = await h.start("daily", "hello");
  const step = await h.step(id, "slack", "succeeded");
  assert.equal(step.attempt, 3);
  assert.equal(slack.got.length, 3);
  assert.ok(slack.got[1].at - slack.got[0].at >= 1990, `${slack.got[1].at - slack.got[0].at} ms`);
  assert.equal(slack.got[0].body, slack.got[2].body);
});

test("webhooks are signed as Standard Webhooks has it, with one id over all attempts", async (t) => {
  const answers = [{ status: 503 }, "cut", { status: 200 }];
  const other = await receiver(t, (q, all) => answers[all.length - 1]);
  const key = `whsec_${Buffer.from("a key of 24 bytes or more").toString("base64")}`;
  const h = await Hookmesh.start(t, job(`- {http: {url: "${other.url}/in?x=1", secret_env: TELL_SECRET, headers: {X-Own: mine}}, ${soon}}`), {
    TELL_SECRET: key,
  });
  const id = await h.start("daily", { items: [1, 2], text: "ü" });
  const step = await h.step(id, "http", "succeeded");
  assert.equal(other.got.length, 3);
  for (const q of other.got) {
    const data = new Webhook(key).verify(q.body, q.headers); // throws when it is wrong
    assert.equal(data.type, "run.succeeded");
    assert.deepEqual(data.data.output, { items: [1, 2], text: "ü" });
    assert.equal(data.data.run, id);
    assert.equal(data.data.job, "daily");
    assert.equal(q.method, "POST");
    assert.equal(q.url, "/in?x=1");
    assert.equal(q.headers["content-type"], "application/json");
    assert.equal(q.headers["x-own"], "mine");
    assert.equal(q.headers["webhook-id"], other.got[0].headers["webhook-id"]);
    assert.throws(() => new Webhook(key).verify(q.body.replace("daily", "Daily"), q.headers));
  }
  assert.deepEqual(step.result, { sent: "http", to: other.url, message_id: other.got[0].headers["webhook-id"], status: 200 });
  const next = await h.start("daily", { items: [] });
  answers[3] = { status: 204 };
  await h.step(next, "http", "succeeded");
  assert.notEqual(other.got[3].headers["webhook-id"], other.got[0].headers["webhook-id"]);
  assert.ok(!h.log.includes(key));
});

test("a webhook that says no, redirects, never answers or answers without end does not hold anything up", async (t) => {
  const other = await receiver(t, (q) => {
    if (q.url === "/no") return { status: 400, body: "bad \u0001 thing" };
    if (q.url === "/moved") return { status: 302, headers: { location: "/elsewhere" } };
    if (q.url === "/large") return { status: 200, body: "x".repeat(5_000_000) };
    return null; // silence
  });
  const h = await Hookmesh.start(
    t,
    `
settings: {delivery_timeout: 400ms}
jobs:
  - name: daily
    command: [cat]
    output:
      - http: ${other.url}/no
      - http: ${other.url}/moved
      - http: ${other.url}/large
      - {http: "${other.url}/silent", retry: {max_attempts: 2, backoff: fixed, initial_delay: 50ms}}
`,
  );
  const id = await h.start("daily");
  assert.match((await h.step(id, "http", "failed")).error, /^http:\/\/127\.0\.0\.1:\d+ answered 400: bad/);
  assert.match((await h.step(id, "http-2", "failed")).error, /answered 302, a redirect, and none is followed/);
  assert.equal((await h.step(id, "http-3", "succeeded")).result.status, 200);
  const silent = await h.step(id, "http-4", "failed");
  assert.equal(silent.attempt, 2);
  assert.match(silent.error, /did not answer in time/);
  assert.ok(!other.got.some((q) => q.url === "/elsewhere"));
});

test("a result becomes a key, and what watches the key goes on from there", async (t) => {
  const h = await Hookmesh.start(
    t,
    job(
      "- kv: reports.{1}.daily",
      `
pipelines:
  - name: follow
    stages:
      - {name: upper, watch: "reports.*.daily", command: [cat], write: "reports.{1}.seen"}
`,
    ),
  );
  const id = await h.start("daily", { n: 1 });
  const step = await h.step(id, "kv", "succeeded");
  assert.deepEqual(step.result, { sent: "kv", key: `reports.${id}.daily`, version: 1 });
  await until("the pipeline's key", async () => (await h.fetch(`/v1/kv/reports.${id}.seen`)).json?.n === 1);
});

test("a result becomes a file, as a whole, in a directory that is there", async (t) => {
  const h = new Hookmesh(t, {});
  mkdirSync(join(h.dir, "reports"));
  h.config(job(`- file: ${h.dir}/reports/{1}.md\n- file: ../reports/latest.json\n- file: ${h.dir}/missing/x.md`));
  await h.serve();
  const id = await h.start("daily", { markdown: "# Done", n: 1 });
  const step = await h.step(id, "file", "succeeded");
  assert.deepEqual(step.result, { sent: "file", path: `${h.dir}/reports/${id}.md`, bytes: 7 });
  assert.equal(readFileSync(`${h.dir}/reports/${id}.md`, "utf8"), "# Done\n");
  await h.step(id, "file-2", "succeeded");
  assert.deepEqual(JSON.parse(readFileSync(`${h.dir}/reports/latest.json`, "utf8")), { markdown: "# Done", n: 1 });
  const missing = await h.step(id, "file-3", "failed");
  assert.equal(missing.attempt, 1);
  assert.match(missing.error, /missing\/x\.md cannot be created: No such file or directory; its directory must be there/);
  assert.deepEqual(readdirSync(`${h.dir}/reports`).sort(), [`${id}.md`, "latest.json"].sort());

  // Mended, the delivery alone is taken up again.
  mkdirSync(join(h.dir, "missing"));
  const retried = await h.fetch(`/v1/runs/${id}/retry`, { method: "POST" });
  assert.ok([200, 202].includes(retried.status), retried.text);
  await h.step(id, "file-3", "succeeded");
  assert.equal(readFileSync(`${h.dir}/missing/x.md`, "utf8"), "# Done\n");
  rmSync(join(h.dir, "missing"), { recursive: true });
});

test("GitHub gets a commit status and a comment", async (t) => {
  const api = await receiver(t, (q) => ({ status: 201, body: "{}" }));
  const h = await Hookmesh.start(
    t,
    job(`
- github: {repository: .input.payload.repository.full_name, sha: .input.payload.after}
- github: {repository: octo/hello-world, issue: .input.payload.number, text: .output.text, context: ignored}
- github: {repository: octo/hello, sha: .input.payload.after, context: ci/own, text: All green}
`),
    { HOOKMESH_GITHUB_API: `${api.url}/`, HOOKMESH_GITHUB_TOKEN: "ghp_hush_hush", HOOKMESH_PUBLIC_URL: "https://hooks.example.com" },
  );
  const sha = "0123456789abcdef0123456789abcdef01234567";
  const id = await h.start("daily", { payload: { repository: { full_name: "octo/hello.world" }, after: sha, number: 7 }, text: "Looks *good*" });
  assert.deepEqual((await h.step(id, "github", "succeeded")).result, { sent: "github", to: "octo/hello.world", sha, status: 201 });
  assert.deepEqual((await h.step(id, "github-2", "succeeded")).result, { sent: "github", to: "octo/hello-world", issue: "7", status: 201 });
  await h.step(id, "github-3", "succeeded");
  const at = (url) => api.got.find((q) => q.url === url);
  assert.deepEqual(at(`/repos/octo/hello.world/statuses/${sha}`).json, {
    state: "success", description: "daily succeeded", context: "hookmesh/daily", target_url: `https://hooks.example.com/#/runs/${id}`,
  });
  assert.match(at("/repos/octo/hello-world/issues/7/comments").json.body, /^Looks \*good\*\n\n<!-- hookmesh [0-9a-f]{32} -->$/);
  assert.equal(at(`/repos/octo/hello/statuses/${sha}`).json.context, "ci/own");
  assert.equal(at(`/repos/octo/hello/statuses/${sha}`).json.description, "All green");
  for (const q of api.got) {
    assert.equal(q.headers.authorization, "Bearer ghp_hush_hush");
    assert.equal(q.headers["x-github-api-version"], "2022-11-28");
    assert.match(q.headers["user-agent"], /^hookmesh\//); // GitHub refuses requests without one
  }
  assert.ok(!h.log.includes("ghp_hush_hush"));
});

test("repository, commit and issue from a payload cannot lead GitHub's token elsewhere", async (t) => {
  const api = await receiver(t, () => ({ status: 201, body: "{}" }));
  const h = await Hookmesh.start(t, job("- github: {repository: .input.repo, sha: .input.sha}\n- github: {repository: o/r, issue: .input.issue}"), {
    HOOKMESH_GITHUB_API: api.url, HOOKMESH_GITHUB_TOKEN: "ghp_hush_hush",
  });
  const sha = "a".repeat(40);
  const wrong = [
    { repo: "../../user", sha, issue: "1/../../x" },
    { repo: "o/..", sha, issue: "-1" },
    { repo: "o/r/../../x", sha, issue: "0" },
    { repo: "o/r?x=", sha, issue: "1?x" },
    { repo: "o", sha, issue: "" },
    { repo: "o/r\r\nX: y", sha, issue: "1\r\nX: y" },
    { repo: "o/r", sha: "main", issue: 1.5 },
    { repo: "o/r", sha: `${sha}/..`, issue: {} },
    { repo: "o/r", sha: "", issue: "99999999999999999999" },
    { repo: ["o/r"], sha, issue: null },
  ];
  for (const input of wrong) {
    const id = await h.start("daily", input);
    for (const name of ["github", "github-2"]) {
      const step = await h.step(id, name, "failed");
      assert.match(step.error, /is no (repository|commit|number)|there is nothing at/);
      assert.equal(step.attempt, 1);
    }
  }
  assert.equal(api.got.length, 0);
});

test("GitHub's limits are waited for, and a comment that got through unheard is not made again", async (t) => {
  const comments = [];
  const api = await receiver(t, (q, all) => {
    if (q.method === "GET") return { status: 200, body: JSON.stringify(comments) };
    if (q.url.includes("statuses")) {
      const tries = all.filter((o) => o.url === q.url).length;
      if (tries === 1) return { status: 403, body: '{"message":"API rate limit exceeded for user"}' };
      if (tries === 2) return { status: 403, headers: { "retry-after": "0" }, body: '{"message":"secondary"}' };
      return { status: 201, body: "{}" };
    }
    comments.push({ body: q.json.body });
    return "cut"; // it was made, but nobody hears of it
  });
  const h = await Hookmesh.start(t, job(`- {github: {repository: o/r, sha: .input.sha}, ${soon}}\n- {github: {repository: o/r, issue: "5"}, ${soon}}`), {
    HOOKMESH_GITHUB_API: api.url, HOOKMESH_GITHUB_TOKEN: "ghp_hush_hush",
  });
  const id = await h.start("daily", { sha: "b".repeat(40) });
  assert.equal((await h.step(id, "github", "succeeded")).attempt, 3);
  assert.equal((await h.step(id, "github-2", "succeeded")).result.repeated, true);
  assert.equal(comments.length, 1);

  const denied = await receiver(t, () => ({ status: 401, body: '{"message":"Bad credentials"}' }));
  await h.kill9();
  h.env.HOOKMESH_GITHUB_API = denied.url;
  await h.serve();
  const step = await h.step(await h.start("daily", { sha: "b".repeat(40) }), "github", "failed");
  assert.match(step.error, /^GitHub answered 401: .*Bad credentials.*; look at HOOKMESH_GITHUB_TOKEN: it must be allowed to write commit statuses in o\/r/);
});

test("each output is attempted, recorded and tried again by itself", async (t) => {
  const mail = await smtp(t);
  let well = false;
  const other = await receiver(t, () => (well ? { status: 200 } : { status: 500 }));
  const h = await Hookmesh.start(t, job(`- {http: "${other.url}/a", ${soon}}\n- email: team@example.com\n- kv: out.{1}.x\n- email: unknown@example.com`), {
    HOOKMESH_SMTP_URL: mail.url,
  });
  const id = await h.start("daily", "once");
  await h.step(id, "email", "succeeded");
  await h.step(id, "kv", "succeeded");
  await h.step(id, "email-2", "failed");
  let run = await h.runUntil(id, (r) => r.steps.find((s) => s.name === "http").failed_attempts >= 2);
  assert.equal(run.state, "succeeded");
  well = true;
  await h.step(id, "http", "succeeded");
  run = await h.run(id);
  assert.equal(run.state, "succeeded");
  assert.deepEqual(
    run.steps.filter((s) => s.after).map((s) => [s.name, s.kind, s.state, s.fed]),
    [["http", "http", "succeeded", true], ["email", "email", "succeeded", true], ["kv", "kv", "succeeded", true], ["email-2", "email", "failed", true]],
  );
  await mail.have(1);
});

test("a run that fails delivers nothing", async (t) => {
  const other = await receiver(t);
  const h = await Hookmesh.start(
    t,
    `
jobs:
  - name: daily
    command: ["false"]
    retry: {max_attempts: 1}
    output: [{http: "${other.url}"}]
`,
  );
  const id = await h.start("daily");
  const run = await h.runUntil(id, (r) => r.state === "dead");
  assert.equal(run.steps.find((s) => s.name === "http").fed, false);
  assert.equal(other.got.length, 0);
});

test("a server that is killed while it delivers delivers after its start; one that is stopped waits for nobody", async (t) => {
  let silent = true;
  const other = await receiver(t, () => (silent ? null : { status: 200 }));
  const h = await Hookmesh.start(t, `settings: {stop_grace: 200ms}\n${job(`- http: ${other.url}`).replace("settings: {delivery_timeout: 5s}\n", "")}`);
  const id = await h.start("daily", 1);
  await until("the request", () => other.got.length === 1);
  await h.kill9();
  await h.serve();
  await until("the second request", () => other.got.length === 2);
  h.servers.at(-1).child.kill("SIGTERM");
  assert.equal(await h.servers.at(-1).ended, 0);
  silent = false;
  await h.serve();
  await h.step(id, "http", "succeeded");
  assert.equal(new Set(other.got.map((q) => q.headers["webhook-id"])).size, 1);
});
