/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the HTTP API. A failure is always an Error whose message is the problem's detail, written for a person. */

async function problem(answer) {
  let text = `${answer.status} ${answer.statusText}`;
  try {
    const p = await answer.json();
    text = p.detail || p.title || text;
  } catch { /* no JSON: the status line must do */ }
  const e = new Error(text);
  e.status = answer.status;
  return e;
}

export async function request(method, path, { body, headers, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, body, headers, signal, credentials: 'same-origin' });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Error('The server cannot be reached. Is it running?');
  }
  if (!answer.ok) throw await problem(answer);
  return answer;
}

export async function getJson(path, options) {
  return (await request('GET', path, options)).json();
}

/* A page of a list: { items, next } with next a path or null (Link: <...>; rel="next"). */
export async function getPage(path) {
  const answer = await request('GET', path);
  const link = /<([^>]+)>\s*;\s*rel="?next"?/.exec(answer.headers.get('link') || '');
  const body = await answer.json();
  return { items: Array.isArray(body) ? body : body.items || [], next: link ? link[1] : null };
}

/* All pages of a list, up to ten. */
export async function getAll(path) {
  const all = [];
  for (let at = path, n = 0; at && n < 10; n++) {
    const page = await getPage(at);
    all.push(...page.items);
    at = page.next;
  }
  return all;
}

export const keyPath = (key) => `/v1/kv/${key.split('/').map(encodeURIComponent).join('/')}`;

/* { text, version }: the value as text, as it is stored. */
export async function getKey(key, options) {
  const answer = await request('GET', keyPath(key), options);
  return { text: await answer.text(), version: Number((answer.headers.get('etag') || '').replace(/\D/g, '')) };
}

export async function putKey(key, text, version) {
  const guard = version ? { 'if-match': `"${version}"` } : { 'if-none-match': '*' };
  const answer = await request('PUT', keyPath(key), { body: text, headers: { 'content-type': 'application/json', ...guard } });
  return Number((answer.headers.get('etag') || '').replace(/\D/g, ''));
}

export const post = (path) => request('POST', path);
