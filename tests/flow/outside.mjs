// SPDX-License-Identifier: Apache-2.0
// The world outside for tests of what hookmesh sends: a real mail server, HTTP servers that answer as a test wants, and a hookmesh server with
// a configuration of the test's own. Nothing waits for a fixed time: each wait asks until its condition holds, or fails with what it saw last.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const binary = process.env.HOOKMESH_BIN ?? fileURLToPath(new URL("../../build/hookmesh", import.meta.url));
const smtpScript = fileURLToPath(new URL("../data/smtp_server.py", import.meta.url));
const patience = 60_000;

export const until = async (what, ask) => {
  let last;
  for (let wait = 2, end = Date.now() + patience; Date.now() < end; wait = Math.min(wait * 1.5, 100)) {
    last = await ask();
    if (last) return last;
    await pause(wait);
  }
  assert.fail(`waited in vain for ${typeof what === "function" ? await what() : what}`);
};

// Debian's Python has the mail server's library.
export const smtp = async (t, ...args) => {
  const mails = [];
  const child = spawn("/usr/bin/python3", [smtpScript, ...args], { stdio: ["pipe", "pipe", "ignore"] });
  const lines = createInterface({ input: child.stdout });
  const port = await new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the mail server ended with ${code}`)));
    lines.on("line", (line) => {
      const told = JSON.parse(line);
      if (told.port) resolve(told.port);
      if (told.data) mails.push({ ...told, ...readMail(told.data) });
    });
  });
  const ended = once(child, "exit");
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  // n mails, as soon as the server has told of them, which may be after hookmesh knew that they were taken.
  const have = async (n) => {
    await until(() => `${n} mails; there are ${mails.length}`, () => mails.length >= n);
    assert.equal(mails.length, n);
    return mails;
  };
  return { url: `smtp://127.0.0.1:${port}`, port, mails, have, child, ended };
};

const words = (text) =>
  text.replace(/\?=\r?\n\s+=\?/g, "?==?").replace(/=\?UTF-8\?B\?([^?]*)\?=/g, (_, b) => Buffer.from(b, "base64").toString());

// Headers (unfolded, decoded) and the text of a quoted-printable mail.
const readMail = (data) => {
  const [head, ...rest] = data.split("\r\n\r\n");
  const headers = {};
  for (const line of head.replace(/\?=\r\n (?==\?)/g, "?=").replace(/\r\n[ \t]+/g, " ").split("\r\n")) {
    const at = line.indexOf(": ");
    assert.ok(at > 0, `a header of the mail: ${line}`);
    headers[line.slice(0, at).toLowerCase()] = words(line.slice(at + 2));
  }
  const bytes = rest.join("\r\n\r\n").replace(/=\r\n/g, "").replace(/=([0-9A-F]{2})/g, (_, x) => String.fromCharCode(parseInt(x, 16)));
  return { headers, text: Buffer.from(bytes, "latin1").toString() };
};

// An HTTP server that keeps what it got, and answers by `answer(request)`: {status, headers, body}, or nothing for silence.
export const receiver = async (t, answer = () => ({ status: 200 })) => {
  const got = [];
  const server = http.createServer((q, r) => {
    const pieces = [];
    q.on("data", (piece) => pieces.push(piece));
    q.on("end", async () => {
      const body = Buffer.concat(pieces).toString();
      const one = { method: q.method, url: q.url, headers: q.headers, body, at: Date.now() };
      try {
        one.json = JSON.parse(body);
      } catch {
        // not JSON
      }
      got.push(one);
      const a = await answer(one, got);
      if (!a) return;
      if (a === "cut") return q.socket.destroy();
      r.writeHead(a.status ?? 200, a.headers ?? {});
      r.end(a.body ?? "");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { got, url: `http://127.0.0.1:${server.address().port}`, server };
};

export class Hookmesh {
  constructor(t, env) {
    this.dir = mkdtempSync(join(tmpdir(), "hookmesh-"));
    this.env = env;
    this.log = "";
    this.servers = [];
    mkdirSync(join(this.dir, "config"));
    t.after(async () => {
      for (const s of this.servers) {
        s.child.kill(s.killed ? "SIGKILL" : "SIGTERM");
        const code = await s.ended;
        if (!s.killed) assert.equal(code, 0, this.log.slice(-3000));
      }
      rmSync(this.dir, { recursive: true });
    });
  }

  static async start(t, yaml, env = {}) {
    const h = new Hookmesh(t, env);
    h.config(yaml);
    await h.serve();
    return h;
  }

  config(yaml) {
    writeFileSync(join(this.dir, "config/main.yaml"), yaml);
  }

  async serve({ data = "data", redis } = {}) {
    const args = ["serve", "--config", join(this.dir, "config"), "--data", join(this.dir, data), "--listen", "127.0.0.1:0"];
    if (redis) args.push("--redis", redis);
    const child = spawn(binary, args, {
      env: { PATH: process.env.PATH, HOME: this.dir, ASAN_OPTIONS: process.env.ASAN_OPTIONS ?? "", ...this.env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const server = { child, log: "", killed: false };
    server.ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
    this.servers.push(server);
    const ready = new Promise((resolve) => {
      child.stderr.setEncoding("utf8").on("data", (text) => {
        this.log += text;
        server.log += text;
        if (server.log.includes("mod=serve event=ready")) resolve();
      });
    });
    await Promise.race([ready, server.ended.then((code) => assert.fail(`the server ended with ${code}:\n${this.log.slice(-4000)}`))]);
    server.base = /mod=serve event=listening url=(\S+)/.exec(server.log)[1];
    this.base = server.base;
    return server;
  }

  async kill9(server = this.servers.at(-1)) {
    server.killed = true;
    server.child.kill("SIGKILL");
    await server.ended;
  }

  async fetch(path, options) {
    const r = await fetch(new URL(path, this.base), options);
    const text = await r.text();
    return { status: r.status, text, json: text === "" ? null : JSON.parse(text) };
  }

  async start(job, input = {}) {
    const r = await this.fetch(`/v1/jobs/${job}/runs`, { method: "POST", body: JSON.stringify(input) });
    assert.equal(r.status, 202, r.text);
    return r.json.run_id;
  }

  async run(id) {
    return (await this.fetch(`/v1/runs/${id}`)).json;
  }

  // The run, as soon as the condition holds for it.
  async runUntil(id, condition) {
    let last;
    return until(
      () => `run ${JSON.stringify(last, null, 1)}\n${this.log.slice(-3000)}`,
      async () => {
        last = await this.run(id);
        return condition(last) && last;
      },
    );
  }

  async step(id, name, state) {
    const find = (run) => run.steps?.find((s) => s.name === name && s.state === state);
    return find(await this.runUntil(id, find));
  }
}
