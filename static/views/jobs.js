/* SPDX-License-Identifier: Apache-2.0 */
/* The jobs: what each does, when it runs next, how the last run ended and how the last week went. */
import { html, useMemo, useRef, useState } from '../vendor/preact.js';
import { store, listItems } from '../store.js';
import { getAll } from '../api.js';
import { useData } from '../data.js';
import { fireWords, when } from '../times.js';
import { Week } from '../charts.js';
import { lastDays, percent, rateColour, rateOf } from '../figures.js';
import { jobName, lastRuns, nextOf, scheduleWords, triggerWords } from '../jobs.js';
import { copyText, Copy, Empty, State, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { useSelection } from '../keyboard.js';
import { go, path } from '../nav.js';
import { FilterBar, matches, More, Rows, wordsOf } from './list.js';
import { Start } from './start.js';

const week = 7;
export const weekStats = '/v1/analytics/jobs?since=7d';

/* What starts it, in a line. */
function whyOf(job) {
  const s = job.schedules || [];
  if (s.length) return s.map((x) => `${scheduleWords(x)}${x.timezone && x.timezone !== 'UTC' ? ` (${x.timezone})` : ''}`).join('; ');
  const t = job.triggers || [];
  return t.length ? `after ${triggerWords(t[0])}${t.length > 1 ? ` and ${t.length - 1} more` : ''}` : job.description || 'when somebody starts it';
}

/* A job as a row knows it. Rows are drawn anew when this is another object, so a job that did not change keeps its own. */
function rowOf(job, stats, last, known) {
  const s = stats && stats.get(job.name);
  const days = s ? lastDays(s.days, week) : null;
  const next = nextOf(job.schedules);
  const scheduled = (job.schedules || []).map((x) => x.last).filter(Boolean).sort((a, b) => when(b.at) - when(a.at))[0];
  const newest = last.get(job.pipeline) || [s && s.last, scheduled].filter(Boolean).sort((a, b) => when(b.at) - when(a.at))[0];
  const mark = JSON.stringify([days, s && s.runs, next && next.next[0], newest && [newest.id, newest.state, newest.run], stats ? 1 : 0]);
  const old = known.get(job.name);
  if (old && old.mark === mark && old.job === job) return old;
  const row = { id: job.name, mark, job, days, rate: days ? rateOf(days) : null, next, last: newest, why: whyOf(job) };
  known.set(job.name, row);
  return row;
}

const lastTime = (r) => r.created || r.at;

export function drawJob(row, openStart) {
  const { job, last, next, days, rate } = row;
  return html`<span class="c-state">${last ? html`<${State} of=${last.state} />` : html`<span class="state gray" title="It has not run in the last 7 days"><${Icon} name="queued" /><span>Idle</span></span>`}</span>
    <span class="c-title with-kind"><a class="main-link cut" href=${path('jobs', job.name)}>${job.name}</a><span class="kind">${job.type}</span></span>
    <span class="sub cut c-sub" title=${row.why}>${row.why}</span>
    <span class="c-next">${next ? html`<${Time} at=${next.next[0]} /><span class="sub">${fireWords(next.next[0])}</span>` : ''}</span>
    <span class="c-week ${rateColour(rate)}">${days ? html`<${Week} days=${days} /><b title="of its runs succeeded in the last 7 days">${percent(rate)}</b>` : ''}</span>
    <span class="sub right c-time">${last ? html`<${Time} at=${lastTime(last)} />` : ''}</span>
    <span class="acts over"><button type="button" class="icon-btn tiny" title="Run (r)" aria-label=${`Run ${job.name}`} onClick=${() => openStart(job)}><${Icon} name="runs" size=${14} /></button>
      <${Copy} text=${job.name} label=${`Copy the name ${job.name}`} tiny /></span>`;
}

const chips = [['', 'All'], ['scheduled', 'Scheduled'], ['failing', 'Failing'], ['idle', 'Idle']];
const inChip = (r, chip) => !chip || (chip === 'scheduled' && (r.job.schedules || []).length) || (chip === 'failing' && ((r.last && ['failed', 'dead', 'timed_out', 'budget_exceeded'].includes(r.last.state)) || (r.rate !== null && r.rate < 0.9))) || (chip === 'idle' && !r.last);

export function useJobs() {
  const { synced, ticked } = store.stamps;
  return useData('/v1/jobs?limit=200', `${synced} ${ticked}`, getAll);
}

export function Jobs({ query }) {
  const [chip, setChip] = useState(query.get('show') || '');
  const [text, setText] = useState(query.get('q') || '');
  const [starting, setStarting] = useState(null);
  const input = useRef();
  const known = useRef(new Map());
  const { data, error } = useJobs();
  const stats = useData(weekStats, store.stamps.ended).data;
  const byName = useMemo(() => stats && new Map(stats.jobs.map((j) => [j.job || jobName(j.pipeline), j])), [stats]);
  const words = wordsOf(text);
  const last = lastRuns(listItems(store.runs));
  const all = (data || []).map((job) => rowOf(job, byName, last, known.current));
  const items = all.filter((r) => inChip(r, chip) && (!words.length || matches(words, `${r.id} ${r.job.type} ${r.job.description || ''} ${r.why}`)));
  const selection = useSelection(items, {
    open: (r) => go(path('jobs', r.id)), copy: (r) => copyText(r.id, 'Name copied'), replay: (r) => setStarting(r.job), filter: () => input.current.focus(),
  });
  return html`<div class="head"><h1>Jobs</h1><span class="sub">what can run here, and what starts it</span></div>
    <${FilterBar} chips=${chips} chip=${chip} setChip=${setChip} text=${text} setText=${setText} inputRef=${input} placeholder="Filter by name, kind, trigger" />
    ${items.length ? html`<${Rows} items=${items} kind="r-job" selection=${selection} draw=${(r) => drawJob(r, setStarting)} label="Jobs" limit=${500} /><${More} shown=${0} />` : html`<div class="rows"><${NoJobs} loaded=${Boolean(data)} error=${error} any=${all.length} /></div>`}
    ${starting && html`<${Start} job=${starting} close=${() => setStarting(null)} />`}`;
}

function NoJobs({ loaded, error, any }) {
  if (error) return html`<${Empty} icon="jobs" title="The jobs cannot be listed" text=${error} />`;
  if (!loaded) return html`<${Empty} icon="jobs" title="Loading the jobs" />`;
  if (any) return html`<${Empty} icon="filter" title="No job matches" text="Take a word out of the filter, or show all of them." />`;
  return html`<${Empty} icon="jobs" title="No jobs yet" text="Write one into a YAML file of the configuration: its name, its work, and a schedule if it shall run by itself. An example to start from:" command="hookmesh serve --config config/jobs" />`;
}
