/* SPDX-License-Identifier: Apache-2.0 */
/* The charts: plain SVG, drawn to the pixel for the width that there is, in the colours of the states. Each has its figures in words or as a table for those
 * who do not see it. */
import { html, useLayoutEffect, useRef, useState } from './vendor/preact.js';
import { gridStep, rateColour } from './figures.js';
import { duration } from './times.js';

/* The width that a page gives to an element, followed. */
export function useWidth() {
  const ref = useRef();
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => ref.current && setWidth(ref.current.clientWidth);
    const watcher = new ResizeObserver(measure);
    measure();
    watcher.observe(ref.current);
    return () => watcher.disconnect();
  }, []);
  return [ref, width];
}

/* A week in the space of a word: one column a day, what failed stands on what succeeded. */
export function Week({ days }) {
  const [w, h, step] = [55, 20, 8];
  const top = Math.max(1, ...days.map((d) => d.succeeded + d.failed));
  return html`<svg class="week" width=${w} height=${h} viewBox=${`0 0 ${w} ${h}`} aria-hidden="true">${days.map((d, i) => {
    const all = d.succeeded + d.failed;
    if (!all) return html`<rect x=${i * step} y=${h - 2} width="6" height="2" rx="1" class="none" />`;
    const tall = Math.max(4, Math.sqrt(all / top) * h); /* so that a quiet day is still seen beside a busy one */
    const bad = d.failed ? Math.max(2, (d.failed / all) * tall) : 0;
    return html`<rect x=${i * step} y=${h - tall} width="6" height=${tall} rx="1.5" class="good" />${bad ? html`<rect x=${i * step} y=${h - tall} width="6" height=${bad} rx="1.5" class="bad" />` : null}`;
  })}</svg>`;
}

const shortDay = (name) => new Date(`${name}T00:00:00Z`).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });
const short = (n) => (n >= 1e6 ? `${n / 1e6}M` : n >= 1000 ? `${n / 1000}k` : String(n));

/* Runs a day, succeeded and failed, with the figures of the day under the pointer. */
export function DayChart({ days, label, height = 190 }) {
  const [ref, width] = useWidth();
  const [over, setOver] = useState(-1);
  const pad = { left: 40, right: 8, top: 10, bottom: 24 };
  const top = Math.max(1, ...days.map((d) => d.succeeded + d.failed));
  const step = gridStep(top);
  const most = Math.ceil(top / step) * step;
  const inner = { w: Math.max(0, width - pad.left - pad.right), h: height - pad.top - pad.bottom };
  const slot = inner.w / days.length;
  const bar = Math.max(2, Math.min(46, slot * 0.66));
  const y = (n) => pad.top + inner.h * (1 - n / most);
  const every = Math.max(1, Math.ceil(64 / Math.max(1, slot)));
  const onMove = (e) => {
    const x = e.clientX - ref.current.getBoundingClientRect().left - pad.left;
    setOver(x >= 0 && x < inner.w ? Math.floor(x / slot) : -1);
  };
  const d = days[over];
  return html`<figure class="chart"><div ref=${ref} class="chart-frame" style=${{ height: `${height}px` }} onPointerMove=${onMove} onPointerLeave=${() => setOver(-1)}>
    ${width > 0 && html`<svg width=${width} height=${height} aria-hidden="true">
      ${Array.from({ length: Math.round(most / step) + 1 }, (_, i) => i * step).map((n) => html`<line x1=${pad.left} x2=${width - pad.right} y1=${y(n)} y2=${y(n)} class=${n ? 'grid' : 'axis'} /><text x=${pad.left - 8} y=${y(n) + 4} class="tick right">${short(n)}</text>`)}
      ${over >= 0 && html`<rect x=${pad.left + over * slot} y=${pad.top} width=${slot} height=${inner.h} class="over" />`}
      ${days.map((x, i) => {
        const left = pad.left + i * slot + (slot - bar) / 2;
        return html`${x.succeeded ? html`<rect x=${left} y=${y(x.succeeded)} width=${bar} height=${y(0) - y(x.succeeded)} class="good" />` : null}
          ${x.failed ? html`<rect x=${left} y=${y(x.succeeded + x.failed)} width=${bar} height=${Math.max(1.5, y(x.succeeded) - y(x.succeeded + x.failed))} class="bad" />` : null}
          ${(days.length - 1 - i) % every === 0 && (i + 0.5) * slot > 18 ? html`<text x=${Math.min(left + bar / 2, width - 20)} y=${height - 7} class="tick mid">${shortDay(x.day)}</text>` : null}`;
      })}</svg>`}
    ${d && html`<div class="tip" style=${{ transform: over > days.length / 2 ? `translateX(calc(${pad.left + over * slot - 6}px - 100%))` : `translateX(${pad.left + (over + 1) * slot + 6}px)` }}><b>${shortDay(d.day)}</b>
      <span><i class="good"></i>${d.succeeded} succeeded</span><span><i class="bad"></i>${d.failed} failed</span></div>`}</div>
    <table class="sr"><caption>${label}</caption><tr><th>Day</th><th>Succeeded</th><th>Failed</th></tr>${days.map((x) => html`<tr><td>${x.day}</td><td>${x.succeeded}</td><td>${x.failed}</td></tr>`)}</table></figure>`;
}

/* p50, p95 and the longest on a scale that the jobs of a list share; logarithmic, for jobs take a millisecond or an hour. */
export function Range({ of, top }) {
  const least = 1;
  const at = (ms) => `${Math.max(0, Math.min(100, (Math.log(Math.max(least, ms) / least) / Math.log(Math.max(10, top) / least)) * 100))}%`;
  return html`<div class="range" role="img" aria-label=${`Half within ${duration(of.p50)}, 95 % within ${duration(of.p95)}, the longest ${duration(of.max)}`}>
    <i class="reach" style=${{ left: at(of.p50), right: `calc(100% - ${at(of.max)})` }}></i><i class="most" style=${{ left: at(of.p50), right: `calc(100% - ${at(of.p95)})` }}></i><i class="mid" style=${{ left: at(of.p50) }}></i></div>`;
}

export function Meter({ rate }) {
  return html`<span class="meter ${rateColour(rate)}" aria-hidden="true"><i style=${{ width: `${Math.round((rate || 0) * 100)}%` }}></i></span>`;
}
