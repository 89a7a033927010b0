/* SPDX-License-Identifier: Apache-2.0 */
/* Ctrl-K: go anywhere by typing a part of its name. Pages, runs and deliveries that the page knows, keys asked from the server, any pasted id. */
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { store, listItems } from '../store.js';
import { getJson } from '../api.js';
import { KeyName, shortId, State, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { go, path } from '../nav.js';
import { Dialog } from './dialog.js';
import { matches, wordsOf } from './list.js';
import { isJob } from '../jobs.js';
import { useJobs } from './jobs.js';
import { runTitle } from './runs.js';
import { deliveryTitle } from './deliveries.js';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function choices({ words, text, pages, turnTheme, keys, jobs }) {
  const out = [];
  for (const p of pages) if (matches(words, p.title)) out.push({ icon: p.name, name: p.title, hint: `g ${p.key}`, run: () => go(`#/${p.name}`) });
  if (matches(words, 'turn theme light dark')) out.push({ icon: 'auto', name: 'Turn the theme', hint: 'light, dark, system', run: turnTheme });
  const failed = [['#/runs?state=failed', 'runs', 'Failed runs'], ['#/deliveries?outcome=rejected', 'deliveries', 'Rejected deliveries']];
  for (const [href, icon, name] of failed) if (matches(words, name)) out.push({ icon, name, hint: 'show', run: () => go(href) });
  if (!words.length) return out;
  for (const j of jobs) if (matches(words, `${j.name} ${j.description || ''}`)) out.push({ icon: 'jobs', name: j.name, hint: j.type, run: () => go(path('jobs', j.name)) });
  for (const p of store.pipelines || []) {
    for (const s of isJob(p.name) ? [] : p.stages) if (matches(words, `${s.id} ${s.watch}`)) out.push({ icon: 'pipelines', name: s.id, hint: 'stage', run: () => go('#/pipelines') });
  }
  const some = (list, title) => listItems(list).filter((x) => matches(words, `${x.id} ${title(x)} ${x.pipeline || ''} ${x.delivery || ''}`)).slice(0, 6);
  for (const r of some(store.runs, runTitle)) out.push({ icon: 'runs', name: runTitle(r), mono: r.id, state: r.state, at: r.created, run: () => go(path('runs', r.id)) });
  for (const d of some(store.deliveries, deliveryTitle)) out.push({ icon: 'deliveries', name: deliveryTitle(d), mono: d.id, state: d.outcome, at: d.received_at || d.at, run: () => go(path('deliveries', d.id)) });
  for (const k of keys) out.push({ icon: 'keys', name: k.key, hint: `v${k.version}`, code: true, run: () => go(path('keys', k.key)) });
  if (uuid.test(text.trim())) out.push({ icon: 'runs', name: 'Open the run with this id', hint: 'run', run: () => go(path('runs', text.trim())) });
  return out.slice(0, 40);
}

export function Palette({ close, pages, turnTheme }) {
  const [text, setText] = useState('');
  const [at, setAt] = useState(0);
  const [keys, setKeys] = useState([]);
  const list = useRef();
  const words = wordsOf(text);
  useEffect(() => {
    const asked = text.trim();
    const stop = new AbortController();
    const t = setTimeout(() => {
      if (asked.length < 2) return setKeys([]);
      const pattern = /[*>]/.test(asked) ? asked : '>';
      return getJson(`/v1/kv?match=${encodeURIComponent(pattern)}&limit=${pattern === '>' ? 500 : 8}`, { signal: stop.signal })
        .then((found) => setKeys(found.filter((k) => pattern !== '>' || matches(words, k.key)).slice(0, 8))).catch(() => {});
    }, 120);
    return () => {
      clearTimeout(t);
      stop.abort();
    };
  }, [text]);
  const jobs = useJobs().data || [];
  const found = choices({ words, text, pages, turnTheme, keys, jobs });
  const current = Math.min(at, found.length - 1);
  useEffect(() => {
    const row = list.current && list.current.children[current];
    if (row) row.scrollIntoView({ block: 'nearest' });
  }, [current]);
  const take = (choice) => {
    close();
    if (choice) choice.run();
  };
  const onKeyDown = (e) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[e.key] || (e.ctrlKey && { n: 1, p: -1, j: 1 }[e.key]);
    if (by) {
      e.preventDefault();
      setAt((current + by + found.length) % Math.max(1, found.length));
    } else if (e.key === 'Enter') {
      e.preventDefault();
      take(found[current]);
    }
  };
  return html`<${Dialog} label="Go to" close=${close} class="palette"><div class="palette-field"><${Icon} name="search" size=${18} />
      <input type="text" autofocus role="combobox" aria-expanded="true" aria-controls="palette-list" aria-activedescendant=${found.length ? `choice-${current}` : null} aria-label="Go to a page, job, run or key"
        placeholder="Go to a page, job, run, delivery or key" value=${text} spellcheck=${false} autocomplete="off" onInput=${(e) => {
    setText(e.target.value);
    setAt(0);
  }} onKeyDown=${onKeyDown} /><kbd>Esc</kbd></div>
    <ul id="palette-list" class="palette-list" role="listbox" aria-label="Choices" ref=${list}>${found.map((c, i) => html`<li key=${c.icon + c.name + (c.mono || '')} id=${`choice-${i}`} role="option" aria-selected=${String(i === current)}
        onMouseMove=${() => i !== current && setAt(i)} onClick=${() => take(c)}><${Icon} name=${c.icon} /><span class="cut ${c.code ? 'mono' : ''}">${c.code ? html`<${KeyName} name=${c.name} />` : c.name}</span>
        ${c.mono && html`<span class="mono dim narrow-off">${shortId(c.mono)}</span>`}
        ${c.state ? html`<span class="palette-hint"><${State} of=${c.state} /><${Time} at=${c.at} /></span>` : html`<span class="palette-hint">${c.hint}</span>`}</li>`)}</ul>
    ${!found.length && html`<p class="pad dim">Nothing has that name. A run’s id can be pasted whole.</p>`}<//>`;
}
