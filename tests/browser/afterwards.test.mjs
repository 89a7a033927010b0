/* SPDX-License-Identifier: Apache-2.0 */
/* What follows a run: deliveries of its result and the jobs that it starts, each with a state and attempts of its own, on the run that it follows. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { checkAxe, closeBrowser, makeWorld, settles, until } from './world.mjs';

let w;
let shop; /* takes what is delivered: with 200, or as a test wants it */
let answer = 410;
const got = [];
before(async () => {
  shop = createServer((request, reply) => {
    let body = '';
    request.on('data', (piece) => {
      body += piece;
    });
    request.on('end', () => {
      got.push({ url: request.url, body });
      reply.writeHead(request.url === '/moody' ? answer : 200);
      reply.end('as it is');
    });
  });
  await new Promise((done) => shop.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${shop.address().port}`;
  w = await makeWorld({
    config: (configDir, dir) => writeFileSync(join(configDir, 'jobs.yaml'), `jobs:
  - name: report
    command: [cat]
    output:
      - http: ${url}/orders
      - http: ${url}/moody
        retry: {max_attempts: 1}
      - kv: results.{run}
      - file: ${dir}/{run}.json
    on_complete: {job: digest}
    on_failure: {job: digest}
  - {name: digest, command: [cat]}
`),
  });
});
after(async () => {
  await closeBrowser();
  await w.end();
  shop.close();
});

const start = (input) => w.api('/v1/jobs/report/runs', { method: 'POST', body: JSON.stringify(input), headers: { 'content-type': 'application/json' } });
const item = (page, stage, state) => page.locator(`.after-item[data-stage="${stage}"]${state ? `[data-state="${state}"]` : ''}`);

test('deliveries and what a run starts are shown on it, with state, place and error; its own state stays', async () => {
  const { run_id } = await start({ order: 7 });
  const page = await w.open(`#/runs/${run_id}`);
  await page.locator('.head .state.pill', { hasText: 'Succeeded' }).waitFor();
  await item(page, 'http', 'succeeded').getByText('answered 200').waitFor();
  await item(page, 'http-2', 'failed').getByText('answered 410').waitFor();
  await item(page, 'kv', 'succeeded').getByRole('link').waitFor();
  await item(page, 'file', 'succeeded').waitFor();
  await item(page, 'on_complete', 'succeeded').getByText('digest').waitFor();
  await settles('what only a failure starts is not there', () => item(page, 'on_failure').count(), 0);
  await checkAxe(page, 'a run and what follows it');
  assert.deepEqual(JSON.parse(readFileSync(join(w.dir, `${run_id}.json`), 'utf8')), { order: 7 });
  await item(page, 'on_complete').getByRole('link').click();
  await page.locator('.facts', { hasText: 'after report' }).waitFor();
  await page.getByRole('link', { name: /^report …/ }).click();
  await page.waitForURL(`**/#/runs/${run_id}`);
  await item(page, 'kv').getByRole('link').click();
  await page.waitForURL(`**/#/keys/results.${run_id}`);
  await page.locator('.keys-value .code').getByText('7').waitFor();
  await page.finish();
});

test('what follows a run comes to an open page by itself', async () => {
  const page = await w.open('#/jobs/report');
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Run' }).click();
  await page.waitForURL('**/#/runs/*');
  for (const stage of ['http', 'kv', 'file', 'on_complete']) await item(page, stage, 'succeeded').waitFor();
  await item(page, 'http-2', 'failed').waitFor();
  await settles('only what this end concerns is left', () => page.locator('.after-item').evaluateAll((all) => all.map((li) => li.dataset.stage).sort()), ['file', 'http', 'http-2', 'kv', 'on_complete']);
  await page.finish();
});

test('a retry sends only what was not delivered', async () => {
  const { run_id } = await start({ order: 8 });
  const page = await w.open(`#/runs/${run_id}`);
  await item(page, 'http-2', 'failed').waitFor();
  answer = 200;
  await page.locator('.note', { hasText: 'http-2' }).getByRole('button', { name: 'Retry' }).click();
  await item(page, 'http-2', 'succeeded').getByText('answered 200').waitFor();
  await page.locator('.note').waitFor({ state: 'detached' });
  answer = 410;
  const sent = got.filter((x) => x.body.includes('"order":8')).map((x) => x.url);
  assert.deepEqual(sent.sort(), ['/moody', '/moody', '/orders']);
  await page.finish();
});

test('Now tells of results that were not delivered, and sends them again', async () => {
  await w.api('/v1/dlq', { method: 'DELETE' });
  await start({ order: 9 });
  const page = await w.open('#/now');
  const note = page.locator('.note', { hasText: '1 result was not delivered' });
  await note.getByText('answered 410').waitFor();
  answer = 200;
  await note.getByRole('button', { name: 'Send again' }).click();
  await note.waitFor({ state: 'detached' });
  answer = 410;
  await until('it has arrived', () => got.filter((x) => x.url === '/moody' && x.body.includes('"order":9')).length === 2);
  await page.finish();
});

test('a job’s page says what follows its runs', async () => {
  const page = await w.open('#/jobs/report');
  const list = page.getByRole('region', { name: 'Afterwards' });
  await list.getByText('results.{run}').waitFor();
  await settles('both ends start a job', () => list.getByRole('link', { name: 'digest' }).count(), 2);
  await list.getByText('after a failure').waitFor();
  await page.finish();
});
