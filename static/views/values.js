/* SPDX-License-Identifier: Apache-2.0 */
/* The values of a run's keys, fetched as the keys are written. Large ones are fetched only when somebody looks at them in Keys. */
import { useEffect, useRef, useState } from '../vendor/preact.js';
import { getKey } from '../api.js';
import { size } from '../ui.js';

const largest = 512 * 1024;

/* key -> { version, text } or { version, error } */
export function useValues(keys) {
  const have = useRef(new Map());
  const [, redraw] = useState(0);
  const signature = keys.map((k) => `${k.key}@${k.version}`).join(' ');
  useEffect(() => {
    for (const k of keys) {
      const old = have.current.get(k.key);
      if (old && old.version >= k.version) continue;
      if (k.size > largest) {
        have.current.set(k.key, { version: k.version, error: `This value has ${size(k.size)}; open it in Keys.` });
        continue;
      }
      have.current.set(k.key, { ...old, version: k.version });
      getKey(k.key).then((v) => {
        const now = have.current.get(k.key);
        if (now && now.text !== undefined && now.version > v.version) return;
        have.current.set(k.key, { version: Math.max(v.version, k.version), text: v.text });
      }).catch((e) => {
        have.current.set(k.key, { version: k.version, error: e.message });
      }).then(() => redraw((n) => n + 1));
    }
  }, [signature]);
  return have.current;
}

/* The report of a run: the "markdown" of the last value that has one. Parsed once a value. */
const parsed = new WeakMap();
export function reportOf(keys, values) {
  for (let i = keys.length - 1; i >= 0; i--) {
    const v = values.get(keys[i].key);
    if (!v || !v.text || !v.text.includes('"markdown"')) continue;
    if (!parsed.has(v)) {
      let markdown = null;
      try {
        const j = JSON.parse(v.text);
        if (j && typeof j.markdown === 'string') markdown = j.markdown;
      } catch { /* not JSON: no report */ }
      parsed.set(v, markdown);
    }
    if (parsed.get(v)) return parsed.get(v);
  }
  return null;
}
