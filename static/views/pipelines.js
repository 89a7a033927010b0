/* SPDX-License-Identifier: Apache-2.0 */
/* The map: stages as cards on the wires that their keys make, lit by what happens in them. */
import { html, useMemo, useRef, useState } from '../vendor/preact.js';
import { store } from '../store.js';
import { useWidth } from '../charts.js';
import { isJob, jobName } from '../jobs.js';
import { copyText, Empty, KeyName, number } from '../ui.js';
import { Icon } from '../icons.js';
import { useSelection } from '../keyboard.js';
import { go, path } from '../nav.js';
import { FilterBar, matches, wordsOf } from './list.js';
import { layout, shapeOf, wire } from './map.js';

const glow = 900;
const lit = (id) => {
  const p = store.pulses.get(id);
  return Boolean(p) && Date.now() - p.at < glow;
};
const keysOf = (pattern) => `#/keys?match=${encodeURIComponent(pattern)}`;

const most = 30; /* maps drawn at once */
const few = 8; /* up to so many pipelines nobody needs a filter */

/* What follows a run is shown with its job and its runs; the map is of the work itself. */
const ownStages = (p) => p.stages.filter((s) => !s.after && !/^run\.(ended|open)\./.test(s.watch || ''));

export function Pipelines() {
  const [text, setText] = useState('');
  const [kind, setKind] = useState('');
  const input = useRef();
  const words = wordsOf(text);
  const known = (store.pipelines || []).map((p) => ({ ...p, stages: ownStages(p) })).filter((p) => p.stages.length);
  const fit = known.filter((p) => (!kind || isJob(p.name) === (kind === 'job')) && (!words.length || matches(words, `${p.name} ${p.stages.map((s) => `${s.name} ${s.watch} ${s.write}`).join(' ')}`)));
  const shown = fit.slice(0, most);
  const all = shown.flatMap((p) => p.stages);
  const selection = useSelection(all, {
    open: (s) => go(keysOf(s.watch)),
    copy: (s) => copyText(s.id, 'Stage copied'),
    filter: () => input.current && input.current.focus(),
  });
  const head = html`<div class="head"><h1>Pipelines</h1><span class="sub">stages, drawn from the keys that they watch and write</span></div>`;
  if (!store.pipelines) return html`${head}<div class="panel"><${Empty} icon="pipelines" title="Loading the map" /></div>`;
  if (!known.length) {
    return html`${head}<div class="panel"><${Empty} icon="pipelines" title="No pipeline yet" text="Write one into a YAML file of the configuration: a stage watches a pattern of keys and writes another. An example to start from:" command="hookmesh serve --config config/github" /></div>`;
  }
  return html`${head}${known.length > few && html`<${FilterBar} chips=${[['', 'All'], ['pipeline', 'Pipelines'], ['job', 'Jobs']]} chip=${kind} setChip=${setKind} text=${text} setText=${setText} inputRef=${input} placeholder="Filter by name, stage, key" />`}
    ${!fit.length && html`<div class="rows"><${Empty} icon="filter" title="No pipeline matches" text="Take a word out of the filter." /></div>`}
    <div class="stack" ref=${selection.ref}>${shown.map((p) => html`<${Pipeline} key=${p.name} pipeline=${p} picked=${selection.picked} pick=${selection.pick} />`)}</div>${fit.length > most && html`<p class="more">The first ${most} of ${fit.length} are drawn. Filter to find others.</p>`}`;
}

const sum = (stages, field) => stages.reduce((n, s) => n + (s[field] || 0), 0);

/* title: what stands above it instead of its name. */
export function Pipeline({ pipeline, title, picked, pick = () => {} }) {
  const [ref, width] = useWidth();
  /* The shape changes with the configuration only, not with the counts. */
  const signature = pipeline.stages.map((s) => `${s.id} ${s.watch} ${s.write} ${(s.also || []).join(' ')}`).join('\n');
  const shape = useMemo(() => shapeOf(pipeline.stages), [signature]);
  const plan = useMemo(() => (width ? layout(shape, width) : null), [shape, width]);
  const now = new Map(pipeline.stages.map((s) => [s.id, s]));
  const waits = sum(pipeline.stages, 'pending') + sum(pipeline.stages, 'waiting');
  const dead = sum(pipeline.stages, 'dead');
  return html`<section class="panel pipeline" aria-label=${`Pipeline ${pipeline.name}`}><header><h2>${title || (isJob(pipeline.name) ? html`<a class="main-link" href=${path('jobs', jobName(pipeline.name))}>${jobName(pipeline.name)}</a>` : pipeline.name)}</h2>${!title && isJob(pipeline.name) && html`<span class="kind">job</span>`}
      <span class="tools">${pipeline.stages.length} ${pipeline.stages.length === 1 ? 'stage' : 'stages'} · ${number(waits)} waiting${dead ? html` · <a class="red-text" href=${`#/letters?job=${encodeURIComponent(jobName(pipeline.name))}`}>${number(dead)} dead</a>` : ''}</span></header>
    <div class="map-frame"><div ref=${ref}></div>${plan && html`<div class="map-scroll" tabindex=${plan.width > width ? 0 : null} role=${plan.width > width ? 'region' : null} aria-label=${plan.width > width ? 'Map, scrolls sideways' : null}>
      <div class="map" style=${{ width: `${plan.width}px`, height: `${plan.height}px` }}><${Wires} shape=${shape} plan=${plan} />
      ${[...plan.boxes.values()].map((box) => (box.source ? html`<${Source} key=${box.source.pattern} box=${box} />` : html`<${Stage} key=${box.stage.id} box=${box} stage=${now.get(box.stage.id) || box.stage} selected=${picked === box.stage.id} pick=${pick} />`))}</div></div>`}</div></section>`;
}

function Wires({ shape, plan }) {
  const one = (from, to, also, on) => {
    const [a, b] = [plan.boxes.get(from), plan.boxes.get(to)];
    if (!a || !b) return null;
    return html`<path key=${`${from}>${to}`} d=${wire(a, b, plan.down)} class="wire ${also ? 'also' : ''} ${on ? 'lit' : ''}" marker-end=${also ? null : 'url(#tip)'} />`;
  };
  return html`<svg class="wires" width=${plan.width} height=${plan.height} aria-hidden="true"><defs><marker id="tip" viewBox="0 0 8 8" refX="7.4" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M1 1l6 3-6 3" class="tip" /></marker></defs>
    ${shape.sources.flatMap((s) => s.to.map((to) => one(s.pattern, to, false, lit(to))))}
    ${shape.edges.map((e) => one(e.from, e.to, e.also, lit(e.from)))}</svg>`;
}

const place = (box) => ({ transform: `translate(${box.x}px, ${box.y}px)`, width: `${box.w}px`, height: `${box.h}px` });

function Source({ box }) {
  return html`<a class="source" style=${place(box)} href=${keysOf(box.source.pattern)} title="Show these keys"><span class="dim"><${Icon} name="deliveries" size=${13} />comes in as</span><${KeyName} name=${box.source.pattern} /></a>`;
}

const kinds = { command: 'runs', http: 'link', extension: 'pipelines', agent: 'ping' };

function Count({ n, colour, word }) {
  return html`<span class="n ${n ? colour : 'gray'} ${n ? 'some' : ''}"><b>${number(n || 0)}</b>${word}</span>`;
}

function Stage({ box, stage, selected, pick }) {
  const p = store.pulses.get(stage.id);
  const on = lit(stage.id) || stage.running > 0;
  return html`<article class="stage ${on ? 'on' : ''} ${selected ? 'sel' : ''} ${stage.dead ? 'ill' : ''}" style=${place(box)} data-id=${stage.id} onClick=${() => pick(stage.id)}>
    <div class="stage-name"><${Icon} name=${kinds[stage.kind] || 'runs'} size=${15} /><a class="main-link cut" href=${keysOf(stage.watch)} title="Show its inputs">${stage.name}</a>
      ${stage.served === false ? html`<span class="tag amber">not served</span>` : p && p.rate ? html`<span class="tag blue">${number(p.rate)}/s</span>` : null}</div>
    <p class="stage-work cut mono" title=${stage.work}>${stage.work || 'no work here'}</p>
    <p class="stage-key cut" title=${`reads ${stage.watch}`}><span class="dim">reads</span> <${KeyName} name=${stage.watch} /></p>
    <p class="stage-key cut" title=${stage.write ? `writes ${stage.write}` : ''}><span class="dim">writes</span> ${stage.write ? html`<${KeyName} name=${stage.write} />` : html`<span class="dim">nothing</span>`}</p>
    <div class="stage-counts"><${Count} n=${(stage.pending || 0) + (stage.waiting || 0)} colour="amber" word="pending" /><${Count} n=${stage.running} colour="blue" word="running" /><${Count} n=${stage.dead} colour="red" word="dead" /></div></article>`;
}
