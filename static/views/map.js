/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of a pipeline, from its patterns alone: who reads what whom writes, and where each stage stands. No drawing here. */

/* "github.{run}.event" and "github.*.event" are one wire; {1} and * both stand for a token. */
const tokens = (pattern) => pattern.replace(/\{[^}]*\}/g, '*').split('.');

export function overlaps(a, b) {
  const x = tokens(a);
  const y = tokens(b);
  for (let i = 0; ; i++) {
    if (i === x.length || i === y.length) return x.length === y.length;
    if ((x[i] === '>' && i === x.length - 1) || (y[i] === '>' && i === y.length - 1)) return true;
    if (x[i] !== '*' && y[i] !== '*' && x[i] !== y[i]) return false;
  }
}

/* { edges: [{ from, to, also }], columns: [[stage...]...], sources: [{ pattern, to: [id...] }] } */
export function shapeOf(stages) {
  const edges = [];
  for (const to of stages) {
    for (const from of stages) {
      if (!from.write || from === to) continue;
      if (overlaps(from.write, to.watch)) edges.push({ from: from.id, to: to.id });
      else if ((to.also || []).some((k) => overlaps(from.write, k))) edges.push({ from: from.id, to: to.id, also: true });
    }
  }
  const column = new Map();
  const place = (id, path) => {
    if (column.has(id)) return column.get(id);
    if (path.includes(id)) return 0; /* a loop: drawn as if it began here */
    const before = edges.filter((e) => e.to === id && !path.includes(e.from)).map((e) => place(e.from, [...path, id]) + 1);
    const at = Math.max(0, ...before);
    column.set(id, at);
    return at;
  };
  for (const s of stages) place(s.id, []);
  const columns = [];
  for (const s of stages) (columns[column.get(s.id)] ||= []).push(s);
  const sources = [];
  for (const s of stages) {
    if (edges.some((e) => e.to === s.id && !e.also)) continue;
    const known = sources.find((x) => x.pattern === s.watch);
    if (known) known.to.push(s.id);
    else sources.push({ pattern: s.watch, to: [s.id] });
  }
  for (const s of stages) {
    for (const k of s.also || []) {
      const from = sources.find((x) => overlaps(x.pattern, k));
      if (from && !edges.some((e) => e.to === s.id && e.also)) edges.push({ from: from.pattern, to: s.id, also: true });
    }
  }
  return { edges, columns: columns.filter(Boolean), sources };
}

/* Boxes { x, y, w, h } for `width` pixels: left to right when there is room, else from top to bottom. */
export function layout(shape, width) {
  const cols = shape.columns.length;
  const size = { source: { w: 158, h: 62 }, h: 158, gapX: 54, gapY: 22, least: 184, most: 252 };
  const wide = width >= size.source.w + cols * (size.least + size.gapX);
  const boxes = new Map();
  if (!wide && width < 620) {
    let y = 0;
    for (const s of shape.sources) {
      boxes.set(s.pattern, { x: 0, y, w: width, h: 46, source: s });
      y += 46 + 30;
    }
    for (const list of shape.columns) {
      for (const s of list) {
        boxes.set(s.id, { x: 0, y, w: width, h: size.h, stage: s });
        y += size.h + 34;
      }
    }
    return { boxes, width, height: Math.max(0, y - 34), down: true };
  }
  const w = Math.min(size.most, Math.max(size.least, (width - size.source.w - cols * size.gapX) / cols));
  const rows = Math.max(shape.sources.length, ...shape.columns.map((c) => c.length));
  const height = rows * size.h + (rows - 1) * size.gapY;
  const column = (list, x, bw, bh, make) => {
    const total = list.length * bh + (list.length - 1) * size.gapY;
    list.forEach((item, i) => make(item, { x, y: (height - total) / 2 + i * (bh + size.gapY), w: bw, h: bh }));
  };
  column(shape.sources, 0, size.source.w, size.source.h, (s, box) => boxes.set(s.pattern, { ...box, source: s }));
  shape.columns.forEach((list, c) => {
    column(list, size.source.w + size.gapX + c * (w + size.gapX), w, size.h, (s, box) => boxes.set(s.id, { ...box, stage: s }));
  });
  return { boxes, width: size.source.w + cols * (w + size.gapX), height, down: false };
}

/* The curve from box a to box b. */
export function wire(a, b, down) {
  if (down) {
    const x = a.x + 28;
    const far = b.y - (a.y + a.h) > 60; /* past a box in between: around it on the right */
    if (!far) return `M${x} ${a.y + a.h}V${b.y}`;
    const right = a.x + a.w;
    return `M${right - 28} ${a.y + a.h}C${right + 22} ${a.y + a.h + 30},${right + 22} ${b.y - 30},${right - 28} ${b.y}`;
  }
  const [x1, y1, x2, y2] = [a.x + a.w, a.y + a.h / 2, b.x, b.y + b.h / 2];
  if (x2 - x1 > 120) { /* over what stands between */
    const top = Math.min(a.y, b.y) - 16;
    return `M${a.x + a.w / 2} ${a.y}C${a.x + a.w / 2} ${top},${a.x + a.w / 2 + 30} ${top},${a.x + a.w / 2 + 60} ${top}H${b.x + b.w / 2 - 60}C${b.x + b.w / 2 - 30} ${top},${b.x + b.w / 2} ${top},${b.x + b.w / 2} ${b.y}`;
  }
  const bend = Math.max(24, (x2 - x1) / 2);
  return `M${x1} ${y1}C${x1 + bend} ${y1},${x2 - bend} ${y2},${x2} ${y2}`;
}
