// SPDX-License-Identifier: Apache-2.0
// Every way of signing against the sender's own library: what that signs is taken, what it would refuse is refused here, and the other way round.
import "./node18.mjs";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac, generateKeyPairSync, randomUUID, sign as signWith } from "node:crypto";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { sign as signGithub, verify as verifyGithub } from "@octokit/webhooks-methods";
import { verifySlackRequest } from "@slack/bolt";
import { CloudEvent, HTTP, Mode, emitterFor, httpTransport } from "cloudevents";
import { Webhook as StandardWebhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as Svix } from "svix";

const binary = process.env.HOOKMESH_BIN ?? "build/hookmesh";
const oldKey = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const newKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ed = generateKeyPairSync("ed25519");
const publicKey = "whpk_" + Buffer.from(ed.publicKey.export({ format: "jwk" }).x, "base64url").toString("base64");
const secrets = {
  GITHUB: "It's a Secret to Everybody",
  GITLAB: "gitlab's token",
  STRIPE: "whsec_stripe_takes_it_as_it_is",
  SLACK: "8f742231b10e8888abcd99yyyzzz85a5",
  STANDARD: `${oldKey} ${newKey} ${publicKey}`,
  SVIX: newKey,
  SUM: "a shared secret",
  EVENTS: "token of events",
};
const config = `
triggers:
  - {type: webhook, path: /hooks/github, write: "github.{run}.in"}
  - {type: webhook, path: /hooks/gitlab, write: "gitlab.{run}.in", events: [Push Hook, Tag Push Hook]}
  - {type: webhook, path: /hooks/stripe, write: "stripe.{run}.in"}
  - {type: webhook, path: /hooks/slack, write: "slack.{run}.in", events: [app_mention]}
  - {type: webhook, path: /hooks/standard, scheme: standard-webhooks, write: "standard.{run}.in"}
  - {type: webhook, path: /hooks/svix, scheme: svix, write: "svix.{run}.in"}
  - {type: webhook, path: /hooks/sum, scheme: hmac-sha256, header: X-Acme-Sum, write: "sum.{run}.in"}
  - {type: webhook, path: /hooks/events, scheme: token, write: "events.{run}.in"}
`;
let directory, server, ended, base;
let log = "";

before(async () => {
  directory = mkdtempSync(join(tmpdir(), "hookmesh-"));
  mkdirSync(join(directory, "config"));
  writeFileSync(join(directory, "config/main.yaml"), config);
  const env = { PATH: process.env.PATH, HOME: directory };
  for (const name of ["ASAN_OPTIONS", "UBSAN_OPTIONS"]) if (process.env[name]) env[name] = process.env[name];
  for (const [name, value] of Object.entries(secrets)) env[`HOOKMESH_SECRET_${name}`] = value;
  server = spawn(
    binary,
    ["serve", "--config", join(directory, "config"), "--data", join(directory, "data"), "--listen", "127.0.0.1:0"],
    { env, stdio: ["ignore", "ignore", "pipe"] },
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
  server?.kill("SIGTERM");
  assert.equal(await ended, 0, log.slice(-3000));
  for (const secret of Object.values(secrets)) assert.ok(!log.includes(secret), "a secret is in the log");
  rmSync(directory, { recursive: true });
});

const post = async (path, headers, body) => {
  const answer = await fetch(base + path, { method: "POST", headers, body });
  const text = await answer.text();
  return { status: answer.status, text, json: text.startsWith("{") ? JSON.parse(text) : undefined };
};
const json = { "content-type": "application/json" };
const get = async (path) => (await fetch(base + path)).json();
const inputOf = (hook, answer) => get(`/v1/kv/${hook}.${answer.json.run_id}.in`);
const taken = (answer) => (assert.equal(answer.status, 202, answer.text), answer);
const refused = (answer, why) => {
  assert.equal(answer.status, 401, answer.text);
  assert.match(answer.json.detail, why);
};
const seconds = () => Math.floor(Date.now() / 1000);
// Within the window by less than the time that a slow machine may need for a request.
const inside = 240;
const outside = 360;

test("what GitHub's library signs is taken", async () => {
  const body = JSON.stringify({ ref: "refs/heads/main", text: "Ä\n" });
  const signature = await signGithub(secrets.GITHUB, body);
  const headers = { ...json, "x-github-event": "push", "x-github-delivery": randomUUID(), "x-hub-signature-256": signature };
  const input = await inputOf("github", taken(await post("/hooks/github", headers, body)));
  assert.equal(input.event, "push");
  assert.equal(input.payload.text, "Ä\n");
  assert.equal(await verifyGithub(secrets.GITHUB, body + " ", signature), false);
  refused(await post("/hooks/github", headers, body + " "), /signature does not match/);
});

test("GitLab's token is checked, and its events have spaces", async () => {
  const body = JSON.stringify({ object_kind: "push", project: { path_with_namespace: "group/project" } });
  const headers = { ...json, "x-gitlab-event": "Push Hook", "x-gitlab-event-uuid": randomUUID(), "x-gitlab-token": secrets.GITLAB };
  const answer = taken(await post("/hooks/gitlab", headers, body));
  assert.equal((await inputOf("gitlab", answer)).event, "Push Hook");
  const again = await post("/hooks/gitlab", headers, body);
  assert.deepEqual([again.status, again.json.outcome, again.json.run_id], [200, "duplicate", answer.json.run_id]);
  const other = await post("/hooks/gitlab", { ...headers, "x-gitlab-event": "Issue Hook", "x-gitlab-event-uuid": randomUUID() }, body);
  assert.deepEqual([other.status, other.json.outcome], [200, "filtered"]);
  assert.match(other.json.reason, /Issue Hook is not among/);
  refused(await post("/hooks/gitlab", { ...headers, "x-gitlab-token": "gitlab's toke" }, body), /does not match/);
  refused(await post("/hooks/gitlab", { ...json, "x-gitlab-event": "Push Hook" }, body), /X-Gitlab-Token is missing/);
});

test("what Stripe's library signs is taken once, and only near its time", async () => {
  const stripe = new Stripe("sk_test_none");
  const event = { id: `evt_${randomUUID()}`, object: "event", type: "invoice.paid", data: { object: { amount: 100 } } };
  const payload = JSON.stringify(event, null, 2);
  const header = (timestamp) => stripe.webhooks.generateTestHeaderString({ payload, secret: secrets.STRIPE, timestamp });
  const send = (timestamp, body = payload) => post("/hooks/stripe", { ...json, "stripe-signature": header(timestamp) }, body);
  const verdict = (timestamp, body = payload) => {
    try {
      return stripe.webhooks.constructEvent(body, header(timestamp), secrets.STRIPE).id;
    } catch (e) {
      return e.type;
    }
  };
  const answer = taken(await send(seconds()));
  const input = await inputOf("stripe", answer);
  assert.deepEqual([input.event, input.delivery, input.payload], ["invoice.paid", event.id, event]);
  const again = await send(seconds() - inside);
  assert.deepEqual([again.status, again.json.run_id], [200, answer.json.run_id]);
  assert.equal(verdict(seconds() - inside), event.id);
  assert.equal(verdict(seconds() - outside), "StripeSignatureVerificationError");
  refused(await send(seconds() - outside), /s behind this server's clock/);
  refused(await send(seconds() + outside), /s ahead of this server's clock/);
  assert.equal(verdict(seconds(), payload + " "), "StripeSignatureVerificationError");
  refused(await send(seconds(), payload + " "), /signature does not match/);
  // While its secret is rolled, Stripe signs with both.
  const other = stripe.webhooks.generateTestHeaderString({ payload, secret: "whsec_other", timestamp: seconds() });
  const both = header(seconds()) + "," + other.slice(other.indexOf("v1="));
  assert.equal((await post("/hooks/stripe", { ...json, "stripe-signature": both }, payload)).status, 200);
});

const slackHeaders = (body, at = seconds(), secret = secrets.SLACK) => ({
  ...json,
  "x-slack-request-timestamp": String(at),
  "x-slack-signature": "v0=" + createHmac("sha256", secret).update(`v0:${at}:${body}`).digest("hex"),
});
const slackTakes = (headers, body) => {
  try {
    verifySlackRequest({ signingSecret: secrets.SLACK, body, headers });
    return true;
  } catch {
    return false;
  }
};

test("Slack's events are judged as its own library judges them", async () => {
  const event = { type: "event_callback", event_id: `Ev${randomUUID()}`, team_id: "T1", event: { type: "app_mention", text: "hi" } };
  const body = JSON.stringify(event);
  const cases = [
    [slackHeaders(body), body, 202],
    [slackHeaders(body, seconds() - inside), body, 200],
    [slackHeaders(body, seconds() - outside), body, 401],
    [slackHeaders(body, seconds(), "another"), body, 401],
    [slackHeaders(body), body + " ", 401],
  ];
  for (const [headers, sent, status] of cases) {
    assert.equal(slackTakes(headers, sent), status !== 401);
    assert.equal((await post("/hooks/slack", headers, sent)).status, status);
  }
  // Slack's library takes the future; a replay could use it.
  refused(await post("/hooks/slack", slackHeaders(body, seconds() + outside), body), /ahead of/);
  const [last] = await get(`/v1/runs?limit=1`);
  assert.deepEqual([last.event, last.delivery], ["app_mention", event.event_id]);
  const other = JSON.stringify({ ...event, event_id: "Ev2", event: { type: "reaction_added" } });
  const answer = await post("/hooks/slack", slackHeaders(other), other);
  assert.deepEqual([answer.status, answer.json.outcome], [200, "filtered"]);
});

test("Slack's challenge is answered to Slack alone", async () => {
  const body = JSON.stringify({ token: "x", challenge: "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P", type: "url_verification" });
  const answer = await post("/hooks/slack", slackHeaders(body), body);
  assert.deepEqual([answer.status, answer.json], [200, { challenge: "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P" }]);
  const forged = await post("/hooks/slack", slackHeaders(body, seconds(), "another"), body);
  refused(forged, /signature does not match/);
  assert.ok(!forged.text.includes("3eZbrw1aBm2rZ"));
  assert.ok(!(await post("/hooks/sum", { ...json, "x-acme-sum": createHmac("sha256", secrets.SUM).update(body).digest("hex") }, body)).text.includes("3eZb"));
  assert.equal((await get("/v1/deliveries?outcome=ping"))[0].status, 200);
});

const standardHeaders = (key, id, body, at = new Date(), name = "webhook") => ({
  ...json,
  [`${name}-id`]: id,
  [`${name}-timestamp`]: String(Math.floor(at / 1000)),
  [`${name}-signature`]: new (name === "svix" ? Svix : StandardWebhook)(key).sign(id, at, body),
});
const ago = (s) => new Date(Date.now() - s * 1000);

test("what the library of Standard Webhooks signs is taken by any of the keys", async () => {
  const body = JSON.stringify({ type: "user.created", timestamp: "2026-11-20T09:00:00Z", data: { id: 1 } });
  for (const key of [oldKey, newKey]) {
    const id = `msg_${randomUUID()}`;
    const headers = standardHeaders(key, id, body);
    new StandardWebhook(key).verify(body, headers);
    const input = await inputOf("standard", taken(await post("/hooks/standard", headers, body)));
    assert.deepEqual([input.event, input.delivery], ["user.created", id]);
    const again = await post("/hooks/standard", standardHeaders(key, id, body), body);
    assert.deepEqual([again.status, again.json.outcome], [200, "duplicate"]);
  }
  const id = `msg_${randomUUID()}`;
  taken(await post("/hooks/standard", standardHeaders(newKey, id, body, ago(inside)), body));
  taken(await post("/hooks/standard", standardHeaders(newKey, id + "f", body, ago(-inside)), body));
  for (const [seconds, why] of [[outside, /behind/], [-outside, /ahead of/]]) {
    const headers = standardHeaders(newKey, id + "w", body, ago(seconds));
    assert.throws(() => new StandardWebhook(newKey).verify(body, headers));
    refused(await post("/hooks/standard", headers, body), why);
  }
  const foreign = standardHeaders("whsec_" + Buffer.alloc(24, 7).toString("base64"), id + "k", body);
  refused(await post("/hooks/standard", foreign, body), /signature does not match/);
  refused(await post("/hooks/standard", { ...standardHeaders(newKey, id + "o", body), "webhook-id": "msg_other" }, body), /does not match/);
  // A header as a sender has it that changes its keys.
  const both = standardHeaders(newKey, id + "b", body);
  both["webhook-signature"] = foreign["webhook-signature"] + " v1a,AAAA v2,x " + both["webhook-signature"];
  new StandardWebhook(newKey).verify(body, both);
  taken(await post("/hooks/standard", both, body));
});

test("a signature by the sender's private key is checked with its public key", async () => {
  const body = JSON.stringify({ type: "user.created", data: {} });
  const id = `msg_${randomUUID()}`;
  const at = seconds();
  const signature = (text) => "v1a," + signWith(null, Buffer.from(text), ed.privateKey).toString("base64");
  const headers = { ...json, "webhook-id": id, "webhook-timestamp": String(at), "webhook-signature": signature(`${id}.${at}.${body}`) };
  taken(await post("/hooks/standard", headers, body));
  refused(await post("/hooks/standard", headers, body + " "), /signature does not match/);
  refused(await post("/hooks/standard", { ...headers, "webhook-signature": signature("another text") }, body), /does not match/);
  const late = at - outside;
  const old = { ...headers, "webhook-timestamp": String(late), "webhook-signature": signature(`${id}.${late}.${body}`) };
  refused(await post("/hooks/standard", old, body), /behind/);
});

test("what Svix's library signs is taken under its own headers", async () => {
  const body = JSON.stringify({ type: "invoice.sent", data: {} });
  const id = `msg_${randomUUID()}`;
  const headers = standardHeaders(newKey, id, body, new Date(), "svix");
  new Svix(newKey).verify(body, headers);
  assert.equal((await inputOf("svix", taken(await post("/hooks/svix", headers, body)))).delivery, id);
  refused(await post("/hooks/svix", headers, body + " "), /signature does not match/);
  refused(await post("/hooks/svix", standardHeaders(newKey, id, body, ago(outside), "svix"), body), /behind/);
});

test("a plain HMAC is taken from the named header, in hexadecimal and base64", async () => {
  const body = JSON.stringify({ n: 1 });
  const sum = createHmac("sha256", secrets.SUM).update(body).digest();
  const hex = sum.toString("hex");
  for (const value of [hex, "sha256=" + hex, sum.toString("base64"), "sha256=" + sum.toString("base64")])
    taken(await post("/hooks/sum", { ...json, "x-acme-sum": value, "x-event": "e" }, body));
  refused(await post("/hooks/sum", { ...json, "x-acme-sum": hex.replace(/^./, (c) => (c === "0" ? "1" : "0")) }, body), /does not match/);
  refused(await post("/hooks/sum", { ...json, "x-signature-256": hex }, body), /X-Acme-Sum is missing/);
});

const authorized = { authorization: `Bearer ${secrets.EVENTS}` };
const someEvent = (more = {}) => new CloudEvent({ type: "com.example.order", source: "/shop/7", subject: "order 42", attempt: 3, data: { total: 1.5 }, ...more });
const sendEvent = (message) => post("/hooks/events", { ...message.headers, ...authorized }, message.body);

test("CloudEvents come in both modes from the official SDK", async () => {
  for (const mode of [HTTP.binary, HTTP.structured]) {
    const event = someEvent();
    const answer = taken(await sendEvent(mode(event)));
    const input = await inputOf("events", answer);
    assert.deepEqual([input.event, input.delivery, input.payload], ["com.example.order", `/shop/7 ${event.id}`, { total: 1.5 }]);
    // What is among the headers is an event in binary mode, for the SDK as well.
    const read = HTTP.toEvent({ headers: { ...input.headers, "content-type": "application/json" }, body: JSON.stringify(input.payload) });
    assert.deepEqual([read.id, read.source, read.type, read.data], [event.id, event.source, event.type, event.data]);
    assert.deepEqual([read.subject, Number(read.attempt)], ["order 42", 3]);
    const again = await sendEvent(mode(event));
    assert.deepEqual([again.status, again.json.outcome, again.json.run_id], [200, "duplicate", answer.json.run_id]);
  }
});

test("an event is the same in either mode: its source and id count", async () => {
  const event = someEvent();
  const answer = taken(await sendEvent(HTTP.binary(event)));
  assert.equal((await sendEvent(HTTP.structured(event))).json.run_id, answer.json.run_id);
  taken(await sendEvent(HTTP.binary(event.cloneWith({ source: "/shop/8" }))));
});

test("the SDK's emitter is content with the answer", async () => {
  const transport = httpTransport(base + "/hooks/events");
  for (const mode of [Mode.BINARY, Mode.STRUCTURED]) {
    const emit = emitterFor((message, options) => transport({ ...message, headers: { ...message.headers, ...authorized } }, options), { mode });
    const { body } = await emit(someEvent());
    assert.match(JSON.parse(body).run_id, /^[0-9a-f-]{36}$/);
  }
});

test("data that is not JSON, text or bytes, comes through", async () => {
  const bytes = Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 0, 255]);
  const image = someEvent({ datacontenttype: "image/png", data: bytes });
  for (const message of [HTTP.structured(image), { headers: { ...HTTP.binary(image).headers }, body: bytes }]) {
    const event = message.headers["ce-id"] ? { ...message.headers, "ce-id": randomUUID() } : message.headers;
    const input = await inputOf("events", taken(await sendEvent({ headers: event, body: message.body })));
    assert.deepEqual(Buffer.from(input.payload, "base64"), Buffer.from(bytes));
    assert.equal(input.headers["ce-datacontentencoding"], "base64");
  }
  const text = await sendEvent(HTTP.binary(someEvent({ datacontenttype: "text/plain", data: "say \"hi\"" })));
  assert.equal((await inputOf("events", taken(text))).payload, "say \"hi\"");
  const coded = someEvent({ data: undefined, data_base64: Buffer.from('{"a":1}').toString("base64"), datacontenttype: "application/json" });
  assert.deepEqual((await inputOf("events", taken(await sendEvent(HTTP.structured(coded))))).payload, { a: 1 });
});

test("what is no CloudEvent is refused with what is wrong with it, and a batch whole", async () => {
  const event = JSON.parse(HTTP.structured(someEvent()).body);
  const structured = { ...authorized, "content-type": "application/cloudevents+json" };
  const bad = [
    [{ ...event, id: "" }, /id is empty/],
    [{ ...event, type: undefined }, /needs the attribute type/],
    [{ ...event, specversion: "0.3" }, /0\.3; the version that is taken is 1\.0/],
    [{ ...event, time: "noon" }, /time/],
  ];
  for (const [body, why] of bad) {
    const answer = await post("/hooks/events", structured, JSON.stringify(body));
    assert.equal(answer.status, 400, answer.text);
    assert.match(answer.json.detail, why);
  }
  const { "ce-source": _, ...headers } = HTTP.binary(someEvent()).headers;
  const answer = await post("/hooks/events", { ...headers, ...authorized }, "{}");
  assert.equal(answer.status, 400);
  assert.match(answer.json.detail, /ce-source/);
  const batch = await post("/hooks/events", { ...authorized, "content-type": "application/cloudevents-batch+json" }, JSON.stringify([event]));
  assert.equal(batch.status, 415);
  assert.match(batch.json.detail, /one by one/);
  refused(await post("/hooks/events", { "content-type": "application/cloudevents+json" }, JSON.stringify(event)), /Authorization is missing/);
  // Each stands in the ledger and can be replayed.
  const [line] = await get("/v1/deliveries?outcome=rejected&limit=1");
  assert.equal(line.status, 401);
});
