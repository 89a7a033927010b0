/* SPDX-License-Identifier: Apache-2.0 */
/* The keys: found by pattern, followed live, read and edited. Writing a value is what starts stages, so an edit runs the pipeline on from there. */
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { store } from '../store.js';
import { getKey, keyPath, putKey, request } from '../api.js';
import { Act, copyText, Copy, Empty, Json, KeyName, Note, prettyJson, say, size, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { useSelection } from '../keyboard.js';
import { draw, go, path } from '../nav.js';
import { More, Rows, useHeld } from './list.js';

/* "raw" typed by hand finds everything that has raw in it; "doc.*.raw" and "a.>" are patterns. */
const isPattern = (text) => /[*>]/.test(text) || text.includes('.');

function useKeyList(pattern) {
  useEffect(() => {
    store.keys = { pattern, map: new Map(), loaded: false };
    store.connection.want(`keys:${pattern}`);
    draw();
    return () => {
      store.connection.drop(`keys:${pattern}`);
      if (store.keys.pattern === pattern) store.keys = { pattern: '', map: new Map(), loaded: false };
    };
  }, [pattern]);
  return store.keys.pattern === pattern ? store.keys : { map: new Map(), loaded: false };
}

function drawKey(k) {
  return html`<a class="main-link cut" href=${path('keys', k.key)}><${KeyName} name=${k.key} /></a>
    <span class="sub right c-took">${size(k.size)}</span><span class="sub right">v${k.version}</span>
    <span class="sub right c-time">${k.at ? html`<${Time} at=${k.at} />` : ''}</span>
    <span class="acts over"><${Copy} text=${k.key} label=${`Copy key ${k.key}`} tiny /></span>`;
}

export function Keys({ id, query }) {
  const [text, setText] = useState(query.get('match') || '');
  const [asked, ask] = useState(text);
  const input = useRef();
  useEffect(() => {
    const t = setTimeout(() => ask(text), 250);
    return () => clearTimeout(t);
  }, [text]);
  useEffect(() => {
    if (query.get('match') !== null) setText(query.get('match'));
  }, [query.get('match')]);
  const word = isPattern(asked) ? '' : asked.trim().toLowerCase();
  const list = useKeyList(isPattern(asked) && !asked.includes('..') ? asked.trim() : '>');
  const all = [...list.map.values()].filter((k) => !word || k.key.toLowerCase().includes(word)).map((k) => (k.id ? k : Object.assign(k, { id: k.key })))
    .sort((a, b) => (b.at || 0) - (a.at || 0) || (a.key < b.key ? -1 : 1));
  const [items, newer] = useHeld(all);
  const selection = useSelection(items, {
    open: (k) => go(path('keys', k.key)), copy: (k) => copyText(k.key, 'Key copied'), filter: () => input.current.focus(), up: id ? () => go('#/keys') : undefined,
  });
  return html`<div class="head"><h1>Keys</h1><span class="sub">every value that flows, with its version</span></div>
    <div class="keys-grid ${id ? 'open' : ''}"><div class="keys-list"><div class="bar"><div class="field"><${Icon} name="search" />
        <input class="input mono" type="search" ref=${input} value=${text} placeholder="Pattern: github.*.report, or a word" aria-label="Pattern of keys" spellcheck=${false}
          onInput=${(e) => setText(e.target.value)} /><kbd aria-hidden="true">f</kbd></div></div>
      ${newer}
      ${items.length ? html`<${Rows} items=${items} kind="r-key" selection=${{ ...selection, picked: id || selection.picked }} draw=${drawKey} label="Keys" /><${More} shown=${items.length} />` : html`<div class="rows"><${NoKeys} list=${list} asked=${asked} /></div>`}</div>
    ${id ? html`<${Value} key=${id} name=${id} live=${list.map.get(id)} />` : html`<div class="keys-none"><${Empty} icon="keys" title="Choose a key" text="Its value is shown here. Change it, and every stage that watches it runs again." /></div>`}</div>`;
}

function NoKeys({ list, asked }) {
  if (!list.loaded) return html`<${Empty} icon="keys" title="Looking for keys" />`;
  if (asked.includes('.') && !/[*>]/.test(asked)) {
    return html`<${Empty} icon="keys" title="There is no such key" text="Its name is free." /><p class="more"><a class="btn" href=${path('keys', asked.trim())}><${Icon} name="edit" />Write ${asked.trim()}</a></p>`;
  }
  if (asked) return html`<${Empty} icon="filter" title="No key matches" text="* stands for one token between dots, > at the end for all the rest: github.*.report, pipeline.>" />`;
  return html`<${Empty} icon="keys" title="No keys yet" text="A webhook writes the first ones. By hand:" command=${'hookmesh kv put pipeline.doc-001.raw \'{"id":"doc-001"}\''} />`;
}

/* value: what is stored; draft: what is being typed (null: not editing), against the version that it began from. */
function Value({ name, live }) {
  const [value, setValue] = useState(null);
  const [error, setError] = useState('');
  const [draft, setDraft] = useState(null);
  const area = useRef();
  const load = () => getKey(name).then((v) => {
    setValue(v);
    setError('');
  }).catch((e) => {
    setValue(null);
    setError(e.message);
  });
  const version = live ? live.version : 0;
  useEffect(() => {
    if (!value || version !== value.version) load();
  }, [name, version]);
  useEffect(() => {
    if (draft && area.current && document.activeElement !== area.current) area.current.focus();
  }, [Boolean(draft)]);
  const edit = () => setDraft({ text: prettyJson(value.text) ?? value.text, from: value.version });
  const save = async () => {
    try {
      const v = await putKey(name, draft.text, draft.from);
      setDraft(null);
      setValue({ text: draft.text, version: v });
      say(`Saved as version ${v}; what watches it runs on from here`, 'check');
    } catch (e) {
      if (e.status !== 412) throw e;
      await load();
      throw new Error('Somebody else wrote this key meanwhile. Look at the new value above, then save again or drop your edit.');
    }
  };
  const remove = async () => {
    await request('DELETE', keyPath(name), { headers: { 'if-match': `"${value.version}"` } });
    go('#/keys');
    say('Deleted', 'check');
  };
  const behind = draft && value && value.version !== draft.from;
  const broken = draft && prettyJson(draft.text) === null;
  return html`<section class="panel keys-value" aria-label="Value"><header><a class="icon-btn keys-back" href="#/keys" aria-label="Back to the list"><${Icon} name="left" /></a><h2 class="wrap"><${KeyName} name=${name} whole /></h2>
      <div class="tools">${value && html`<span>v${value.version}</span>`}<${Copy} text=${name} label="Copy key" /></div></header>
    ${error && !draft && html`<${Empty} icon="keys" title="This key has no value" text=${error} /><p class="more"><button type="button" class="btn" onClick=${() => setDraft({ text: '{\n}', from: 0 })}><${Icon} name="edit" />Write it</button></p>`}
    ${value && !draft && html`<${Json} text=${value.text} /><div class="value-bar"><button type="button" class="btn main" onClick=${edit}><${Icon} name="edit" />Edit</button><${Copy} text=${value.text} label="Copy value" />
      <span class="grow"></span><${Confirm} label="Delete" run=${remove} /></div>`}
    ${draft && html`<div class="edit">${behind && html`<${Note} colour="amber" icon="twice" title=${`Version ${value.version} was written meanwhile`}><pre class="error clamp">${prettyJson(value.text) ?? value.text}</pre>
        <div class="tools"><button type="button" class="btn small" onClick=${() => setDraft({ ...draft, from: value.version })}>Keep my edit, put it on top</button><button type="button" class="btn small" onClick=${edit}>Take the new value</button></div><//>`}
      <textarea ref=${area} class="input" spellcheck=${false} aria-label=${`Value of ${name}`} value=${draft.text} rows=${Math.min(28, Math.max(8, draft.text.split('\n').length + 1))}
        onInput=${(e) => setDraft({ ...draft, text: e.target.value })}
        onKeyDown=${(e) => (e.ctrlKey || e.metaKey) && e.key === 'Enter' && save().catch((x) => say(x.message, 'bad'))}></textarea>
      <p class="dim" role="status">${broken ? 'This is not JSON; stages expect JSON.' : `Saving writes version ${draft.from + 1}, only if nobody else wrote meanwhile.`}</p>
      <div class="value-bar"><${Act} main icon="check" label=${`Save as version ${draft.from + 1}`} run=${save} title="Ctrl-Enter" /><button type="button" class="btn" onClick=${() => setDraft(null)}>Drop the edit</button></div></div>`}</section>`;
}

/* The first press asks, the second does it. */
function Confirm({ label, run }) {
  const [sure, setSure] = useState(false);
  useEffect(() => {
    if (!sure) return undefined;
    const t = setTimeout(() => setSure(false), 4000);
    return () => clearTimeout(t);
  }, [sure]);
  if (sure) return html`<${Act} label=${`${label}: sure?`} run=${run} />`;
  return html`<button type="button" class="btn bare" onClick=${() => setSure(true)}>${label}</button>`;
}
