/* SPDX-License-Identifier: Apache-2.0 */
/* What follows a run: deliveries of its result, the jobs that it starts, notices and alerts. Each is a stage of its own, with attempts and errors of its own;
 * none changes how the run ended. */
import { html } from '../vendor/preact.js';
import { afterSteps } from '../jobs.js';
import { duration } from '../times.js';
import { look, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { path } from '../nav.js';
import { stageName } from '../store.js';

const icons = { email: 'mail', slack: 'chat', http: 'link', kv: 'keys', file: 'report', github: 'branch', start: 'jobs', agent: 'ping', command: 'runs', extension: 'pipelines', alert: 'bell', deliver: 'mail' };
export const kindIcon = (kind) => icons[kind] || 'runs';

const words = { email: 'Email to', slack: 'Slack', http: 'Sent to', kv: 'Key', file: 'File', github: 'GitHub', start: 'Starts', alert: 'Alert if' };
export function afterWord(step) {
  if ((step.id || step.stage) === 'hookmesh.dead-letter') return 'Notice of the dead letter to';
  return words[step.kind] || stageName(step.id || step.stage || step.name);
}

const stateWords = { pending: 'Waits for the end', succeeded: 'Done', failed: 'Failed' };

function AfterStep({ step, children: runs }) {
  const [colour, icon, word] = look(step.state);
  const tries = step.attempt > 1 ? `${step.attempt} attempts` : '';
  const took = step.us !== undefined ? duration(step.us / 1000) : '';
  return html`<li class="after-item ${colour}" data-stage=${step.name || step.stage} data-state=${step.state}><span class="after-kind"><${Icon} name=${kindIcon(step.kind)} size=${16} /></span>
    <div class="grow"><div class="title"><span class="what wrap"><b>${afterWord(step)}</b>${step.to ? html` <span class="mono">${step.to}</span>` : null}</span><span class="state ${colour}"><${Icon} name=${icon} class=${step.state === 'running' ? 'spin' : ''} /><span>${stateWords[step.state] || word}</span></span>
        <span class="took">${[tries, took].filter(Boolean).join(' · ')}</span></div>
      ${step.error && step.state !== 'succeeded' ? html`<pre class="error clamp red-text">${step.error}</pre>` : null}
      ${step.retry_ms && step.state === 'retrying' ? html`<p class="dim">next attempt in ${duration(step.retry_ms)}</p>` : null}
      ${(runs || []).map((r) => html`<p><a class="link" href=${path('runs', r.id)}>${r.job || r.pipeline}</a> <span class="dim"><${Time} at=${r.created} /></span></p>`)}</div></li>`;
}

export function After({ run, runs }) {
  const steps = afterSteps(run);
  if (!steps.length) return null;
  const done = steps.filter((s) => s.state === 'succeeded').length;
  return html`<section class="panel" aria-label="Afterwards"><header><h2>Afterwards</h2><span class="tools">${done} of ${steps.length} done</span></header>
    <ul class="after">${steps.map((s) => html`<${AfterStep} key=${s.stage} step=${s} children=${s.kind === 'start' ? runs : null} />`)}</ul></section>`;
}
