/* SPDX-License-Identifier: Apache-2.0 */
/* A server with a token: the page asks for it once. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { badge, closeBrowser, live, makeWorld } from './world.mjs';

let w;
before(async () => {
  w = await makeWorld({ env: { HOOKMESH_TOKEN: 'let me in' } });
});
after(async () => {
  await closeBrowser();
  await w.end();
});

test('a dashboard behind a token asks for it, refuses a wrong one, and is live after the right one', async () => {
  const page = await w.open('#/runs', { offline: true });
  await page.getByText('This dashboard asks for a token').waitFor();
  const field = page.getByLabel('Token');
  await field.fill('something else');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('.toast').waitFor();
  assert.equal(await badge(page, 'live').count(), 0);
  await field.fill('let me in');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await live(page);
  await page.getByText('No runs yet').waitFor();
  await page.reload();
  await live(page);
  await page.finish();
});
