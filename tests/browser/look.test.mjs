/* SPDX-License-Identifier: Apache-2.0 */
/* How it can be used: by keyboard, on a narrow screen, in both themes, with a screen reader. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkAxe, closeBrowser, makeWorld, root, settles, until } from './world.mjs';

let w;
let run;
let refused;
let failed;
before(async () => {
  w = await makeWorld({
    config: (configDir) => {
      cpSync(join(root, 'config/github'), configDir, { recursive: true });
      writeFileSync(join(configDir, 'jobs.yaml'), `jobs:
  - name: a_job_with_a_rather_long_name_that_somebody_chose
    description: Does one thing after the other, and says what it did.
    parameters: {topic: {type: string, required: true, description: What it is about}, pages: 2}
    schedule: ["0 0 12 1 * *", "0 */20 6-22 * * MON-FRI"]
    timezone: America/Argentina/Buenos_Aires
    steps:
      - {name: draft, command: [cat], output: draft}
      - {name: send, command: [cat], input: draft}
  - {name: monthly, command: [cat], schedule: "0 30 2 1 * *", timezone: Europe/Berlin}
  - {name: broken, command: [sh, -c, "cat >/dev/null; echo a_long_word_without_any_place_to_break_it_anywhere_for_a_narrow_screen_to_use >&2; exit 1"], retry: {max_attempts: 1}}
`);
    },
  });
  failed = (await w.api('/v1/jobs/broken/runs', { method: 'POST', body: '{}' })).run_id;
  run = (await w.send()).run_id;
  await w.send();
  await w.runEnds(run);
  await w.runEnds(failed);
  await w.send({ key: 'not the secret' });
  refused = await until('the refusal stands in the ledger', async () => (await w.api('/v1/deliveries?outcome=rejected'))[0].id);
});
after(async () => {
  await closeBrowser();
  await w.end();
});

const long = '#/jobs/a_job_with_a_rather_long_name_that_somebody_chose';
const pages = () => ['#/now', '#/deliveries', `#/deliveries/${refused}`, '#/runs', `#/runs/${run}`, `#/runs/${failed}`, '#/jobs', long, '#/jobs/broken', '#/schedules', '#/letters', '#/analytics', '#/pipelines', '#/keys', `#/keys/github.${run}.report`];
/* Something of the page's own must be there, not only its frame. */
const settled = (page, hash) => page.locator({ '#/pipelines': '.stage', '#/analytics': '.chart svg', [long]: '.fires li', '#/jobs/broken': '.chart svg', [`#/runs/${run}`]: '.md', [`#/runs/${failed}`]: '.note', [`#/deliveries/${refused}`]: '.reason', [`#/keys/github.${run}.report`]: '.keys-value .code' }[hash] || '.row').first().waitFor();

test('j and k walk through the rows, Enter opens, u goes back', async () => {
  const page = await w.open('#/runs');
  await page.locator('.row').nth(1).waitFor();
  const order = await page.locator('.row').evaluateAll((rows) => rows.map((r) => r.dataset.id));
  const selected = (id) => page.locator(`.row.sel[data-id="${id}"]`).waitFor();
  await page.keyboard.press('j');
  await selected(order[0]);
  await page.keyboard.press('j');
  await selected(order[1]);
  await page.keyboard.press('k');
  await selected(order[0]);
  await page.keyboard.press('c');
  await page.getByText('Run id copied').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), order[0]);
  await page.keyboard.press('Enter');
  await page.waitForURL(`**/#/runs/${order[0]}`);
  await page.locator('.line').waitFor();
  await page.keyboard.press('u');
  await page.waitForURL('**/#/runs');
  await page.finish();
});

test('r replays the selected delivery, f filters', async () => {
  const page = await w.open('#/deliveries');
  await settles('the deliveries are listed', () => page.locator('.row').count(), 3);
  await page.keyboard.press('j');
  await page.locator('.row.sel').waitFor();
  await page.keyboard.press('r');
  await settles('the replay is listed', () => page.locator('.row').count(), 4);
  await page.keyboard.press('f');
  await page.locator('input[type="search"]:focus').waitFor();
  await page.keyboard.type('no such thing');
  await page.getByText('No delivery matches').waitFor();
  await page.keyboard.press('Escape');
  await page.finish();
});

test('? shows the keyboard, Escape closes it', async () => {
  const page = await w.open('#/now');
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard' }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await until('g p leads to the pipelines', async () => { /* the two keys belong together only for a moment */
    await page.keyboard.press('g');
    await page.keyboard.press('p');
    return page.url().endsWith('#/pipelines');
  });
  await page.finish();
});

test('Ctrl-K goes to a page, a run and a key', async () => {
  const page = await w.open('#/now');
  await page.locator('.row').first().waitFor();
  const goTo = async (text, choice) => {
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox').fill(text);
    await page.locator('[role="option"][aria-selected="true"]', { hasText: choice }).waitFor();
    await page.keyboard.press('Enter');
  };
  await goTo('pipel', 'Pipelines');
  await page.waitForURL('**/#/pipelines');
  await goTo(run, 'push');
  await page.waitForURL(`**/#/runs/${run}`);
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox').fill(`${run}.report`);
  await page.getByRole('option', { name: '.report' }).click();
  await page.waitForURL(`**/#/keys/github.${run}.report`);
  await page.finish();
});

test('no page scrolls sideways at 390 pixels', async () => {
  const page = await w.open('#/now', { width: 390, height: 844 });
  for (const hash of pages()) {
    await page.visit(hash);
    await settled(page, hash);
    const over = await page.evaluate(() => [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest('.chips, .map-scroll, .code, .table, .log, .peek, dialog') && !e.parentElement.closest('.cut')).map((e) => e.className));
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390, `${hash} is wider than the screen`);
    assert.deepEqual(over, [], hash);
  }
  await page.finish();
});

for (const theme of ['light', 'dark']) {
  test(`axe finds no serious violation in the ${theme} theme`, async () => {
    const page = await w.open('#/now', { theme });
    const check = (what) => checkAxe(page, `${what} in ${theme}`);
    for (const hash of pages()) {
      await page.visit(hash);
      await settled(page, hash);
      await check(hash);
    }
    await page.keyboard.press('?');
    await page.getByRole('dialog').waitFor();
    await check('the help');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox').waitFor();
    await check('the palette');
    await page.keyboard.press('Escape');
    await page.setViewportSize({ width: 390, height: 844 });
    await page.visit('#/jobs');
    await settled(page, '#/jobs');
    await page.getByRole('button', { name: 'More' }).click();
    await page.getByRole('dialog', { name: 'More pages' }).waitFor();
    await check('the pages behind More');
    await page.getByRole('link', { name: 'Analytics' }).click();
    await page.waitForURL('**/#/analytics');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.finish();
  });
}

test('no page moves what somebody may be reading once it is drawn', async () => {
  const page = await w.open('#/now');
  for (const hash of pages()) {
    await page.visit(hash);
    await settled(page, hash);
    await page.reload();
    await settled(page, hash);
    const moved = await page.evaluate(() => new Promise((done) => {
      let sum = 0;
      const seen = (list) => {
        for (const e of list.getEntries()) if (!e.hadRecentInput) sum += e.value;
      };
      const watcher = new PerformanceObserver(seen);
      watcher.observe({ type: 'layout-shift', buffered: true });
      requestAnimationFrame(() => requestAnimationFrame(() => {
        seen({ getEntries: () => watcher.takeRecords() });
        done(sum);
      }));
    }));
    assert.ok(moved < 0.1, `${hash} moved by ${moved}`);
  }
  await page.finish();
});

test('the theme follows the system until it is turned by hand, and then stays', async () => {
  const page = await w.open('#/now', { theme: 'dark' });
  await page.getByRole('button', { name: 'Theme: auto' }).waitFor();
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await background();
  await page.getByRole('button', { name: 'Theme: auto' }).click();
  await page.getByRole('button', { name: 'Theme: light' }).waitFor();
  const light = await background();
  assert.notEqual(light, dark);
  await page.reload();
  await page.getByRole('button', { name: 'Theme: light' }).waitFor();
  assert.equal(await background(), light);
  await page.finish();
});

test('the page is served under a policy that lets in nothing from elsewhere and runs nothing inline', async () => {
  const answer = await fetch(`${w.url}/`);
  const policy = answer.headers.get('content-security-policy');
  assert.match(policy, /default-src '(none|self)'/);
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  const text = await answer.text();
  assert.doesNotMatch(text, /https?:\/\/|<style|<script>|style=|onclick/);
});
