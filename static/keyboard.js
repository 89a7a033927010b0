/* SPDX-License-Identifier: Apache-2.0 */
/* The keyboard: one listener for the page. A view says what the keys do while it is shown; a dialog on top takes them all. */
import { useEffect, useRef, useState } from './vendor/preact.js';

let bindings = {}; /* of the view: { move, open, replay, drop, copy, filter } */
let globals = {}; /* of the shell: { help, palette, close, dialog, go } */
let pending = ''; /* "g" of "g r" */

export const setGlobals = (g) => {
  globals = g;
};

const typing = (e) => e.target.closest('input, textarea, select, [contenteditable]');

addEventListener('keydown', (e) => {
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === 'k') {
    e.preventDefault();
    globals.palette();
    return;
  }
  if (e.key === 'Escape') {
    if (globals.close()) e.preventDefault();
    else if (typing(e)) e.target.blur();
    return;
  }
  if (e.ctrlKey || e.metaKey || e.altKey || typing(e)) return;
  if (globals.dialog()) {
    if (e.key === '?' && globals.dialog() === 'help') globals.close();
    return;
  }
  if (press(e)) e.preventDefault();
});

function press(e) {
  const key = e.key;
  if (pending === 'g') {
    pending = '';
    return globals.go(key);
  }
  if (key === 'g') {
    pending = 'g';
    setTimeout(() => {
      pending = '';
    }, 900);
    return true;
  }
  if (key === '?') return globals.help() || true;
  if (key === 'Enter') return !e.target.closest('a, button, summary') && call('open');
  if (key === 'j' || key === 'ArrowDown') return (key === 'j' || e.target.closest('.row')) && call('move', 1);
  if (key === 'k' || key === 'ArrowUp') return (key === 'k' || e.target.closest('.row')) && call('move', -1);
  const name = { f: 'filter', '/': 'filter', r: 'replay', c: 'copy', x: 'drop', u: 'up' }[key];
  return name ? call(name) : false;
}

function call(name, arg) {
  if (!bindings[name]) return false;
  bindings[name](arg);
  return true;
}

/* What the keys do in this view; renewed with every drawing, gone with the view. */
export function useKeys(actions) {
  const mine = useRef({});
  Object.assign(mine.current, actions);
  useEffect(() => {
    const before = bindings;
    bindings = mine.current;
    return () => {
      if (bindings === mine.current) bindings = before;
    };
  }, []);
}

/* A list to walk through. The selection is an id, so it stays where it is while rows come in above. */
export function useSelection(items, actions) {
  const [picked, pick] = useState(null);
  const ref = useRef();
  const current = items.find((x) => x.id === picked);
  const focusRow = (id) => {
    const row = ref.current && ref.current.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (!row) return;
    row.scrollIntoView({ block: 'nearest' });
    const link = row.querySelector('.main-link');
    if (link) link.focus({ preventScroll: true });
  };
  const move = (by) => {
    if (!items.length) return;
    const at = items.findIndex((x) => x.id === picked);
    const next = items[at < 0 ? 0 : Math.min(items.length - 1, Math.max(0, at + by))];
    pick(next.id);
    focusRow(next.id);
  };
  const with_ = (f) => f && (() => current && f(current));
  useKeys({ move, open: with_(actions.open), replay: actions.replay && with_(actions.replay), drop: actions.drop && with_(actions.drop), copy: with_(actions.copy), filter: actions.filter, up: actions.up });
  return { ref, picked, pick };
}
