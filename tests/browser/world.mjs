/* SPDX-License-Identifier: Apache-2.0 */
/* The world of the browser tests: a real server with its private Redis in a temporary directory, and pages of a real chromium.
 *
 * Nothing waits for a fixed time. A page that breaks the content security policy, logs an error or throws fails its test when it is closed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { cpSync, createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';
import { isDeepStrictEqual } from 'node:util';
import { chromium } from 'playwright-core';

export const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const program = process.env.HOOKMESH_BIN || join(root, 'build/hookmesh');
const secret = 'a secret of the tests';
const patience = Number(process.env.PATIENCE || 30000);

const require = createRequire(import.meta.url);
const axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const examples = require('@octokit/webhooks-examples/api.github.com/index.json');

/* A push with commits, as GitHub sends it. */
export function pushPayload(change = {}) {
  const example = examples.find((x) => x.name === 'push').examples.find((x) => x.commits && x.commits.length);
  return { ...structuredClone(example), ...change };
}

const browsers = [];
export async function browser() {
  if (!browsers.length) {
    browsers.push(chromium.launch({
      executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    }));
  }
  return browsers[0];
}
export async function closeBrowser() {
  for (const b of browsers.splice(0)) await (await b).close();
}

function freePort() {
  return new Promise((resolve, reject) => {
    const s = createServer();
    s.on('error', reject);
    s.listen(0, '127.0.0.1', () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });
}

/* Waits for a condition on something that tells nobody: a page is asked by playwright, a server by its API. */
export async function until(what, ask) {
  const end = Date.now() + patience;
  for (;;) {
    let got = null;
    try {
      got = await ask();
    } catch { /* not there yet */ }
    if (got) return got;
    assert.ok(Date.now() < end, `waited too long until ${what}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}

/* Asks again until the answer is the wanted one; when it never is, the difference is shown. */
export async function settles(what, ask, wanted) {
  let got;
  await until(what, async () => {
    got = await ask();
    return isDeepStrictEqual(got, wanted);
  }).catch(() => assert.deepEqual(got, wanted, what));
}

/* config: the directory of an example, or a function that writes its own into a directory. */
export async function makeWorld({ config = join(root, 'config/github'), env = {} } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'hmb-'));
  const configDir = join(dir, 'config');
  mkdirSync(configDir);
  if (typeof config === 'string') cpSync(config, configDir, { recursive: true });
  else config(configDir, dir);
  let port = 0;
  let url = '';
  const log = join(dir, 'server.log');
  let child = null;
  let ended = null;

  async function start() {
    const out = createWriteStream(log, { flags: 'a' });
    child = spawn(program, ['serve', '--config', configDir, '--data', join(dir, 'data'), '--listen', `127.0.0.1:${port}`], {
      env: { PATH: process.env.PATH, HOME: dir, LANG: 'C.UTF-8', TMPDIR: dir, HOOKMESH_SECRET_GITHUB: secret, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.pipe(out);
    child.stderr.pipe(out);
    const mine = child;
    process.once('exit', () => mine.kill('SIGKILL')); /* a test that is cut off leaves no server behind */
    let gone = null;
    ended = new Promise((resolve) => mine.on('exit', (code, signal) => resolve({ code, signal })));
    ended.then((x) => {
      gone = x;
    });
    const ready = async () => gone || (await fetch(`${url}/readyz`)).ok;
    const told = () => `${JSON.stringify(gone)}\n${existsSync(log) ? readFileSync(log, 'utf8').slice(-3000) : ''}`;
    await until('the server is ready', ready).catch((e) => {
      throw new Error(`${e.message}; ${told()}`);
    });
    if (gone) throw new Error(`the server ended at its start; ${told()}`);
  }

  /* A port that was free a moment ago may be somebody else's now. */
  async function startSomewhere(tries) {
    port = await freePort();
    url = `http://127.0.0.1:${port}`;
    await start().catch((e) => {
      if (tries <= 1 || !/in use/.test(e.message)) throw e;
      return startSomewhere(tries - 1);
    });
  }

  async function stop(signal = 'SIGTERM') {
    if (!child) return null;
    child.kill(signal);
    const end = await ended;
    child = null;
    return end;
  }

  const world = {
    dir, log, start, stop,
    get url() {
      return url;
    },
    kill: () => stop('SIGKILL'),
    async end() {
      const end = await stop();
      assert.deepEqual(end || { code: 0, signal: null }, { code: 0, signal: null }, readFileSync(log, 'utf8').slice(-3000));
      rmSync(dir, { recursive: true, force: true });
    },
    /* Sends a signed delivery; the answer's JSON with its status. */
    async send({ payload = pushPayload(), event = 'push', id = randomUUID(), key = secret, path = '/hooks/github', signature } = {}) {
      const body = JSON.stringify(payload);
      const answer = await fetch(url + path, {
        method: 'POST',
        body,
        headers: {
          'content-type': 'application/json', 'x-github-event': event, 'x-github-delivery': id,
          'x-hub-signature-256': signature || `sha256=${createHmac('sha256', key).update(body).digest('hex')}`,
        },
      });
      return { status: answer.status, ...(await answer.json()) };
    },
    async api(path, options) {
      const answer = await fetch(url + path, options);
      assert.ok(answer.ok, `${path}: ${answer.status} ${answer.ok ? '' : await answer.text()}`);
      return answer.json();
    },
    runEnds: (id) => until(`run ${id} ends`, async () => {
      const run = await world.api(`/v1/runs/${id}`);
      return !['queued', 'running', 'waiting'].includes(run.state) && run;
    }),
    async open(hash, { width = 1280, height = 800, theme = 'light', offline = false } = {}) {
      const context = await (await browser()).newContext({ viewport: { width, height }, colorScheme: theme, reducedMotion: 'no-preference', permissions: ['clipboard-read', 'clipboard-write'] });
      const page = await context.newPage();
      page.setDefaultTimeout(patience);
      const wrong = [];
      page.on('pageerror', (e) => wrong.push(`threw ${e.stack || e.message}`));
      page.on('console', (m) => {
        /* A connection that is refused is what some tests are about. */
        if (m.type() === 'error' && !/ERR_CONNECTION|WebSocket connection|status of 4\d\d|status of 503/.test(m.text())) wrong.push(m.text());
      });
      await page.goto(`${url}/${hash}`);
      if (!offline) await live(page);
      /* Goes to another page of the dashboard, and is there when it is drawn. */
      page.visit = async (to) => {
        await page.goto(`${url}/${to}`);
        await page.locator(`#main[data-route="${to.replace(/\?.*/, '')}"]`).waitFor();
      };
      page.finish = async () => {
        await context.close();
        assert.deepEqual(wrong, []);
      };
      return page;
    },
  };
  await startSomewhere(5);
  return world;
}

export const badge = (page, state) => page.locator(`.live[data-state="${state}"]:visible`);
export const live = (page) => badge(page, 'live').waitFor();

/* A configuration like github's, with each stage's program behind a gate: a FIFO that a test opens for one input at a time. */
export function gatedGithub(configDir, dir) {
  cpSync(join(root, 'config/github'), configDir, { recursive: true });
  const file = join(configDir, 'pipeline.yaml');
  const gated = readFileSync(file, 'utf8').replace(/command: \[python3, -B, (\w+)\.py\]\n\s+keep: true/g, (_, name) => `command: [sh, -c, "echo ${name} waits >&2; read go < ${dir}/${name}.gate; exec python3 -B ${name}.py"]`);
  writeFileSync(file, gated);
}

/* What axe finds serious on the page, once its animations have ended (a colour in the middle of a fade is nobody's). */
export async function checkAxe(page, what) {
  /* The page's policy lets no script in but its own; the debugger is asked instead. */
  if (!await page.evaluate(() => Boolean(window.axe))) await page.evaluate(axeSource);
  await page.evaluate(() => Promise.all(document.getAnimations().filter((a) => a.effect.getComputedTiming().iterations !== Infinity).map((a) => a.finished.catch(() => {}))));
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const serious = violations.filter((v) => ['serious', 'critical'].includes(v.impact));
  assert.deepEqual(serious.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.any.map((a) => a.message)}`).slice(0, 3).join(' | ')}`), [], what);
}
