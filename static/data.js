/* SPDX-License-Identifier: Apache-2.0 */
/* What a page asks of the HTTP API, kept so that coming back to a page shows it at once.
 *
 * Nothing is asked on a timer. A page names a stamp, a number that events move (see store.stamps); when it has moved the data is asked for again,
 * at most once in `pause`, because a thousand runs may end in a second, and rarer when the answer takes long. */
import { useEffect, useRef, useState } from './vendor/preact.js';
import { getJson } from './api.js';

const kept = new Map(); /* path -> { data, at: asked when } */
const most = 60;
const pause = 2000;

function keep(path, data) {
  kept.delete(path);
  kept.set(path, { data, at: performance.now() });
  if (kept.size > most) kept.delete(kept.keys().next().value);
}

/* { data (null: not there yet), error, reload() }. path null: nothing is asked. */
export function useData(path, stamp = 0, get = getJson) {
  const [, redraw] = useState(0);
  const state = useRef({ path: null, error: '', timer: 0, asked: -pause, pause });
  const s = state.current;
  const ask = () => {
    s.timer = 0;
    s.asked = performance.now();
    const wanted = path;
    const began = performance.now();
    return get(wanted).then((data) => {
      keep(wanted, data);
      if (s.path === wanted) s.error = '';
    }).catch((e) => {
      if (s.path === wanted) s.error = e.message;
    }).then(() => {
      s.pause = Math.max(pause, (performance.now() - began) * 20);
      return s.path === wanted && redraw((n) => n + 1);
    });
  };
  useEffect(() => {
    const other = s.path !== path;
    s.path = path;
    if (other) {
      s.error = '';
      s.asked = -pause;
      clearTimeout(s.timer);
      s.timer = 0;
    }
    if (path && !s.timer) s.timer = setTimeout(ask, Math.max(0, s.asked + s.pause - performance.now()));
  }, [path, stamp]);
  useEffect(() => () => {
    s.path = null;
    clearTimeout(s.timer);
  }, []);
  const have = path && kept.get(path);
  return { data: have ? have.data : null, error: have ? '' : s.error, reload: ask };
}
