/* SPDX-License-Identifier: Apache-2.0 */
/* A small Markdown renderer. Reports are made from what strangers push, so it builds nodes and never markup: text stays text, and a
 * link must be http, https or mailto. It knows headings, lists, code, quotes, tables, rules, bold, italic, code spans and links. */
import { html } from './vendor/preact.js';

const longest = 4000; /* of a line: patterns below may take time with its square */
const inline = /(`{1,3})(.+?)\1|\*\*(.+?)\*\*|__(.+?)__|\*([^*\s](?:[^*]*[^*\s])?)\*|\[((?:\\.|[^\]\\])+)\]\(([^)\s]+)\)|\\([\\`*_{}[\]()#+\-.!|<>])|(https?:\/\/[^\s<>)\]]+)/g;

function safeLink(url) {
  try {
    const u = new URL(url);
    return ['http:', 'https:', 'mailto:'].includes(u.protocol) ? u.href : null;
  } catch {
    return null;
  }
}

function link(text, url) {
  const href = safeLink(url);
  return href ? html`<a href=${href} rel="noopener noreferrer nofollow" target="_blank">${text}</a>` : text;
}

export function spans(text, depth = 0) {
  if (depth > 4 || text.length > 2 * longest) return text;
  const out = [];
  let at = 0;
  for (const m of text.matchAll(inline)) {
    if (m.index > at) out.push(text.slice(at, m.index));
    at = m.index + m[0].length;
    if (m[2] !== undefined) out.push(html`<code>${m[2].trim() || m[2]}</code>`);
    else if (m[3] !== undefined || m[4] !== undefined) out.push(html`<strong>${spans(m[3] ?? m[4], depth + 1)}</strong>`);
    else if (m[5] !== undefined) out.push(html`<em>${spans(m[5], depth + 1)}</em>`);
    else if (m[6] !== undefined) out.push(link(spans(m[6], depth + 1), m[7]));
    else if (m[8] !== undefined) out.push(m[8]);
    else out.push(link(m[9], m[9]));
  }
  out.push(text.slice(at));
  return out;
}

const bullet = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const cells = (line) => line.trim().replace(/^\||(?<!\\)\|$/g, '').split(/(?<!\\)\|/).map((c) => c.trim().replaceAll('\\|', '|'));

/* The items of a list from line i on; deeper ones become a list of their own. */
function list(lines, i) {
  const first = bullet.exec(lines[i]);
  const depth = first[1].length;
  const items = [];
  while (i < lines.length) {
    const m = bullet.exec(lines[i]);
    if (m && m[1].length > depth + 1) {
      const [inner, next] = list(lines, i);
      items[items.length - 1].inner.push(inner);
      i = next;
    } else if (m && m[1].length >= depth) {
      items.push({ text: m[3], inner: [] });
      i++;
    } else if (!m && lines[i].trim() && /^\s/.test(lines[i])) {
      items[items.length - 1].text += ` ${lines[i].trim()}`;
      i++;
    } else {
      break;
    }
  }
  const body = items.map((x) => html`<li>${spans(x.text)}${x.inner}</li>`);
  return [/\d/.test(first[2]) ? html`<ol start=${parseInt(first[2], 10)}>${body}</ol>` : html`<ul>${body}</ul>`, i];
}

function table(lines, i) {
  const head = cells(lines[i]);
  const side = cells(lines[i + 1]).map((c) => (c.endsWith(':') ? (c.startsWith(':') ? 'center' : 'right') : ''));
  const rows = [];
  for (i += 2; i < lines.length && lines[i].includes('|'); i++) rows.push(cells(lines[i]).slice(0, head.length));
  return [html`<div class="table" tabindex="0" role="region" aria-label="Table"><table>${head.some(Boolean) && html`<thead><tr>${head.map((c, k) => html`<th class=${side[k]} scope="col">${spans(c)}</th>`)}</tr></thead>`}
    <tbody>${rows.map((r) => html`<tr>${r.map((c, k) => html`<td class=${/^█+$/.test(c) ? 'bars' : side[k]}>${spans(c)}</td>`)}</tr>`)}</tbody></table></div>`, i];
}

function block(lines, i, depth) {
  const line = lines[i];
  const fence = /^\s*(```+|~~~+)/.exec(line);
  if (fence) {
    const body = [];
    for (i++; i < lines.length && !lines[i].trim().startsWith(fence[1]); i++) body.push(lines[i]);
    return [html`<pre tabindex="0"><code>${body.join('\n')}</code></pre>`, i + 1];
  }
  const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
  if (heading) {
    /* The page has its own h1; a report's headings start below the panel's. */
    const level = Math.min(6, heading[1].length + 2);
    return [html`<${`h${level}`} class=${`h${heading[1].length}`}>${spans(heading[2])}<//>`, i + 1];
  }
  if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) return [html`<hr />`, i + 1];
  if (depth < 5 && /^\s*>/.test(line)) {
    const body = [];
    for (; i < lines.length && /^\s*>/.test(lines[i]); i++) body.push(lines[i].replace(/^\s*>\s?/, ''));
    return [html`<blockquote>${blocks(body, depth + 1)}</blockquote>`, i];
  }
  if (bullet.test(line)) return list(lines, i);
  if (line.includes('|') && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)+\|?\s*$/.test(lines[i + 1] || '')) return table(lines, i);
  const body = [];
  for (; i < lines.length && lines[i].trim() && (!body.length || !/^\s*(```|~~~|#{1,6}\s|>)/.test(lines[i])) && !(body.length && bullet.test(lines[i])); i++) body.push(lines[i].trim());
  return [html`<p>${spans(body.join(' '))}</p>`, i];
}

function blocks(lines, depth = 0) {
  const out = [];
  for (let i = 0; i < lines.length;) {
    if (!lines[i].trim()) {
      i++;
      continue;
    }
    const [node, next] = block(lines, i, depth);
    out.push(node);
    i = next;
  }
  return out;
}

export function Markdown({ text }) {
  const lines = String(text).slice(0, 200000).split(/\r\n?|\n/).map((l) => (l.length > longest ? `${l.slice(0, longest)}…` : l));
  return html`<div class="md">${blocks(lines)}</div>`;
}
