/* SPDX-License-Identifier: Apache-2.0 */
/* What the page knows. Snapshots replace a part, events patch single items; an item that changes is a new object, an item that does not is the
 * same one, so a list draws only the rows that changed. All lists are bounded. Applying an event twice does no harm. */
import { when } from './times.js';

const most = { list: 400, log: 2000, keys: 2000 };

export const store = {
  live: { state: 'disconnected', detail: 'connecting', retryAt: 0 },
  runs: newList(),
  deliveries: newList(),
  pipelines: null,
  run: null, /* the open run: { id, data (null: unknown here), loaded } */
  keys: { pattern: '', map: new Map(), loaded: false },
  rate: new Array(60).fill(0), /* events of each of the last 60 seconds */
  rateAt: Math.floor(Date.now() / 1000),
  pulses: new Map(), /* stage id -> { at: when it last did something, count: in this second, rate: in the last one } */
  status: null,
  /* Numbers that move when something happened; what is asked from the API instead of told here is asked anew when one of them has (see data.js). */
  stamps: { synced: 0, began: 0, ended: 0, ticked: 0, letters: 0 },
};

/* Items by id in the order of their coming; the array that is drawn, newest first, is made when somebody looks. */
export function newList() {
  return { index: new Map(), drawn: [], loaded: false, next: undefined };
}

export function listItems(list) {
  if (!list.drawn) list.drawn = [...list.index.values()].reverse();
  return list.drawn;
}

export function listPut(list, item) {
  list.index.set(item.id, { ...list.index.get(item.id), ...item });
  if (list.index.size > most.list) list.index.delete(list.index.keys().next().value);
  list.drawn = null;
}

/* Older items, newest first, as a page of the API has them. */
export function listAppend(list, items) {
  const older = items.filter((x) => !list.index.has(x.id)).reverse();
  list.index = new Map([...older.map((x) => [x.id, x]), ...list.index]);
  list.drawn = null;
}

function listReset(list, items) {
  list.index = new Map([...items].reverse().map((x) => [x.id, x]));
  list.drawn = null;
  list.loaded = true;
  list.next = undefined;
}

export const ended = (state) => !['queued', 'running', 'waiting'].includes(state);

function runPatch(run, ev) {
  const d = ev.data;
  switch (ev.type) {
    case 'run.queued': {
      /* The snapshot may know more than this event already; a retry begins anew. */
      const again = run && (d.cause === 'retry' || (run.finished && d.at > when(run.finished)));
      const later = run && run.state && !again;
      return {
        ...d, /* with the delivery's line: its id is not the run's */
        delivery_id: d.outcome ? d.id : (run && run.delivery_id) || d.delivery_id,
        state: later ? run.state : d.state,
        cause: (run && run.cause) || d.cause,
        created: (run && run.created) || d.created || d.at,
        ...(again ? { finished: undefined, error: undefined, lit: undefined } : {}),
      };
    }
    case 'run.done':
      return { ...d, state: d.state || 'succeeded', finished: d.finished || d.at };
    case 'run.failed':
      return { ...d, finished: d.finished || d.at };
    case 'run.skipped':
      return { ...d, state: 'skipped', reason: d.reason || d.error, error: undefined, created: (run && run.created) || d.created || d.at, finished: d.finished || d.at };
    case 'step.started':
    case 'step.done':
    case 'step.failed':
      return run && (run.state === 'queued' || run.state === 'waiting') ? { state: 'running', started: d.at } : {};
    default:
      return {};
  }
}

function stepState(ev) {
  if (ev.type === 'step.started') return 'running';
  if (ev.type === 'step.done') return 'succeeded';
  return ev.data.state ? 'failed' : 'retrying';
}

/* The short name of a stage: events say it with or without its pipeline. */
export const stageName = (stage) => stage.slice(stage.lastIndexOf('.') + 1);

function onRunEvent(ev) {
  const known = store.runs.index.get(ev.run);
  const makes = ['run.queued', 'run.failed', 'run.skipped'].includes(ev.type);
  if (known || makes) {
    const patch = { ...runPatch(known, ev), id: ev.run };
    if (known && ev.type.startsWith('step.')) patch.lit = { ...known.lit, [stageName(ev.data.stage)]: stepState(ev) };
    listPut(store.runs, patch);
  }
  if (store.run && store.run.id === ev.run) onOpenRun(ev);
}

function onOpenRun(ev) {
  const open = store.run;
  let data = open.data || (ev.type === 'run.queued' ? { id: ev.run, steps: [], keys: [], log: [] } : null);
  if (!data) return;
  if (ev.type === 'log') {
    const seen = data.log.slice(-50).some((l) => (ev.data.n ? l.n === ev.data.n : l.at === ev.data.at && l.line === ev.data.line));
    if (!seen) {
      data.log.push(ev.data); /* in place: a log may be long and fast */
      if (data.log.length > most.log + 500) data.log.splice(0, 500);
      data = { ...data, logged: (data.logged || 0) + 1 };
    }
  } else {
    data = { ...data, ...runPatch(data, ev), id: ev.run };
    if (ev.type === 'run.queued') data.whole = false;
  }
  if (ev.type.startsWith('step.')) data.steps = stepsPatched(data.steps || [], ev);
  if (ev.type === 'step.done' && ev.key) data.keys = keysPatched(data.keys || [], ev.key, ev.data.out_version, ev.data.size);
  if (ev.type === 'run.queued' && ev.key) data.keys = keysPatched(data.keys || [], ev.key, ev.data.version || 1, ev.data.size);
  if (ev.type === 'key.put') data.keys = keysPatched(data.keys || [], ev.key, ev.data.version, ev.data.size);
  if (ev.type === 'delivery') data.delivery = { ...data.delivery, ...ev.data };
  store.run = { ...open, data };
}

function stepsPatched(steps, ev) {
  const d = ev.data;
  const name = stageName(d.stage);
  const old = steps.find((s) => s.stage === d.stage) || steps.find((s) => !s.after && stageName(s.stage) === name);
  if (old && old.at && d.at < when(old.at)) return steps;
  const step = { ...old, stage: old ? old.stage : d.stage, name, state: stepState(ev), attempt: d.attempt || (old && old.attempt) || 1, at: d.at };
  if (ev.type === 'step.done') {
    step.us = d.us;
    step.key_in = d.in || step.key_in;
    step.key_out = ev.key || step.key_out;
    step.version = d.out_version || d.version;
    if (d.result !== undefined) step.result = d.result;
    step.error = undefined;
  } else {
    step.key_in = ev.key || step.key_in;
    step.error = d.error;
    step.retry_ms = d.retry_ms;
    if (ev.type === 'step.started') step.started = d.at;
  }
  return old ? steps.map((s) => (s === old ? step : s)) : [...steps, step];
}

function keysPatched(keys, key, version, size) {
  const old = keys.find((k) => k.key === key);
  if (old && version && old.version > version) return keys;
  const item = { ...old, key, version: version || (old && old.version) || 1, size: size ?? (old && old.version === version ? old.size : undefined) };
  return old ? keys.map((k) => (k === old ? item : k)) : [...keys, item];
}

function onKeyEvent(ev) {
  const { map, pattern } = store.keys;
  if (!pattern || !keyMatches(pattern, ev.key)) return;
  if (ev.type === 'key.deleted') {
    map.delete(ev.key);
  } else {
    const old = map.get(ev.key);
    if (!old && map.size >= most.keys) map.delete(map.keys().next().value);
    if (old && ev.data.version && old.version > ev.data.version) return;
    map.set(ev.key, { ...old, key: ev.key, version: ev.data.version || ev.data.out_version || (old ? old.version : 1), size: ev.data.size ?? (old && old.size), at: ev.data.at });
  }
  store.keys = { ...store.keys };
}

/* Dotted tokens: * is one, a last > is one or more. */
export function keyMatches(pattern, key) {
  const p = pattern.split('.');
  const k = key.split('.');
  for (let i = 0; i < p.length; i++) {
    if (p[i] === '>' && i === p.length - 1) return k.length > i;
    if (i >= k.length || (p[i] !== '*' && p[i] !== k[i])) return false;
  }
  return p.length === k.length;
}

function pulse(stage, done) {
  const p = store.pulses.get(stage) || { count: 0, rate: 0 };
  p.at = Date.now();
  p.count += done;
  store.pulses.set(stage, p);
}

function countRate(n) {
  const now = Math.floor(Date.now() / 1000);
  if (store.rateAt < now) for (const p of store.pulses.values()) [p.rate, p.count] = [p.count, 0];
  store.rateAt = Math.max(store.rateAt, now - 60);
  for (; store.rateAt < now; store.rateAt++) store.rate = [...store.rate.slice(-59), 0];
  if (n) store.rate[store.rate.length - 1] += n;
}
export const tickRate = () => countRate(0);

function onSnapshot(m) {
  if (m.topics.includes('runs')) store.stamps.synced++;
  for (const t of m.topics) {
    const d = m.data[t];
    if (t === 'runs') listReset(store.runs, d);
    else if (t === 'deliveries') listReset(store.deliveries, d);
    else if (t === 'pipelines') store.pipelines = d;
    else if (t.startsWith('run:') && store.run && t === `run:${store.run.id}`) store.run = { id: store.run.id, loaded: true, data: d && { log: [], ...d, whole: ended(d.state) } };
    else if (t.startsWith('keys:') && t === `keys:${store.keys.pattern}`) store.keys = { ...store.keys, loaded: true, map: new Map(d.map((k) => [k.key, k])) };
  }
}

function onEvent(ev) {
  if (ev.type === 'pipelines') {
    store.pipelines = Array.isArray(ev.data) ? ev.data : ev.data.pipelines || store.pipelines;
    return;
  }
  if (ev.type === 'delivery') listPut(store.deliveries, { ...ev.data, ...(ev.run ? { run: ev.run } : {}) });
  if (ev.data.stage && ev.type.startsWith('step.')) pulse(ev.data.stage, ev.type === 'step.done' ? 1 : 0);
  if (ev.run && ev.type !== 'key.put') onRunEvent(ev);
  if (ev.key) onKeyEvent(ev);
}

/* What an event makes old. */
function stamp(ev) {
  const s = store.stamps;
  const d = ev.data;
  if (ev.type === 'run.queued') s.began++;
  if (ev.type === 'run.done' || ev.type === 'run.failed' || ev.type === 'run.skipped') s.ended++;
  if ((ev.type === 'run.queued' || ev.type === 'run.skipped') && (d.cause === 'schedule' || d.schedule)) s.ticked++;
  if ((ev.type === 'step.failed' && d.state) || (ev.type === 'run.failed' && d.state !== 'cancelled') || (ev.type === 'run.queued' && d.cause === 'retry')) s.letters++;
  if (ev.type === 'config') s.synced++;
}

export function applyBatch(batch) {
  let events = 0;
  for (const m of batch) {
    if (m.op === 'snapshot') {
      onSnapshot(m);
    } else {
      events++;
      onEvent(m);
      stamp(m);
    }
  }
  countRate(events);
}
