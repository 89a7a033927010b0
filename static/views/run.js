/* SPDX-License-Identifier: Apache-2.0 */
/* One run, as it happens: its keys and steps on one line from the trigger to the result, the report if a value holds one, the log. */
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { store, ended, listItems, stageName } from '../store.js';
import { duration, when, zoned } from '../times.js';
import { getPage, post } from '../api.js';
import { Act, copyText, Copy, Empty, Id, Json, KeyName, look, Note, say, shortId, size, State, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { useData } from '../data.js';
import { failedAfter, isJob, jobName, ownSteps } from '../jobs.js';
import { useKeys } from '../keyboard.js';
import { draw, go, path } from '../nav.js';
import { After, Started } from './after.js';
import { Markdown } from '../markdown.js';
import { causeWords, failedStates, retryRun, runTitle, runTook, waitsUntil } from './runs.js';
import { reportOf, useValues } from './values.js';

/* Follows run ID on the live stream while the page is open. */
function useRun(id) {
  useEffect(() => {
    store.run = { id, data: null, loaded: false };
    store.connection.want(`run:${id}`);
    draw();
    return () => {
      store.connection.drop(`run:${id}`);
      if (store.run && store.run.id === id) store.run = null;
    };
  }, [id]);
  const open = store.run && store.run.id === id ? store.run : { loaded: false, data: null };
  /* Which stages follow the end is known behind it. */
  const stale = Boolean(open.data && open.loaded && ended(open.data.state) && !open.data.whole);
  useEffect(() => {
    if (!stale) return undefined;
    const t = setTimeout(() => store.connection.again(`run:${id}`), 400);
    return () => clearTimeout(t);
  }, [stale, id]);
  const listed = store.runs.index.get(id);
  return { loaded: open.loaded, run: open.data || (listed ? { steps: [], keys: [], log: [], ...listed } : null) };
}

export function Run({ id }) {
  const { loaded, run } = useRun(id);
  const values = useValues(run ? run.keys : []);
  const started = useStarted(run);
  const drawn = useRef(false);
  const retry = (fromStart) => retryRun(id, fromStart);
  useKeys({
    up: () => go('#/runs'),
    copy: () => copyText(id, 'Run id copied'),
    replay: () => run && ended(run.state) && retry(run.state === 'succeeded' && !failedAfter(run).length).catch((e) => say(e.message, 'bad')),
  });
  if (!run) {
    return html`<${Back} /><div class="panel"><${Empty} icon="runs" title=${loaded ? 'There is no such run' : 'Loading the run'}
      text=${loaded ? 'It may have been removed with the oldest ones, or not have begun: if it comes, it appears here.' : ''} /></div>`;
  }
  const bad = failedStates.includes(run.state);
  
  const report = reportOf(run.keys, values);
  /* The values that are there at first come before the page is drawn: they would push down what stands below. */
  drawn.current = drawn.current || (loaded && run.keys.every((k) => values.has(k.key) && ('text' in values.get(k.key) || values.get(k.key).error)));
  return html`<${Back} />
    <div class="head"><h1 class="wrap">${runTitle(run)}</h1><${State} of=${run.state} pill /><span class="sub">${runTook(run)}</span>
      <div class="tools">${!ended(run.state) && html`<${Act} icon="stop" label="Cancel" run=${() => post(`/v1/runs/${encodeURIComponent(id)}/cancel`)} />`}
        ${ended(run.state) && !bad && run.state !== 'skipped' && html`<${Act} icon="retry" label="Run again" run=${() => retry(true)} title="From the start" />`}</div></div>
    <${Cause} run=${run} />
    ${bad && html`<${Failure} run=${run} retry=${retry} />`}
    ${run.state === 'skipped' && html`<${Note} colour="gray" icon="skip" title="This run did not start"><p class="wrap reason">${run.reason || run.error || 'No reason was recorded.'}</p>
      ${isJob(run.pipeline) && html`<p class="dim">What happens when runs overlap or come too often stands in the definition of <a class="link" href=${path('jobs', jobName(run.pipeline))}>${jobName(run.pipeline)}</a>.</p>`}<//>`}
    ${waitsUntil(run) > 0 && html`<${Note} colour="amber" icon="wait" title=${html`Starts <${Time} at=${waitsUntil(run)} />`}><p class="wrap">${'It was put off by a delay, a debounce or a rate limit; a newer start may still join it or take its place.'}</p><//>`}
    ${ended(run.state) && !bad && failedAfter(run).length > 0 && html`<${Undelivered} run=${run} retry=${retry} />`}
    ${drawn.current && html`<div class="run-grid">
      <section class="panel run-line" aria-label="Steps"><header><h2>Steps</h2><span class="tools">${progress(run)}</span></header><${Line} run=${run} values=${values} /></section>
      <div class="stack">
        ${report && html`<section class="panel" aria-label="Report"><header><${Icon} name="report" /><h2>Report</h2><div class="tools"><${Copy} text=${report} label="Copy the report as Markdown" /></div></header>
          <div class="pad"><${Markdown} text=${report} /></div></section>`}
        <${After} run=${run} /><${Started} runs=${started} />
        <${Log} lines=${run.log || []} logged=${run.logged} live=${!ended(run.state)} />
      </div></div>`}`;
}

/* The runs that its agents started: those that the page knows, and those from before it was open. What its end started stands with what follows it. */
function useStarted(run) {
  const agents = Boolean(run) && ownSteps(run).some((s) => s.kind === 'agent');
  const since = agents && when(run.created);
  const { data } = useData(since ? `/v1/runs?cause=agent&since=${new Date(since).toISOString()}&limit=200` : null, run && run.finished ? 1 : 0, getPage);
  if (!agents) return [];
  const older = data ? data.items.filter((r) => !store.runs.index.has(r.id)) : [];
  return [...listItems(store.runs), ...older].filter((r) => r.parent === run.id && r.cause === 'agent');
}

function progress(run) {
  const own = ownSteps(run);
  const done = own.filter((s) => s.state === 'succeeded').length;
  return own.length ? `${done} of ${own.length} done` : '';
}

/* Who or what started it, with the way there. */
function Cause({ run }) {
  const job = jobName(run.pipeline);
  const at = zoned(run.scheduled_at);
  const s = run.summary || {};
  const parent = run.parent && store.runs.index.get(run.parent);
  const ref = s.ref && s.ref.replace(/^refs\/(heads|tags)\//, '');
  return html`<dl class="facts flat"><div class="fact"><dt>Run</dt><dd><${Id} id=${run.id} /></dd></div>
    <div class="fact"><dt>${isJob(run.pipeline) ? 'Job' : 'Pipeline'}</dt><dd><a class="link" href=${isJob(run.pipeline) ? path('jobs', job) : '#/pipelines'}>${job}</a></dd></div>
    <div class="fact"><dt>Cause</dt><dd>${run.delivery_id ? html`<a class="link" href=${path('deliveries', run.delivery_id)}>${[s.sender && `by ${s.sender}`, ref, causeWords(run)].filter(Boolean).join(' · ')}</a>`
    : run.cause === 'schedule' ? html`<a class="link" href="#/schedules"><${Icon} name="schedules" size=${13} />${run.schedule && run.schedule !== job ? `${run.schedule}, ` : ''}${at ? `${at.date}, ${at.time} ${at.offset === '+00:00' ? 'UTC' : at.offset}` : 'on schedule'}</a>` : run.parent ? html`${run.cause === 'agent' ? `${causeWords(run)} in` : 'after'} <a class="link" href=${path('runs', run.parent)}>${parent ? jobName(parent.pipeline) : 'run'} <span class="mono">${shortId(run.parent)}</span></a>${run.depth > 1 ? html` <span class="dim">${run.depth} deep</span>` : null}` : causeWords(run)}</dd></div>
    ${run.created && html`<div class="fact"><dt>Started</dt><dd><${Time} at=${run.created} /></dd></div>`}</dl>`;
}

/* It succeeded, but not all of what follows it did. */
function Undelivered({ run, retry }) {
  const failed = failedAfter(run);
  return html`<${Note} colour="red" icon="mail" title=${failed.length === 1 ? 'The run succeeded, one thing that follows it did not' : `The run succeeded, ${failed.length} things that follow it did not`}><p class="wrap">${failed.map((s) => stageName(s.stage)).join(', ')}: mend what the error names, then retry: only what failed is done again.</p>
    <div class="tools"><${Act} main icon="retry" label="Retry" title="Only what failed (r)" run=${() => retry(false)} /></div><//>`;
}

function Back() {
  return html`<a class="back" href="#/runs"><${Icon} name="left" size=${13} />Runs</a>`;
}

function Failure({ run, retry }) {
  const step = ownSteps(run).find((s) => s.error || s.state === 'failed');
  const name = step ? step.name || step.stage : '';
  const what = step && step.key_in ? html`<p class="dim">Mend the stage’s program, or the value of <a class="link" href=${path('keys', step.key_in)}>${step.key_in}</a> (saving it runs the pipeline on from there),
    then retry: finished steps are kept, the run goes on at <b>${name}</b>.</p>` : html`<p class="dim">Retry goes on where it failed; finished steps are kept.</p>`;
  return html`<${Note} colour="red" icon="dead" title=${run.state === 'timed_out' ? `${name || 'A step'} took too long` : `${name || 'The run'} failed${step && step.attempt > 1 ? ` after ${step.attempt} attempts` : ''}`}>
    <pre class="error">${(step && step.error) || run.error || 'No reason was recorded.'}</pre>${what}
    <div class="tools"><${Act} main icon="retry" label="Retry" title="Retry from the failed step (r)" run=${() => retry(false)} /><${Act} label="Retry from the start" run=${() => retry(true)} /></div><//>`;
}

/* key, step, key, step, ... in the order of the work; keys nobody's step mentions come last. */
function Line({ run, values }) {
  const keys = new Map(run.keys.map((k) => [k.key, k]));
  const shown = new Set();
  const out = [];
  const putKey = (name, input) => {
    if (!name || shown.has(name)) return;
    shown.add(name);
    out.push(html`<${KeyItem} key=${`k:${name}`} name=${name} info=${keys.get(name)} value=${values.get(name)} input=${input} />`);
  };
  for (const s of ownSteps(run)) {
    putKey(s.key_in, !shown.size);
    out.push(html`<${Step} key=${`s:${s.stage}`} step=${s} />`);
    putKey(s.key_out);
  }
  for (const k of run.keys) putKey(k.key);
  if (!out.length) return html`<p class="pad dim">The first step has not begun yet.</p>`;
  return html`<ol class="line">${out}</ol>`;
}

function Step({ step }) {
  const off = step.state === 'retrying' && !step.failed_attempts && !step.error; /* put off before its first attempt */
  const [colour, icon, word] = look(off ? 'waiting' : step.state);
  const took = step.us !== undefined ? duration(step.us / 1000) : '';
  const tries = step.attempt > 1 ? `attempt ${step.attempt}` : '';
  return html`<li class="item step ${colour} is-${step.state}" data-stage=${step.name || step.stage} data-state=${step.state}><span class="dot"><${Icon} name=${icon} size=${18} class=${step.state === 'running' ? 'spin' : ''} /></span>
    <div class="body"><div class="title"><b class="cut">${step.name || step.stage}</b><span class="word">${word}</span><span class="took">${[tries, took].filter(Boolean).join(' · ')}</span></div>
      ${step.error && step.state !== 'succeeded' ? html`<pre class="error clamp red-text">${step.error}</pre>` : null}
      ${step.retry_ms && step.state === 'retrying' ? html`<p class="dim">${off ? 'starts' : 'next attempt'} in ${duration(step.retry_ms)}</p>` : null}</div></li>`;
}

function KeyItem({ name, info, value, input }) {
  const [open, setOpen] = useState(false);
  const has = Boolean(info);
  const text = value && value.text;
  return html`<li class="item keyed ${has ? 'has' : ''}" data-key=${name}><span class="dot"><${Icon} name="keys" size=${14} /></span>
    <div class="body"><button type="button" class="title" aria-expanded=${String(open)} disabled=${!has} onClick=${() => setOpen(!open)}><${KeyName} name=${name} />
        <span class="took">${has ? `v${info.version}${info.size !== undefined ? ` · ${size(info.size)}` : ''}` : input ? 'input' : 'not written yet'}</span>${has && html`<${Icon} name=${open ? 'down' : 'right'} size=${13} />`}</button>
      ${has && !open && text ? html`<p class="peek">${text.slice(0, 220)}</p>` : null}
      ${open && html`<div class="value">${text !== undefined ? html`<${Json} text=${text} />` : html`<p class="pad dim">${value && value.error ? value.error : 'Loading'}</p>`}
        <div class="value-tools"><a class="btn small" href=${path('keys', name)}><${Icon} name="edit" size=${13} />Edit</a>${text !== undefined && html`<${Copy} text=${text} label="Copy value" />`}</div></div>`}</div></li>`;
}

/* Stays at the end while the reader is at the end. */
function Log({ lines, logged, live }) {
  const ref = useRef();
  const stick = useRef(true);
  useEffect(() => {
    if (stick.current && ref.current) ref.current.scrollTop = ref.current.scrollHeight;
  }, [lines.length, logged]);
  const onScroll = (e) => {
    stick.current = e.target.scrollHeight - e.target.scrollTop - e.target.clientHeight < 30;
  };
  const shown = lines.slice(-500);
  return html`<section class="panel" aria-label="Log"><header><${Icon} name="log" /><h2>Log</h2><div class="tools">${lines.length ? `${lines.length} lines` : ''}${lines.length ? html`<${Copy} text=${lines.map((l) => l.line).join('\n')} label="Copy the log" />` : null}</div></header>
    ${shown.length ? html`<div class="log" ref=${ref} onScroll=${onScroll} tabindex="0" role="log" aria-label="Log lines">${shown.map((l, i) => html`<div class="log-line" key=${l.n ?? `${l.at}${i}`}>
      <time title=${new Date(when(l.at)).toISOString()}>${clock(when(l.at))}</time><span class="who">${l.stage.slice(l.stage.lastIndexOf('.') + 1)}</span><span class="what">${l.line}</span></div>`)}</div>`
    : html`<p class="pad dim">${live ? 'What the steps write to stderr appears here.' : 'The steps wrote nothing to stderr.'}</p>`}</section>`;
}

const clock = (ms) => new Date(ms).toTimeString().slice(0, 8) + `.${String(ms % 1000).padStart(3, '0')}`;
