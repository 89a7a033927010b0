/* SPDX-License-Identifier: Apache-2.0 */
/* The live stream: one WebSocket for the whole page.
 *
 * It keeps the wanted topics and the id of the last event, so that after a cut it goes on behind that event: what was missed comes once, what
 * was seen does not come again. Events are handed over in one batch a frame, because a busy pipeline sends thousands a second
 * and a page can draw sixty times. A hidden tab gets no frames, so a timer stands in for them. */

const protocol = 'hookmesh.live.v1';
const backoff = { first: 250, most: 10000 };
const quiet = 15000; /* so long without a word: ask; as long again: the line is dead */

export function liveConnect({ onBatch, onState }) {
  const topics = new Map(); /* topic -> has a snapshot come? */
  let socket = null;
  let state = 'disconnected';
  let detail = 'connecting';
  let last = null; /* BigInt: the id behind which to go on */
  let failures = 0;
  let retryTimer = 0;
  let retryAt = 0;
  let heard = 0;
  let asked = false;
  let queue = [];
  let flushing = false;

  function setState(next, why = '') {
    state = next;
    detail = why;
    onState({ state, detail, retryAt: next === 'disconnected' ? retryAt : 0 });
  }

  function send(message) {
    if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  }

  function schedule() {
    if (flushing) return;
    flushing = true;
    let ran = false;
    const flush = () => {
      if (ran) return;
      ran = true;
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      flushing = false;
      const batch = queue;
      queue = [];
      onBatch(batch);
    };
    const timer = setTimeout(flush, 250);
    const frame = requestAnimationFrame(flush);
  }

  function onMessage(text) {
    heard = Date.now();
    asked = false;
    const m = JSON.parse(text);
    if (m.op === undefined) {
      const id = BigInt(m.id);
      /* The map of pipelines is a view with the id of the event before it; everything else comes once. */
      if (m.type !== 'pipelines' && last !== null && id <= last) return;
      if (last === null || id > last) last = id;
      queue.push(m);
      schedule();
    } else if (m.op === 'snapshot') {
      const id = BigInt(m.id);
      if (last === null || id > last) last = id;
      for (const t of m.topics) if (topics.has(t)) topics.set(t, true);
      queue.push(m);
      schedule();
      if ([...topics.values()].every(Boolean)) setState('live');
    } else if (m.op === 'resume') {
      setState('live');
    } else if (m.op === 'resync') {
      last = null; /* the log may have begun anew, with small numbers */
      setState('catching up', m.reason);
    } else if (m.op === 'state') {
      setState(m.state === 'live' ? 'live' : 'stalled', m.detail);
    }
  }

  function onGone() {
    socket = null;
    const wait = Math.min(backoff.most, backoff.first * 2 ** failures) * (0.5 + Math.random() / 2);
    failures++;
    retryAt = Date.now() + wait;
    clearTimeout(retryTimer);
    retryTimer = setTimeout(connect, wait);
    setState('disconnected');
  }

  function connect() {
    clearTimeout(retryTimer);
    if (socket) return;
    const url = new URL('/v1/live', location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const s = new WebSocket(url, protocol);
    socket = s;
    s.onopen = () => {
      failures = 0;
      heard = Date.now();
      asked = false;
      setState('catching up');
      /* Going on behind `last` is only right for topics whose state we have. */
      const known = [...topics].filter(([, have]) => have).map(([t]) => t);
      const fresh = [...topics].filter(([, have]) => !have).map(([t]) => t);
      if (known.length && last !== null) send({ op: 'subscribe', topics: known, after: String(last) });
      if (fresh.length) send({ op: 'subscribe', topics: fresh });
    };
    s.onmessage = (e) => onMessage(e.data);
    s.onclose = () => {
      if (socket === s) onGone();
    };
  }

  function watchLine() {
    if (!socket || socket.readyState !== WebSocket.OPEN || Date.now() - heard < quiet) return;
    if (asked) {
      const s = socket;
      onGone();
      s.close();
      return;
    }
    asked = true;
    heard = Date.now();
    send({ op: 'ping' });
  }

  setInterval(watchLine, 2000);
  addEventListener('online', connect);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) connect();
  });
  connect();

  return {
    want(topic) {
      if (topics.has(topic)) return;
      topics.set(topic, false);
      send({ op: 'subscribe', topics: [topic] });
    },
    drop(topic) {
      if (topics.delete(topic)) send({ op: 'unsubscribe', topics: [topic] });
    },
    /* Asks for the snapshot of a topic anew. */
    again(topic) {
      if (!topics.has(topic)) return;
      topics.set(topic, false);
      send({ op: 'unsubscribe', topics: [topic] });
      send({ op: 'subscribe', topics: [topic] });
    },
    retryNow: connect,
  };
}
