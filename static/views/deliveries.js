/* SPDX-License-Identifier: Apache-2.0 */
/* Every webhook that came, with what became of it and exactly why. */
import { html, useRef, useState, useEffect } from '../vendor/preact.js';
import { store, listItems, listAppend, newList } from '../store.js';
import { getJson, getPage, post } from '../api.js';
import { copyText, Copy, Empty, say, size, State, Time } from '../ui.js';
import { Icon } from '../icons.js';
import { useSelection } from '../keyboard.js';
import { draw, go, path } from '../nav.js';
import { FilterBar, matches, More, Rows, useHeld, wordsOf } from './list.js';

const chips = [['', 'All'], ['accepted', 'Accepted'], ['rejected', 'Rejected'], ['filtered', 'Filtered'], ['duplicate', 'Duplicate'], ['unrouted', 'Unrouted']];

export function deliveryTitle(d) {
  const s = d.summary || {};
  return [d.event && (s.action ? `${d.event} ${s.action}` : d.event), s.repository].filter(Boolean).join(' · ') || d.hook || 'unknown';
}
export const deliveryWhy = (d) => d.reason || [d.hook, d.summary && d.summary.sender && `by ${d.summary.sender}`, d.replay && 'replayed by hand'].filter(Boolean).join(' · ');
export const troubled = (d) => d.outcome === 'rejected' || d.outcome === 'unrouted';

/* A replay makes a new delivery; it and its run come by the live stream. */
export async function replay(id) {
  const answer = await (await post(`/v1/deliveries/${encodeURIComponent(id)}/replay`)).json();
  say(answer.run_id ? 'Replayed: a run was started' : 'Replayed', 'retry');
  return answer;
}

export function drawDelivery(d) {
  return html`<span class="c-state"><${State} of=${d.outcome} /></span>
    <a class="main-link cut c-title" href=${path('deliveries', d.id)}>${deliveryTitle(d)}</a>
    <span class="sub c-sub ${troubled(d) ? 'why wrap2' : 'cut'}">${deliveryWhy(d)}</span>
    <span class="sub c-strip">${d.run ? html`<a class="over link" href=${path('runs', d.run)}>run<${Icon} name="right" size=${12} /></a>` : html`<span class="dim">${d.status}</span>`}</span>
    <span class="sub right c-took">${size(d.size)}</span>
    <span class="sub right c-time"><${Time} at=${d.received_at || d.at} /></span>
    <span class="acts over"><button type="button" class="icon-btn tiny" title="Replay (r)" aria-label=${`Replay delivery ${d.id}`} onClick=${() => replay(d.id).catch((e) => say(e.message, 'bad'))}><${Icon} name="retry" size=${14} /></button>
      <${Copy} text=${d.id} label=${`Copy delivery id ${d.id}`} tiny /></span>`;
}

export const deliveryKeys = {
  open: (d) => go(path('deliveries', d.id)),
  copy: (d) => copyText(d.id, 'Delivery id copied'),
  replay: (d) => replay(d.id).catch((e) => say(e.message, 'bad')),
};

export function Deliveries({ query }) {
  const [chip, setChip] = useState(query.get('outcome') || '');
  const [text, setText] = useState(query.get('q') || '');
  const [found, setFound] = useState(null);
  const input = useRef();
  const words = wordsOf(text);
  useEffect(() => {
    setFound(null);
    if (!chip) return;
    getPage(`/v1/deliveries?outcome=${chip}`).then((page) => {
      const list = newList();
      listAppend(list, page.items);
      setFound(list);
    }).catch((e) => say(e.message, 'bad'));
  }, [chip]);
  const fresh = listItems(store.deliveries);
  const older = found ? listItems(found).filter((x) => !store.deliveries.index.has(x.id)) : [];
  const all = [...fresh, ...older].filter((d) => (!chip || d.outcome === chip) && (!words.length || matches(words, `${d.id} ${d.delivery || ''} ${d.outcome} ${deliveryTitle(d)} ${deliveryWhy(d)} ${d.peer || ''}`)));
  const [items, newer] = useHeld(all);
  const selection = useSelection(items, { ...deliveryKeys, filter: () => input.current.focus() });
  const loadMore = async () => {
    const page = await getPage(store.deliveries.next || '/v1/deliveries?limit=200');
    listAppend(store.deliveries, page.items);
    store.deliveries.next = page.next;
    draw();
  };
  return html`<div class="head"><h1>Deliveries</h1><span class="sub">every webhook that came, and what became of it</span></div>
    <${FilterBar} chips=${chips} chip=${chip} setChip=${setChip} text=${text} setText=${setText} inputRef=${input} placeholder="Filter by repository, event, reason, id" />
    ${newer}
    ${items.length ? html`<${Rows} items=${items} kind="r-delivery" selection=${selection} draw=${drawDelivery} label="Deliveries" />
      <${More} shown=${items.length} next=${!chip && !text && store.deliveries.next !== null && fresh.length >= 50} load=${() => loadMore().catch((e) => say(e.message, 'bad'))} />` : html`<div class="rows"><${NoDeliveries} any=${fresh.length} /></div>`}`;
}

export function NoDeliveries({ any }) {
  if (!store.deliveries.loaded) return html`<${Empty} icon="deliveries" title="Loading the deliveries" />`;
  if (any) return html`<${Empty} icon="filter" title="No delivery matches" text="Take a word out of the filter, or choose another outcome." />`;
  return html`<${Empty} icon="deliveries" title="No deliveries yet" text="Point a webhook at this server, or send a signed sample push from here:" command="hookmesh send github push" />`;
}

export const getDelivery = (id) => getJson(`/v1/deliveries/${encodeURIComponent(id)}`);
