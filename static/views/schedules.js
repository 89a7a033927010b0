/* SPDX-License-Identifier: Apache-2.0 */
/* Every schedule, the one that fires next on top: when, in its own zone, what happens when runs overlap or a fire is missed, and where the clock changes. */
import { html, useMemo, useRef, useState } from '../vendor/preact.js';
import { store, listItems } from '../store.js';
import { useData } from '../data.js';
import { firesOf, moveWords, when, zoned } from '../times.js';
import { jobName, lastRuns, scheduleWords } from '../jobs.js';
import { copyText, Copy, Empty, Note, number, State, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { useSelection } from '../keyboard.js';
import { go, path } from '../nav.js';
import { FilterBar, matches, Rows, wordsOf } from './list.js';
import { Start } from './start.js';

export const schedulesUrl = '/v1/schedules?n=10';

export function useSchedules() {
  const { synced, ticked } = store.stamps;
  return useData(schedulesUrl, `${synced} ${ticked}`);
}

const jobOf = (s) => jobName(s.job || s.pipeline || s.name.replace(/#\d+$/, ''));

/* What the clock does within the fires that are listed: words, or null. */
function changeOf(s) {
  const f = firesOf(s.next || []).find((x) => x.moved);
  const at = s.change && zoned(s.change.at);
  if (f) return `${moveWords(f.moved)}${at ? ` on ${at.date}` : ''}: it fires at ${f.time} ${f.offset} from ${f.date} on`;
  return s.change ? `the clock changes${at ? ` on ${at.date}` : ''}: ${s.change.from} to ${s.change.to}` : null;
}

export function drawSchedule(row) {
  const { s, job, words, change, next, last } = row;
  const at = next && zoned(s.next[0]);
  return html`<span class="c-fire">${next ? html`<b><${Time} at=${next} /></b><span class="sub">${at.date}, ${at.time} <span class="mono">${at.offset === '+00:00' ? 'UTC' : at.offset}</span></span>` : html`<b class="dim">never</b><span class="sub">${s.enabled === false ? 'switched off' : 'no fire to come'}</span>`}</span>
    <span class="c-title two"><a class="main-link cut" href=${path('jobs', job)}>${s.name}</a><span class="sub cut">${s.timezone || 'UTC'}</span></span>
    <span class="c-sub two">${words !== s.expression ? html`<span class="cut first-up">${words}</span>` : null}<code class="cut dim">${s.expression}</code></span>
    <span class="c-tags"><span class="tag gray" title="when the run before is still under way">overlap: ${s.overlap}</span><span class="tag gray" title="fires missed while no server was up">misfire: ${s.misfire}</span></span>
    <span class="c-missed">${s.missed > 0 ? html`<span class="tag amber">${number(s.missed)} missed</span>` : html`<span class="sub">none missed</span>`}</span>
    <span class="c-state">${last ? html`<a class="over" href=${path('runs', last.run || last.id)} title="The last run"><${State} of=${last.state} /></a>` : html`<span class="sub">not yet run</span>`}</span>
    ${change && html`<span class="c-clock moved"><${Icon} name="clock" size=${13} /><span class="wrap">${change}</span></span>`}
    <span class="acts over"><button type="button" class="icon-btn tiny" title="Run its job now (r)" aria-label=${`Run ${job} now`} onClick=${row.start}><${Icon} name="runs" size=${14} /></button><${Copy} text=${s.expression} label=${`Copy the expression of ${s.name}`} tiny /></span>`;
}

export function Schedules() {
  const [text, setText] = useState('');
  const [chip, setChip] = useState('');
  const [starting, setStarting] = useState(null);
  const input = useRef();
  const { data, error } = useSchedules();
  const known = useRef(new Map());
  const last = lastRuns(listItems(store.runs));
  const begin = (job) => setStarting(job);
  const all = useMemo(() => (data || []).map((s) => ({ id: s.name, s, job: jobOf(s), words: scheduleWords(s), change: changeOf(s), next: s.enabled !== false && s.next && s.next.length ? when(s.next[0]) : 0, start: () => begin(jobOf(s)) }))
    .sort((a, b) => (a.next || Infinity) - (b.next || Infinity) || (a.id < b.id ? -1 : 1)), [data]);
  const words = wordsOf(text);
  const fits = (r) => (!chip || (chip === 'missed' && r.s.missed > 0) || (chip === 'clock' && r.change)) && (!words.length || matches(words, `${r.id} ${r.job} ${r.words} ${r.s.expression} ${r.s.timezone || 'UTC'}`));
  const items = all.filter(fits).map((r) => {
    /* The state of its last run moves on by events; a row whose run did not move stays the same object. */
    const told = r.s.last;
    const run = told && store.runs.index.get(told.run);
    const newest = run || told || null;
    const live = last.get(`job.${r.job}`);
    const shown = live && live.cause === 'schedule' && (!newest || when(live.created) >= when(newest.created || newest.at)) ? live : newest;
    const old = known.current.get(r.id);
    if (old && old.of === r && (old.last && old.last.state) === (shown && shown.state) && (old.last && (old.last.id || old.last.run)) === (shown && (shown.id || shown.run))) return old;
    const row = { ...r, of: r, last: shown };
    known.current.set(r.id, row);
    return row;
  });
  const selection = useSelection(items, { open: (r) => go(path('jobs', r.job)), copy: (r) => copyText(r.s.expression, 'Expression copied'), replay: (r) => r.start(), filter: () => input.current.focus() });
  const missed = all.filter((r) => r.s.missed > 0).length;
  const clock = all.filter((r) => r.change).length;
  const off = all.length > 0 && all.every((r) => r.s.enabled === false);
  return html`<div class="head"><h1>Schedules</h1><span class="sub">what fires by itself, the next one first</span></div>
    ${off && html`<${Note} colour="amber" icon="wait" title="The scheduler is switched off"><p>The configuration says scheduler: enabled: false, so nothing fires. Everything else runs.</p><//>`}
    <${FilterBar} chips=${[['', 'All'], ['missed', 'Missed', missed], ['clock', 'Clock changes', clock]]} chip=${chip} setChip=${setChip} text=${text} setText=${setText} inputRef=${input} placeholder="Filter by job, words, zone" />
    ${items.length ? html`<${Rows} items=${items} kind="r-schedule" selection=${selection} draw=${drawSchedule} label="Schedules" limit=${500} />` : html`<div class="rows"><${NoSchedules} loaded=${Boolean(data)} error=${error} any=${all.length} /></div>`}
    ${starting && html`<${StartNamed} name=${starting} close=${() => setStarting(null)} />`}`;
}

/* A schedule knows its job's name only; the form needs its parameters. */
export function StartNamed({ name, close }) {
  const { data } = useData(`/v1/jobs/${encodeURIComponent(name)}`, store.stamps.synced);
  return data ? html`<${Start} job=${data} close=${close} />` : null;
}

function NoSchedules({ loaded, error, any }) {
  if (error) return html`<${Empty} icon="schedules" title="The schedules cannot be listed" text=${error} />`;
  if (!loaded) return html`<${Empty} icon="schedules" title="Loading the schedules" />`;
  if (any) return html`<${Empty} icon="filter" title="No schedule matches" text="Take a word out of the filter, or show all of them." />`;
  return html`<${Empty} icon="schedules" title="No schedules yet" text="A job with a line like  schedule: &quot;0 0 9 * * MON-FRI&quot;  in its definition fires by itself. When would one fire?" command='hookmesh cron next "0 0 9 * * MON-FRI" --tz Europe/Berlin' />`;
}
