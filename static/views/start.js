/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a job by hand: a form made of its parameters, or any JSON. */
import { html, useState } from '../vendor/preact.js';
import { request } from '../api.js';
import { fieldsOf, inputOf } from '../jobs.js';
import { prettyJson } from '../ui.js';
import { Icon } from '../icons.js';
import { go, path } from '../nav.js';
import { Dialog } from './dialog.js';

function Field({ field, text, wrong, set }) {
  const id = `p-${field.name}`;
  const about = [field.about, wrong].filter(Boolean).length ? `${id}-about` : null;
  const common = { id, 'aria-describedby': about, 'aria-invalid': wrong ? 'true' : null, onInput: (e) => set(e.target.value), class: `input ${field.kind === 'json' ? 'mono' : ''}` };
  const control = field.kind === 'choice' ? html`<select ...${common} value=${text}>${!field.required || !text ? html`<option value="">${field.required ? 'choose one' : 'not given'}</option>` : null}${field.choices.map((c) => html`<option value=${JSON.stringify(c)}>${typeof c === 'string' ? c : JSON.stringify(c)}</option>`)}</select>`
    : field.kind === 'json' ? html`<textarea ...${common} rows="3" spellcheck=${false} value=${text} placeholder=${field.type === 'array' ? '[ ]' : '{ }'} />`
      : html`<input ...${common} type=${field.kind === 'number' ? 'number' : 'text'} step=${field.type === 'integer' ? '1' : 'any'} value=${text} autocomplete="off" />`;
  return html`<div class="form-row"><label for=${id}>${field.name}${field.required ? html`<span class="red-text" title="must be given"> *</span>` : ''}<span class="kind">${field.type}</span></label>${control}
    ${about && html`<p id=${about} class=${wrong ? 'red-text' : 'dim'}>${[wrong && `${field.name} ${wrong}.`, field.about].filter(Boolean).join(' ')}</p>`}</div>`;
}

export function Start({ job, close }) {
  const fields = fieldsOf(job.parameters);
  const [raw, setRaw] = useState(fields.length ? null : '{}');
  const [texts, setTexts] = useState({});
  const [wrong, setWrong] = useState({});
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const toRaw = () => setRaw(JSON.stringify(inputOf(fields, texts).input, null, 2));
  const submit = async (e) => {
    e.preventDefault();
    setError('');
    const made = raw === null ? inputOf(fields, texts) : { wrong: {} };
    setWrong(made.wrong);
    if (Object.keys(made.wrong).length) {
      document.getElementById(`p-${Object.keys(made.wrong)[0]}`).focus();
      return;
    }
    if (raw !== null && raw.trim() && prettyJson(raw) === null) {
      setError('This is not JSON.');
      return;
    }
    setBusy(true);
    try {
      const answer = await request('POST', `/v1/jobs/${encodeURIComponent(job.name)}/runs`, { body: raw === null ? JSON.stringify(made.input) : raw.trim() || '{}', headers: { 'content-type': 'application/json' } });
      const { run_id } = await answer.json();
      close();
      go(path('runs', run_id));
    } catch (problem) {
      setError(problem.message);
      setBusy(false);
    }
  };
  return html`<${Dialog} label=${`Run ${job.name}`} close=${close} class="start"><header><h2>Run ${job.name}</h2><button type="button" class="icon-btn" aria-label="Close" onClick=${close}><${Icon} name="close" /></button></header>
    <form class="form" onSubmit=${submit} noValidate>
      ${fields.length > 0 && html`<div class="chips form-tabs" role="group" aria-label="Kind of input"><button type="button" class="chip" aria-pressed=${String(raw === null)} onClick=${() => setRaw(null)}>Form</button>
        <button type="button" class="chip" aria-pressed=${String(raw !== null)} onClick=${toRaw}>JSON</button></div>`}
      ${raw === null ? fields.map((f) => html`<${Field} key=${f.name} field=${f} text=${texts[f.name] ?? f.text} wrong=${wrong[f.name]} set=${(v) => setTexts((old) => ({ ...old, [f.name]: v }))} />`)
    : html`<div class="form-row"><label for="raw">Input<span class="kind">JSON</span></label><textarea id="raw" class="input mono" rows="8" spellcheck=${false} autofocus value=${raw} aria-invalid=${error ? 'true' : null} onInput=${(e) => setRaw(e.target.value)} onKeyDown=${(e) => e.key === 'Enter' && (e.ctrlKey || e.metaKey) && submit(e)} /></div>`}
      ${error && html`<p class="red-text wrap" role="alert">${error}</p>`}
      <div class="form-foot"><button type="submit" class="btn main" disabled=${busy}><${Icon} name="runs" />Run</button><button type="button" class="btn bare" onClick=${close}>Cancel</button></div></form><//>`;
}
