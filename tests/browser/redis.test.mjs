/* SPDX-License-Identifier: Apache-2.0 */
/* Redis away: the page says so, and what came meanwhile is there when it is back. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { badge, closeBrowser, live, makeWorld, until } from './world.mjs';

const dir = mkdtempSync(join(tmpdir(), 'hmr-'));
let redis;
let w;

async function startRedis() {
  redis = spawn('redis-server', ['--port', '0', '--unixsocket', join(dir, 's'), '--dir', dir, '--appendonly', 'yes', '--save', ''], { stdio: 'ignore' });
  await until('Redis listens', async () => {
    const socket = connect(join(dir, 's'));
    await once(socket, 'connect');
    socket.destroy();
    return true;
  });
}
async function stopRedis() {
  redis.kill('SIGKILL');
  await once(redis, 'exit');
}

before(async () => {
  await startRedis();
  w = await makeWorld({ env: { HOOKMESH_REDIS: `unix://${join(dir, 's')}` } });
});
after(async () => {
  await closeBrowser();
  await w.end();
  await stopRedis();
  rmSync(dir, { recursive: true, force: true });
});

test('while Redis is away the page says so, and a push that came meanwhile runs when it is back', async () => {
  const page = await w.open('#/now');
  const first = await w.send();
  await page.locator(`.row[data-id="${first.run_id}"]`).getByText('Succeeded').waitFor();
  await stopRedis();
  await badge(page, 'stalled').getByText('Redis is away').waitFor();
  await page.locator('.note', { hasText: 'Redis is away' }).waitFor();
  const kept = await until('a push is taken in', async () => {
    const sent = await w.send();
    return sent.status === 202 && sent;
  });
  await startRedis();
  await live(page);
  await page.locator(`.row[data-id="${kept.run_id}"]`).getByText('Succeeded').waitFor();
  await page.locator('.note', { hasText: 'Redis is away' }).waitFor({ state: 'detached' });
  const listed = await page.locator('[aria-label="Latest runs"] .row').evaluateAll((rows) => rows.map((r) => r.dataset.id));
  assert.equal(new Set(listed).size, listed.length);
  await page.finish();
});
