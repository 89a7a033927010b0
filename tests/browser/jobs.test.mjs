/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: listed, described, started from a form; what failed for good, tried again or dropped; the figures. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { writeFile } from 'node:fs/promises';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkAxe, closeBrowser, makeWorld, settles, until } from './world.mjs';

let w;
before(async () => {
  w = await makeWorld({
    config: (configDir, dir) => {
      execFileSync('mkfifo', [join(dir, 'send.gate')]);
      writeFileSync(join(configDir, 'jobs.yaml'), `jobs:
  - name: letter
    description: Drafts a letter and sends it.
    parameters:
      - {name: topic, type: string, required: true, description: What it is about}
      - {name: pages, type: integer, default: 2}
      - {name: tone, enum: [warm, formal], default: warm}
      - {name: tags, type: array}
    priority: 5
    concurrency: {limit: 2, key: .topic}
    steps:
      - {name: draft, command: [cat], output: draft, timeout: 5m}
      - {name: send, command: [sh, -c, "read go < ${dir}/send.gate; cat"], input: draft}
  - name: fragile
    command: [sh, -c, "cat >/dev/null; test -e ${dir}/flag || { echo the flag is missing >&2; exit 3; }; echo '{}'"]
    retry: {max_attempts: 1}
  - name: later
    command: [cat]
    delay: 2h
`);
    },
  });
});
after(async () => {
  await closeBrowser();
  await w.end();
});

const start = (job, input = {}) => w.api(`/v1/jobs/${job}/runs`, { method: 'POST', body: JSON.stringify(input), headers: { 'content-type': 'application/json' } });
const row = (page, id) => page.locator(`.row[data-id="${id}"]`);
const letters = (page) => page.locator('[aria-label="Dead letters"] .row');
const dead = async (n) => {
  for (let i = 0; i < n; i++) await start('fragile');
  await until('they are in the dead letters', async () => (await w.api('/v1/dlq')).length >= n);
};
const forget = () => w.api('/v1/dlq', { method: 'DELETE' });

test('the list of jobs says what starts each and how the last run ended, and follows it live', async () => {
  const page = await w.open('#/jobs');
  await row(page, 'letter').getByText('Idle').waitFor();
  await row(page, 'letter').getByText('hybrid').waitFor();
  const { run_id } = await start('fragile');
  await row(page, 'fragile').getByText('Dead', { exact: true }).waitFor();
  await row(page, 'fragile').getByText('0 %').waitFor();
  await row(page, 'fragile').locator('.main-link').click();
  await page.waitForURL('**/#/jobs/fragile');
  await page.locator(`.row[data-id="${run_id}"]`).waitFor();
  await page.finish();
  await forget();
});

test('a job’s page shows its steps, parameters and limits', async () => {
  const page = await w.open('#/jobs/letter');
  await page.getByText('Drafts a letter and sends it.').waitFor();
  for (const s of ['draft', 'send']) await page.locator(`.stage[data-id="job.letter.${s}"]`).waitFor();
  const facts = page.getByRole('region', { name: 'Definition' });
  await facts.getByText('2 runs for each .topic').waitFor();
  await facts.getByText(/jobs\.yaml:2/).waitFor();
  await page.getByRole('region', { name: 'Parameters' }).getByText('What it is about').waitFor();
  await page.getByText('It never ran').waitFor();
  await page.finish();
});

test('Run makes a form of the parameters, says what is wrong, and leads to the run', async () => {
  const page = await w.open('#/jobs/letter');
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  const form = page.getByRole('dialog', { name: 'Run letter' });
  await form.getByLabel('pages').fill('1.5');
  await form.getByRole('button', { name: 'Run' }).click();
  await form.getByText('topic must be given.').waitFor();
  await form.getByText('pages must be a whole number.').waitFor();
  await checkAxe(page, 'the form with errors');
  await form.getByLabel('topic').fill('the tides');
  await form.getByLabel('pages').fill('3');
  await form.getByLabel('tags').fill('["a", "b"]');
  await form.getByRole('button', { name: 'Run' }).click();
  await page.waitForURL('**/#/runs/*');
  const run = page.url().split('/').pop();
  await page.locator('.step[data-stage="draft"][data-state="succeeded"]').waitFor();
  await page.locator('.step[data-stage="send"][data-state="running"]').waitFor();
  await page.getByText('started by hand').waitFor();
  const input = await w.api(`/v1/kv/job.letter.${run}.input`);
  assert.deepEqual(input, { topic: 'the tides', pages: 3, tone: 'warm', tags: ['a', 'b'] });
  await writeFile(join(w.dir, 'send.gate'), 'go\n');
  await page.locator('.state.pill', { hasText: 'Succeeded' }).waitFor();
  await page.getByRole('link', { name: 'letter', exact: true }).click();
  await page.waitForURL('**/#/jobs/letter');
  await page.locator(`.row[data-id="${run}"]`).getByText('Succeeded').waitFor();
  await page.finish();
});

test('the input can be written as JSON, and what the server refuses is said in its words', async () => {
  const page = await w.open('#/jobs/letter');
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  const form = page.getByRole('dialog', { name: 'Run letter' });
  await form.getByLabel('topic').fill('ships');
  await form.getByRole('button', { name: 'JSON' }).click();
  const area = form.getByRole('textbox', { name: 'Input' });
  assert.deepEqual(JSON.parse(await area.inputValue()), { topic: 'ships', pages: 2, tone: 'warm' });
  await area.fill('{"topic": ');
  await form.getByRole('button', { name: 'Run' }).click();
  await form.getByText('This is not JSON.').waitFor();
  await area.fill('{"topic": "ships", "page": 1}');
  await form.getByRole('button', { name: 'Run' }).click();
  await form.getByText('no parameter "page"').waitFor();
  await page.keyboard.press('Escape');
  await form.waitFor({ state: 'detached' });
  await page.finish();
});

test('a run that was put off says when it will start', async () => {
  const { run_id } = await start('later');
  const page = await w.open(`#/runs/${run_id}`);
  await page.locator('.state.pill', { hasText: 'Waiting' }).waitFor();
  await page.getByText(/Starts in 1h 59m/).waitFor();
  await page.visit('#/runs');
  await row(page, run_id).getByText('starts in 1h').waitFor();
  await page.visit('#/jobs/later');
  await page.locator('.stage[data-id="job.later.run"] .n', { hasText: '1pending' }).waitFor();
  await page.locator('.stage[data-id="job.later.run"] .n', { hasText: '0running' }).waitFor();
  await page.visit(`#/runs/${run_id}`);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.locator('.state.pill', { hasText: 'Cancelled' }).waitFor();
  await page.finish();
});

test('a dead letter is tried again by keyboard, and leaves the list', async () => {
  await dead(2);
  const page = await w.open('#/letters');
  await settles('both are listed', () => letters(page).count(), 2);
  await letters(page).first().getByText('the flag is missing').waitFor();
  await letters(page).first().getByText('1 attempt').waitFor();
  writeFileSync(join(w.dir, 'flag'), '');
  await page.keyboard.press('j');
  await page.locator('.row.sel').waitFor();
  await page.keyboard.press('r');
  await page.getByText('It is tried again').waitFor();
  await settles('one is left', () => letters(page).count(), 1);
  await page.getByRole('button', { name: 'Retry all 1' }).click();
  await page.getByText('No dead letters').waitFor();
  await settles('all runs have succeeded', async () => (await w.api('/v1/runs?job=fragile&limit=2')).map((r) => r.state), ['succeeded', 'succeeded']);
  rmSync(join(w.dir, 'flag'));
  await page.finish();
});

test('dead letters are dropped, one by key, all only after a question', async () => {
  await dead(3);
  const page = await w.open('#/letters');
  await settles('all are listed', () => letters(page).count(), 3);
  await page.keyboard.press('j');
  await page.locator('.row.sel').waitFor();
  await page.keyboard.press('x');
  await settles('one is gone', () => letters(page).count(), 2);
  await page.getByRole('button', { name: 'Drop all' }).click();
  const ask = page.getByRole('dialog', { name: 'Drop dead letters' });
  await checkAxe(page, 'the question');
  await ask.getByRole('button', { name: 'Keep them' }).click();
  await ask.waitFor({ state: 'detached' });
  assert.equal((await w.api('/v1/dlq')).length, 2);
  await page.getByRole('button', { name: 'Drop all' }).click();
  await ask.getByRole('button', { name: 'Drop', exact: true }).click();
  await page.getByText('No dead letters').waitFor();
  assert.deepEqual(await w.api('/v1/dlq'), []);
  await page.locator('.tab[href="#/letters"] .count').waitFor({ state: 'detached' });
  await page.finish();
});

test('what failed somewhere else comes to the letters by itself, and Now tells of it', async () => {
  const page = await w.open('#/letters');
  await page.getByText('No dead letters').waitFor();
  await dead(1);
  await letters(page).first().getByText('the flag is missing').waitFor();
  await page.locator('.tab[href="#/letters"] .count', { hasText: '1' }).waitFor();
  await page.visit('#/now');
  await page.locator('.note', { hasText: 'fragile failed' }).waitFor();
  await forget();
  await page.finish();
});

test('the figures count what ran, and a chart has its numbers for those who do not see it', async () => {
  const page = await w.open('#/analytics');
  const line = page.locator('.row[data-id="job.fragile"]');
  await line.waitFor();
  const before_ = Number(await line.locator('.c-runs').textContent());
  await start('fragile');
  await settles('the run is counted', async () => Number(await line.locator('.c-runs').textContent()), before_ + 1);
  const table = page.getByRole('table', { name: 'Runs a day' });
  const failed = await table.getByRole('row').last().getByRole('cell').nth(2).textContent();
  assert.ok(Number(failed) >= 1);
  const told = (await w.api('/v1/analytics/jobs')).jobs.reduce((n, j) => n + j.failed, 0);
  await page.locator('.figure', { hasText: 'failed' }).locator('b', { hasText: String(told) }).waitFor();
  await page.getByRole('button', { name: '30 days' }).click();
  await settles('a row a day', () => table.getByRole('row').count(), 31);
  await page.finish();
  await until('it is dead', async () => (await w.api('/v1/dlq')).length);
  await forget();
});

test('Ctrl-K goes to a job', async () => {
  const page = await w.open('#/now');
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox').fill('fragi');
  await page.locator('[role="option"][aria-selected="true"]', { hasText: 'fragile' }).waitFor();
  await page.keyboard.press('Enter');
  await page.waitForURL('**/#/jobs/fragile');
  await page.finish();
});

test('an unknown job says that it is not here', async () => {
  const page = await w.open('#/jobs/nobody');
  await page.getByText('This job is not here').waitFor();
  await page.finish();
});
