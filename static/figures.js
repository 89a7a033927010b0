/* SPDX-License-Identifier: Apache-2.0 */
/* The figures behind the charts. No drawing here. */

const day = 86400000;

/* One entry for each of the last n days, UTC, oldest first; days on which nothing ran are there too. */
export function lastDays(days, n, now = Date.now()) {
  const known = new Map((days || []).map((d) => [String(d.day).slice(0, 10), d]));
  return Array.from({ length: n }, (_, i) => {
    const name = new Date(now - (n - 1 - i) * day).toISOString().slice(0, 10);
    const d = known.get(name) || {};
    return { day: name, succeeded: d.succeeded || 0, failed: d.failed || 0 };
  });
}

export const rateOf = (days) => {
  const good = days.reduce((a, d) => a + d.succeeded, 0);
  const bad = days.reduce((a, d) => a + d.failed, 0);
  return good + bad ? good / (good + bad) : null;
};
/* Never "100 %" when something failed. */
export const percent = (rate) => (rate === null || rate === undefined ? '–' : `${rate > 0.99 && rate < 1 ? (Math.floor(rate * 1000) / 10).toFixed(1) : Math.floor(rate * 100 + 1e-9)} %`);
export const rateColour = (rate) => (rate === null || rate === undefined ? 'gray' : rate >= 0.99 ? 'green' : rate >= 0.9 ? 'amber' : 'red');

/* 1, 2 or 5 times a power of ten, so that about three lines fit below the top. */
export function gridStep(top) {
  const raw = Math.max(1, top / 3);
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((x) => x * power).find((x) => x >= raw);
}
