/* SPDX-License-Identifier: Apache-2.0 */
/* The shell: start, routes, navigation, the badge, the theme, and the loop that draws. */
import { html, render, useEffect, useState } from './vendor/preact.js';
import { applyBatch, store, tickRate } from './store.js';
import { liveConnect } from './live.js';
import { Icon, Mark } from './icons.js';
import { say, Toasts } from './ui.js';
import { setGlobals } from './keyboard.js';
import { getJson, request } from './api.js';
import { draw, go, onDraw } from './nav.js';
import { Now, useNeeds } from './views/now.js';
import { Deliveries } from './views/deliveries.js';
import { Delivery } from './views/delivery.js';
import { Runs } from './views/runs.js';
import { Run } from './views/run.js';
import { Pipelines } from './views/pipelines.js';
import { Keys } from './views/keys.js';
import { Jobs } from './views/jobs.js';
import { Job } from './views/job.js';
import { Schedules } from './views/schedules.js';
import { deadCount, Letters } from './views/letters.js';
import { Analytics } from './views/analytics.js';
import { MorePages } from './views/more.js';
import { Help } from './views/help.js';
import { Palette } from './views/palette.js';

/* bar: in the bar of a narrow screen, the others are behind "More"; apart: with a gap above. */
const pages = [
  { name: 'now', title: 'Now', key: 'n', view: Now, bar: true },
  { name: 'runs', title: 'Runs', key: 'r', view: Runs, one: Run, bar: true, apart: true },
  { name: 'jobs', title: 'Jobs', key: 'j', view: Jobs, one: Job, bar: true },
  { name: 'schedules', title: 'Schedules', key: 's', view: Schedules },
  { name: 'deliveries', title: 'Deliveries', key: 'd', view: Deliveries, one: Delivery, bar: true },
  { name: 'letters', title: 'Dead letters', key: 'l', view: Letters, apart: true },
  { name: 'analytics', title: 'Analytics', key: 'a', view: Analytics },
  { name: 'pipelines', title: 'Pipelines', key: 'p', view: Pipelines, apart: true },
  { name: 'keys', title: 'Keys', key: 'k', view: Keys, one: Keys },
];

/* "#/runs/ID?state=failed" -> { page, id, query } */
function readRoute() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...rest] = path.split('/');
  const page = pages.find((p) => p.name === name) || pages[0];
  let id = rest.join('/');
  try {
    id = decodeURIComponent(id);
  } catch { /* a hand-typed percent sign */ }
  return { page, id: page.one ? id : '', query: new URLSearchParams(query || '') };
}

const live = liveConnect({
  onBatch(batch) {
    applyBatch(batch);
    draw();
  },
  onState(state) {
    const before = store.live.state;
    store.live = state;
    if (state.state === 'disconnected' && before !== 'disconnected') checkStatus();
    if (state.state !== before) checkStatus();
    draw();
  },
});
for (const topic of ['runs', 'deliveries', 'pipelines']) live.want(topic);
store.connection = live;

/* Redis trouble and the like; null while the server itself is away. 401: the page needs a login. */
async function checkStatus() {
  try {
    store.status = await getJson('/v1/status');
    store.locked = false;
  } catch (e) {
    if (e.status === 401 || e.status === 403) store.locked = true;
    store.status = null;
  }
  draw();
}
checkStatus();
setInterval(() => {
  tickRate();
  if (!document.hidden) draw();
}, 1000);
setInterval(() => {
  if (!document.hidden && store.live.state !== 'disconnected') checkStatus();
}, 10000);

const words = {
  live: ['green', 'Live'], 'catching up': ['amber', 'Catching up'], stalled: ['amber', 'Redis is away'], disconnected: ['red', 'Disconnected'],
};

function Badge() {
  const { state, detail, retryAt } = store.live;
  const [colour, word] = words[state];
  const left = Math.ceil((retryAt - Date.now()) / 1000);
  const title = state === 'live' ? `${store.rate[58] || 0} events in the last second` : detail || word;
  return html`<button type="button" class="live ${colour}" data-state=${state} title=${title} onClick=${() => state === 'disconnected' && live.retryNow()}>
    <i></i><span role="status">${word}</span>${state === 'disconnected' && left > 1 ? html`<span class="dim">${left} s</span>` : null}</button>`;
}

const themes = { auto: 'light', light: 'dark', dark: 'auto' };
function useTheme() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme || 'auto');
  return [theme, () => {
    const next = themes[theme];
    if (next === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === 'auto') localStorage.removeItem('hookmesh.theme');
      else localStorage.setItem('hookmesh.theme', next);
    } catch { /* storage switched off: for this page only */ }
    setTheme(next);
  }];
}

function Tools({ theme, turnTheme, open }) {
  const icon = { auto: 'auto', light: 'sun', dark: 'moon' }[theme];
  return html`<div class="rail-tools">
    <button type="button" class="icon-btn" title="Command palette (Ctrl-K)" aria-label="Command palette" onClick=${() => open('palette')}><${Icon} name="command" /></button>
    <button type="button" class="icon-btn" title=${`Theme: ${theme}`} aria-label=${`Theme: ${theme}`} onClick=${turnTheme}><${Icon} name=${icon} /></button>
    <button type="button" class="icon-btn" title="Keyboard (?)" aria-label="Keyboard help" onClick=${() => open('help')}><${Icon} name="help" /></button></div>`;
}

function Locked() {
  const signIn = async (e) => {
    e.preventDefault();
    const token = new FormData(e.target).get('token');
    try {
      await request('POST', '/login', { body: JSON.stringify({ token }), headers: { 'content-type': 'application/json' } });
      live.retryNow();
      checkStatus();
    } catch (problem) {
      say(problem.message, 'bad');
    }
  };
  return html`<main class="page" id="main"><div class="empty"><${Icon} name="shield" size=${28} /><h1>This dashboard asks for a token</h1>
    <p>The server was started with HOOKMESH_TOKEN. Sign in once with it; the browser keeps a session.</p>
    <form class="chips" onSubmit=${signIn}><label class="sr" for="token">Token</label>
      <input id="token" name="token" type="password" class="input" autocomplete="current-password" required />
      <button class="btn main">Sign in</button></form></div></main>`;
}

function App() {
  const [route, setRoute] = useState(readRoute);
  const [dialog, setDialog] = useState(null);
  const [theme, turnTheme] = useTheme();
  const [, redraw] = useState(0);
  onDraw(() => redraw((n) => n + 1));
  useEffect(() => {
    const onHash = () => {
      setRoute(readRoute());
      scrollTo(0, 0);
    };
    addEventListener('hashchange', onHash);
    return () => removeEventListener('hashchange', onHash);
  }, []);
  useEffect(() => {
    document.title = `${route.id || route.page.title} · hookmesh`;
  }, [route]);
  setGlobals({
    help: () => setDialog((open) => (open === 'help' ? null : 'help')),
    palette: () => setDialog((open) => (open === 'palette' ? null : 'palette')),
    close: () => {
      if (dialog) setDialog(null);
      return Boolean(dialog);
    },
    dialog: () => dialog,
    go: (key) => {
      const p = pages.find((x) => x.key === key);
      if (p) go(`#/${p.name}`);
      return Boolean(p);
    },
  });
  const needs = useNeeds();
  const dead = deadCount();
  const counts = { now: needs.total ? ['red', needs.total] : null, runs: runningCount(), letters: dead ? ['red', dead > 999 ? '999+' : dead] : null };
  const tab = (p) => html`<a class="tab ${p.bar ? '' : 'far'} ${p.apart ? 'apart' : ''}" href=${`#/${p.name}`} aria-current=${p === route.page ? 'page' : null}><${Icon} name=${p.name} /><span>${p.title}</span>
    ${counts[p.name] ? html`<span class="count ${counts[p.name][0]}">${counts[p.name][1]}</span>` : null}</a>`;
  const View = route.id ? route.page.one : route.page.view;
  return html`
    <a class="skip" href="#main" onClick=${(e) => {
      e.preventDefault();
      document.getElementById('main').focus();
    }}>Skip to the page</a>
    <header class="topbar"><div class="brand"><${Mark} /><span>hookmesh</span></div><${Badge} /><${Tools} theme=${theme} turnTheme=${turnTheme} open=${setDialog} /></header>
    <nav class="rail" aria-label="Pages"><a class="brand" href="#/now"><${Mark} /><span>hookmesh</span></a>
      <div class="tabs">${pages.map(tab)}<button type="button" class="tab more-tab" aria-current=${route.page.bar ? null : 'page'} onClick=${() => setDialog('more')}><${Icon} name="more" /><span>More</span>${dead ? html`<span class="count red">${dead > 99 ? '99+' : dead}</span>` : null}</button></div>
      <div class="rail-foot"><div><${Badge} /></div><${Tools} theme=${theme} turnTheme=${turnTheme} open=${setDialog} /></div></nav>
    ${store.locked ? html`<${Locked} />` : html`<main class="page" id="main" tabindex="-1" data-route=${`#/${route.page.name}${route.id ? `/${route.id}` : ''}`}><${View} key=${route.page.name + (route.id && route.page.name !== 'keys' ? route.id : '')} id=${route.id} query=${route.query} needs=${needs} /></main>`}
    ${dialog === 'more' && html`<${MorePages} close=${() => setDialog(null)} pages=${pages.filter((p) => !p.bar)} counts=${counts} current=${route.page} />`}
    ${dialog === 'help' && html`<${Help} close=${() => setDialog(null)} pages=${pages} />`}
    ${dialog === 'palette' && html`<${Palette} close=${() => setDialog(null)} pages=${pages} turnTheme=${turnTheme} />`}
    <${Toasts} />`;
}

function runningCount() {
  let n = 0;
  for (const r of store.runs.index.values()) if (r.state === 'running' || r.state === 'queued') n++;
  return n ? ['blue', n] : null;
}

render(html`<${App} />`, document.getElementById('app'));
