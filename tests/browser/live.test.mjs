/* SPDX-License-Identifier: Apache-2.0 */
/* What comes by itself: deliveries and runs as they happen, and nothing lost or doubled over a cut. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { randomUUID } from 'node:crypto';
import { badge, closeBrowser, live, makeWorld, pushPayload, settles, until } from './world.mjs';

let w;
before(async () => {
  w = await makeWorld();
});
after(async () => {
  await closeBrowser();
  await w.end();
});

const ids = (page) => page.locator('.page .rows .row').evaluateAll((rows) => rows.map((r) => r.dataset.id));

test('an empty page says which command brings the first delivery', async () => {
  const page = await w.open('#/deliveries');
  await page.getByText('No deliveries yet').waitFor();
  await page.getByText('hookmesh send github push').waitFor();
  await page.visit('#/runs');
  await page.getByText('No runs yet').waitFor();
  await page.finish();
});

test('a signed push shows up in Deliveries and Runs without a reload', async () => {
  const deliveries = await w.open('#/deliveries');
  const runs = await w.open('#/runs');
  await runs.evaluate(() => {
    window.notReloaded = true;
  });
  const sent = await w.send();
  assert.equal(sent.status, 202);
  const line = deliveries.locator(`.row[data-id="${sent.delivery_id}"]`);
  await line.getByText('Accepted').waitFor();
  await line.getByText('push · Codertocat/Hello-World').waitFor();
  await runs.locator(`.row[data-id="${sent.run_id}"]`).getByText('Succeeded').waitFor();
  assert.equal(await runs.evaluate(() => window.notReloaded), true);
  await deliveries.finish();
  await runs.finish();
});

test('a rejected delivery shows its exact reason and a button to replay it', async () => {
  const page = await w.open('#/now');
  const sent = await w.send({ key: 'not the secret' });
  assert.equal(sent.status, 401);
  const { reason, id } = await until('the refusal stands in the ledger', async () => (await w.api('/v1/deliveries?outcome=rejected'))[0]);
  const need = page.locator('.note', { hasText: 'to /hooks/github was rejected' });
  await need.getByText(reason).waitFor();
  await need.getByText('Open', { exact: true }).click();
  await page.waitForURL(`**/#/deliveries/${id}`);
  await page.getByText('Refused with 401').waitFor();
  await settles('the reason is shown word for word', () => page.locator('.reason').textContent(), reason);
  await page.getByRole('button', { name: 'Replay' }).click();
  await page.waitForURL('**/#/runs/*');
  await page.locator('.state.pill', { hasText: 'Succeeded' }).waitFor();
  await page.finish();
});

test('an unrouted delivery says where it wanted to go', async () => {
  const page = await w.open('#/deliveries?outcome=unrouted');
  await w.send({ path: '/hooks/nobody' });
  await page.locator('.row', { hasText: 'Unrouted' }).getByText('/hooks/nobody').waitFor();
  await page.finish();
});

test('after a kill of the server the badge tells it, and nothing is missing or twice', async () => {
  const page = await w.open('#/deliveries');
  for (let i = 0; i < 5; i++) await w.send();
  await w.kill();
  await badge(page, 'disconnected').waitFor();
  await w.start();
  for (let i = 0; i < 5; i++) await w.send();
  await live(page);
  const wanted = (await w.api('/v1/deliveries?limit=100')).map((d) => d.id);
  assert.ok(wanted.length >= 10);
  await settles('all deliveries are on the page, each once', () => ids(page), wanted);
  await page.visit('#/runs');
  const runs = (await w.api('/v1/runs?limit=100')).map((r) => r.id);
  await settles('all runs are on the page, each once', async () => (await ids(page)).sort(), runs.sort());
  await page.finish();
});

test('a duplicate does not start a second run, and the page says so', async () => {
  const page = await w.open('#/deliveries');
  const id = randomUUID();
  const first = await w.send({ id });
  const second = await w.send({ id });
  assert.equal(second.run_id, first.run_id);
  await page.locator('.row', { hasText: 'Duplicate' }).first().waitFor();
  await page.finish();
});

test('while somebody reads further down the list stands still and counts what came', async () => {
  for (let i = 0; i < 25; i++) await w.send();
  const page = await w.open('#/deliveries', { height: 500 });
  await page.locator('.page .rows .row').nth(24).waitFor();
  await page.mouse.move(700, 300);
  await page.mouse.wheel(0, 900);
  await page.waitForFunction(() => scrollY > 200);
  const top = (await ids(page))[0];
  await w.send();
  await w.send();
  await page.getByRole('button', { name: '2 new' }).waitFor();
  assert.equal((await ids(page))[0], top);
  await page.getByRole('button', { name: '2 new' }).click();
  await page.waitForFunction((t) => document.querySelector('.rows .row').dataset.id !== t, top);
  await page.finish();
});

test('a burst of pushes leaves the page usable and every one of them on it', async () => {
  const page = await w.open('#/runs');
  const before_ = Math.min(50, (await w.api('/v1/runs?limit=200')).length); /* a snapshot has 50 */
  await until('the runs before are listed', async () => (await ids(page)).length === before_);
  const burst = 120;
  await Promise.all(Array.from({ length: burst }, (_, i) => w.send({ payload: pushPayload({ ref: `refs/heads/b${i}` }) })));
  await page.keyboard.press('j');
  await page.locator('.row.sel').waitFor();
  await settles('all runs are listed, each once', async () => new Set(await ids(page)).size, before_ + burst);
  assert.equal((await ids(page)).length, before_ + burst);
  await page.finish();
});
