/* SPDX-License-Identifier: Apache-2.0 */
/* One job: its steps as a map, when it fires next, what bounds it, what follows it, and its latest runs. */
import { html, useMemo, useState } from '../vendor/preact.js';
import { store, listItems } from '../store.js';
import { getPage } from '../api.js';
import { useData } from '../data.js';
import { duration, firesOf, moveWords, zoned } from '../times.js';
import { DayChart } from '../charts.js';
import { lastDays, percent, rateColour, rateOf } from '../figures.js';
import { limitRows, nextOf, scheduleWords, triggerWords } from '../jobs.js';
import { Copy, Empty, number, State, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { useSelection } from '../keyboard.js';
import { go, path } from '../nav.js';
import { Rows } from './list.js';
import { Pipeline } from './pipelines.js';
import { drawJobRun, runExtra, runKeys } from './runs.js';
import { afterWord, kindIcon } from './after.js';
import { Start } from './start.js';

const month = 30;

export function Job({ id }) {
  const { synced, ended, ticked } = store.stamps;
  const url = encodeURIComponent(id);
  const { data: job, error } = useData(`/v1/jobs/${url}`, synced);
  const fires = job && job.schedules && job.schedules.length ? `/v1/schedules?job=${url}&n=10` : null;
  const plans = useData(fires, `${synced} ${ticked}`);
  const counts = useData(`/v1/analytics/jobs?job=${url}&since=${month}d`, ended);
  const listed = useData(`/v1/runs?job=${url}&limit=25`, synced, getPage);
  const [schedules, stats, older] = [plans.data, counts.data, listed.data];
  /* Shown all at once, so that nothing moves under a reader's eyes. */
  const ready = [fires ? plans : null, counts, listed].every((x) => !x || x.data || x.error) && (store.pipelines || store.live.state === 'disconnected');
  const [starting, setStarting] = useState(false);
  const pipeline = job && job.pipeline;
  const live = listItems(store.runs).filter((r) => r.pipeline === pipeline);
  const runs = [...live, ...(older ? older.items.filter((r) => !store.runs.index.has(r.id)) : [])].slice(0, 25);
  const selection = useSelection(runs, { ...runKeys, up: () => go('#/jobs'), replay: undefined });
  if (!job) return html`<${Back} /><div class="panel"><${Empty} icon="jobs" title=${error ? 'This job is not here' : 'Loading the job'} text=${error} /></div>`;
  const s = stats && stats.jobs.find((j) => j.job === job.name || j.pipeline === job.pipeline);
  const plan = schedules || job.schedules || [];
  const next = nextOf(plan);
  const after = (job.stages || []).filter((x) => x.after);
  const parameters = job.parameters && job.parameters.length > 0 && html`<${Parameters} list=${job.parameters} />`;
  return html`<${Back} />
    <div class="head"><h1 class="wrap">${job.name}</h1><span class="kind">${job.type}</span>${runs[0] && html`<a href=${path('runs', runs[0].id)} title="The last run"><${State} of=${runs[0].state} pill /></a>`}
      <div class="tools"><${Copy} text=${job.name} label="Copy the name" /><button type="button" class="btn main" onClick=${() => setStarting(true)}><${Icon} name="runs" />Run</button></div></div>
    ${job.description && html`<p class="about wrap">${job.description}</p>`}
    ${ready && html`<div class="stack">
      <${Figures} s=${s} next=${next} />
      <${Steps} job=${job} />
      <div class="job-grid"><div class="stack">
          ${plan.length > 0 && plan.map((x) => html`<${Fires} key=${x.name} schedule=${x} />`)}
          ${s && s.runs > 0 && html`<section class="panel" aria-label="Runs a day"><header><h2>Runs a day</h2><span class="tools">the last ${month} days, UTC</span></header><div class="pad"><${DayChart} days=${lastDays(s.days, month)} label=${`Runs of ${job.name} a day`} /></div></section>`}
          ${!plan.length && parameters}
        </div><div class="stack"><${Definition} job=${job} />${plan.length > 0 && parameters}${after.length > 0 && html`<${Follows} stages=${after} />`}</div></div>
      <section class="panel" aria-label="Latest runs"><header><h2>Latest runs</h2><div class="tools"><a class="btn small bare" href=${`#/runs?job=${url}`}>All runs<${Icon} name="right" size=${13} /></a></div></header>
        ${runs.length ? html`<${Rows} items=${runs} kind="r-run" selection=${selection} draw=${drawJobRun} extra=${runExtra} label="Latest runs" />` : html`<${Empty} icon="runs" title="It never ran" text=${next ? 'It waits for its next fire. Run starts it now.' : 'Run starts it now; a schedule or a trigger in its definition starts it by itself.'} />`}</section>
    </div>`}${starting && html`<${Start} job=${job} close=${() => setStarting(false)} />`}`;
}

function Back() {
  return html`<a class="back" href="#/jobs"><${Icon} name="left" size=${13} />Jobs</a>`;
}

function Figures({ s, next }) {
  const d = s && s.runs ? s.duration : null;
  const week = s ? rateOf(lastDays(s.days, 7)) : null;
  const at = next && zoned(next.next[0]);
  return html`<div class="figures four">
    <div class="figure"><b>${next ? html`<${Time} at=${next.next[0]} />` : '–'}</b><span>${at ? `next: ${at.date}, ${at.time} ${next.timezone && next.timezone !== 'UTC' ? at.offset : 'UTC'}` : 'no schedule'}</span></div>
    <div class="figure ${rateColour(week)}"><b class="tinted">${percent(week)}</b><span>succeeded in the last 7 days</span></div>
    <div class="figure"><b>${d ? duration(d.p50) : '–'}</b><span>${d ? `half of them; 95 % within ${duration(d.p95)}` : 'has not run yet'}</span></div>
    <div class="figure"><b>${number(s ? s.runs : 0)}</b><span>${s && s.skipped ? `runs in ${month} days, ${number(s.skipped)} skipped` : `runs in ${month} days`}</span></div></div>`;
}

/* The live map of the job's own steps; what follows a run is told apart. */
function Steps({ job }) {
  const names = (job.stages || []).filter((x) => !x.after).map((x) => x.id);
  const found = (store.pipelines || []).find((p) => p.name === job.pipeline);
  const stages = found ? found.stages.filter((x) => names.includes(x.id)) : [];
  const signature = stages.map((x) => x.id).join(' ');
  const pipeline = useMemo(() => ({ name: job.pipeline }), [job.pipeline]);
  if (!signature) return null;
  return html`<${Pipeline} pipeline=${{ ...pipeline, stages }} title="Steps" />`;
}

function Fires({ schedule }) {
  const fires = firesOf(schedule.next || []);
  const zone = schedule.timezone || 'UTC';
  const words = scheduleWords(schedule);
  const missed = schedule.missed || 0;
  return html`<section class="panel" aria-label=${`Schedule ${schedule.name}`}><header><${Icon} name="schedules" /><h2 class="first-up">${words}</h2><span class="tools">${zone}</span></header>
    <p class="fires-top"><code>${schedule.expression}</code><span class="tag gray">overlap: ${schedule.overlap}</span><span class="tag gray">misfire: ${schedule.misfire}</span>${missed > 0 && html`<span class="tag amber">${number(missed)} missed</span>`}</p>
    ${schedule.enabled === false ? html`<p class="pad dim">The scheduler is switched off (scheduler: enabled: false); nothing fires.</p>` : html`<ol class="fires" aria-label="Next fires">${fires.map((f) => html`<li key=${f.instant}>
      ${f.moved ? html`<p class="moved"><${Icon} name="clock" size=${14} />${moveWords(f.moved)} before this: ${f.offset} from here on</p>` : null}
      <span class="cut">${f.date}</span><b>${f.time}</b><span class="dim mono">${f.offset === '+00:00' ? 'UTC' : f.offset}</span><span class="sub right"><${Time} at=${f.ms} /></span></li>`)}</ol>`}
    ${!fires.some((f) => f.moved) && schedule.change ? html`<${Change} change=${schedule.change} />` : null}</section>`;
}

/* A change of the zone's offset that stands behind the listed fires or between two of them. */
export function Change({ change }) {
  const at = zoned(change.at);
  return html`<p class="moved pad"><${Icon} name="clock" size=${14} /><span>The clock changes ${at ? `on ${at.date} at ${at.time}` : change.at}: ${change.from} to ${change.to}</span></p>`;
}

function Definition({ job }) {
  const rows = limitRows(job);
  const t = job.triggers || [];
  return html`<section class="panel" aria-label="Definition"><header><h2>Definition</h2>${job.where && html`<span class="tools mono cut" title=${`${job.where.file}:${job.where.line}`}>${job.where.file.split('/').pop()}:${job.where.line}<${Copy} text=${`${job.where.file}:${job.where.line}`} label="Copy the place in the configuration" tiny /></span>`}</header>
    <dl class="facts one">
      ${t.length > 0 && html`<div class="fact"><dt>Started by</dt><dd class="wrap">${t.map((x) => html`<div class="first-up">${triggerWords(x)}</div>`)}</dd></div>`}
      ${rows.map(([name, text]) => html`<div class="fact"><dt>${name}</dt><dd class="wrap">${text}</dd></div>`)}
      <div class="fact"><dt>Input</dt><dd><a class="link mono wrap" href=${`#/keys?match=${encodeURIComponent(job.input || '')}`}>${job.input}</a></dd></div>
      ${job.output && html`<div class="fact"><dt>Result</dt><dd><a class="link mono wrap" href=${`#/keys?match=${encodeURIComponent(job.output.replace(/\{[^}]*\}/g, '*'))}`}>${job.output}</a></dd></div>`}
    </dl></section>`;
}

function Parameters({ list }) {
  return html`<section class="panel" aria-label="Parameters"><header><h2>Parameters</h2></header><dl class="facts one">${list.map((p) => html`<div class="fact"><dt class="mono wrap">${p.name}</dt><dd class="wrap"><span class="kind">${p.type || 'any'}</span>${p.required ? ' must be given' : ''}
    ${p.default !== undefined ? html` <span class="dim">default</span> <code>${JSON.stringify(p.default)}</code>` : null}${p.choices ? html` <span class="dim">one of</span> <code>${p.choices.map((c) => JSON.stringify(c)).join(', ')}</code>` : null}
    ${p.description && html`<div class="dim">${p.description}</div>`}</dd></div>`)}</dl></section>`;
}

const ends = { success: 'after success', failure: 'after a failure', skip: 'when skipped', open: 'while it runs' };

function Follows({ stages }) {
  return html`<section class="panel" aria-label="Afterwards"><header><h2>Afterwards</h2></header><ul class="follows">${stages.map((x) => html`<li key=${x.id}><${Icon} name=${kindIcon(x.kind)} size=${15} /><span class="cut">${afterWord(x)}${x.starts ? html` <a class="link" href=${path('jobs', x.starts)}>${x.starts}</a>` : x.to || x.work ? html` <span class="mono">${x.to || x.work}</span>` : null}</span>
    <span class="sub">${x.after.map((a) => ends[a] || a).join(', ')}</span></li>`)}</ul></section>`;
}

