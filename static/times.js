/* SPDX-License-Identifier: Apache-2.0 */
/* Times for people: how long ago, how long until, and the local time of a zone that the server has worked out. Nothing here knows a time zone; an instant
 * comes with its offset, "2026-10-25T02:30:00+01:00", and is shown as it is written. */

/* Times come as RFC 3339 or as ms since 1970. */
export const when = (x) => (typeof x === 'number' ? x : x ? Date.parse(x) : 0);

const units = [[60, 1, 's'], [3600, 60, 'm'], [86400, 3600, 'h'], [Infinity, 86400, 'd']];

function span(s) {
  const [, size, unit] = units.find(([most]) => s < most);
  return `${Math.floor(s / size)}${unit}`;
}

/* "5m ago", "now", "in 3h 20m": what comes is told more exactly than what was. */
export function ago(ms, now = Date.now()) {
  if (ms > now + 999) {
    const s = Math.floor((ms - now) / 1000);
    const rest = s >= 86400 ? Math.floor((s % 86400) / 3600) : s >= 3600 ? Math.floor((s % 3600) / 60) : 0;
    return `in ${span(s)}${rest ? ` ${rest}${s >= 86400 ? 'h' : 'm'}` : ''}`;
  }
  const s = Math.max(0, (now - ms) / 1000);
  return s < 2 ? 'now' : `${span(s)} ago`;
}

export function duration(ms) {
  if (ms === undefined || ms === null || Number.isNaN(ms)) return '';
  if (ms < 1) return '<1 ms';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0).replace(/\.0$/, '')} s`;
  const s = Math.round(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} m${s % 60 ? ` ${s % 60} s` : ''}`;
  if (s < 86400) return `${Math.floor(s / 3600)} h${s % 3600 >= 60 ? ` ${Math.floor((s % 3600) / 60)} m` : ''}`;
  return `${Math.floor(s / 86400)} d${s % 86400 >= 3600 ? ` ${Math.floor((s % 86400) / 3600)} h` : ''}`;
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const parts = /^(\d{4})-(\d\d)-(\d\d)T(\d\d:\d\d)(:\d\d)?(?:\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/* { date: "Sun 25 Oct", year, time: "02:30", offset: "+01:00" }; null: not an instant. */
export function zoned(instant) {
  const m = parts.exec(instant || '');
  if (!m) return null;
  const [, y, mo, d, hm, s, offset] = m;
  const weekday = days[new Date(Date.UTC(Number(y), Number(mo) - 1, Number(d))).getUTCDay()];
  return { date: `${weekday} ${Number(d)} ${months[Number(mo) - 1]}`, year: Number(y), time: hm + (s && s !== ':00' ? s : ''), offset: offset === 'Z' ? '+00:00' : offset };
}

/* "03:22 UTC", "Mon 02:30 +01:00", "1 Dec 06:00 +01:00": as much as tells when, in the zone of the schedule. */
export function fireWords(instant, now = Date.now()) {
  const at = zoned(instant);
  if (!at) return '';
  const far = when(instant) - now;
  const date = far < 64800000 ? '' : far < 518400000 ? `${at.date.slice(0, 3)} ` : `${at.date.slice(4)} `;
  return `${date}${at.time} ${at.offset === '+00:00' ? 'UTC' : at.offset}`;
}

export const offsetMinutes = (offset) => (offset[0] === '-' ? -1 : 1) * (Number(offset.slice(1, 3)) * 60 + Number(offset.slice(4, 6)));

/* The fires of a schedule, each with what the clock did since the one before it: 0, or minutes that it went forward (60) or back (-60). */
export function firesOf(next) {
  let before = null;
  return next.map((instant) => {
    const at = zoned(instant);
    const now = at ? offsetMinutes(at.offset) : null;
    const moved = before === null || now === null ? 0 : now - before;
    before = now ?? before;
    return { instant, ms: when(instant), ...at, moved };
  });
}

/* "The clock goes back 1 h" */
export function moveWords(minutes) {
  const size = Math.abs(minutes);
  return `the clock goes ${minutes > 0 ? 'forward' : 'back'} ${size % 60 ? `${size} min` : `${size / 60} h`}`;
}
