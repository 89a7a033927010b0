/* SPDX-License-Identifier: Apache-2.0 */
/* Schedules: what fires next and when, by which clock; fires that come, that are skipped and that were missed. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { writeFile } from 'node:fs/promises';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkAxe, closeBrowser, live, makeWorld, settles, until } from './world.mjs';

let w;
before(async () => {
  w = await makeWorld({
    config: (configDir, dir) => {
      execFileSync('mkfifo', [join(dir, 'gate')]);
      writeFileSync(join(configDir, 'jobs.yaml'), `settings: {misfire_grace: 1s}
jobs:
  - {name: monthly, command: [cat], schedule: "0 0 12 1 * *", timezone: Europe/Berlin, misfire: once, overlap: queue}
  - {name: weekdays, command: [cat], schedule: ["0 0 8 * * MON-FRI", "0 0 22 * * *"]}
  - {name: beat, command: [cat], schedule: "* * * * * *"}
  - {name: stuck, command: [sh, -c, "read go < ${dir}/gate"], schedule: "*/2 * * * * *", overlap: skip}
`);
    },
  });
});
after(async () => {
  await closeBrowser();
  await w.end();
});

const row = (page, id) => page.locator(`.row[data-id="${id}"]`);
const order = (page) => page.locator('[aria-label="Schedules"] .row').evaluateAll((rows) => rows.map((r) => r.dataset.id));

test('all schedules are listed, the next fire first, in words and in the local time of their zone', async () => {
  const page = await w.open('#/schedules');
  await settles('all are listed', async () => (await order(page)).sort(), ['beat', 'monthly', 'stuck', 'weekdays', 'weekdays#2']);
  assert.deepEqual((await order(page)).slice(0, 2).sort(), ['beat', 'stuck']);
  const monthly = row(page, 'monthly');
  await monthly.getByText('on the 1st of the month at 12:00').waitFor();
  await monthly.getByText('Europe/Berlin').waitFor();
  await monthly.getByText(/ 1 [A-Z][a-z][a-z], 12:00 \+0[12]:00/).waitFor();
  await monthly.getByText('overlap: queue').waitFor();
  await monthly.getByText('misfire: once').waitFor();
  await row(page, 'weekdays').getByText('UTC').first().waitFor();
  await checkAxe(page, 'the schedules');
  await page.finish();
});

test('a change of the clock is marked where it falls between two fires', async () => {
  const page = await w.open('#/schedules');
  await row(page, 'monthly').getByText(/the clock goes (back|forward) 1 h on Sun \d+ (Mar|Oct)/).waitFor();
  await page.getByRole('button', { name: /Clock changes/ }).click();
  await settles('only it is left', () => order(page), ['monthly']);
  await row(page, 'monthly').locator('.main-link').click();
  await page.waitForURL('**/#/jobs/monthly');
  const fires = page.locator('.fires li');
  await settles('ten fires', () => fires.count(), 10);
  const told = await w.api('/v1/schedules?job=monthly&n=10');
  const seen = await fires.evaluateAll((all) => all.map((li) => ({ text: li.textContent, moved: Boolean(li.querySelector('.moved')) })));
  told[0].next.forEach((instant, i) => {
    const offset = instant.slice(-6);
    assert.ok(seen[i].text.includes('12:00') && seen[i].text.includes(offset), `${seen[i].text} of ${instant}`);
    assert.equal(seen[i].moved, i > 0 && offset !== told[0].next[i - 1].slice(-6), instant);
  });
  assert.ok(seen.some((x) => x.moved));
  await page.finish();
});

test('a fire becomes a run by itself, and the run says for which instant', async () => {
  const page = await w.open('#/schedules');
  await row(page, 'beat').getByText('Succeeded').waitFor();
  const first = await row(page, 'beat').locator('.c-state a').getAttribute('href');
  await until('another one has come', async () => await row(page, 'beat').locator('.c-state a').getAttribute('href') !== first);
  const [run] = await w.api('/v1/runs?job=beat&state=succeeded&limit=1');
  await page.visit(`#/runs/${run.id}`);
  const at = run.scheduled_at;
  await page.getByRole('link', { name: new RegExp(`${at.slice(11, 16)}`) }).waitFor();
  await page.finish();
});

test('a fire that comes too early is a skipped run with its reason', async () => {
  const page = await w.open('#/runs?state=skipped');
  const skipped = page.locator('.row', { hasText: 'stuck' }).first();
  await skipped.getByText('Skipped').waitFor();
  await skipped.locator('.main-link').click();
  await page.waitForURL('**/#/runs/*');
  const note = page.locator('.note', { hasText: 'This run did not start' });
  await note.getByText(/is still open/).waitFor();
  await note.getByRole('link', { name: 'stuck' }).click();
  await page.waitForURL('**/#/jobs/stuck');
  await page.finish();
});

test('fires that passed while no server was up are counted, and Now tells of them until they are put aside', async () => {
  const page = await w.open('#/now');
  const missed = async () => (await w.api('/v1/schedules?job=beat'))[0].missed;
  const before_ = await missed();
  await writeFile(join(w.dir, 'gate'), 'go\n');
  await w.kill();
  const killed = Date.now();
  await until('fires have come and nobody was there', () => Date.now() > killed + 4000);
  await w.start();
  await until('they are counted', async () => await missed() > before_);
  await live(page);
  await page.visit('#/schedules');
  await row(page, 'beat').getByText(/\d+ missed/).waitFor();
  await page.visit('#/now');
  await page.reload();
  const note = page.locator('.note', { hasText: /fires? (was|were) missed/ });
  await note.getByText('beat').waitFor();
  await note.getByRole('button', { name: 'Put aside' }).click();
  await note.waitFor({ state: 'detached' });
  await page.finish();
});
