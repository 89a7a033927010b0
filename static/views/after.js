/* SPDX-License-Identifier: Apache-2.0 */
/* What follows a run: deliveries of its result, the jobs that it starts, notices and alerts. Each is a stage of its own, with attempts and errors of its own;
 * none changes how the run ended. */
import { html } from '../vendor/preact.js';
import { afterSteps, jobName } from '../jobs.js';
import { duration } from '../times.js';
import { KeyName, look, shortId, State, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { path } from '../nav.js';
import { stageName, store } from '../store.js';

const icons = { email: 'mail', slack: 'chat', http: 'link', kv: 'keys', file: 'report', github: 'branch', start: 'jobs', agent: 'ping', command: 'runs', extension: 'pipelines', alert: 'bell', deliver: 'mail' };
export const kindIcon = (kind) => icons[kind] || 'runs';

const words = { email: 'Email to', slack: 'Slack', http: 'HTTP to', kv: 'Key', file: 'File', github: 'GitHub', start: 'Starts', alert: 'Alert if' };
export function afterWord(step) {
  if ((step.id || step.stage) === 'hookmesh.dead-letter') return 'Notice of the dead letter to';
  return words[step.kind] || stageName(step.id || step.stage || step.name);
}

/* What came of it, with the way there. */
function Outcome({ step }) {
  const r = step.result;
  if (step.state !== 'succeeded' || !r || typeof r !== 'object') return null;
  if (r.run_id) {
    const run = store.runs.index.get(r.run_id);
    return html`<p class="outcome"><a class="link" href=${path('runs', r.run_id)}>run <span class="mono">${shortId(r.run_id)}</span></a>${run ? html`<${State} of=${run.state} />` : html`<span class="dim">${r.outcome}</span>`}</p>`;
  }
  if (r.key) return html`<p class="outcome"><a class="link mono wrap" href=${path('keys', r.key)}><${KeyName} name=${r.key} /></a></p>`;
  if (r.alert !== undefined) return html`<p class="outcome dim">${r.told ? 'somebody was told' : r.alert === 'fine' ? 'all is well: nothing to tell' : r.alert}</p>`;
  return r.status ? html`<p class="outcome dim">answered ${r.status}</p>` : null;
}

const stateWords = { pending: 'Waits for the end', succeeded: 'Done', failed: 'Failed' };

function AfterStep({ step }) {
  const [colour, icon, word] = look(step.state);
  const n = Math.max(step.attempt || 1, step.failed_attempts || 1);
  const tries = n > 1 || step.state === 'retrying' ? `${n} ${n === 1 ? 'attempt' : 'attempts'}` : '';
  const took = step.us !== undefined ? duration(step.us / 1000) : '';
  return html`<li class="after-item ${colour}" data-stage=${step.name || step.stage} data-state=${step.state}><span class="after-kind"><${Icon} name=${kindIcon(step.kind)} size=${16} /></span>
    <div class="grow"><div class="title"><span class="what wrap"><b>${afterWord(step)}</b>${step.to ? html` <span class="mono">${step.to}</span>` : null}</span><span class="state ${colour}"><${Icon} name=${icon} class=${step.state === 'running' ? 'spin' : ''} /><span>${stateWords[step.state] || word}</span></span>
        <span class="took">${[tries, took].filter(Boolean).join(' · ')}</span></div>
      ${step.error && step.state !== 'succeeded' ? html`<pre class="error clamp red-text">${step.error}</pre>` : null}
      ${step.retry_ms && step.state === 'retrying' ? html`<p class="dim">next attempt in ${duration(step.retry_ms)}</p>` : null}
      <${Outcome} step=${step} /></div></li>`;
}

/* Runs that its work started itself, as agents may. */
export function Started({ runs }) {
  if (!runs.length) return null;
  return html`<section class="panel" aria-label="Started by this run"><header><h2>Started by this run</h2></header><ul class="after">${runs.map((r) => html`<li key=${r.id} class="after-item"><span class="after-kind"><${Icon} name="jobs" size=${16} /></span>
    <div class="grow"><div class="title"><a class="link what" href=${path('runs', r.id)}>${jobName(r.pipeline)} <span class="mono">${shortId(r.id)}</span></a><${State} of=${r.state} /><span class="took"><${Time} at=${r.created} /></span></div></div></li>`)}</ul></section>`;
}

export function After({ run }) {
  const steps = afterSteps(run);
  if (!steps.length) return null;
  const done = steps.filter((s) => s.state === 'succeeded').length;
  return html`<section class="panel" aria-label="Afterwards"><header><h2>Afterwards</h2><span class="tools">${done} of ${steps.length} done</span></header>
    <ul class="after">${steps.map((s) => html`<${AfterStep} key=${s.stage} step=${s} />`)}</ul></section>`;
}
