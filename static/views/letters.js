/* SPDX-License-Identifier: Apache-2.0 */
/* The dead letters: inputs that failed to the last attempt. Each can be tried again or dropped, alone or all that are shown. */
import { html, useMemo, useRef, useState } from '../vendor/preact.js';
import { store, stageName } from '../store.js';
import { getPage, request } from '../api.js';
import { useData } from '../data.js';
import { jobName } from '../jobs.js';
import { Act, copyText, Copy, Empty, KeyName, number, say, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { useSelection } from '../keyboard.js';
import { draw, go, path } from '../nav.js';
import { Dialog } from './dialog.js';
import { FilterBar, matches, Rows, wordsOf } from './list.js';

/* The map counts what is dead in each stage, and is told anew when that changes, whoever did it. */
export function deadCount() {
  let n = 0;
  for (const p of store.pipelines || []) for (const s of p.stages) n += s.dead || 0;
  return n;
}

export const lettersUrl = '/v1/dlq?limit=200';
export function useLetters(wanted = true) {
  const { synced, letters } = store.stamps;
  return useData(wanted ? lettersUrl : null, `${synced} ${letters} ${deadCount()}`, getPage);
}

/* A letter goes by the id of its run, and with it all of that run. */
const one = (run) => `/v1/dlq/${encodeURIComponent(run)}`;
export const retryLetter = (run) => request('POST', `${one(run)}/retry`);
const dropLetter = (run) => request('DELETE', one(run));

const stageOf = (l) => ({ job: jobName(l.pipeline || l.stage.slice(0, l.stage.lastIndexOf('.'))), step: stageName(l.stage) });

function drawLetter(l, actions) {
  const { job, step } = stageOf(l);
  return html`<a class="main-link cut c-title" href=${path('runs', l.run)}>${job} <span class="dim">›</span> ${step}</a>
    <span class="c-error mono wrap2 red-text" title=${l.error}>${l.error || 'No reason was recorded.'}</span>
    <span class="sub cut c-sub">${l.after ? 'after the run succeeded' : html`<${KeyName} name=${l.key} />`}</span>
    <span class="sub right c-took">${l.attempts} ${l.attempts === 1 ? 'attempt' : 'attempts'}</span>
    <span class="sub right c-time"><${Time} at=${l.at} /></span>
    <span class="acts over"><button type="button" class="icon-btn tiny" title="Retry (r)" aria-label=${`Retry ${job} ${step} of ${l.run}`} onClick=${() => actions.retry(l)}><${Icon} name="retry" size=${14} /></button>
      <button type="button" class="icon-btn tiny" title="Drop (x)" aria-label=${`Drop ${job} ${step} of ${l.run}`} onClick=${() => actions.drop(l)}><${Icon} name="trash" size=${14} /></button><${Copy} text=${l.run} label=${`Copy run id ${l.run}`} tiny /></span>`;
}

/* The letters' stages as chips, the fullest first. */
function chipsOf(items) {
  const counts = new Map();
  for (const l of items) counts.set(stageOf(l).job, (counts.get(stageOf(l).job) || 0) + 1);
  const jobs = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 6);
  return jobs.length > 1 ? [['', 'All', items.length], ...jobs.map(([job, n]) => [job, job, n])] : [];
}

export function Letters({ query }) {
  const [chip, setChip] = useState(query.get('job') || '');
  const [text, setText] = useState(query.get('q') || '');
  const [asking, ask] = useState(false);
  const [gone, setGone] = useState(new Set());
  const input = useRef();
  const { data, error, reload } = useLetters();
  const all = useMemo(() => (data ? data.items : []).filter((l) => !gone.has(l.run)).map((l) => ({ ...l, id: `${l.run} ${l.stage}` })), [data, gone]);
  const words = wordsOf(text);
  const items = all.filter((l) => (!chip || stageOf(l).job === chip) && (!words.length || matches(words, `${l.run} ${l.stage} ${l.key} ${l.error || ''}`)));
  const total = Math.max(deadCount() - gone.size, all.length);
  const some = items.length < all.length;
  /* It leaves the list at once; the list that comes with the next event says the same. */
  const act = async (runs, work, said) => {
    let n = 0;
    try {
      for (const run of runs) {
        await work(run);
        n++;
        setGone((old) => new Set(old).add(run));
      }
      say(said(n), 'check');
    } finally {
      await reload();
      setGone(new Set());
      draw();
    }
  };
  const wrong = (e) => say(e.message, 'bad');
  const actions = {
    retry: (l) => act([l.run], retryLetter, () => 'It is tried again').catch(wrong),
    drop: (l) => act([l.run], dropLetter, () => 'Dropped').catch(wrong),
  };
  const letters = (n) => `${number(n)} ${n === 1 ? 'letter' : 'letters'}`;
  /* Of a whole job, or all, the server does it in one step, also those that are not listed here. */
  const many = (method, url, each, done) => {
    const runs = [...new Set(items.map((l) => l.run))];
    if (words.length) return act(runs, each, (n) => `${letters(n)} ${done}`);
    return act(['all'], () => request(method, url + (chip ? `?job=${encodeURIComponent(chip)}` : '')), () => `${chip ? `All of ${chip}` : 'All dead letters'} ${chip ? 'is' : 'are'} ${done}`);
  };
  const retryMany = () => many('POST', '/v1/dlq/retry', retryLetter, 'tried again');
  const dropMany = async () => {
    ask(false);
    await many('DELETE', '/v1/dlq', dropLetter, 'dropped').catch(wrong);
  };
  const selection = useSelection(items, { open: (l) => go(path('runs', l.run)), copy: (l) => copyText(l.run, 'Run id copied'), replay: actions.retry, drop: actions.drop, filter: () => input.current && input.current.focus() });
  const head = html`<div class="head"><h1>Dead letters</h1><span class="sub">inputs that failed to the last attempt</span>
    ${items.length > 0 && html`<div class="tools"><${Act} icon="retry" label=${some ? `Retry these ${number(items.length)}` : `Retry all ${number(total)}`} main run=${retryMany} />
      <button type="button" class="btn" onClick=${() => ask(true)}><${Icon} name="trash" />${some ? `Drop these ${number(items.length)}` : 'Drop all'}</button></div>`}</div>`;
  if (!all.length) return html`${head}<div class="rows"><${NoLetters} loaded=${Boolean(data)} error=${error} /></div>`;
  return html`${head}
    <${FilterBar} chips=${chipsOf(all)} chip=${chip} setChip=${setChip} text=${text} setText=${setText} inputRef=${input} placeholder="Filter by error, stage, key, run" />
    ${items.length ? html`<${Rows} items=${items} kind="r-letter" selection=${selection} draw=${(l) => drawLetter(l, actions)} label="Dead letters" />` : html`<div class="rows"><${Empty} icon="filter" title="No letter matches" text="Take a word out of the filter, or show all of them." /></div>`}
    ${total > all.length ? html`<p class="more">The newest ${number(all.length)} of ${number(total)} are shown.</p>` : null}
    ${asking && html`<${Dialog} label="Drop dead letters" close=${() => ask(false)} class="ask"><div class="pad"><h2>Drop ${letters(some ? items.length : total)}?</h2><p class="wrap">Their inputs stay as keys, but nobody will be told of them again, and they cannot be retried from here.</p>
      <div class="form-foot"><button type="button" class="btn danger" autofocus onClick=${dropMany}><${Icon} name="trash" />Drop</button><button type="button" class="btn bare" onClick=${() => ask(false)}>Keep them</button></div></div><//>`}`;
}

function NoLetters({ loaded, error }) {
  if (error) return html`<${Empty} icon="letters" title="The dead letters cannot be listed" text=${error} />`;
  if (!loaded) return html`<${Empty} icon="letters" title="Loading the dead letters" />`;
  return html`<${Empty} icon="ok" title="No dead letters" text="What fails to its last attempt is kept here with its input, its error and its attempts, until it is retried or dropped. On the command line:" command="hookmesh dlq list" />`;
}
