/* SPDX-License-Identifier: Apache-2.0 */
/* The start page: what needs me, then what happens. */
import { html } from '../vendor/preact.js';
import { store, listItems } from '../store.js';
import { ago, when } from '../times.js';
import { post } from '../api.js';
import { Act, Empty, Note, number, say } from '../ui.js';
import { Icon } from '../icons.js';
import { useSelection } from '../keyboard.js';
import { draw, path } from '../nav.js';
import { jobName } from '../jobs.js';
import { Rows } from './list.js';
import { deadCount, retryLetter, useLetters } from './letters.js';
import { useData } from '../data.js';
import { drawRun, failedStates, NoRuns, runExtra, runKeys, retryRun } from './runs.js';
import { drawDelivery, NoDeliveries, replay, troubled } from './deliveries.js';

const day = 86400000;

/* Groups of what needs a person, from what the page knows live. */
function attention() {
  const groups = new Map();
  const add = (key, make, item) => {
    if (!groups.has(key)) groups.set(key, { key, items: [], ...make() });
    groups.get(key).items.push(item);
  };
  if (store.live.state === 'disconnected' && store.runs.loaded) add('offline', () => ({ kind: 'offline' }), store.live);
  if (store.status && store.status.redis && (!store.status.redis.up || store.status.redis.trouble)) {
    add('redis', () => ({ kind: 'redis' }), store.status.redis);
  }
  for (const r of listItems(store.runs)) {
    if (failedStates.includes(r.state)) add(`run:${r.pipeline}:${r.error}`, () => ({ kind: 'run' }), r);
  }
  for (const d of listItems(store.deliveries)) {
    if (troubled(d) && Date.now() - when(d.received_at || d.at) < day) add(`delivery:${d.hook}:${d.reason}`, () => ({ kind: 'delivery' }), d);
  }
  return [...groups.values()].filter((g) => ['offline', 'redis'].includes(g.kind) || latest(g) > (seen[g.key] || 0));
}

const latest = (g) => Math.max(...g.items.map((x) => when(x.finished || x.received_at || x.created || x.at)));

/* What was put aside: group -> the time up to which. A newer item of the group brings it back. */
let seen = {};
try {
  seen = JSON.parse(localStorage.getItem('hookmesh.seen')) || {};
} catch { /* nothing stored, or storage switched off */ }

function putAside(group) {
  seen[group.key] = latest(group);
  keepSeen();
}

function keepSeen() {
  const recent = Object.entries(seen).filter(([key, at]) => key.startsWith('missed:') || Date.now() - at < 7 * day);
  try {
    localStorage.setItem('hookmesh.seen', JSON.stringify(Object.fromEntries(recent)));
  } catch { /* for this page only */ }
  draw();
}

function Need({ group }) {
  const [first] = group.items;
  const n = group.items.length;
  if (group.kind === 'offline') {
    return html`<${Note} colour="red" icon="bad" title="The server cannot be reached"><p class="wrap">What is shown here is as it was. The page connects again by itself, and then takes in what it missed.</p>
      <div class="tools"><button type="button" class="btn small" onClick=${store.connection.retryNow}><${Icon} name="retry" size=${14} />Try now</button></div><//>`;
  }
  if (group.kind === 'redis') {
    return html`<${Note} colour="amber" icon="redis" title=${first.up ? 'Redis needs a setting' : 'Redis is away'}>
      <p class="wrap">${first.trouble || 'The connection is being made anew. Webhooks are kept on disk meanwhile and drained when it is back.'}</p><//>`;
  }
  if (group.kind === 'run') {
    const retryAll = async () => {
      for (const r of group.items.slice(0, 100)) await retryRun(r.id);
    };
    return html`<${Note} colour="red" icon="dead" title=${`${n === 1 ? 'A run' : `${n} runs`} of ${jobName(first.pipeline)} failed`} at=${first.finished || first.created}>
      <pre class="error clamp">${first.error || 'No reason was recorded.'}</pre>
      <div class="tools"><a class="btn small" href=${n === 1 ? path('runs', first.id) : '#/runs?state=failed'}>${n === 1 ? 'Open' : 'Show them'}</a>
        <${Act} small icon="retry" label=${n === 1 ? 'Retry' : `Retry ${Math.min(n, 100)}`} run=${retryAll} /><button type="button" class="btn small bare" title="Until the next one comes" onClick=${() => putAside(group)}>Put aside</button></div><//>`;
  }
  return html`<${Note} colour="red" icon="shield" title=${`${n === 1 ? 'A delivery' : `${n} deliveries`} to ${first.hook} ${n === 1 ? 'was' : 'were'} ${first.outcome === 'unrouted' ? 'not routed' : 'rejected'}`} at=${first.received_at || first.at}>
    <p class="wrap clamp">${first.reason}</p>
    <div class="tools"><a class="btn small" href=${n === 1 ? path('deliveries', first.id) : `#/deliveries?outcome=${first.outcome}`}>${n === 1 ? 'Open' : 'Show them'}</a>
      ${n === 1 && html`<${Act} small icon="retry" label="Replay" run=${() => replay(first.id)} />`}<button type="button" class="btn small bare" title="Until the next one comes" onClick=${() => putAside(group)}>Put aside</button></div><//>`;
}

function Pulse() {
  const top = Math.max(8, ...store.rate);
  return html`<svg class="pulse" viewBox="0 0 240 40" preserveAspectRatio="none" role="img" aria-label=${`${store.rate[58] || 0} events in the last second`}>
    ${store.rate.map((n, i) => html`<rect key=${i} x=${i * 4} y=${40 - Math.max(1.5, (n / top) * 40)} width="2.6" height=${Math.max(1.5, (n / top) * 40)} class=${n ? 'on' : ''} />`)}</svg>`;
}

function Figures() {
  const runs = listItems(store.runs);
  const active = runs.filter((r) => r.state === 'running' || r.state === 'queued').length;
  const finished = runs.filter((r) => r.finished);
  const good = finished.filter((r) => r.state === 'succeeded').length;
  let pending = 0;
  for (const p of store.pipelines || []) for (const s of p.stages) pending += (s.pending || 0) + (s.waiting || 0);
  const minute = store.rate.reduce((a, b) => a + b, 0);
  return html`<div class="figures">
    <a class="figure" href="#/runs?state=active"><b>${number(active)}</b><span>runs under way</span></a>
    <a class="figure" href="#/pipelines"><b>${number(pending)}</b><span>inputs waiting</span></a>
    <a class="figure" href="#/runs"><b>${finished.length ? `${Math.floor((good / finished.length) * 100)} %` : '–'}</b><span>of the last ${finished.length || ''} runs succeeded</span></a>
    <div class="figure wide"><div><b>${number(minute)}</b><span>events in a minute</span></div><${Pulse} /></div></div>`;
}

/* Everything that needs a person: live, and what is asked for when events say that it changed. */
export function useNeeds() {
  const groups = attention();
  const dead = deadCount();
  const { data: letters, error: noLetters } = useLetters(dead > 0);
  const { data: schedules, error: noSchedules } = useData('/v1/schedules?n=1', store.stamps.synced);
  /* Shown all at once, so that nothing moves under a reader's eyes. */
  const known = store.runs.loaded && store.deliveries.loaded && Boolean(store.pipelines);
  const ready = known && Boolean(!dead || letters || noLetters) && Boolean(schedules || noSchedules);
  const told = new Set(groups.flatMap((g) => (g.kind === 'run' ? g.items.map((r) => r.id) : [])));
  const items = dead && letters ? letters.items : [];
  const undelivered = items.filter((l) => l.after);
  const other = items.filter((l) => !l.after && !told.has(l.run));
  const late = (schedules || []).filter((s) => s.missed > (seen[`missed:${s.name}`] || 0));
  return { ready, groups, undelivered, other, late, dead, total: groups.length + [undelivered, other, late].filter((x) => x.length).length };
}

export function Now({ needs: all }) {
  const { ready, groups: needs, undelivered, other, late, dead, total } = all;
  const runs = listItems(store.runs).slice(0, 10);
  const deliveries = listItems(store.deliveries).slice(0, 6);
  const selection = useSelection(runs, runKeys);
  return html`<div class="head"><h1>${!ready ? 'Now' : total ? `${total} ${total === 1 ? 'thing needs' : 'things need'} you` : 'Nothing needs you'}</h1>
      <span class="sub">${store.status ? `hookmesh ${store.status.version}, up for ${ago(when(store.status.started)).replace(' ago', '').replace('now', '1s')}` : ''}</span></div>
    ${(ready || store.live.state === 'disconnected') && html`<div class="stack">
      ${total > 0 && html`<div class="needs">${needs.slice(0, 6).map((g) => html`<${Need} key=${g.key} group=${g} />`)}
        ${undelivered.length > 0 && html`<${Undelivered} letters=${undelivered} />`}${late.length > 0 && html`<${Missed} late=${late} />`}
        ${other.length > 0 && html`<${Letters} letters=${other} dead=${dead} />`}</div>`}
      <${Figures} />
      ${ready && !runs.length && !deliveries.length ? html`<section class="panel"><${Welcome} /></section>` : html`<section class="panel" aria-label="Latest runs"><header><h2>Latest runs</h2><div class="tools"><a class="btn small bare" href="#/runs">All runs<${Icon} name="right" size=${13} /></a></div></header>
        ${runs.length ? html`<${Rows} items=${runs} kind="r-run" selection=${selection} draw=${drawRun} extra=${runExtra} label="Latest runs" />` : html`<${NoRuns} />`}</section>
      <section class="panel" aria-label="Latest deliveries"><header><h2>Latest deliveries</h2><div class="tools"><a class="btn small bare" href="#/deliveries">All deliveries<${Icon} name="right" size=${13} /></a></div></header>
        ${deliveries.length ? html`<${Rows} items=${deliveries} kind="r-delivery" draw=${drawDelivery} label="Latest deliveries" />` : html`<${NoDeliveries} />`}</section>`}
    </div>`}`;
}

function Welcome() {
  return html`<${Empty} icon="deliveries" title="Ready for the first webhook" text=${`Point one at ${location.origin}/hooks/…, or send a signed sample push from here and watch it run:`} command="hookmesh send github push" />`;
}

function Letters({ letters, dead }) {
  const [first] = letters;
  const retryAll = async () => {
    await post('/v1/dlq/retry');
    say('All dead letters are tried again', 'retry');
  };
  return html`<${Note} colour="red" icon="dead" title=${`${number(dead)} ${dead === 1 ? 'input' : 'inputs'} in the dead letters`} at=${first.at}>
    <p class="wrap"><span class="mono">${first.stage}</span> gave up on <a class="link mono" href=${path('runs', first.run)}>${first.key}</a></p>
    <pre class="error clamp">${first.error}</pre>
    <div class="tools"><a class="btn small" href="#/letters">Show them</a><${Act} small icon="retry" label=${`Retry all ${number(dead)}`} run=${retryAll} /></div><//>`;
}

/* Results that did not arrive although their runs succeeded. */
function Undelivered({ letters }) {
  const [first] = letters;
  const n = letters.length;
  const retryAll = async () => {
    for (const run of new Set(letters.map((l) => l.run))) await retryLetter(run);
  };
  return html`<${Note} colour="red" icon="mail" title=${`${number(n)} ${n === 1 ? 'result was' : 'results were'} not delivered`} at=${first.at}>
    <p class="wrap"><span class="mono">${first.stage.replace(/^job\./, '')}</span></p><pre class="error clamp">${first.error}</pre>
    <div class="tools"><a class="btn small" href=${n === 1 ? path('runs', first.run) : '#/letters'}>${n === 1 ? 'Open the run' : 'Show them'}</a><${Act} small icon="retry" label=${n === 1 ? 'Send again' : `Send all ${number(n)} again`} run=${retryAll} /></div><//>`;
}

/* Fires that passed while no server was up, since they were put aside. */
function Missed({ late }) {
  const n = late.reduce((a, s) => a + s.missed - (seen[`missed:${s.name}`] || 0), 0);
  const aside = () => {
    for (const s of late) seen[`missed:${s.name}`] = s.missed;
    keepSeen();
  };
  return html`<${Note} colour="amber" icon="schedules" title=${`${number(n)} ${n === 1 ? 'fire was' : 'fires were'} missed`}>
    <p class="wrap">${late.slice(0, 3).map((s) => jobName(s.job || s.name)).join(', ')}${late.length > 3 ? ` and ${late.length - 3} more` : ''}: no server was up in time. What happens then is the job’s misfire: skip, once or all.</p>
    <div class="tools"><a class="btn small" href="#/schedules">Schedules</a><button type="button" class="btn small bare" onClick=${aside}>Put aside</button></div><//>`;
}
