/* SPDX-License-Identifier: Apache-2.0 */
/* Hundreds of jobs, schedules and dead letters: the pages stay quick, and ask the server for nothing while nothing happens. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { closeBrowser, makeWorld, settles, until } from './world.mjs';

const jobs = 300;
const letters = 250;
let w;
before(async () => {
  w = await makeWorld({
    config: (configDir) => {
      const job = (i) => `  - {name: j${String(i).padStart(3, '0')}, command: [cat], schedule: "0 ${i % 60} ${i % 24} * * *"}\n`;
      writeFileSync(join(configDir, 'jobs.yaml'), `jobs:\n${Array.from({ length: jobs }, (_, i) => job(i)).join('')}
  - {name: broken, command: ["false"], retry: {max_attempts: 1}, timeout: 60s}
`);
    },
  });
  await w.runEnds((await w.api('/v1/jobs/j007/runs', { method: 'POST', body: '{}' })).run_id);
  for (let i = 0; i < letters; i += 25) await Promise.all(Array.from({ length: 25 }, () => w.api('/v1/jobs/broken/runs', { method: 'POST', body: '{}' })));
  await until('all have failed', async () => (await w.api('/v1/analytics/jobs?job=broken')).jobs[0].failed === letters);
});
after(async () => {
  await closeBrowser();
  await w.end();
});

const rows = (page) => page.locator('.page .rows .row').count();

/* Walks through a list; what a key costs, in ms of the page's own thread, so that a busy machine does not count. */
async function walk(page) {
  const steps = 30;
  const meter = await page.context().newCDPSession(page);
  await meter.send('Performance.enable', { timeDomain: 'threadTicks' });
  const spent = async () => (await meter.send('Performance.getMetrics')).metrics.find((m) => m.name === 'TaskDuration').value * 1000;
  const before_ = await spent();
  for (let i = 0; i < steps; i++) await page.keyboard.press('j');
  await settles('the thirtieth row is selected', () => page.locator('.row').evaluateAll((all) => all.findIndex((r) => r.classList.contains('sel'))), steps - 1);
  const cost = (await spent() - before_) / steps;
  await meter.detach();
  return cost;
}

test('lists of hundreds are drawn whole and walked through without a halt', async () => {
  const page = await w.open('#/jobs');
  for (const [hash, n] of [['#/jobs', jobs + 1], ['#/schedules', jobs], ['#/letters', 200]]) {
    await page.visit(hash);
    await settles(`${hash} is listed`, () => rows(page), n);
    const cost = await walk(page);
    if (process.env.TELL) console.log(`# ${hash} ${cost.toFixed(1)} ms a key`);
    await page.keyboard.press('f');
    await page.keyboard.type(hash === '#/letters' ? 'broken' : 'j29');
    await settles(`${hash} is filtered`, () => rows(page), hash === '#/letters' ? 200 : 10);
  }
  await page.getByText(`The newest 200 of ${letters} are shown`).waitFor();
  await page.finish();
});

test('how a job’s last run ended is known also when hundreds of others ran since', async () => {
  const page = await w.open('#/jobs');
  await page.locator('.row[data-id="j007"]').getByText('Succeeded').waitFor();
  await page.locator('.row[data-id="j008"]').getByText('Idle').waitFor();
  await page.finish();
});

test('a page asks for nothing while nothing of its own happens', async () => {
  const page = await w.open('#/schedules');
  await settles('all are listed', () => rows(page), jobs);
  await page.waitForLoadState('networkidle'); // the frame asks for its own things at the start
  const asked = [];
  page.on('request', (request) => asked.push(new URL(request.url()).pathname));
  /* A run that no schedule started comes by the live stream, and is nothing that this page would have to ask for. */
  const { run_id } = await w.api('/v1/jobs/j000/runs', { method: 'POST', body: '{}' });
  const known = (id) => page.evaluate(async (run) => {
    const { store } = await import('/store.js');
    const r = store.runs.index.get(run);
    return r && r.state;
  }, id);
  await settles('the page knows the run', () => known(run_id), 'succeeded');
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))));
  assert.deepEqual(asked.filter((p) => p.startsWith('/v1/') && p !== '/v1/status'), []);
  await page.finish();
});
