/* SPDX-License-Identifier: Apache-2.0 */
/* What the dashboard says in words and makes of figures, without a browser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cronWords } from '../../static/cron.js';
import { gridStep, lastDays, percent, rateOf } from '../../static/figures.js';
import { fieldsOf, inputOf, lastRuns, limitRows, nextOf, triggerWords } from '../../static/jobs.js';
import { ago, duration, firesOf, moveWords, zoned } from '../../static/times.js';

const said = {
  '0 */30 * * * *': 'every 30 minutes',
  '0 0/15 * * * *': 'every 15 minutes',
  '*/10 * * * * *': 'every 10 seconds',
  '* * * * *': 'every minute',
  '* * * * * *': 'every second',
  '0 0 * * * *': 'every hour',
  '@hourly': 'every hour',
  '0 0 */6 * * *': 'every 6 hours',
  '0 15 */2 * * *': 'every 2 hours at :15',
  '7 * * * *': 'every hour at :07',
  '0 0 9 * * *': 'every day at 09:00',
  '@daily': 'every day at 00:00',
  '30 0 9 * * *': 'every day at 09:00:30',
  '15 9,17 * * *': 'every day at 09:15 and 17:15',
  '0 0 8 * * MON-FRI': 'Monday to Friday at 08:00',
  '0 0 8 * * fri-sun': 'Friday to Sunday at 08:00',
  '0 30 2 * * 0': 'every Sunday at 02:30',
  '0 30 2 * * 7': 'every Sunday at 02:30',
  '0 0 9 * * MON,WED,FRI': 'Monday, Wednesday and Friday at 09:00',
  '0 15 10 1 * *': 'on the 1st of the month at 10:15',
  '0 0 9 2,22 * *': 'on the 2nd and 22nd of the month at 09:00',
  '0 0 9 29 2 *': 'on the 29th of February at 09:00',
  '@yearly': 'on the 1st of January at 00:00',
  '0 0 9 * 1,7 *': 'every day in January and July at 09:00',
  '0 0 9 13 * FRI': 'on the 13th of the month, and every Friday at 09:00',
  '0 */5 9-17 * * 1-5': 'every 5 minutes from 09:00 to 17:55, Monday to Friday',
  '0 30 9-17 * * *': 'every hour at :30 from 09:00 to 17:30',
};

test('a schedule is said in words that mean the same', () => {
  for (const [expression, words] of Object.entries(said)) assert.equal(cronWords(expression), words, expression);
});

test('a schedule without a short sentence is left as it is written', () => {
  for (const expression of ['0 0 9 L * *', '0 */7 * * * *', '0 0 */5 * * *', '0 0 6-22/2 * * *', '0 1-5 * * * *', '@reboot', '', 'now and then', '* * *', '61 * * * *', '0 0 9 * * 1-2-3', '0 0 0,1,2,3,4 1 * *']) {
    assert.equal(cronWords(expression), null, expression);
  }
});

test('an instant is shown in its own zone, whatever the reader’s', () => {
  assert.deepEqual(zoned('2026-10-25T02:30:00+01:00'), { date: 'Sun 25 Oct', year: 2026, time: '02:30', offset: '+01:00' });
  assert.deepEqual(zoned('2026-02-28T23:59:30Z'), { date: 'Sat 28 Feb', year: 2026, time: '23:59:30', offset: '+00:00' });
  assert.equal(zoned('soon'), null);
  assert.equal(zoned(undefined), null);
});

test('a fire behind a change of the clock is marked with what the clock did', () => {
  const autumn = firesOf(['2026-10-24T09:00:00+02:00', '2026-10-25T09:00:00+01:00', '2026-10-26T09:00:00+01:00']);
  assert.deepEqual(autumn.map((f) => f.moved), [0, -60, 0]);
  assert.equal(moveWords(-60), 'the clock goes back 1 h');
  assert.deepEqual(firesOf(['2026-10-03T12:00:00+10:30', '2026-10-04T12:00:00+11:00']).map((f) => f.moved), [0, 30]);
  assert.equal(moveWords(30), 'the clock goes forward 30 min');
  assert.deepEqual(firesOf(['2026-03-08T12:00:00-05:00', '2026-03-09T12:00:00-04:00']).map((f) => f.moved), [0, 60]);
});

test('what comes is told more exactly than what was', () => {
  const now = 1780000000000;
  assert.equal(ago(now - 500, now), 'now');
  assert.equal(ago(now - 59000, now), '59s ago');
  assert.equal(ago(now - 7300000, now), '2h ago');
  assert.equal(ago(now + 500, now), 'now');
  assert.equal(ago(now + 90000, now), 'in 1m');
  assert.equal(ago(now + 12000000, now), 'in 3h 20m');
  assert.equal(ago(now + 187200000, now), 'in 2d 4h');
  assert.equal(duration(0.2), '<1 ms');
  assert.equal(duration(999), '999 ms');
  assert.equal(duration(1500), '1.5 s');
  assert.equal(duration(1000), '1 s');
  assert.equal(duration(300000), '5 m');
  assert.equal(duration(301000), '5 m 1 s');
  assert.equal(duration(604800000), '7 d');
});

const parameters = [
  { name: 'topic', type: 'string', required: true },
  { name: 'count', type: 'integer', required: false, default: 3 },
  { name: 'dry', type: 'boolean', required: false },
  { name: 'level', type: 'string', choices: ['low', 'high'], default: 'low' },
  { name: 'tags', type: 'array' },
  { name: 'where', type: 'object' },
];

test('a form gives the input with the types that the parameters have', () => {
  const fields = fieldsOf(parameters);
  assert.deepEqual(fields.map((f) => f.kind), ['text', 'number', 'choice', 'choice', 'json', 'json']);
  assert.deepEqual(inputOf(fields, { topic: 'tides', dry: 'true', tags: '["a"]' }), { input: { topic: 'tides', count: 3, dry: true, level: 'low', tags: ['a'] }, wrong: {} });
  assert.deepEqual(inputOf(fields, { topic: '42', count: '' }).input, { topic: '42', level: 'low' });
});

test('a form says of each field what it must be', () => {
  const { wrong } = inputOf(fieldsOf(parameters), { count: '1.5', tags: '{}', where: '[1]' });
  assert.deepEqual(wrong, { topic: 'must be given', count: 'must be a whole number', tags: 'must be a JSON array, such as ["a", "b"]', where: 'must be a JSON object, such as {"a": 1}' });
  assert.equal(inputOf(fieldsOf([{ name: 'x' }]), { x: 'text' }).wrong.x, 'must be JSON; a text stands in quotes');
});

test('limits are said in words, and what is not limited is left out', () => {
  const rows = Object.fromEntries(limitRows({
    stages: [{ id: 'a' }, { id: 'b', after: ['success'] }], schedules: [{}], overlap: 'replace',
    limits: { priority: 0, timeout_ms: 300000, retry: { max_attempts: 3, backoff: 'exponential', initial_delay_ms: 10000, max_delay_ms: 300000 }, concurrency: { limit: 1, key: '.repository.id' }, debounce: { quiet_ms: 30000, max_ms: 300000 } },
  }));
  assert.deepEqual(rows, {
    Timeout: '5 m', Retry: '3 attempts, the second after 10 s, then twice as long', 'At once': 'one run for each .repository.id',
    Debounce: 'starts after 30 s of quiet, after 5 m at the latest', Overlap: 'the old one is cancelled',
  });
  assert.deepEqual(limitRows({}), []);
  const step = (name, s) => ({ name, timeout_ms: s * 1000, retry: { max_attempts: 1 } });
  assert.deepEqual(limitRows({ stages: [step('a', 60), step('b', 120)] }), [['Timeout', 'a: 1 m; b: 2 m'], ['Retry', '1 attempt, each step']]);
});

test('the next fire of a job is the soonest of its schedules that are on', () => {
  const at = (h) => [`2026-05-01T${h}:00:00Z`];
  assert.equal(nextOf([{ name: 'a', next: at('12') }, { name: 'b', next: at('09') }, { name: 'c', next: at('08'), enabled: false }, { name: 'd', next: [] }]).name, 'b');
  assert.equal(nextOf([]), null);
  assert.equal(triggerWords({ type: 'webhook', path: '/hooks/x', events: ['push', 'ping'] }), 'a webhook to /hooks/x (push and ping)');
});

test('a job’s last run is the newest that was not skipped', () => {
  const last = lastRuns([{ id: '3', pipeline: 'job.a', state: 'skipped' }, { id: '2', pipeline: 'job.a', state: 'succeeded' }, { id: '1', pipeline: 'job.a', state: 'dead' }]);
  assert.equal(last.get('job.a').id, '2');
});

test('days without runs are there, and a rate is never rounded up to all', () => {
  const now = Date.parse('2026-05-07T10:00:00Z');
  const days = lastDays([{ day: '2026-05-01', succeeded: 9, failed: 1 }, { day: '2026-04-01', succeeded: 100, failed: 0 }], 7, now);
  assert.deepEqual(days.map((d) => d.day), ['01', '02', '03', '04', '05', '06', '07'].map((d) => `2026-05-${d}`));
  assert.equal(rateOf(days), 0.9);
  assert.equal(rateOf(days.slice(1)), null);
  assert.equal(percent(null), '–');
  assert.equal(percent(1), '100 %');
  assert.equal(percent(0.99999), '99.9 %');
  assert.equal(percent(0.5), '50 %');
  assert.deepEqual([1, 3, 10, 40, 120, 5000].map(gridStep), [1, 1, 5, 20, 50, 2000]);
});
