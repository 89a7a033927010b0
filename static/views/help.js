/* SPDX-License-Identifier: Apache-2.0 */
/* What the keyboard does. */
import { html } from '../vendor/preact.js';
import { Icon } from '../icons.js';
import { Dialog } from './dialog.js';

const groups = [
  ['In a list', [['j', 'next'], ['k', 'previous'], ['Enter', 'open'], ['r', 'run a job, retry a run or letter, replay a delivery'], ['x', 'drop a dead letter'], ['c', 'copy its id or name'], ['f', 'filter']]],
  ['Everywhere', [['Ctrl K', 'go to a page, job, run or key'], ['u', 'back to the list'], ['?', 'this help'], ['Esc', 'close']]],
];

export function Help({ close, pages }) {
  const all = [...groups, ['Pages', pages.map((p) => [`g ${p.key}`, p.title])]];
  return html`<${Dialog} label="Keyboard" close=${close} class="help"><header><h2>Keyboard</h2><button type="button" class="icon-btn" aria-label="Close" onClick=${close}><${Icon} name="close" /></button></header>
    <div class="help-grid">${all.map(([title, rows]) => html`<section><h3>${title}</h3><dl>${rows.map(([keys, what]) => html`<div><dt>${keys.split(' ').map((k) => html`<kbd>${k}</kbd>`)}</dt><dd>${what}</dd></div>`)}</dl></section>`)}</div><//>`;
}
