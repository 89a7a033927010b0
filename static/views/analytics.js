/* SPDX-License-Identifier: Apache-2.0 */
/* How the jobs did over days: runs a day, success rate, durations, cost. */
import { html, useMemo, useState } from '../vendor/preact.js';
import { store } from '../store.js';
import { useData } from '../data.js';
import { duration } from '../times.js';
import { DayChart, Meter, Range } from '../charts.js';
import { lastDays, percent, rateColour } from '../figures.js';
import { isJob, jobName } from '../jobs.js';
import { copyText, Empty, number } from '../ui.js';
import { useSelection } from '../keyboard.js';
import { go, path } from '../nav.js';
import { Rows } from './list.js';

const periods = [[7, '7 days'], [30, '30 days'], [90, '90 days']];
const sorts = { runs: 'Runs', rate: 'Success', p95: 'Duration', cost: 'Cost' };

/* Everything of all jobs, day by day. */
export function summed(jobs, n) {
  const days = lastDays([], n);
  for (const j of jobs) {
    lastDays(j.days, n).forEach((d, i) => {
      days[i].succeeded += d.succeeded;
      days[i].failed += d.failed;
    });
  }
  return days;
}

const total = (jobs, f) => jobs.reduce((a, j) => a + (f(j) || 0), 0);
const badRuns = (j) => j.failed || 0; /* dead, timed out and over budget together */
export const money = (usd) => (usd >= 0.1 || !usd ? `$${(usd || 0).toFixed(2)}` : `$${usd.toPrecision(2)}`);

/* 0..1, whatever the unit that it came in. */
export const rateFrom = (j) => (j.success_rate === undefined || j.success_rate === null ? null : j.success_rate);

function drawStats(r, top) {
  const d = r.j.duration || {};
  return html`<a class="main-link cut c-title" href=${r.job ? path('jobs', r.name) : '#/pipelines'}>${r.name}</a>
    <span class="right c-runs">${number(r.j.runs)}</span>
    <span class="c-rate ${rateColour(r.rate)}"><${Meter} rate=${r.rate} /><b>${percent(r.rate)}</b></span>
    <span class="sub right c-bad">${badRuns(r.j) ? html`<span class="red-text">${number(badRuns(r.j))} failed</span>` : ''}</span>
    <span class="c-range">${r.j.runs && d.p95 !== undefined ? html`<${Range} of=${d} top=${top} />` : null}</span>
    <span class="sub right c-p50">${d.p50 !== undefined && r.j.runs ? duration(d.p50) : ''}</span><span class="sub right c-p95">${d.p95 !== undefined && r.j.runs ? duration(d.p95) : ''}</span>
    <span class="sub right c-cost">${r.j.cost_usd ? money(r.j.cost_usd) : ''}</span>`;
}

export function Analytics() {
  const [n, setN] = useState(7);
  const [by, setBy] = useState('runs');
  const { data, error } = useData(`/v1/analytics/jobs?since=${n}d`, store.stamps.ended + store.stamps.synced);
  const rows = useMemo(() => (data ? data.jobs : []).map((j) => ({ id: j.pipeline || j.job, name: j.job || jobName(j.pipeline), job: Boolean(j.job) || isJob(j.pipeline), j, rate: rateFrom(j) })), [data]);
  const value = { runs: (r) => -r.j.runs, rate: (r) => r.rate ?? 2, p95: (r) => -((r.j.duration || {}).p95 || 0), cost: (r) => -(r.j.cost_usd || 0) }[by];
  const items = useMemo(() => [...rows].sort((a, b) => value(a) - value(b) || (a.name < b.name ? -1 : 1)), [rows, by]);
  const selection = useSelection(items, { open: (r) => go(r.job ? path('jobs', r.name) : '#/pipelines'), copy: (r) => copyText(r.name, 'Name copied') });
  const jobs = rows.map((r) => r.j);
  const all = total(jobs, (j) => j.runs);
  const good = total(jobs, (j) => j.succeeded);
  const bad = total(jobs, badRuns);
  const cost = total(jobs, (j) => j.cost_usd);
  const top = Math.max(10, ...jobs.map((j) => (j.duration || {}).max || 0));
  const head = html`<div class="head"><h1>Analytics</h1><span class="sub">how the jobs did</span><div class="tools chips" role="group" aria-label="Period">${periods.map(([d, label]) => html`<button type="button" class="chip" aria-pressed=${String(d === n)} onClick=${() => setN(d)}>${label}</button>`)}</div></div>`;
  if (!data || !all) return html`${head}<div class="rows"><${NoStats} loaded=${Boolean(data)} error=${error} n=${n} /></div>`;
  return html`${head}<div class="stack">
    <div class="figures four"><div class="figure"><b>${number(all)}</b><span>runs of ${items.length} ${items.length === 1 ? 'job' : 'jobs'}</span></div>
      <div class="figure ${rateColour(good + bad ? good / (good + bad) : null)}"><b class="tinted">${percent(good + bad ? good / (good + bad) : null)}</b><span>succeeded</span></div>
      <div class="figure"><b>${number(bad)}</b><span>failed${total(jobs, (j) => j.timed_out) ? `, ${number(total(jobs, (j) => j.timed_out))} of them timed out` : ''}</span></div>
      ${cost ? html`<div class="figure"><b>${money(cost)}</b><span>${number(total(jobs, (j) => j.tokens))} tokens</span></div>` : html`<div class="figure"><b>${number(total(jobs, (j) => j.skipped))}</b><span>skipped</span></div>`}</div>
    <section class="panel" aria-label="Runs a day"><header><h2>Runs a day</h2><span class="tools legend"><span><i class="good"></i>succeeded</span><span><i class="bad"></i>failed</span><span>UTC</span></span></header><div class="pad"><${DayChart} days=${summed(jobs, n)} label="Runs a day" height=${210} /></div></section>
    <section class="panel" aria-label="Jobs"><header><h2>Jobs</h2><div class="tools chips" role="group" aria-label="Order">${Object.entries(sorts).filter(([k]) => k !== 'cost' || cost).map(([k, label]) => html`<button type="button" class="chip small" aria-pressed=${String(by === k)} onClick=${() => setBy(k)}>${label}</button>`)}</div></header>
      <div class="r-stats table-head" aria-hidden="true"><span>Job</span><span class="right">Runs</span><span>Succeeded</span><span></span><span>Duration: half, 95 %, longest</span><span class="right">half</span><span class="right">95 %</span><span class="right">${cost ? 'Cost' : ''}</span></div>
      <${Rows} items=${items} kind="r-stats" selection=${selection} draw=${(r) => drawStats(r, top)} extra=${() => top} label="Jobs" /></section></div>`;
}

function NoStats({ loaded, error, n }) {
  if (error) return html`<${Empty} icon="analytics" title="The figures cannot be had" text=${error} />`;
  if (!loaded) return html`<${Empty} icon="analytics" title="Counting" />`;
  return html`<${Empty} icon="analytics" title=${`Nothing ran in ${n} days`} text="When a job has run, its success rate, its durations and its cost are counted here, day by day. Run one:" command="hookmesh jobs run NAME" />`;
}
