/* SPDX-License-Identifier: Apache-2.0 */
/* What Runs and Deliveries share: the frame of a list that grows at its top while somebody reads it.
 *
 * Scrolled down, the list stands still and a button says how many came; at the top it flows. At most `most` rows are in the page. */
import { html, useEffect, useRef, useState, Component } from '../vendor/preact.js';
import { Icon } from '../icons.js';
import { busy } from '../nav.js';

const most = 200;
const mostBusy = 40;

/* The rows to draw, and the button for those that are held back. */
export function useHeld(items) {
  const [held, hold] = useState(null); /* the item that was on top when the reader scrolled away */
  const top = useRef(null);
  top.current = items.length ? items[0] : null;
  useEffect(() => {
    const onScroll = () => hold((old) => (scrollY > 120 ? old || (top.current && top.current.id) : null));
    addEventListener('scroll', onScroll, { passive: true });
    return () => removeEventListener('scroll', onScroll);
  }, []);
  const at = held ? items.findIndex((x) => x.id === held) : 0;
  const newer = Math.max(0, at);
  const shown = newer ? items.slice(newer) : items;
  const button = newer > 0 && html`<div class="newer"><button type="button" class="btn small" onClick=${() => scrollTo({ top: 0 })}>
    <${Icon} name="up" size=${13} />${newer} new</button></div>`;
  return [shown, button];
}

/* Draws a row again only when its item or its selection changed. */
export class Row extends Component {
  shouldComponentUpdate(next) {
    return next.item !== this.props.item || next.selected !== this.props.selected || next.extra !== this.props.extra;
  }

  render({ item, selected, draw, pick, extra, kind }) {
    const fresh = Date.now() - (item.at || 0) < 2500 ? 'fresh' : '';
    return html`<li class="row ${kind} ${selected ? 'sel' : ''} ${fresh}" data-id=${item.id} onClick=${() => pick && pick(item.id)}>${draw(item, extra)}</li>`;
  }
}

export function Rows({ items, kind, selection, draw, extra, limit = most, label }) {
  return html`<ul class="rows" ref=${selection && selection.ref} aria-label=${label}>
    ${items.slice(0, busy() ? Math.min(limit, mostBusy) : limit).map((x) => html`<${Row} key=${x.id} item=${x} kind=${kind} selected=${selection && selection.picked === x.id} pick=${selection && selection.pick}
      draw=${draw} extra=${extra && extra(x)} />`)}</ul>`;
}

export function More({ shown, next, load }) {
  if (shown >= most) return html`<p class="more">The newest ${most} are shown. Filter to find others, or list all on the command line.</p>`;
  if (!next) return null;
  return html`<p class="more"><button type="button" class="btn small" onClick=${load}>Load older</button></p>`;
}

export function FilterBar({ chips, chip, setChip, text, setText, inputRef, placeholder }) {
  return html`<div class="bar"><div class="chips" role="group" aria-label="Filter">${chips.map(([value, label, n]) => html`<button type="button" class="chip" aria-pressed=${String(chip === value)}
      onClick=${() => setChip(value)}>${label}${n ? html` <span class="dim">${n}</span>` : null}</button>`)}</div>
    <div class="field"><${Icon} name="search" /><input class="input" type="search" ref=${inputRef} value=${text} placeholder=${placeholder} aria-label=${placeholder}
      onInput=${(e) => setText(e.target.value)} /><kbd aria-hidden="true">f</kbd></div></div>`;
}

/* Every word must be in the text somewhere. */
export function matches(words, text) {
  const low = text.toLowerCase();
  return words.every((w) => low.includes(w));
}
export const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
