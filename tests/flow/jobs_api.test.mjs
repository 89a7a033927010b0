// SPDX-License-Identifier: Apache-2.0
// Jobs, runs and dead letters over REST, against a real server. Every answer is held against handlers/openapi.json as well (api_world.mjs).
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { World, document, endAll, pages, validate } from "./api_world.mjs";

const config = `
settings: {wait_max: 20s, stop_grace: 5s}
pipelines:
  - name: echo
    stages:
      - {name: say, watch: "echo.*.in", command: [sh, -c, "echo one >&2; cat"], write: "echo.{1}.out"}
  - name: two
    stages:
      - {name: left, watch: "two.*.*.in", command: [cat], write: "two.{1}.out"}
jobs:
  - name: report
    description: Counts what was ordered.
    command: [cat]
    schedule: "0 9 * * *"
    timezone: Europe/Berlin
    priority: 5
    concurrency: {key: .region, limit: 2}
    rate_limit: {limit: 1000, period: 1s}
    timeout: 30s
    retry: {max_attempts: 2, backoff: fixed, initial_delay: 10s}
    parameters:
      - {name: days, type: integer, default: 1, description: how many}
      - {name: region, type: string, required: true, choices: [north, south]}
      - {name: tags, type: array}
  - {name: plain, command: [cat]}
  - {name: gate, command: [sh, -c, "while ! test -e $DIR/open; do sleep 0.02; done; cat"]}
  - {name: broken, command: [sh, -c, "test -e $DIR/mended && cat"], retry: {max_attempts: 1}}
  - {name: also-broken, command: [sh, -c, "echo a:$KEY >&2; exit 3"], retry: {max_attempts: 1}}
  - name: flow
    workflow:
      - {name: one, command: [cat], output: first}
      - {name: two, command: [cat], input: [first, input], output: second}
    output:
      - {http: "https://user:hidden@example.org/in/put?key=very-secret"}
      - {slack: "#orders"}
  - name: fork
    workflow:
      - {name: left, command: [sh, -c, "test -e $DIR/mended && cat"], retry: {max_attempts: 1}, input: input, output: l}
      - {name: right, command: [sh, -c, "test -e $DIR/mended && cat"], retry: {max_attempts: 1}, input: input, output: r}
      - {name: both, command: [cat], input: [l, r], output: sum}
  - {name: telling, command: [cat], output: [{file: "$DIR/told/{run}.json"}]}
triggers:
  - {type: webhook, path: /hooks/orders, job: report, insecure: true, events: [order]}
`;

const world = new World(config, { env: { HOOKMESH_SLACK_WEBHOOK: "https://hooks.example.org/services/T0/B0/very-secret" } });
const finished = (name, input = {}) => world.post(`/v1/jobs/${name}/runs?wait=20s`, input, { status: 200 });
const open = () => world.touch("open");
const close = () => rmSync(world.path("open"), { force: true });

before(() => world.start());
after(() => world.finish().finally(endAll));

describe("a job's description", () => {
  test("says what it is made of, what starts it, its limits, its next fires and where it is defined", async () => {
    const { json } = await world.get("/v1/jobs/report");
    assert.equal(json.type, "extension");
    assert.equal(json.description, "Counts what was ordered.");
    assert.deepEqual(json.parameters[0], { name: "days", type: "integer", description: "how many", required: false, default: 1 });
    assert.deepEqual(json.parameters[1], { name: "region", type: "string", required: true, choices: ["north", "south"] });
    assert.deepEqual(json.limits.concurrency, { limit: 2, key: ".region" });
    assert.deepEqual(json.limits.rate_limit, { limit: 1000, period_ms: 1000 });
    assert.equal(json.limits.priority, 5);
    assert.equal(json.limits.timeout_ms, 30000);
    assert.equal(json.limits.retry.max_attempts, 2);
    assert.deepEqual(json.triggers, [{ type: "webhook", path: "/hooks/orders", events: ["order"] }]);
    assert.equal(json.schedules.length, 1);
    assert.equal(json.schedules[0].next.length, 5);
    assert.match(json.schedules[0].next[0], /T09:00:00\+0[12]:00$/);
    assert.deepEqual(json.stages.map((s) => [s.name, s.kind]), [["run", "command"]]);
    assert.equal(json.where.file, world.path("config/main.yaml"));
    assert.equal(config.split("\n")[json.where.line - 1].trim(), "- name: report");
    assert.equal(json.recent.ms, 86400000);
  });

  test("shows the steps of a workflow with their inputs, and where its result goes, without a secret", async () => {
    const { json, text } = await world.get("/v1/jobs/flow");
    assert.equal(json.type, "workflow");
    const [one, two, ...follow] = json.stages;
    assert.deepEqual([one.name, one.write], ["one", "job.flow.{1}.first"]);
    assert.deepEqual([two.name, two.inputs], ["two", ["first", "input"]]);
    assert.deepEqual(follow.map((s) => [s.kind, s.to, s.after]), [["http", "https://example.org/in/put", ["success"]], ["slack", "#orders", ["success"]]]);
    assert.doesNotMatch(text, /secret|hidden/);
  });

  test("is listed with all others, page by page", async () => {
    const names = (await world.get("/v1/jobs")).json.map((j) => j.name);
    assert.deepEqual([...names].sort(), ["also-broken", "broken", "echo", "flow", "fork", "gate", "plain", "report", "telling", "two"]);
    const paged = await pages(world, "/v1/jobs?limit=3");
    assert.deepEqual(paged.map((j) => j.name), names);
    assert.equal((await world.get("/v1/jobs/echo")).json.type, "pipeline");
  });

  test("counts its runs of the last day", async () => {
    const earlier = (await world.get("/v1/jobs/plain")).json.recent;
    await finished("plain");
    const later = (await world.get("/v1/jobs/plain")).json.recent;
    assert.equal(later.runs, earlier.runs + 1);
    assert.equal(later.succeeded, earlier.succeeded + 1);
  });

  test("has its schedules in the list of all schedules", async () => {
    const { json } = await world.get("/v1/schedules?n=2");
    assert.deepEqual(json.map((s) => [s.job, s.timezone, s.next.length]), [["report", "Europe/Berlin", 2]]);
    assert.deepEqual((await world.get("/v1/schedules?job=plain")).json, []);
    await world.call("GET", "/v1/schedules?job=none", { status: 404 });
  });
});

describe("starting a job", () => {
  test("answers 202 with the run, whose result can be read by itself", async () => {
    const id = await world.start_job("plain", { n: 1 });
    const run = await world.run_is(id, "succeeded");
    assert.equal(run.cause, "api");
    assert.equal(run.job, "plain");
    const output = await world.get(`/v1/runs/${id}/output`);
    assert.deepEqual(output.json, { n: 1 });
    const again = await world.call("GET", `/v1/runs/${id}/output`, { headers: { "if-none-match": output.headers.etag } });
    assert.equal(again.status, 304);
  });

  test("takes an empty body as {}", async () => {
    const { json } = await world.call("POST", "/v1/jobs/plain/runs?wait=20s", { status: 200 });
    assert.deepEqual(json.output, {});
  });

  test("takes any JSON when it has no parameters", async () => {
    for (const value of [null, 1, "text", [1, { a: [] }], { deep: { er: true } }]) assert.deepEqual((await finished("plain", value)).json.output, value);
  });

  test("fills in what parameters say, and refuses what they do not allow, naming the parameter", async () => {
    assert.deepEqual((await finished("report", { region: "north" })).json.output, { region: "north", days: 1 });
    const cases = [
      [{}, /region is missing/],
      [{ region: "west" }, /region must be one of/],
      [{ region: "north", days: "1" }, /days must be of type integer/],
      [{ region: "north", days: 1.5 }, /days must be of type integer/],
      [{ region: "north", tags: {} }, /tags must be of type array/],
      [{ region: "north", regoin: 1 }, /no parameter "regoin", did you mean "region"/],
      [[], /must be a JSON object/],
      ["text", /must be a JSON object/],
    ];
    for (const [input, why] of cases) {
      const { json } = await world.post("/v1/jobs/report/runs", input, { status: 422 });
      assert.match(json.detail, why);
    }
  });

  test("can be put off, and is cancelled like any other", async () => {
    const id = await world.start_job("plain", {}, "?delay=1h&priority=7");
    assert.equal((await world.run_is(id, "waiting")).id, id);
    assert.ok((await world.get("/v1/runs?state=waiting&job=plain")).json.some((r) => r.id === id));
    await world.post(`/v1/runs/${id}/cancel`, undefined, { status: 202 });
    await world.run_is(id, "cancelled");
    await world.post(`/v1/runs/${id}/cancel`, undefined, { status: 409 });
    assert.equal((await world.call("GET", `/v1/runs/${id}/output`, { status: 404 })).json.detail, `the run ${id} has no output: it is cancelled`);
  });

  test("of a pipeline works as well, unless its key cannot be chosen", async () => {
    assert.deepEqual((await finished("echo", { a: 1 })).json.output, { a: 1 });
    const { json } = await world.post("/v1/jobs/two/runs", {}, { status: 422 });
    assert.match(json.detail, /one wildcard/);
  });
});

describe("waiting for a run", () => {
  test("gives the finished run and its result", async () => {
    const { json, headers } = await finished("flow", { a: 9 });
    assert.equal(json.state, "succeeded");
    assert.deepEqual(json.output, { first: { a: 9 }, input: { a: 9 } });
    assert.equal(headers.location, `/v1/runs/${json.id}`);
    assert.deepEqual(json.steps.filter((s) => !s.after).map((s) => s.state), ["succeeded", "succeeded"]);
  });

  test("ends with a failure too", async () => {
    const { json } = await finished("also-broken");
    assert.equal(json.state, "dead");
    assert.match(json.error, /status 3/);
    assert.equal(json.output, undefined);
  });

  test("ends with a cancellation", async () => {
    close();
    const answer = finished("gate");
    const run = await world.until("it runs", async () => (await world.get("/v1/runs?job=gate&state=queued,running")).json[0]);
    await world.post(`/v1/runs/${run.id}/cancel`, undefined, { status: 202 });
    assert.equal((await answer).json.state, "cancelled");
  });

  test("answers 202 when the time is over first, and the run goes on", async () => {
    close();
    const { json } = await world.post("/v1/jobs/gate/runs?wait=50ms", { late: 1 }, { status: 202 });
    open();
    await world.run_is(json.run_id, "succeeded");
  });

  test("serves many at once, each with its own run", async () => {
    const answers = await Promise.all([...Array(200).keys()].map((n) => finished("echo", { n })));
    assert.deepEqual(answers.map((a) => a.json.output.n), [...Array(200).keys()]);
    assert.equal(new Set(answers.map((a) => a.json.id)).size, 200);
  });

  test("costs Redis nothing while nothing happens", async () => {
    close();
    const commands = () => Number(/total_commands_processed:(\d+)/.exec(world.redis("info", "stats"))[1]);
    const waiting = [...Array(20).keys()].map((n) => finished("gate", { n }));
    await world.until("all are there", async () => (await world.get("/v1/runs?job=gate&state=queued,running&limit=100")).json.length === 20);
    await world.until("Redis is quiet", async () => {
      const first = commands();
      await new Promise((r) => setTimeout(r, 300));
      return commands() - first < 20; // heartbeats, and this question; 20 that ask each 100 ms would be 60
    });
    open();
    await Promise.all(waiting);
  });

  test("leaves nothing behind when the client goes", async () => {
    close();
    const ids = [];
    for (let i = 0; i < 20; i++) {
      const gone = new Promise((done) => {
        world.send("POST", "/v1/jobs/gate/runs?wait=20s", { body: "{}", onRequest: (q) => ids.push(q) }).catch(done);
      });
      await world.until("it runs", async () => (await world.get("/v1/runs?job=gate&state=queued,running&limit=100")).json.length === i + 1);
      ids.at(-1).destroy();
      await gone;
    }
    open();
    await world.until("all are done", async () => (await world.get("/v1/runs?job=gate&state=queued,running")).json.length === 0);
    assert.equal((await finished("gate")).json.state, "succeeded");
  });

  test("ends with 202 when the server stops", async () => {
    const own = new World(config);
    await own.start();
    const answer = own.post("/v1/jobs/plain/runs?wait=20s&delay=1h", {}, { status: 202 });
    const run = await own.until("it waits", async () => (await own.get("/v1/runs?state=waiting")).json[0]);
    await own.stop();
    assert.equal((await answer).json.run_id, run.id);
    await own.finish();
  });

  test("goes on over a restart of Redis", async () => {
    const own = new World(config.replace("settings: {", "settings: {sweep: 1s, "));
    await own.start();
    const other = await own.start({ data: "other", redis: `unix://${own.socket}` });
    const answer = own.post("/v1/jobs/gate/runs?wait=20s", { n: 1 }, { status: 200, server: other });
    await own.until("it runs", async () => (await own.get("/v1/runs?job=gate&state=running")).json[0]);
    own.redis("client", "kill", "type", "normal");
    own.redis("client", "kill", "type", "pubsub");
    own.touch("open");
    assert.deepEqual((await answer).json.output, { n: 1 });
    await own.stop(other);
    await own.finish();
  });
});

describe("an Idempotency-Key", () => {
  const start = (key, input, options = {}) => world.post(`/v1/jobs/${options.job ?? "plain"}/runs${options.query ?? ""}`, input, { headers: { "idempotency-key": key }, ...options });

  test("makes the same request start one run, and replays its answer", async () => {
    const key = randomUUID();
    const first = await start(key, { n: 1 }, { status: 202 });
    const second = await start(key, { n: 1 }, { status: 202 });
    assert.equal(first.headers["idempotency-replayed"], undefined);
    assert.equal(second.headers["idempotency-replayed"], "true");
    assert.deepEqual(second.json, first.json);
    assert.equal(second.headers.location, first.headers.location);
    const third = await start(key, { n: 1 }, { status: 200, query: "?wait=20s" });
    assert.equal(third.json.id, first.json.run_id);
    assert.deepEqual(third.json.output, { n: 1 });
  });

  test("refuses another body, priority or delay under the same key", async () => {
    const key = randomUUID();
    await start(key, { n: 1 }, { status: 202 });
    assert.match((await start(key, { n: 2 }, { status: 422 })).json.detail, /used for another request/);
    await start(key, { n: 1 }, { status: 422, query: "?priority=1" });
    await start(key, { n: 1 }, { status: 422, query: "?delay=1s" });
    await start(key, { n: 1 }, { status: 202 });
  });

  test("belongs to its job", async () => {
    const key = randomUUID();
    const here = await start(key, { n: 1 }, { status: 202 });
    const there = await start(key, { n: 1 }, { status: 202, job: "echo" });
    assert.notEqual(here.json.run_id, there.json.run_id);
  });

  test("is the same in quotes, as the draft writes it", async () => {
    const key = randomUUID();
    const bare = await start(key, {}, { status: 202 });
    assert.deepEqual((await start(`"${key}"`, {}, { status: 202 })).json, bare.json);
  });

  test("replays the answer also after the run has failed", async () => {
    const key = randomUUID();
    const first = await start(key, {}, { job: "also-broken", query: "?wait=20s", status: 200 });
    assert.equal(first.json.state, "dead");
    const second = await start(key, {}, { job: "also-broken", query: "?wait=20s", status: 200 });
    assert.equal(second.json.id, first.json.id);
    assert.equal(second.headers["idempotency-replayed"], "true");
  });

  test("is free again after a request that was refused", async () => {
    const key = randomUUID();
    await start(key, { region: "west" }, { job: "report", status: 422 });
    await start(key, { region: "west" }, { job: "report", status: 422 });
    await start(key, { region: "south" }, { job: "report", status: 202 });
  });

  test("answers 409 while the first request is being answered, on every server", async () => {
    close();
    const other = await world.start({ data: "other", redis: `unix://${world.socket}` });
    const key = randomUUID();
    const first = start(key, { n: 1 }, { job: "gate", query: "?wait=20s", status: 200 });
    await world.until("it runs", async () => (await world.get("/v1/runs?job=gate&state=queued,running")).json.length === 1);
    for (const server of [world.server, other]) {
      const { headers, json } = await start(key, { n: 1 }, { job: "gate", status: 409, server });
      assert.equal(headers["retry-after"], "1");
      assert.match(json.detail, /still being answered/);
    }
    open();
    const run = (await first).json;
    for (const server of [world.server, other]) {
      const again = await start(key, { n: 1 }, { job: "gate", query: "?wait=20s", status: 200, server });
      assert.equal(again.json.id, run.id);
    }
    await world.stop(other);
  });

  test("of a request that two servers get at once starts one run", async () => {
    const other = await world.start({ data: "other", redis: `unix://${world.socket}` });
    const earlier = (await pages(world, "/v1/runs?job=plain&limit=1000")).length;
    const key = randomUUID();
    const answers = await Promise.all([...Array(40).keys()].map((i) => start(key, { n: 1 }, { server: i % 2 ? other : world.server })));
    const started = answers.filter((a) => a.status === 202);
    assert.ok(started.length > 0);
    assert.ok(answers.every((a) => a.status === 202 || a.status === 409));
    assert.equal(new Set(started.map((a) => a.json.run_id)).size, 1);
    assert.equal((await pages(world, "/v1/runs?job=plain&limit=1000")).length, earlier + 1);
    await world.stop(other);
  });

  test("of a server that was killed is free again after the time that its answer could have taken", async () => {
    const own = new World(config);
    await own.start();
    const other = await own.start({ data: "other", redis: `unix://${own.socket}` });
    const key = randomUUID();
    const options = { headers: { "idempotency-key": key } };
    const lost = own.send("POST", "/v1/jobs/gate/runs?wait=5s", { body: "{}", server: other, ...options }).catch(() => "cut");
    const run = await own.until("it runs", async () => (await own.get("/v1/runs?job=gate&state=running")).json[0]);
    await own.kill9(other);
    assert.equal(await lost, "cut");
    await own.post("/v1/jobs/gate/runs", {}, { status: 409, ...options });
    const mark = `hm:hold:idem:job.gate:${key}`;
    const left = Number(own.redis("pttl", mark));
    assert.ok(left > 0 && left <= 15000, `${left}`);
    own.redis("pexpire", mark, 1);
    const again = await own.until("it is free", async () => {
      const answer = await own.post("/v1/jobs/gate/runs", {}, options);
      return answer.status === 202 && answer;
    });
    assert.equal(again.json.run_id, run.id);
    await own.post(`/v1/runs/${run.id}/cancel`, undefined, { status: 202 });
    await own.finish();
  });
});

describe("the list of runs", () => {
  test("is filtered by job, state, cause and time, newest first", async () => {
    const own = new World(config);
    await own.start();
    own.touch("open");
    const ids = {};
    for (const name of ["plain", "also-broken", "plain", "echo", "also-broken", "gate"])
      (ids[name] ??= []).push((await own.post(`/v1/jobs/${name}/runs?wait=20s`, {}, { status: 200 })).json.id);
    const late = await own.start_job("plain", {}, "?delay=1h");
    await own.call("POST", "/hooks/orders", { body: "{}", headers: { "content-type": "application/json", "x-event": "order" } });
    const listed = async (query) => (await own.get(`/v1/runs?${query}`)).json.map((r) => r.id);
    assert.deepEqual(await listed("job=plain"), [late, ...[...ids.plain].reverse()]);
    assert.deepEqual(await listed("job=job.plain&state=succeeded"), [...ids.plain].reverse());
    assert.deepEqual(await listed("pipeline=echo"), ids.echo);
    assert.deepEqual(await listed("state=dead"), [...ids["also-broken"]].reverse());
    assert.deepEqual(await listed("state=dead&job=also-broken"), [...ids["also-broken"]].reverse());
    assert.deepEqual(await listed("state=dead&job=plain"), []);
    assert.deepEqual(await listed("state=waiting,dead"), [late, ...[...ids["also-broken"]].reverse()]);
    assert.deepEqual(await listed("state=timed_out,skipped,cancelled,budget_exceeded"), []);
    assert.equal((await listed("state=succeeded,dead&cause=api")).length, 6);
    assert.deepEqual(await listed("cause=schedule"), []);
    assert.equal((await listed("cause=api")).length, 7);
    const whole = await pages(own, "/v1/runs?limit=2&cause=api");
    assert.deepEqual(whole.map((r) => r.id), (await own.get("/v1/runs?cause=api")).json.map((r) => r.id));
    const second = whole.find((r) => r.id === ids["also-broken"][0]).created;
    assert.deepEqual(await listed(`until=${second}`), [ids.plain[0]]);
    assert.equal((await listed(`since=${second}&cause=api`)).length, 6);
    assert.deepEqual(await listed(`since=${second}&state=dead`), [...ids["also-broken"]].reverse());
    assert.deepEqual(await listed(`until=${second}&state=dead`), []);
    assert.deepEqual(await listed("since=1h&until=1h"), []);
    await own.finish();
  });

  test("has all failed runs in pages, also those of one millisecond", async () => {
    const own = new World(config);
    await own.start();
    const started = await Promise.all([...Array(150).keys()].map(() => own.post("/v1/jobs/also-broken/runs?wait=20s", {}, { status: 200 })));
    const ids = started.map((a) => a.json.id).sort();
    // As if all had been made at once: their order is then that of their names.
    for (const shelf of ["hm:runs@dead", "hm:runs@dead:job.also-broken"]) own.redis("zadd", shelf, ...ids.flatMap((id) => ["1700000000000", id]));
    for (const query of ["state=dead", "state=dead&job=also-broken", "state=dead,queued,timed_out"]) {
      const listed = await pages(own, `/v1/runs?${query}&limit=7`);
      assert.deepEqual(listed.map((r) => r.id), [...ids].reverse());
    }
    await own.finish();
  });

  test("forgets that a run had failed when it is taken up again", async () => {
    const own = new World(config);
    await own.start();
    const { id } = (await own.post("/v1/jobs/broken/runs?wait=20s", { n: 1 }, { status: 200 })).json;
    assert.deepEqual((await own.get("/v1/runs?state=dead")).json.map((r) => r.id), [id]);
    own.touch("mended");
    await own.post(`/v1/runs/${id}/retry`, undefined, { status: 202 });
    await own.run_is(id, "succeeded");
    assert.deepEqual((await own.get("/v1/runs?state=dead")).json, []);
    assert.deepEqual((await own.get("/v1/runs?state=queued,running,waiting")).json, []);
    assert.deepEqual((await own.get("/v1/runs?state=succeeded")).json.map((r) => r.id), [id]);
    await own.post(`/v1/runs/${id}/retry`, undefined, { status: 409 });
    await own.post(`/v1/runs/${id}/retry?from_start=1`, undefined, { status: 202 });
    await own.run_is(id, "succeeded");
    await own.finish();
  });

  test("is told by its log lines too", async () => {
    const { json } = await finished("echo", {});
    const { text } = await world.get(`/v1/runs/${json.id}/logs`);
    const lines = text.trim().split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(lines.map((l) => l.line), ["one"]);
    validate(document.paths["/v1/runs/{id}/logs"].get.responses[200].content["application/x-ndjson"]["x-item-schema"], lines[0], "a log line");
  });
});

describe("dead letters", () => {
  const own = new World(config);
  const fail = async (name, input = {}) => (await own.post(`/v1/jobs/${name}/runs?wait=20s`, input, { status: 200 })).json.id;
  before(() => own.start());
  after(() => own.finish());

  test("are listed by job, shown with their input, retried and purged one by one", async () => {
    const first = await fail("broken", { n: 1 });
    const second = await fail("also-broken", { n: 2 });
    const letters = (await own.get("/v1/dlq")).json;
    assert.deepEqual(letters.map((l) => [l.id, l.job, l.attempts, l.state]), [[second, "also-broken", 1, "dead"], [first, "broken", 1, "dead"]]);
    assert.deepEqual((await own.get("/v1/dlq?job=broken")).json.map((l) => l.id), [first]);
    assert.deepEqual((await own.get("/v1/dlq?job=plain")).json, []);
    const { json } = await own.get(`/v1/dlq/${second}`);
    assert.deepEqual(json.input, { n: 2 });
    assert.match(json.error, /status 3/);
    own.touch("mended");
    assert.deepEqual((await own.post(`/v1/dlq/${first}/retry`, undefined, { status: 200 })).json, { retried: 1 });
    await own.run_is(first, "succeeded");
    await own.call("GET", `/v1/dlq/${first}`, { status: 404 });
    await own.post(`/v1/dlq/${first}/retry`, undefined, { status: 409 });
    assert.deepEqual((await own.call("DELETE", `/v1/dlq/${second}`, { status: 200 })).json, { purged: 1 });
    await own.call("DELETE", `/v1/dlq/${second}`, { status: 404 });
    assert.equal((await own.get(`/v1/runs/${second}`)).json.state, "dead");
    assert.deepEqual((await own.get("/v1/dlq")).json, []);
    rmSync(own.path("mended"));
  });

  test("are retried and purged all at once, or those of a job", async () => {
    const broken = await Promise.all([...Array(30).keys()].map(() => fail("broken")));
    await Promise.all([...Array(20).keys()].map(() => fail("also-broken")));
    assert.equal((await pages(own, "/v1/dlq?limit=8")).length, 50);
    assert.equal((await pages(own, "/v1/dlq?limit=8&job=broken")).length, 30);
    own.touch("mended");
    assert.deepEqual((await own.post("/v1/dlq/retry?job=broken", undefined, { status: 200 })).json, { retried: 30 });
    for (const id of broken) await own.run_is(id, "succeeded");
    // What fails again at once is not taken up a second time by the same request.
    assert.deepEqual((await own.post("/v1/dlq/retry", undefined, { status: 200 })).json, { retried: 20 });
    await own.until("all have failed again", async () => (await own.get("/v1/dlq?limit=100")).json.length === 20);
    assert.deepEqual((await own.call("DELETE", "/v1/dlq?job=broken", { status: 200 })).json, { purged: 0 });
    assert.deepEqual((await own.call("DELETE", "/v1/dlq?job=also-broken", { status: 200 })).json, { purged: 20 });
    assert.deepEqual((await own.call("DELETE", "/v1/dlq", { status: 200 })).json, { purged: 0 });
  });

  test("of two branches of a run are shown and retried together", async () => {
    rmSync(own.path("mended"), { force: true });
    const { id } = (await own.post("/v1/jobs/fork/runs?wait=20s", { n: 5 }, { status: 200 })).json;
    const { json } = await own.until("both have failed", async () => {
      const answer = await own.get(`/v1/dlq/${id}`);
      return answer.json.others && answer;
    });
    assert.deepEqual([json, ...json.others].map((l) => l.stage).sort(), ["job.fork.left", "job.fork.right"]);
    assert.deepEqual([json, ...json.others].map((l) => l.input), [{ n: 5 }, { n: 5 }]);
    own.touch("mended");
    assert.deepEqual((await own.post(`/v1/dlq/${id}/retry`, undefined, { status: 200 })).json, { retried: 2 });
    await own.run_is(id, "succeeded");
    assert.deepEqual((await own.get(`/v1/runs/${id}/output`)).json, { l: { n: 5 }, r: { n: 5 } });
    await own.call("GET", `/v1/dlq/${id}`, { status: 404 });
    rmSync(own.path("mended"));
  });

  test("of what follows a run are retried without the run", async () => {
    // Its directory is missing, so the file cannot be made.
    const { id, state } = (await own.post("/v1/jobs/telling/runs?wait=20s", { n: 6 }, { status: 200 })).json;
    assert.equal(state, "succeeded");
    const letter = await own.until("its delivery has failed", async () => (await own.get("/v1/dlq?job=telling")).json[0]);
    assert.deepEqual([letter.id, letter.after, letter.stage], [id, true, "job.telling.file"]);
    mkdirSync(own.path("told"));
    assert.deepEqual((await own.post(`/v1/dlq/${id}/retry`, undefined, { status: 200 })).json, { retried: 1 });
    await own.until("it is delivered", async () => (await own.get(`/v1/runs/${id}`)).json.steps.find((s) => s.after).state === "succeeded");
    assert.equal((await own.get(`/v1/runs/${id}`)).json.state, "succeeded");
    assert.deepEqual((await own.get("/v1/dlq")).json, []);
  });

  test("are read on from a page whose last letter is gone meanwhile", async () => {
    await Promise.all([...Array(6).keys()].map(() => fail("also-broken")));
    const all = (await own.get("/v1/dlq")).json.map((l) => l.id);
    const first = await own.get("/v1/dlq?limit=2");
    await own.call("DELETE", `/v1/dlq/${all[1]}`, { status: 200 });
    const rest = await pages(own, /<([^>]+)>/.exec(first.headers.link)[1]);
    assert.deepEqual(rest.map((l) => l.id), all.slice(2));
    await own.call("DELETE", "/v1/dlq", { status: 200 });
  });
});

describe("figures", () => {
  test("count the ended runs of a job", async () => {
    const own = new World(config);
    await own.start();
    for (const name of ["plain", "plain", "plain", "also-broken"]) await own.post(`/v1/jobs/${name}/runs?wait=20s`, {}, { status: 200 });
    const { json } = await own.get("/v1/analytics/jobs?since=1d");
    assert.deepEqual(json.jobs.map((j) => [j.job, j.runs, j.success_rate]).sort(), [["also-broken", 1, 0], ["plain", 3, 1]]);
    const [newest] = (await own.get("/v1/runs?job=also-broken")).json;
    const { last } = json.jobs.find((j) => j.job === "also-broken");
    assert.deepEqual(last, { run: newest.id, state: newest.state, at: newest.finished });
    assert.deepEqual((await own.get("/v1/analytics/jobs?job=plain")).json.jobs.map((j) => j.job), ["plain"]);
    await own.finish();
  });
});

describe("bad input", () => {
  const long = "x".repeat(300);
  const cases = [
    ["GET", "/v1/jobs/none", 404, /there is no job none; GET \/v1\/jobs lists them/],
    ["GET", `/v1/jobs/${long}`, 404, /no job x{100};/],
    ["GET", "/v1/jobs?limit=0", 400, /limit must be a number from 1 to 1000/],
    ["GET", "/v1/jobs?limit=x", 400, /limit/],
    ["GET", `/v1/jobs?cursor=${"x".repeat(2001)}`, 400, /cursor/],
    ["POST", "/v1/jobs", 405, /./],
    ["DELETE", "/v1/jobs/plain", 405, /./],
    ["GET", "/v1/jobs/plain/runs", 405, /./],
    ["POST", "/v1/jobs/none/runs", 404, /no job none/],
    ["POST", "/v1/jobs/plain/runs?wait=10", 400, /wait must be a duration with its unit/],
    ["POST", "/v1/jobs/plain/runs?wait=soon", 400, /wait/],
    ["POST", "/v1/jobs/plain/runs?wait=-1s", 400, /wait/],
    ["POST", "/v1/jobs/plain/runs?wait=", 400, /wait/],
    ["POST", "/v1/jobs/plain/runs?wait=99999999999999999999s", 400, /wait/],
    ["POST", "/v1/jobs/plain/runs?wait=2d", 400, /at most 1d/],
    ["POST", "/v1/jobs/plain/runs?delay=366d", 400, /delay.*at most 365d/],
    ["POST", "/v1/jobs/plain/runs?priority=101", 400, /priority must be a number from -100 to 100/],
    ["POST", "/v1/jobs/plain/runs?priority=-101", 400, /priority/],
    ["POST", "/v1/jobs/plain/runs?priority=-", 400, /priority/],
    ["POST", "/v1/jobs/plain/runs?priority=high", 400, /priority/],
    ["POST", "/v1/jobs/plain/runs", 400, /not valid JSON/, { body: '{"a":' }],
    ["POST", "/v1/jobs/plain/runs", 400, /not valid JSON/, { body: "a=1" }],
    ["POST", "/v1/jobs/plain/runs", 400, /not valid JSON/, { body: '{"a":1} {"b":2}' }],
    ["POST", "/v1/jobs/plain/runs", 400, /not valid JSON/, { body: Buffer.from([0x22, 0xff, 0x22]) }],
    ["POST", "/v1/jobs/plain/runs", 400, /not valid JSON/, { body: "[".repeat(5000) }],
    ["POST", "/v1/jobs/plain/runs", 400, /Idempotency-Key must be 1 to 255/, { headers: { "idempotency-key": long } }],
    ["POST", "/v1/jobs/plain/runs", 400, /Idempotency-Key/, { headers: { "idempotency-key": "" } }],
    ["POST", "/v1/jobs/plain/runs", 400, /Idempotency-Key/, { headers: { "idempotency-key": "two words" } }],
    ["POST", "/v1/jobs/plain/runs", 400, /Idempotency-Key/, { headers: { "idempotency-key": '"half' } }],
    ["POST", "/v1/jobs/plain/runs", 400, /Idempotency-Key/, { headers: { "idempotency-key": "k\u00e9y" } }],
    ["GET", "/v1/runs?state=sleeping", 400, /state must be one of/],
    ["GET", "/v1/runs?state=dead,", 400, /state must be one of/],
    ["GET", "/v1/runs?cause=luck", 400, /cause must be one of/],
    ["GET", "/v1/runs?since=tomorrow", 400, /since must be an instant/],
    ["GET", "/v1/runs?until=2026-13-01T00:00:00Z", 400, /until must be an instant/],
    ["GET", "/v1/runs?limit=1001", 400, /limit/],
    ["GET", `/v1/runs?job=${long}`, 400, /job must be the name of a job/],
    ["GET", "/v1/runs?job=%22", 400, /job must be the name of a job/],
    ["GET", "/v1/runs?job=%ff", 400, /job must be the name of a job/],
    ["GET", `/v1/runs?cursor=${"x".repeat(2001)}`, 400, /cursor/],
    ["GET", "/v1/runs/none", 404, /no run none/],
    ["GET", "/v1/runs/none/output", 404, /no run none/],
    ["POST", "/v1/runs/none/retry", 404, /no run none/],
    ["POST", "/v1/runs/none/retry?from_start=perhaps", 400, /switch/],
    ["POST", "/v1/runs/none/cancel", 404, /no run none/],
    ["PUT", "/v1/runs/none/cancel", 405, /./],
    ["GET", "/v1/dlq?limit=0", 400, /limit/],
    ["GET", `/v1/dlq?job=${long}`, 400, /job/],
    ["GET", "/v1/dlq/none", 404, /no dead letter of a run none/],
    ["POST", "/v1/dlq/none/retry", 404, /no run none/],
    ["DELETE", "/v1/dlq/none", 404, /no dead letter of a run none/],
    ["POST", `/v1/dlq/retry?job=${long}`, 400, /job/],
    ["DELETE", `/v1/dlq?job=${long}`, 400, /job/],
    ["PUT", "/v1/dlq", 405, /./],
    ["GET", "/v1/schedules?n=0", 400, /n must be a number of fires/],
    ["GET", "/v1/schedules?n=101", 400, /n must be a number of fires/],
    ["GET", "/v1/analytics/jobs?since=never", 400, /since must be an instant/],
    ["GET", `/v1/analytics/jobs?job=${long}`, 400, /job/],
    ["POST", "/v1/openapi.json", 405, /./],
  ];
  for (const [method, url, status, why, options] of cases)
    test(`${method} ${url.length > 60 ? url.slice(0, 60) + "..." : url} ${options ? JSON.stringify(options).slice(0, 50) : ""} is ${status}`, async () => {
      const { json, headers } = await world.call(method, url, { status, ...options });
      assert.match(json.detail, why);
      if (status === 405) assert.ok(headers.allow.length > 2);
    });

  test("starts nothing and stores nothing", async () => {
    const earlier = world.redis("dbsize");
    for (const [method, url, , , options] of cases) await world.call(method, url, options);
    assert.equal(world.redis("dbsize"), earlier);
  });

  test("a cursor that makes no sense is the end of the list or its beginning, never an error", async () => {
    for (const cursor of ["x", "-1", "99999999999999999999", "1%09x", "%00"]) {
      await world.get(`/v1/runs?cursor=${cursor}`);
      await world.get(`/v1/runs?state=dead&cursor=${cursor}`);
      await world.get(`/v1/dlq?cursor=${cursor}`);
      await world.get(`/v1/jobs?cursor=${cursor}`);
    }
  });
});

describe("while Redis is away", () => {
  test("jobs are still described, and all else is 503 with Retry-After", async () => {
    const own = new World(config);
    await own.start();
    const other = await own.start({ data: "other", redis: `unix://${own.socket}` });
    await own.stop();
    own.server = other;
    await own.until("it is noticed", async () => (await own.call("GET", "/readyz")).status === 503);
    const { json } = await own.get("/v1/jobs/report");
    assert.equal(json.recent, undefined);
    assert.equal(json.schedules[0].expression, "0 9 * * *");
    assert.equal((await own.get("/v1/jobs")).json.length, 10);
    for (const [method, url] of [["POST", "/v1/jobs/plain/runs"], ["POST", "/v1/jobs/plain/runs?wait=5s"], ["GET", "/v1/runs"], ["GET", "/v1/runs/x"], ["GET", "/v1/runs/x/output"], ["POST", "/v1/runs/x/retry"],
      ["GET", "/v1/dlq"], ["GET", "/v1/dlq/x"], ["POST", "/v1/dlq/retry"], ["DELETE", "/v1/dlq"], ["GET", "/v1/schedules"], ["GET", "/v1/analytics/jobs"]]) {
      const { headers } = await own.call(method, url, { status: 503 });
      assert.ok(headers["retry-after"], url);
    }
    await own.call("POST", "/v1/jobs/plain/runs", { status: 503, headers: { "idempotency-key": "k" } });
    await own.finish();
  });
});
