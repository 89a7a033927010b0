/* SPDX-License-Identifier: Apache-2.0 */
/* A cron expression in words: "0 0 8 * * MON-FRI" is "Monday to Friday at 08:00". What has no short sentence stays as it is written (null here),
 * for half a sentence would be a wrong one. Only words are made here; when a schedule fires the server says. */

const months = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const nicknames = {
  '@yearly': '0 0 1 1 *', '@annually': '0 0 1 1 *', '@monthly': '0 0 1 * *', '@weekly': '0 0 * * 0', '@daily': '0 0 * * *', '@midnight': '0 0 * * *', '@hourly': '0 * * * *',
};
const ranges = { second: [0, 59], minute: [0, 59], hour: [0, 23], day: [1, 31], month: [1, 12], weekday: [0, 7] };

function numberOf(text, names, first) {
  const at = names.findIndex((n) => n.slice(0, 3).toLowerCase() === text.toLowerCase());
  return at >= 0 ? at + first : /^\d+$/.test(text) ? Number(text) : NaN;
}

/* One field: { all } | { step, from } | { parts: [[from, to]...] }; null: it is not for words. */
function fieldOf(text, kind) {
  const [least, most] = ranges[kind];
  const names = kind === 'month' ? months : kind === 'weekday' ? days : [];
  const first = kind === 'month' ? 1 : 0;
  if (text === '*' || text === '?') return { all: true };
  const steps = /^(\*|\d+)\/(\d+)$/.exec(text);
  if (steps) {
    const from = steps[1] === '*' ? least : Number(steps[1]);
    const step = Number(steps[2]);
    if (step === 1 && from === least) return { all: true };
    return from <= most && step > 0 ? { step, from } : null;
  }
  const parts = text.split(',').map((part) => {
    const [a, b = a, more] = part.split('-');
    const [from, to] = [numberOf(a, names, first), numberOf(b, names, first)];
    return more !== undefined ? [NaN, NaN] : [from, kind === 'weekday' && to === 0 && from > 0 ? 7 : to];
  });
  return parts.every(([a, b]) => a >= least && b <= most && a <= b) ? { parts } : null;
}

const two = (n) => String(n).padStart(2, '0');
export const listed = (words) => (words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`);
const ordinal = (n) => `${n}${n % 100 >= 11 && n % 100 <= 13 ? 'th' : ['th', 'st', 'nd', 'rd'][n % 10] || 'th'}`;
const single = (f) => (f.parts && f.parts.every(([a, b]) => a === b) ? f.parts.map(([a]) => a) : null);
const zero = (f) => Boolean(f.parts) && f.parts.length === 1 && f.parts[0][0] === 0 && f.parts[0][1] === 0;
const whole = { second: 60, minute: 60, hour: 24 };

/* "every 5 minutes", when that is true also over the end of the hour, minute or day. */
function everyStep(f, unit) {
  if (!f.step || f.from !== 0 || whole[unit] % f.step !== 0) return null;
  return f.step === 1 ? `every ${unit}` : `every ${f.step} ${unit}s`;
}

/* The hours in which something that comes within an hour happens: "", " from 09:00 to 17:59". */
function hoursOf(hour, lastMinute) {
  if (hour.all) return '';
  if (!hour.parts || hour.parts.length !== 1) return null;
  const [[a, b]] = hour.parts;
  return ` from ${two(a)}:00 to ${two(b)}:${two(lastMinute)}`;
}

/* { at: "09:00" } for fixed times, { every: "every 5 minutes" } for intervals; null: neither. */
function timeOf(second, minute, hour) {
  const [s, m, h] = [single(second), single(minute), single(hour)];
  if (s && s.length === 1 && m && h && m.length * h.length <= 4) {
    const end = s[0] ? `:${two(s[0])}` : '';
    return { at: listed(h.flatMap((x) => m.map((y) => `${two(x)}:${two(y)}${end}`))) };
  }
  if (minute.all && hour.all) {
    if (second.all) return { every: 'every second' };
    if (zero(second)) return { every: 'every minute' };
    return everyStep(second, 'second') && { every: everyStep(second, 'second') };
  }
  if (!zero(second)) return null;
  const past = m && m.length <= 4 ? (zero(minute) ? '' : ` at ${listed(m.map((x) => `:${two(x)}`))}`) : null;
  if (past !== null && everyStep(hour, 'hour')) return { every: everyStep(hour, 'hour') + past };
  const inner = minute.all ? 'every minute' : everyStep(minute, 'minute') || (past !== null ? `every hour${past}` : null);
  const hours = hoursOf(hour, past !== null ? Math.max(...m) : minute.step ? 60 - minute.step : 59);
  return inner && hours !== null ? { every: inner + hours } : null;
}

function weekdaysOf(f) {
  if (!f.parts) return null;
  const name = (n) => days[n % 7];
  if (f.parts.length === 1 && f.parts[0][0] < f.parts[0][1]) return `${name(f.parts[0][0])} to ${name(f.parts[0][1])}`;
  const all = f.parts.flatMap(([a, b]) => Array.from({ length: b - a + 1 }, (_, i) => name(a + i)));
  return `${all.length > 1 ? '' : 'every '}${listed(all)}`;
}

/* On which days; '' : on all of them. null: not for words. */
function daysOf(day, month, weekday) {
  const inMonth = month.all ? '' : month.parts ? listed(month.parts.map(([a, b]) => (a === b ? months[a - 1] : `${months[a - 1]} to ${months[b - 1]}`))) : null;
  if (inMonth === null) return null;
  const week = weekday.all ? '' : weekdaysOf(weekday);
  const dates = day.all ? [] : day.parts ? day.parts.map(([a, b]) => (a === b ? ordinal(a) : `${ordinal(a)} to ${ordinal(b)}`)) : null;
  if (week === null || dates === null) return null;
  if (!dates.length) return week && inMonth ? `${week} in ${inMonth}` : week || (inMonth && `every day in ${inMonth}`);
  const on = `on the ${listed(dates)} of ${inMonth || 'the month'}`;
  return week ? `${on}, and ${week}` : on; /* either matches */
}

export function cronWords(expression) {
  const text = (nicknames[String(expression).trim().toLowerCase()] || String(expression)).trim();
  const raw = text.split(/\s+/);
  if (raw.length === 5) raw.unshift('0');
  if (raw.length !== 6) return null;
  const fields = Object.keys(ranges).map((kind, i) => fieldOf(raw[i], kind));
  if (fields.some((f) => !f)) return null;
  const [second, minute, hour, day, month, weekday] = fields;
  const time = timeOf(second, minute, hour);
  const on = daysOf(day, month, weekday);
  if (!time || on === null) return null;
  if (time.at) return `${on || 'every day'} at ${time.at}`;
  return on ? `${time.every}, ${on}` : time.every;
}
