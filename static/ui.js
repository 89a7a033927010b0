/* SPDX-License-Identifier: Apache-2.0 */
/* The small parts: states, times, ids, buttons, empty pages, JSON, messages. */
import { html, useState, useEffect, useRef } from './vendor/preact.js';
import { Icon } from './icons.js';
import { ago, when } from './times.js';

/* state or outcome -> colour, icon, word */
const looks = {
  queued: ['gray', 'queued', 'Queued'], running: ['blue', 'run', 'Running'], waiting: ['amber', 'wait', 'Waiting'],
  succeeded: ['green', 'ok', 'Succeeded'], failed: ['red', 'bad', 'Failed'], timed_out: ['red', 'wait', 'Timed out'],
  cancelled: ['gray', 'skip', 'Cancelled'], budget_exceeded: ['red', 'dead', 'Over budget'], skipped: ['gray', 'skip', 'Skipped'],
  dead: ['red', 'dead', 'Dead'], retrying: ['amber', 'retry', 'Tries again'], pending: ['gray', 'queued', 'Not yet'],
  accepted: ['green', 'ok', 'Accepted'], duplicate: ['gray', 'twice', 'Duplicate'], filtered: ['gray', 'filter', 'Filtered'],
  rejected: ['red', 'shield', 'Rejected'], unrouted: ['amber', 'lost', 'Unrouted'], ping: ['gray', 'ping', 'Ping'],
};
export const look = (state) => looks[state] || ['gray', 'lost', state || 'Unknown'];

export function State({ of, pill }) {
  const [colour, icon, word] = look(of);
  return html`<span class="state ${colour} ${pill ? 'pill' : ''}"><${Icon} name=${icon} class=${of === 'running' ? 'spin' : ''} /><span>${word}</span></span>`;
}

/* Relative times age by themselves: one timer writes into the elements, no page is drawn anew. */
const clocks = new Map();
setInterval(() => {
  const now = Date.now();
  for (const [element, ms] of clocks) {
    const text = ago(ms, now);
    if (element.firstChild && element.firstChild.data !== text) element.firstChild.data = text;
  }
}, 1000);

export function Time({ at }) {
  const ref = useRef();
  const ms = when(at);
  useEffect(() => {
    if (!ref.current || !ms) return undefined;
    clocks.set(ref.current, ms);
    const element = ref.current;
    return () => clocks.delete(element);
  }, [ms]);
  if (!ms) return null;
  const d = new Date(ms);
  return html`<time ref=${ref} dateTime=${d.toISOString()} title=${`${d.toLocaleString()} (${d.toISOString()})`}>${ago(ms)}</time>`;
}

export function size(bytes) {
  if (bytes === undefined || bytes === null) return '';
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1048576) return `${(bytes / 1024).toFixed(1)} KB`;
  return `${(bytes / 1048576).toFixed(1)} MB`;
}

export const number = (n) => (n === undefined || n === null ? '' : n.toLocaleString('en-US').replaceAll(',', '\u202f'));

/* A UUIDv7 begins with the time, so near ones begin alike: its end tells them apart. */
export const shortId = (id) => (/^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(id) ? `…${id.slice(-8)}` : id);

export async function copyText(text, what = 'Copied') {
  try {
    await navigator.clipboard.writeText(text);
    say(what, 'check');
  } catch {
    say(`The browser does not allow copying here: ${text}`, 'bad');
  }
}

export function Copy({ text, label = 'Copy', tiny }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return undefined;
    const t = setTimeout(() => setDone(false), 1200);
    return () => clearTimeout(t);
  }, [done]);
  const onClick = async (e) => {
    e.preventDefault();
    await copyText(text);
    setDone(true);
  };
  return html`<button type="button" class="icon-btn ${tiny ? 'tiny' : ''} ${done ? 'done' : ''}" title=${label} aria-label=${label} onClick=${onClick}>
    <${Icon} name=${done ? 'check' : 'copy'} size=${tiny ? 13 : 15} /></button>`;
}

export function Id({ id, whole }) {
  return html`<span class="id"><span class="cut" title=${id}>${whole ? id : shortId(id)}</span><${Copy} text=${id} label="Copy id" tiny /></span>`;
}

/* What a pattern leaves open stands out; a run's id in a key is shortened, as everywhere. */
const keyParts = /(\*|>|\{[^}]*\}|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})/;
export function KeyName({ name, whole }) {
  const parts = String(name).split(keyParts);
  return html`<span class="key" title=${name}>${parts.map((p, i) => {
    if (i % 2 === 0) return p;
    if (p.length < 36) return html`<b>${p}</b>`;
    return html`<span class="uuid">${whole ? p : shortId(p)}</span>`;
  })}</span>`;
}

/* A button for work that takes a moment; what goes wrong is said in words. */
export function Act({ icon, label, main, small, run, title, done }) {
  const [busy, setBusy] = useState(false);
  const onClick = async () => {
    setBusy(true);
    try {
      await run();
      if (done) say(done, 'check');
    } catch (e) {
      say(e.message, 'bad');
    }
    setBusy(false);
  };
  return html`<button type="button" class="btn over ${main ? 'main' : ''} ${small ? 'small' : ''}" disabled=${busy} title=${title} onClick=${onClick}>
    ${icon && html`<${Icon} name=${icon} size=${small ? 14 : 16} class=${busy ? 'spin' : ''} />`}${label}</button>`;
}

export function Empty({ icon, title, text, command }) {
  return html`<div class="empty"><${Icon} name=${icon} size=${28} /><h2>${title}</h2>${text && html`<p>${text}</p>`}
    ${command && html`<div class="cmd"><span class="grow">${command}</span><${Copy} text=${command} label="Copy command" tiny /></div>`}</div>`;
}

export function Note({ colour = 'red', icon = 'bad', title, at, children }) {
  return html`<section class="note ${colour}" aria-label=${typeof title === 'string' ? title : null}><${Icon} name=${icon} size=${18} /><div class="grow"><div class="note-head"><h2>${title}</h2>${at && html`<${Time} at=${at} />`}</div>${children}</div></section>`;
}

/* JSON as coloured text, built as nodes. Very large values are shown plain. */
const token = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b/g;
export function Json({ text }) {
  const pretty = prettyJson(text);
  if (pretty === null || pretty.length > 200000) return html`<pre class="code" tabindex="0" aria-label="Value">${pretty ?? text}</pre>`;
  const out = [];
  let at = 0;
  for (const m of pretty.matchAll(token)) {
    if (m.index > at) out.push(pretty.slice(at, m.index));
    const cls = m[1] ? (m[2] ? 'k' : 's') : m[3] ? 'n' : 'l';
    out.push(html`<span class=${cls}>${m[1] || m[0]}</span>`, m[2] || '');
    at = m.index + m[0].length;
  }
  out.push(pretty.slice(at));
  return html`<pre class="code" tabindex="0" aria-label="Value">${out}</pre>`;
}

export function prettyJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

/* Messages at the edge of the page, read out by screen readers. */
let toasts = [];
let toastId = 0;
let drawToasts = () => {};
export function say(text, icon = 'check') {
  const t = { id: ++toastId, text, icon };
  toasts = [...toasts.slice(-2), t];
  drawToasts();
  setTimeout(() => {
    toasts = toasts.filter((x) => x !== t);
    drawToasts();
  }, icon === 'bad' ? 7000 : 2600);
}

export function Toasts() {
  const [, draw] = useState(0);
  drawToasts = () => draw((n) => n + 1);
  return html`<div class="toasts" role="status" aria-live="polite">${toasts.map((t) => html`<div class="toast" key=${t.id}><${Icon} name=${t.icon} /><span>${t.text}</span></div>`)}</div>`;
}
