/* SPDX-License-Identifier: Apache-2.0 */
/* The pages that a narrow screen's bar has no room for. */
import { html } from '../vendor/preact.js';
import { Icon } from '../icons.js';
import { Dialog } from './dialog.js';

export function MorePages({ close, pages, counts, current }) {
  return html`<${Dialog} label="More pages" close=${close} class="sheet"><nav class="sheet-pages" aria-label="More pages">${pages.map((p) => html`<a key=${p.name} class="tab" href=${`#/${p.name}`} aria-current=${p === current ? 'page' : null} onClick=${close}><${Icon} name=${p.name} size=${18} /><span>${p.title}</span>
    ${counts[p.name] ? html`<span class="count ${counts[p.name][0]}">${counts[p.name][1]}</span>` : null}</a>`)}</nav><//>`;
}
