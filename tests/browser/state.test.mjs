/* SPDX-License-Identifier: Apache-2.0 */
/* What the page makes of the live stream, and the shape of the map, without a browser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyBatch, keyMatches, listItems, store } from '../../static/store.js';
import { afterSteps, failedAfter, ownSteps } from '../../static/jobs.js';
import { layout, overlaps, shapeOf } from '../../static/views/map.js';

const at = 1780000000000;
const queued = (run, more = {}) => ({ id: '1', topic: 'runs', type: 'run.queued', run, key: `github.${run}.event`, data: { pipeline: 'github', state: 'queued', created: at, at, ...more } });
const step = (type, run, data) => ({ id: '2', topic: 'runs', type: `step.${type}`, run, data: { stage: 'github.report', attempt: 1, at: at + 5, ...data } });
const done = (run) => ({ id: '3', topic: 'runs', type: 'run.done', run, data: { pipeline: 'github', state: 'succeeded', finished: at + 9, at: at + 9 } });
const snapshot = (data) => ({ op: 'snapshot', id: '9', topics: Object.keys(data), data });
const run = (id) => store.runs.index.get(id);

test('an event that is applied twice changes nothing the second time', () => {
  applyBatch([snapshot({ runs: [] })]);
  const events = [queued('a'), step('started', 'a'), step('done', 'a', { us: 7, out_version: 1 }), done('a')];
  applyBatch(events);
  const once = structuredClone(run('a'));
  applyBatch(events);
  assert.deepEqual(run('a'), once);
  assert.equal(listItems(store.runs).length, 1);
  assert.equal(run('a').state, 'succeeded');
});

test('an older event does not undo what the snapshot knows already', () => {
  applyBatch([snapshot({ runs: [{ id: 'b', pipeline: 'github', state: 'succeeded', created: '2026-05-28T20:26:40.000Z', finished: '2026-05-28T20:26:41.000Z' }] })]);
  applyBatch([queued('b'), step('started', 'b')]);
  assert.equal(run('b').state, 'succeeded');
});

test('a retry takes a failed run up again and forgets its error', () => {
  applyBatch([snapshot({ runs: [] }), queued('c', { cause: 'webhook' })]);
  applyBatch([{ id: '4', type: 'run.failed', run: 'c', data: { state: 'dead', error: 'no', finished: at + 8, at: at + 8 } }]);
  assert.equal(run('c').state, 'dead');
  applyBatch([queued('c', { cause: 'retry', at: at + 20 })]);
  assert.equal(run('c').state, 'queued');
  assert.equal(run('c').error, undefined);
  assert.equal(run('c').cause, 'webhook');
});

test('an accepted delivery makes a run with an id of its own', () => {
  applyBatch([snapshot({ runs: [], deliveries: [] })]);
  const line = { id: 'delivery-1', outcome: 'accepted', run: 'e', event: 'push' };
  applyBatch([{ id: '1', topic: 'deliveries', type: 'delivery', run: 'e', data: { ...line, at } }, queued('e', line)]);
  assert.deepEqual(listItems(store.runs).map((r) => [r.id, r.delivery_id]), [['e', 'delivery-1']]);
  assert.deepEqual(listItems(store.deliveries).map((d) => [d.id, d.run]), [['delivery-1', 'e']]);
});

test('newest first, and never more than the list may hold', () => {
  applyBatch([snapshot({ runs: [{ id: 'old', state: 'succeeded' }, { id: 'older', state: 'succeeded' }] })]);
  applyBatch(Array.from({ length: 1000 }, (_, i) => queued(`r${i}`)));
  const items = listItems(store.runs);
  assert.equal(items.length, 400);
  assert.equal(items[0].id, 'r999');
  assert.equal(items[399].id, 'r600');
});

test('a document that flows by is no row, one that fails is', () => {
  applyBatch([snapshot({ runs: [] }), step('done', 'document.doc-1', { out_version: 1 })]);
  assert.equal(listItems(store.runs).length, 0);
  applyBatch([{ id: '5', type: 'run.failed', run: 'document.doc-1', data: { pipeline: 'document', state: 'dead', error: 'no', at } }]);
  assert.equal(run('document.doc-1').state, 'dead');
});

test('the open run follows its steps, keys and log', () => {
  store.run = { id: 'd', data: null, loaded: false };
  applyBatch([snapshot({ 'run:d': { id: 'd', pipeline: 'github', state: 'queued', keys: [], log: [], steps: [{ stage: 'github.report', name: 'report', state: 'pending', key_in: 'x.in', key_out: 'x.out' }] } })]);
  applyBatch([step('started', 'd'), { id: '6', type: 'log', run: 'd', data: { stage: 'github.report', line: 'hello', at } }]);
  assert.equal(store.run.data.steps[0].state, 'running');
  applyBatch([{ ...step('done', 'd', { us: 1200, out_version: 1, size: 9, at: at + 6 }), key: 'x.out' }, { id: '6', type: 'log', run: 'd', data: { stage: 'github.report', line: 'hello', at } }]);
  assert.equal(store.run.data.steps[0].state, 'succeeded');
  assert.deepEqual(store.run.data.keys, [{ key: 'x.out', version: 1, size: 9 }]);
  assert.equal(store.run.data.log.length, 1);
  store.run = null;
});

test('a skipped run is a row with its reason, and no error', () => {
  applyBatch([snapshot({ runs: [] }), { id: '1', type: 'run.skipped', run: 's', data: { pipeline: 'job.a', cause: 'schedule', state: 'skipped', error: 'the run before is still open', at } }]);
  assert.equal(run('s').state, 'skipped');
  assert.equal(run('s').reason, 'the run before is still open');
  assert.equal(run('s').error, undefined);
});

test('a run that waits begins with its first step', () => {
  applyBatch([snapshot({ runs: [{ id: 'w', pipeline: 'job.a', state: 'waiting', created: at }] }), step('started', 'w', { stage: 'job.a.run' })]);
  assert.equal(run('w').state, 'running');
});

test('what follows a run is told from its steps, also when both have one name', () => {
  const steps = [{ stage: 'job.a.email', name: 'email', state: 'succeeded' }, { stage: 'hookmesh.email', name: 'email', state: 'pending', after: true }, { stage: 'job.a.on_failure', name: 'on_failure', state: 'pending', after: true }];
  store.run = { id: 'f', data: null, loaded: false };
  applyBatch([snapshot({ 'run:f': { id: 'f', pipeline: 'job.a', state: 'running', keys: [], steps } })]);
  assert.equal(afterSteps(store.run.data).length, 2); /* any of them may come */
  applyBatch([{ id: '2', type: 'step.failed', run: 'f', key: 'run.ended.f', data: { stage: 'hookmesh.email', attempt: 3, state: 'dead', error: 'no such address', at: at + 9 } }]);
  assert.deepEqual(ownSteps(store.run.data).map((s) => s.state), ['succeeded']);
  assert.deepEqual(failedAfter(store.run.data).map((s) => [s.stage, s.error]), [['hookmesh.email', 'no such address']]);
  applyBatch([snapshot({ 'run:f': { ...store.run.data, state: 'succeeded' } })]);
  assert.deepEqual(afterSteps(store.run.data).map((s) => s.stage), ['hookmesh.email']);
  store.run = null;
});

test('stamps move by what happened and stand still otherwise', () => {
  const before = { ...store.stamps };
  applyBatch([{ id: '1', type: 'log', run: 'x', data: { stage: 'a.b', line: 'hello', at } }, { id: '2', type: 'key.put', key: 'a.b', data: { version: 1, at } }]);
  assert.deepEqual(store.stamps, before);
  applyBatch([queued('y', { cause: 'schedule' }), done('y'), { id: '3', type: 'run.failed', run: 'z', data: { pipeline: 'p', state: 'dead', error: 'no', at } }]);
  const moved = Object.entries(store.stamps).filter(([k, v]) => v !== before[k]).map(([k, v]) => [k, v - before[k]]);
  assert.deepEqual(moved, [['began', 1], ['ended', 2], ['ticked', 1], ['letters', 1]]);
});

test('in a pattern a star is one token and a last > the rest', () => {
  assert.ok(keyMatches('a.*.c', 'a.b.c'));
  assert.ok(!keyMatches('a.*.c', 'a.b.b.c'));
  assert.ok(keyMatches('a.>', 'a.b.c'));
  assert.ok(!keyMatches('a.>', 'a'));
  assert.ok(!keyMatches('a.*', 'a'));
});

const stage = (name, watch, write, also = []) => ({ id: `p.${name}`, name, watch, write, also });
const document = [
  stage('summarize', 'pipeline.*.extracted', 'pipeline.{1}.summary', ['pipeline.{1}.raw']),
  stage('extract', 'pipeline.*.raw', 'pipeline.{1}.extracted'),
];

test('the map follows what is written and watched, not the order of the file', () => {
  assert.ok(overlaps('github.{run}.event', 'github.*.event'));
  assert.ok(!overlaps('github.{run}.event', 'github.*.push'));
  const shape = shapeOf(document);
  assert.deepEqual(shape.columns.map((c) => c.map((s) => s.name)), [['extract'], ['summarize']]);
  assert.deepEqual(shape.sources, [{ pattern: 'pipeline.*.raw', to: ['p.extract'] }]);
  assert.deepEqual(shape.edges, [{ from: 'p.extract', to: 'p.summarize' }, { from: 'pipeline.*.raw', to: 'p.summarize', also: true }]);
});

test('a map with a loop in it is drawn all the same', () => {
  const shape = shapeOf([stage('a', 'x.*.one', 'x.{1}.two'), stage('b', 'x.*.two', 'x.{1}.one')]);
  assert.equal(shape.columns.flat().length, 2);
});

test('boxes of a map never lie on each other, wide or narrow', () => {
  const stages = [...document, stage('index', 'pipeline.*.extracted', 'pipeline.{1}.index'), stage('join', 'pipeline.*.index', null, ['pipeline.{1}.summary'])];
  for (const width of [320, 600, 900, 1600]) {
    const { boxes } = layout(shapeOf(stages), width);
    const all = [...boxes.values()];
    assert.equal(all.length, 5);
    for (const a of all) {
      for (const b of all) {
        if (a !== b) assert.ok(a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y, `at ${width}`);
      }
    }
  }
});
