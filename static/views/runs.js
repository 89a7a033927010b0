/* SPDX-License-Identifier: Apache-2.0 */
/* The runs, newest first: what started them, how far they are, how long they took. */
import { html, useRef, useState, useEffect } from '../vendor/preact.js';
import { store, ended, listItems, listAppend, newList } from '../store.js';
import { ago, duration, when, zoned } from '../times.js';
import { getPage, post } from '../api.js';
import { isJob, jobName } from '../jobs.js';
import { copyText, Copy, Empty, look, say, shortId, State, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { useSelection } from '../keyboard.js';
import { draw, go, path } from '../nav.js';
import { FilterBar, matches, More, Rows, useHeld, wordsOf } from './list.js';

export const failedStates = ['failed', 'dead', 'timed_out', 'budget_exceeded'];
const chips = [['', 'All'], ['active', 'Active'], ['succeeded', 'Succeeded'], ['failed', 'Failed'], ['skipped', 'Skipped'], ['cancelled', 'Cancelled']];
const inChip = (state, chip) => !chip || state === chip || (chip === 'active' && !ended(state)) || (chip === 'failed' && failedStates.includes(state));

/* What a person calls this run: "push to octo/hello by octocat". */
export function runTitle(run) {
  const s = run.summary || {};
  const what = [run.event && (s.action ? `${run.event} ${s.action}` : run.event), s.repository].filter(Boolean).join(' · ');
  return what || ((run.cause === 'key' && !isJob(run.pipeline)) || run.id.includes('.') ? run.id : jobName(run.pipeline));
}
/* "on schedule, 09:00:00", "started over REST". */
export function causeWords(run) {
  const at = zoned(run.scheduled_at);
  switch (run.cause) {
    case 'webhook': return run.hook || 'a webhook';
    case 'replay': return 'replayed by hand';
    case 'key': return 'key written';
    case 'retry': return 'retried';
    case 'schedule': return at ? `scheduled for ${at.time}${at.offset === '+00:00' ? ' UTC' : ''}` : 'on schedule';
    case 'api': return run.by ? `started by ${run.by}` : 'started by hand';
    case 'database': return run.by ? `a row changed (${run.by})` : 'a row changed';
    case 'job': return 'after another run';
    case 'agent': return run.by ? `started by agent ${run.by}` : 'started by an agent';
    default: return run.cause;
  }
}

export function runCause(run) {
  const s = run.summary || {};
  const by = s.sender ? `by ${s.sender}` : '';
  return [by, s.ref && s.ref.replace(/^refs\/(heads|tags)\//, ''), causeWords(run)].filter(Boolean).join(' · ');
}

export function runTook(run) {
  if (run.state === 'waiting' || run.state === 'skipped') return '';
  const end = when(run.finished) || (ended(run.state) ? 0 : Date.now());
  return end ? duration(Math.max(0, end - when(run.created))) : '';
}

export async function retryRun(id, fromStart) {
  await post(`/v1/runs/${encodeURIComponent(id)}/retry${fromStart ? '?from_start=true' : ''}`);
  say(fromStart ? 'It runs again from the start' : 'Retried: it goes on where it failed', 'retry');
}

/* One bar a stage, lit by the stage's events; a finished run's are known without them. */
export function Strip({ run, stages }) {
  if (!stages || !stages.length) return null;
  if (ended(run.state) && run.state !== 'succeeded' && !run.lit) return null; /* how far it came is not known here */
  const colours = stages.map((s) => {
    const lit = run.lit && run.lit[s.name];
    if (run.state === 'succeeded') return 'green';
    return lit ? look(lit)[0] : '';
  });
  const done = colours.filter((c) => c === 'green').length;
  return html`<span class="strip" role="img" aria-label=${`${done} of ${stages.length} steps done`}>${stages.map((s, i) => html`<i class=${colours[i]} title=${s.name}></i>`)}</span>`;
}

const stagesOf = (run) => {
  const p = store.pipelines && store.pipelines.find((x) => x.name === run.pipeline);
  return p ? p.stages.filter((s) => !s.after && !/^run\.(ended|open)\./.test(s.watch || '')) : null;
};

const sentence = (words) => words.slice(0, 1).toUpperCase() + words.slice(1);

/* What a row says below or beside its title; the title may be the job's name already. */
function subTitle(run) {
  const wait = !ended(run.state) && waitsUntil(run);
  const name = jobName(run.pipeline);
  return [runTitle(run) === name ? '' : name, runCause(run), run.state === 'skipped' ? run.reason : '', wait ? `starts ${ago(wait)}` : ''].filter(Boolean).join(' · ');
}

/* When a run that was put off will start; 0: it was not. */
export function waitsUntil(run) {
  const at = run.state === 'waiting' ? when(run.starts) : 0;
  return at > Date.now() ? at : 0;
}

/* On its job's page a run is told by what caused it. */
export const drawJobRun = (run) => drawRun(run, true);

export function drawRun(run, inJob) {
  const bad = failedStates.includes(run.state);
  return html`<span class="c-state"><${State} of=${run.state} /></span>
    <a class="main-link cut c-title" href=${path('runs', run.id)}>${inJob === true ? sentence(runCause(run)) : runTitle(run)}</a>
    <span class="sub cut c-sub">${bad && run.error ? html`<span class="red-text">${run.error}</span>` : inJob === true ? [run.state === 'skipped' ? run.reason : '', waitsUntil(run) ? `starts ${ago(waitsUntil(run))}` : ''].filter(Boolean).join(' · ') || html`<span class="mono">${shortId(run.id)}</span>` : subTitle(run)}</span>
    <span class="c-strip"><${Strip} run=${run} stages=${stagesOf(run)} /></span>
    <span class="sub right c-took">${runTook(run)}</span>
    <span class="sub right c-time"><${Time} at=${run.created} /></span>
    <span class="acts over">${bad ? html`<button type="button" class="icon-btn tiny" title="Retry (r)" aria-label=${`Retry run ${shortId(run.id)}`}
      onClick=${() => retryRun(run.id).catch((e) => say(e.message, 'bad'))}><${Icon} name="retry" size=${14} /></button>` : null}<${Copy} text=${run.id} label=${`Copy run id ${run.id}`} tiny /></span>`;
}

/* Redrawn while it is under way (its time goes on) and when the map of its pipeline comes. */
export const runExtra = (run) => (ended(run.state) ? (stagesOf(run) || []).length : Math.floor(Date.now() / 1000));

export const runKeys = {
  open: (run) => go(path('runs', run.id)),
  copy: (run) => copyText(run.id, 'Run id copied'),
  replay: (run) => retryRun(run.id).catch((e) => say(e.message, 'bad')),
};

export function Runs({ query }) {
  const [chip, setChip] = useState(query.get('state') || '');
  const [text, setText] = useState(query.get('q') || '');
  const [found, setFound] = useState(null); /* what the server has for a state that may be older than the list */
  const input = useRef();
  const words = wordsOf(text);
  const job = query.get('job') || '';
  useEffect(() => {
    setFound(null);
    const states = chip === 'failed' ? failedStates : chip === 'active' ? ['queued', 'running', 'waiting'] : chip ? [chip] : [];
    const asked = [states.length && `state=${states.join(',')}`, job && `job=${encodeURIComponent(job)}`].filter(Boolean);
    if (!asked.length) return;
    getPage(`/v1/runs?${asked.join('&')}`).then((page) => {
      const list = newList();
      listAppend(list, page.items);
      setFound(list);
    }).catch((e) => say(e.message, 'bad'));
  }, [chip, job]);
  const fresh = listItems(store.runs);
  const older = found ? listItems(found).filter((x) => !store.runs.index.has(x.id)) : [];
  const all = [...fresh, ...older].filter((r) => inChip(r.state, chip) && (!job || jobName(r.pipeline) === job) && (!words.length || matches(words, `${r.id} ${r.pipeline} ${r.state} ${runTitle(r)} ${runCause(r)} ${r.error || ''}`)));
  const [items, newer] = useHeld(all);
  const selection = useSelection(items, { ...runKeys, filter: () => input.current.focus() });
  const loadMore = async () => {
    const page = await getPage(store.runs.next || `/v1/runs?limit=200`);
    listAppend(store.runs, page.items);
    store.runs.next = page.next;
    draw();
  };
  return html`<div class="head"><h1>Runs</h1>${job ? html`<span class="sub">of <a class="link" href=${path('jobs', job)}>${job}</a></span><a class="btn small bare" href="#/runs"><${Icon} name="close" size=${13} />Show all</a>` : html`<span class="sub">every execution of a job or pipeline</span>`}</div>
    <${FilterBar} chips=${chips} chip=${chip} setChip=${setChip} text=${text} setText=${setText} inputRef=${input} placeholder="Filter by repository, pipeline, id, error" />
    ${newer}
    ${items.length ? html`<${Rows} items=${items} kind="r-run" selection=${selection} draw=${drawRun} extra=${runExtra} label="Runs" />
      <${More} shown=${items.length} next=${!chip && !text && !job && store.runs.next !== null && fresh.length >= 50} load=${() => loadMore().catch((e) => say(e.message, 'bad'))} />` : html`<div class="rows"><${NoRuns} any=${fresh.length} /></div>`}`;
}

export function NoRuns({ any }) {
  if (!store.runs.loaded) return html`<${Empty} icon="runs" title="Loading the runs" />`;
  if (any) return html`<${Empty} icon="filter" title="No run matches" text="Take a word out of the filter, or choose another state." />`;
  return html`<${Empty} icon="runs" title="No runs yet" text="A run starts when a webhook comes in or a key is written that a stage watches. Send a signed sample push:" command="hookmesh send github push" />`;
}
