/* SPDX-License-Identifier: Apache-2.0 */
/* The runs, newest first: what started them, how far they are, how long they took. */
import { html, useRef, useState, useEffect } from '../vendor/preact.js';
import { store, ended, listItems, listAppend, when, newList } from '../store.js';
import { getPage, post } from '../api.js';
import { copyText, Copy, duration, Empty, look, say, shortId, State, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { useSelection } from '../keyboard.js';
import { draw, go, path } from '../nav.js';
import { FilterBar, matches, More, Rows, useHeld, wordsOf } from './list.js';

export const failedStates = ['failed', 'dead', 'timed_out', 'budget_exceeded'];
const chips = [['', 'All'], ['active', 'Active'], ['succeeded', 'Succeeded'], ['failed', 'Failed'], ['cancelled', 'Cancelled']];
const inChip = (state, chip) => !chip || state === chip || (chip === 'active' && !ended(state)) || (chip === 'failed' && failedStates.includes(state));

/* What a person calls this run: "push to octo/hello by octocat". */
export function runTitle(run) {
  const s = run.summary || {};
  const what = [run.event && (s.action ? `${run.event} ${s.action}` : run.event), s.repository].filter(Boolean).join(' · ');
  return what || (run.cause === 'key' || run.id.includes('.') ? run.id : run.pipeline);
}
export function runCause(run) {
  const s = run.summary || {};
  const by = s.sender ? `by ${s.sender}` : '';
  const cause = { webhook: run.hook, replay: 'replayed by hand', key: 'key written', retry: 'retried' }[run.cause] || run.cause;
  return [by, s.ref && s.ref.replace(/^refs\/(heads|tags)\//, ''), cause].filter(Boolean).join(' · ');
}

export function runTook(run) {
  const end = when(run.finished) || (ended(run.state) ? 0 : Date.now());
  return end ? duration(Math.max(0, end - when(run.created))) : '';
}

export async function retryRun(id, fromStart) {
  await post(`/v1/runs/${encodeURIComponent(id)}/retry${fromStart ? '?from_start=true' : ''}`);
  say('Retried: it goes on where it failed', 'retry');
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
  return p ? p.stages : null;
};

export function drawRun(run) {
  const bad = failedStates.includes(run.state);
  return html`<span class="c-state"><${State} of=${run.state} /></span>
    <a class="main-link cut c-title" href=${path('runs', run.id)}>${runTitle(run)}</a>
    <span class="sub cut c-sub">${bad && run.error ? html`<span class="red-text">${run.error}</span>` : html`${run.pipeline} · ${runCause(run)}`}</span>
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
  useEffect(() => {
    setFound(null);
    const states = chip === 'failed' ? failedStates : chip === 'active' ? ['queued', 'running'] : chip ? [chip] : [];
    Promise.all(states.map((s) => getPage(`/v1/runs?state=${s}`))).then((pages) => {
      const list = newList();
      listAppend(list, pages.flatMap((p) => p.items).sort((a, b) => when(b.created) - when(a.created)));
      setFound(states.length ? list : null);
    }).catch((e) => say(e.message, 'bad'));
  }, [chip]);
  const fresh = listItems(store.runs);
  const older = found ? listItems(found).filter((x) => !store.runs.index.has(x.id)) : [];
  const all = [...fresh, ...older].filter((r) => inChip(r.state, chip) && (!words.length || matches(words, `${r.id} ${r.pipeline} ${r.state} ${runTitle(r)} ${runCause(r)} ${r.error || ''}`)));
  const [items, newer] = useHeld(all);
  const selection = useSelection(items, { ...runKeys, filter: () => input.current.focus() });
  const loadMore = async () => {
    const page = await getPage(store.runs.next || `/v1/runs?limit=200`);
    listAppend(store.runs, page.items);
    store.runs.next = page.next;
    draw();
  };
  return html`<div class="head"><h1>Runs</h1><span class="sub">every execution of a pipeline</span></div>
    <${FilterBar} chips=${chips} chip=${chip} setChip=${setChip} text=${text} setText=${setText} inputRef=${input} placeholder="Filter by repository, pipeline, id, error" />
    ${newer}
    ${items.length ? html`<${Rows} items=${items} kind="r-run" selection=${selection} draw=${drawRun} extra=${runExtra} label="Runs" />
      <${More} shown=${items.length} next=${!chip && !text && store.runs.next !== null && fresh.length >= 50} load=${() => loadMore().catch((e) => say(e.message, 'bad'))} />` : html`<div class="rows"><${NoRuns} any=${fresh.length} /></div>`}`;
}

export function NoRuns({ any }) {
  if (!store.runs.loaded) return html`<${Empty} icon="runs" title="Loading the runs" />`;
  if (any) return html`<${Empty} icon="filter" title="No run matches" text="Take a word out of the filter, or choose another state." />`;
  return html`<${Empty} icon="runs" title="No runs yet" text="A run starts when a webhook comes in or a key is written that a stage watches. Send a signed sample push:" command="hookmesh send github push" />`;
}
