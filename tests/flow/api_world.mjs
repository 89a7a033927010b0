// SPDX-License-Identifier: Apache-2.0
// A real server for the tests of the REST API, and a client that holds every answer against handlers/openapi.json: path, method and status must
// be described, the body must fit its schema, and no member of it may be undescribed.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

export const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const document = JSON.parse(readFileSync(join(root, "handlers/openapi.json"), "utf8"));
const binary = process.env.HOOKMESH_BIN ?? join(root, "build/hookmesh");
const patience = 60000;

// -- the description ---------------------------------------------------------------------------

// Clients are told to expect new members; these tests are not.
const closed = (schema) => {
  if (Array.isArray(schema)) return schema.map(closed);
  if (schema === null || typeof schema !== "object") return schema;
  const out = {};
  for (const [name, value] of Object.entries(schema)) {
    out[name] = name === "properties" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, closed(v)])) : closed(value);
  }
  if (schema.properties && schema.additionalProperties === undefined) out.additionalProperties = false;
  return out;
};

const ajv = new Ajv({ strict: false, allErrors: true });
addFormats(ajv);
const validators = new Map();
export const validate = (schema, value, what) => {
  const key = JSON.stringify(schema);
  if (!validators.has(key)) validators.set(key, ajv.compile({ ...closed(schema), components: { schemas: closed(document.components.schemas) } }));
  const check = validators.get(key);
  assert.ok(check(value), `${what} does not fit its schema: ${JSON.stringify(check.errors?.slice(0, 5))}\n${JSON.stringify(value)?.slice(0, 2000)}`);
};

export const resolve = (node) => (node?.$ref ? node.$ref.slice(2).split("/").reduce((at, name) => at[name], document) : node);

const patterns = Object.keys(document.paths).map((path) => ({
  path,
  depth: path.split("{").length,
  pattern: new RegExp("^" + path.replace(/\./g, "\\.").replace(/\{(path|key)\}/g, ".+").replace(/\{\w+\}/g, "[^/]+") + "$"),
}));
const pathOf = (url) => {
  const name = url.split("?")[0];
  return patterns.filter((p) => p.pattern.test(name)).sort((a, b) => a.depth - b.depth)[0]?.path;
};

const isJson = (type) => /[/+]json$/.test(type);

const judge = (method, url, answer) => {
  const path = pathOf(url);
  const what = `${method} ${url} ${answer.status}`;
  assert.ok(path, `${what}: the path is not described`);
  const type = (answer.headers["content-type"] ?? "").split(";")[0];
  if (answer.status >= 400) {
    assert.equal(type, "application/problem+json", what);
    validate({ $ref: "#/components/schemas/Problem" }, answer.json, what);
    assert.equal(answer.json.status, answer.status);
    assert.ok(answer.json.detail.length > 10, what);
  }
  if (answer.status === 405) return; // of any path, said once in the document
  const operation = document.paths[path][method.toLowerCase()];
  assert.ok(operation, `${what}: the method is not described`);
  const response = resolve(operation.responses[answer.status]);
  assert.ok(response, `${what}: the status is not described`);
  if (answer.status === 304) return;
  const media = response.content?.[type];
  assert.ok(media, `${what}: ${type} is not described`);
  if (isJson(type)) validate(media.schema, answer.json, what);
};

// -- the server --------------------------------------------------------------------------------

// What a failed test leaves behind keeps the process alive: call endAll after all of them.
const servers = new Set();
const agents = new Set();
export const endAll = () => {
  servers.forEach((s) => s.kill("SIGKILL"));
  agents.forEach((a) => a.destroy());
};
process.on("exit", endAll);

export class World {
  constructor(yaml, { env = {}, args = [] } = {}) {
    this.dir = mkdtempSync(join(tmpdir(), "hookmesh-"));
    this.env = env;
    this.args = args;
    mkdirSync(join(this.dir, "config"));
    this.configure(yaml);
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 300 });
    agents.add(this.agent);
  }

  path(name) {
    return join(this.dir, name);
  }

  configure(yaml) {
    writeFileSync(this.path("config/main.yaml"), yaml.replaceAll("$DIR", this.dir));
  }

  async start({ data = "data", redis } = {}) {
    const args = ["serve", "--config", this.path("config"), "--data", this.path(data), "--listen", "127.0.0.1:0"];
    if (redis) args.push("--redis", redis);
    const env = { PATH: process.env.PATH, HOME: this.dir, ASAN_OPTIONS: process.env.ASAN_OPTIONS ?? "", UBSAN_OPTIONS: process.env.UBSAN_OPTIONS ?? "", ...this.env };
    const child = spawn(binary, [...args, ...this.args], { env, stdio: ["ignore", "ignore", "pipe"] });
    servers.add(child);
    const server = { child, log: "" };
    server.ended = new Promise((done) => child.once("exit", (code, signal) => (servers.delete(child), done(code ?? signal))));
    const ready = new Promise((done) => {
      child.stderr.setEncoding("utf8").on("data", (text) => {
        server.log += text;
        if (server.log.includes("mod=serve event=ready")) done();
      });
    });
    await Promise.race([ready, server.ended.then((code) => assert.fail(`the server ended with ${code}:\n${server.log}`))]);
    server.base = /mod=serve event=listening url=(\S+)/.exec(server.log)[1];
    this.server ??= server;
    return server;
  }

  async stop(server = this.server) {
    server.child.kill("SIGTERM");
    assert.equal(await server.ended, 0, server.log.slice(-3000));
    if (server === this.server) this.server = undefined;
  }

  async kill9(server = this.server) {
    server.child.kill("SIGKILL");
    await server.ended;
    if (server === this.server) this.server = undefined;
  }

  async finish() {
    this.agent.destroy();
    if (this.server) await this.stop();
    rmSync(this.dir, { recursive: true, maxRetries: 20, retryDelay: 100 }); // a private Redis may still be saving
  }

  get socket() {
    return this.path("data/redis/redis.sock");
  }

  redis(...words) {
    return execFileSync("redis-cli", ["-s", this.socket, ...words.map(String)], { encoding: "utf8" }).trimEnd();
  }

  // -- the client

  send(method, url, { body, headers = {}, server = this.server, onRequest } = {}) {
    return new Promise((done, fail) => {
      const q = http.request(new URL(url, server.base), { method, headers, agent: this.agent }, (r) => {
        const pieces = [];
        r.on("data", (piece) => pieces.push(piece));
        r.on("error", fail);
        r.on("end", () => {
          const answer = { status: r.statusCode, headers: r.headers, text: Buffer.concat(pieces).toString() };
          try {
            if (isJson((r.headers["content-type"] ?? "").split(";")[0])) answer.json = JSON.parse(answer.text);
            done(answer);
          } catch (e) {
            fail(e);
          }
        });
      });
      q.on("error", fail);
      q.end(body);
      onRequest?.(q);
    });
  }

  async call(method, url, options = {}) {
    const answer = await this.send(method, url, options);
    judge(method, url, answer);
    if (options.status !== undefined) assert.equal(answer.status, options.status, `${method} ${url}: ${answer.text.slice(0, 500)}`);
    return answer;
  }

  get(url, options = {}) {
    return this.call("GET", url, { status: 200, ...options });
  }

  post(url, input, options = {}) {
    return this.call("POST", url, { body: input === undefined ? undefined : JSON.stringify(input), ...options });
  }

  async start_job(name, input, query = "") {
    const answer = await this.post(`/v1/jobs/${name}/runs${query}`, input, { status: 202 });
    assert.equal(answer.headers.location, `/v1/runs/${answer.json.run_id}`);
    return answer.json.run_id;
  }

  touch(name) {
    writeFileSync(this.path(name), "");
  }

  // Asks again until the answer is as wanted.
  async until(what, ask) {
    const end = Date.now() + patience;
    for (let pause = 1; ; pause = Math.min(50, pause * 1.5)) {
      const got = await ask();
      if (got) return got;
      assert.ok(Date.now() < end, `waited too long until ${what}`);
      await new Promise((r) => setTimeout(r, pause));
    }
  }

  async run_is(id, state) {
    let last;
    try {
      return await this.until(`${id} is ${state}`, async () => (last = (await this.get(`/v1/runs/${id}`)).json).state === state && last);
    } catch (e) {
      assert.fail(`${e.message}: ${JSON.stringify(last)}`);
    }
  }
}

// The pages of a list, to its end.
export const pages = async (world, url) => {
  const all = [];
  for (let next = url; next; ) {
    const { json, headers } = await world.get(next);
    all.push(...json);
    next = /<([^>]+)>; rel="next"/.exec(headers.link ?? "")?.[1];
  }
  return all;
};
