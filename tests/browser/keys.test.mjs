/* SPDX-License-Identifier: Apache-2.0 */
/* Keys: found by pattern, followed, edited; an edit is what a stage waits for. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { closeBrowser, makeWorld, until } from './world.mjs';

let w;
before(async () => {
  w = await makeWorld({
    config: (configDir) => writeFileSync(join(configDir, 'count.yaml'), `pipelines:
  - name: count
    stages:
      - name: words
        watch: "text.*.raw"
        command: [python3, -u, -B, -c, "import json,sys\\nfor line in sys.stdin: print(json.dumps({'words': len(json.loads(line)['text'].split())}))"]
        keep: true
        write: "text.{1}.words"
`),
  });
});
after(async () => {
  await closeBrowser();
  await w.end();
});

const put = (key, value) => w.api(`/v1/kv/${key}`, { method: 'PUT', body: JSON.stringify(value) });
const value = async (key) => (await fetch(`${w.url}/v1/kv/${key}`)).json();
const row = (page, key) => page.locator(`.row[data-id="${key}"]`);

test('editing a key runs the pipeline on from there', async () => {
  await put('text.a.raw', { text: 'one two' });
  await until('the stage has counted', async () => (await value('text.a.words')).words === 2);
  const page = await w.open('#/keys/text.a.raw');
  await page.getByRole('button', { name: 'Edit' }).click();
  const area = page.getByRole('textbox', { name: 'Value of text.a.raw' });
  await area.fill('{"text": "one two three four"}');
  await page.getByRole('button', { name: 'Save as version 2' }).click();
  await page.getByText('Saved as version 2').waitFor();
  await row(page, 'text.a.words').getByText('v2').waitFor();
  assert.deepEqual(await value('text.a.words'), { words: 4 });
  await row(page, 'text.a.words').locator('.main-link').click();
  await page.locator('.keys-value .code').getByText('4').waitFor();
  await page.finish();
});

test('an edit never overwrites what somebody else wrote meanwhile', async () => {
  await put('note.b', { mine: 1 });
  const page = await w.open('#/keys/note.b');
  await page.getByRole('button', { name: 'Edit' }).click();
  await page.getByRole('textbox', { name: 'Value of note.b' }).fill('{"mine": 2}');
  await put('note.b', { theirs: 1 });
  await page.getByText('Version 2 was written meanwhile').waitFor();
  await page.getByRole('button', { name: 'Save as version 2' }).click();
  await page.getByText('Somebody else wrote this key meanwhile').waitFor();
  assert.deepEqual(await value('note.b'), { theirs: 1 });
  await page.getByRole('button', { name: 'Keep my edit' }).click();
  await page.getByRole('button', { name: 'Save as version 3' }).click();
  await page.getByText('Saved as version 3').waitFor();
  assert.deepEqual(await value('note.b'), { mine: 2 });
  await page.finish();
});

test('a pattern finds keys by their tokens, and new ones come in by themselves', async () => {
  await put('a.x.raw', 1);
  await put('a.x.y.raw', 1);
  const page = await w.open('#/keys?match=a.*.raw');
  await row(page, 'a.x.raw').waitFor();
  assert.equal(await row(page, 'a.x.y.raw').count(), 0);
  await put('a.z.raw', 1);
  await row(page, 'a.z.raw').waitFor();
  await w.api('/v1/kv/a.z.raw', { method: 'DELETE' }).catch(() => {});
  await row(page, 'a.z.raw').waitFor({ state: 'detached' });
  await page.finish();
});

test('thousands of keys a second do not freeze the page', async () => {
  const page = await w.open('#/keys?match=load.>');
  await page.getByText('No key matches').waitFor();
  await page.evaluate(() => {
    window.longest = 0;
    let last = performance.now();
    const beat = () => {
      const now = performance.now();
      window.longest = Math.max(window.longest, now - last);
      last = now;
      setTimeout(beat);
    };
    beat();
  });
  const machine = monitorEventLoopDelay({ resolution: 5 }); /* so long it leaves an idle program waiting */
  machine.enable();
  const lines = Array.from({ length: 5000 }, (_, i) => JSON.stringify({ key: `load.k${i}`, value: i })).join('\n');
  const answer = await fetch(`${w.url}/v1/kv`, { method: 'POST', body: lines, headers: { 'content-type': 'application/x-ndjson' } });
  assert.equal(answer.status, 200);
  await answer.text();
  await page.getByText('The newest 200 are shown').waitFor();
  await until('no more than 200 rows are drawn', async () => await page.locator('.row').count() <= 200);
  const longest = await page.evaluate(() => window.longest);
  const others = machine.max / 1e6;
  assert.ok(longest < 1500 + 4 * others, `the page stood still for ${longest} ms, an idle program for ${others} ms`);
  await page.finish();
});

test('a value is shown as text, whatever markup it holds', async () => {
  const evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>';
  await put('evil.v', { [evil]: evil });
  const page = await w.open('#/keys/evil.v');
  await page.locator('.keys-value .code', { hasText: 'onerror' }).waitFor();
  assert.equal(await page.locator('.keys-value img, .keys-value script').count(), 0);
  const shown = await page.evaluate(async (text) => {
    const { Markdown } = await import('/markdown.js');
    const { html, render } = await import('/vendor/preact.js');
    const box = document.createElement('div');
    render(html`<${Markdown} text=${text} />`, box);
    return { links: [...box.querySelectorAll('a')].map((a) => a.href), made: box.querySelectorAll('img, script, iframe').length, text: box.textContent };
  }, `${evil}\n\n[a](javascript:window.owned=1) [b](data:text/html,x) [c](https://example.org/)`);
  assert.deepEqual(shown.links, ['https://example.org/']);
  assert.equal(shown.made, 0);
  assert.ok(shown.text.includes(evil));
  assert.equal(await page.evaluate(() => window.owned), undefined);
  await page.finish();
});
