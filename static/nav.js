/* SPDX-License-Identifier: Apache-2.0 */
/* Where to go and when to draw, for every view.
 *
 * The page is drawn at most once a frame; when a drawing takes long, rarer, so that the page stays free for its user however much happens. */

export const go = (hash) => {
  location.hash = hash;
};
export const path = (page, id) => `#/${page}/${encodeURIComponent(id)}`;

let drawApp = () => {};
let wanted = false;
let cost = 0;
let drawnAt = 0;

export const onDraw = (f) => {
  drawApp = f;
};

/* It pours: lists draw only their top until it is quieter. */
let busyUntil = 0;
export const busy = () => performance.now() < busyUntil;

export function draw() {
  if (wanted) return;
  wanted = true;
  setTimeout(() => {
    wanted = false;
    const begin = performance.now();
    drawApp();
    setTimeout(() => { /* behind the drawing */
      drawnAt = performance.now();
      cost = Math.min(300, drawnAt - begin);
      if (cost > 40) busyUntil = drawnAt + 2000;
    });
  }, Math.max(0, drawnAt + cost * 3 - performance.now()));
}
