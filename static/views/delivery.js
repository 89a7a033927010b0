/* SPDX-License-Identifier: Apache-2.0 */
/* One delivery: the outcome, the exact reason, what the sender said, and the way to its run. */
import { html, useEffect, useState } from '../vendor/preact.js';
import { store } from '../store.js';
import { Act, copyText, Copy, Empty, Id, Note, say, size, State, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { useKeys } from '../keyboard.js';
import { go, path } from '../nav.js';
import { deliveryTitle, getDelivery, replay, troubled } from './deliveries.js';

/* What a person can do about it, by what is known for sure. */
function advice(d) {
  if (d.outcome === 'unrouted') return 'No trigger has this path. Add one to the configuration, or correct the URL at the sender; then replay it.';
  if (d.status === 401) return 'Set the same secret at the sender and here, then replay this delivery: a replay is not checked against the signature again.';
  if (d.status === 413) return 'Raise hook_max_body (or the trigger’s max_body), then let the sender send it again.';
  return 'Mend what the reason names, then replay it.';
}

export function Fact({ name, children }) {
  return html`<div class="fact"><dt>${name}</dt><dd>${children}</dd></div>`;
}

export function Delivery({ id }) {
  const [data, setData] = useState(null);
  const [error, setError] = useState('');
  const known = store.deliveries.index.get(id);
  useEffect(() => {
    let here = true;
    getDelivery(id).then((d) => here && setData(d)).catch((e) => here && setError(e.message));
    return () => {
      here = false;
    };
  }, [id]);
  const d = known ? { ...data, ...known } : data;
  const onReplay = async () => {
    const answer = await replay(id);
    if (answer.run_id) go(path('runs', answer.run_id));
  };
  useKeys({ up: () => go('#/deliveries'), copy: () => copyText(id, 'Delivery id copied'), replay: () => onReplay().catch((e) => say(e.message, 'bad')) });
  if (!d) return html`<${Back} /><div class="panel"><${Empty} icon="deliveries" title=${error ? 'This delivery is not here' : 'Loading'} text=${error} /></div>`;
  const s = d.summary || {};
  return html`<${Back} />
    <div class="head"><h1>${deliveryTitle(d)}</h1><${State} of=${d.outcome} pill />
      <div class="tools">${d.run && html`<a class="btn" href=${path('runs', d.run)}><${Icon} name="runs" />Open run</a>`}<${Act} icon="retry" label="Replay" main=${troubled(d)} run=${onReplay} title="Replay (r)" /></div></div>
    <div class="stack">
      ${d.reason && html`<${Note} colour=${troubled(d) ? 'red' : 'gray'} icon=${troubled(d) ? 'shield' : 'filter'} title=${troubled(d) ? `Refused with ${d.status}` : 'Nothing was started'}>
        <p class="wrap reason">${d.reason}</p>${troubled(d) && html`<p class="dim">${advice(d)}</p>`}<//>`}
      <section class="panel" aria-label="Facts"><dl class="facts">
        <${Fact} name="Received"><${Time} at=${d.received_at || d.at} /><//>
        <${Fact} name="Hook"><span class="mono wrap">${d.hook || '-'}</span><//>
        <${Fact} name="Event"><span class="mono">${d.event || '-'}</span><//>
        <${Fact} name="Answered"><span class="mono">${d.status}</span><//>
        <${Fact} name="Size">${size(d.size)}<//>
        ${d.peer && html`<${Fact} name="From"><span class="mono">${d.peer}</span><//>`}
        ${s.sender && html`<${Fact} name="Sender">${s.sender}<//>`}
        ${s.repository && html`<${Fact} name="Repository"><span class="wrap">${s.repository}</span><//>`}
        ${s.ref && html`<${Fact} name="Ref"><span class="mono wrap">${s.ref}</span><//>`}
        ${d.run && html`<${Fact} name="Run"><span class="id"><a class="link cut" href=${path('runs', d.run)}>${d.run}</a><${Copy} text=${d.run} label="Copy run id" tiny /></span><//>`}
        <${Fact} name="Delivery id"><${Id} id=${d.id} whole /><//>
        ${d.delivery && html`<${Fact} name="Sender’s id"><${Id} id=${d.delivery} whole /><//>`}
      </dl></section></div>`;
}

function Back() {
  return html`<a class="back" href="#/deliveries"><${Icon} name="left" size=${13} />Deliveries</a>`;
}
