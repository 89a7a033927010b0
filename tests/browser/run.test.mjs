/* SPDX-License-Identifier: Apache-2.0 */
/* One run and the map, lit step by step; a failed run and its retry. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { writeFile } from 'node:fs/promises';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkAxe, closeBrowser, gatedGithub, makeWorld, settles } from './world.mjs';

const stages = ['normalise', 'analyse', 'report'];
let w;
before(async () => {
  w = await makeWorld({
    config: (configDir, dir) => {
      gatedGithub(configDir, dir);
      for (const s of stages) execFileSync('mkfifo', [join(dir, `${s}.gate`)]);
      writeFileSync(join(configDir, 'fragile.yaml'), `triggers:
  - {type: webhook, path: /hooks/fragile/github, job: fragile}
pipelines:
  - name: fragile
    stages:
      - name: careful
        watch: "fragile.*.in"
        command: [sh, -c, "cat >/dev/null; echo looking for the flag >&2; test -e ${dir}/flag || { echo the flag is missing >&2; exit 3; }; echo '{\\"fine\\":true}'"]
        retry: {max_attempts: 1}
        write: "fragile.{1}.out"
`);
    },
  });
});
after(async () => {
  await closeBrowser();
  await w.end();
});

const openGate = (stage) => writeFile(join(w.dir, `${stage}.gate`), 'go\n');
const step = (page, stage, state) => page.locator(`.step[data-stage="${stage}"][data-state="${state}"]`);

test('the run page lights up step by step and shows the report', async () => {
  const sent = await w.send();
  const page = await w.open(`#/runs/${sent.run_id}`);
  await step(page, 'normalise', 'running').waitFor();
  await page.locator('.log-line', { hasText: 'normalise waits' }).waitFor();
  await step(page, 'report', 'pending').waitFor();
  await openGate('normalise');
  await step(page, 'normalise', 'succeeded').waitFor();
  await step(page, 'analyse', 'running').waitFor();
  await page.locator(`.item.has[data-key="github.${sent.run_id}.normalised"] .peek`).waitFor();
  await openGate('analyse');
  await step(page, 'report', 'running').waitFor();
  assert.equal(await page.locator('.md').count(), 0);
  await openGate('report');
  await page.locator('.state.pill', { hasText: 'Succeeded' }).waitFor();
  await page.locator('.md h3', { hasText: 'Codertocat/Hello-World' }).waitFor();
  await page.locator('.md a', { hasText: 'compare' }).waitFor();
  await settles('every step has logged its line', () => page.locator('.log-line').count(), 3);
  await page.locator('.item[data-key$=".report"] button.title').click();
  await page.locator('.item[data-key$=".report"] .code').getByText('"markdown"').waitFor();
  await page.finish();
});

test('the run page shows the same after a reload as it did live', async () => {
  const sent = await w.send();
  const page = await w.open(`#/runs/${sent.run_id}`);
  for (const s of stages) await openGate(s);
  await page.locator('.state.pill', { hasText: 'Succeeded' }).waitFor();
  const seen = () => page.locator('.line .item').evaluateAll((items) => items.map((i) => `${i.dataset.stage || i.dataset.key} ${i.dataset.state || i.querySelector('.took').textContent}`));
  await page.locator('.md').waitFor();
  await settles('every step is done', () => page.locator('.step[data-state="succeeded"]').count(), stages.length);
  const lived = await seen();
  await page.reload();
  await page.locator('.md').waitFor();
  await settles('the same is seen', seen, lived);
  await page.finish();
});

test('the map draws the stages in the order of their keys and lights the one that works', async () => {
  const page = await w.open('#/pipelines');
  for (const s of stages) await page.locator(`.stage[data-id="github.${s}"]`).waitFor();
  const drawn = () => page.locator('.pipeline[aria-label="Pipeline github"] .stage').evaluateAll((cards) => cards.map((c) => [c.dataset.id, c.getBoundingClientRect().left]).sort((a, b) => a[1] - b[1]).map(([id]) => id));
  await settles('the stages stand in the order of their keys', drawn, stages.map((s) => `github.${s}`));
  await w.send();
  await page.locator('.stage.on[data-id="github.normalise"]').waitFor();
  await openGate('normalise');
  await page.locator('.stage.on[data-id="github.analyse"]').waitFor();
  await openGate('analyse');
  await openGate('report');
  await page.finish();
});

test('a failed run shows the error and what to do, and a retry takes it up where it failed', async () => {
  const page = await w.open('#/now');
  assert.equal((await w.send({ path: '/hooks/fragile/github' })).status, 202);
  const need = page.locator('.note', { hasText: 'A run of fragile failed' });
  await need.getByText('Open', { exact: true }).click();
  await page.locator('.note', { hasText: 'careful failed' }).locator('.error', { hasText: '3' }).waitFor();
  await page.getByText('Mend the stage’s program').waitFor();
  await checkAxe(page, 'a failed run');
  writeFileSync(join(w.dir, 'flag'), '');
  await page.getByRole('button', { name: 'Retry', exact: true }).click();
  await page.locator('.state.pill', { hasText: 'Succeeded' }).waitFor();
  await step(page, 'careful', 'succeeded').waitFor();
  await page.visit('#/now');
  await page.getByText('Nothing needs you').waitFor();
  await page.finish();
});

test('a run that waits at a gate can be cancelled', async () => {
  const sent = await w.send();
  const page = await w.open(`#/runs/${sent.run_id}`);
  await step(page, 'normalise', 'running').waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.locator('.state.pill', { hasText: 'Cancelled' }).waitFor();
  await page.finish();
});

test('an unknown run says that it is not here', async () => {
  const page = await w.open('#/runs/0193aaaa-0000-7000-8000-000000000000');
  await page.getByText('There is no such run').waitFor();
  await page.finish();
});
