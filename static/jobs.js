/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of jobs, put into words and into forms. No drawing here. */
import { cronWords, listed } from './cron.js';
import { duration, when } from './times.js';

/* "job.nightly" and "nightly" are the same job; a pipeline is its own. */
export const jobName = (pipeline) => (pipeline || '').replace(/^job\./, '');
export const isJob = (pipeline) => (pipeline || '').startsWith('job.');

export const scheduleWords = (s) => cronWords(s.expression) || s.expression;

/* The schedule that fires next, of those that fire. */
export function nextOf(schedules) {
  return (schedules || []).filter((s) => s.enabled !== false && s.next && s.next.length).sort((a, b) => when(a.next[0]) - when(b.next[0]))[0] || null;
}

export function triggerWords(t) {
  switch (t.type) {
    case 'webhook': return `a webhook to ${t.path}${t.events ? ` (${listed(t.events)})` : ''}`;
    case 'kv': return `a change of ${t.watch}`;
    case 'db_change': return `${t.events ? listed(t.events) : 'a change'} in the table ${t.table}`;
    case 'on_complete': return `the success of ${t.job}`;
    case 'on_failure': return `the failure of ${t.job}`;
    default: return t.type;
  }
}

const perKey = (x) => (x.key ? ` for each ${x.key}` : '');
const ofRetry = (r) => (r.max_attempts > 1 ? `${r.max_attempts} attempts, ${r.backoff === 'fixed' ? 'each' : 'the second'} after ${duration(r.initial_delay_ms)}${r.backoff === 'fixed' ? '' : ', then twice as long'}` : '1 attempt');
/* What all steps have alike is said once. */
function ofSteps(steps, say) {
  const said = steps.map(say);
  if (!said.length || !said[0]) return '';
  if (said.every((x) => x === said[0])) return steps.length > 1 ? `${said[0]}, each step` : said[0];
  return steps.map((s, i) => `${s.name}: ${said[i]}`).join('; ');
}

const overlaps = { skip: 'the new one is skipped', queue: 'the new one waits', replace: 'the old one is cancelled', allow: 'both run' };

/* [name, words] of everything that bounds a job's runs. */
export function limitRows(job) {
  const l = job.limits || {};
  const rows = [];
  const put = (name, text) => text && rows.push([name, text]);
  const steps = (job.stages || []).filter((s) => !s.after);
  put('Timeout', l.timeout_ms ? duration(l.timeout_ms) : ofSteps(steps, (s) => s.timeout_ms && duration(s.timeout_ms)));
  put('Retry', l.retry ? ofRetry(l.retry) : ofSteps(steps, (s) => s.retry && ofRetry(s.retry)));
  put('At once', l.concurrency && `${l.concurrency.limit === 1 ? 'one run' : `${l.concurrency.limit} runs`}${perKey(l.concurrency)}`);
  put('Rate', l.rate_limit && `${l.rate_limit.limit} starts in ${duration(l.rate_limit.period_ms)}${perKey(l.rate_limit)}`);
  put('Debounce', l.debounce && `starts after ${duration(l.debounce.quiet_ms)} of quiet${l.debounce.max_ms ? `, after ${duration(l.debounce.max_ms)} at the latest` : ''}${perKey(l.debounce)}`);
  put('Delay', l.delay_ms && duration(l.delay_ms));
  put('Priority', l.priority && String(l.priority));
  put('Budget', l.budget && [l.budget.max_tokens && `${l.budget.max_tokens.toLocaleString('en-US')} tokens`, l.budget.max_cost_usd && `$${l.budget.max_cost_usd}`].filter(Boolean).join(', '));
  put('Overlap', (job.schedules || []).length && overlaps[job.overlap]);
  return rows;
}

/* The parts of a form. kind: text, number, choice, json. */
export function fieldsOf(parameters) {
  return (parameters || []).map((p) => {
    const field = { name: p.name, about: p.description || '', required: Boolean(p.required), type: p.type || 'any' };
    if (p.choices) return { ...field, kind: 'choice', choices: p.choices, text: p.default === undefined ? '' : JSON.stringify(p.default) };
    if (p.type === 'boolean') return { ...field, kind: 'choice', choices: [true, false], text: p.default === undefined ? '' : JSON.stringify(p.default) };
    if (p.type === 'string') return { ...field, kind: 'text', text: p.default ?? '' };
    if (p.type === 'number' || p.type === 'integer') return { ...field, kind: 'number', text: p.default === undefined ? '' : String(p.default) };
    return { ...field, kind: 'json', text: p.default === undefined ? '' : JSON.stringify(p.default) };
  });
}

function valueOf(field, text) {
  if (field.kind === 'text') return text;
  if (field.kind === 'number') {
    const n = Number(text);
    if (text.trim() === '' || !Number.isFinite(n) || (field.type === 'integer' && !Number.isInteger(n))) throw new Error(field.type === 'integer' ? 'a whole number' : 'a number');
    return n;
  }
  let v;
  try {
    v = JSON.parse(text);
  } catch {
    throw new Error(field.type === 'array' ? 'a JSON array, such as ["a", "b"]' : field.type === 'object' ? 'a JSON object, such as {"a": 1}' : 'JSON; a text stands in quotes');
  }
  if ((field.type === 'array' && !Array.isArray(v)) || (field.type === 'object' && (v === null || typeof v !== 'object' || Array.isArray(v)))) throw new Error(field.type === 'array' ? 'a JSON array, such as ["a", "b"]' : 'a JSON object, such as {"a": 1}');
  return v;
}

/* { input, wrong: { name: what it must be } }. What is left empty is left out: the server knows its default. */
export function inputOf(fields, texts) {
  const input = {};
  const wrong = {};
  for (const f of fields) {
    const text = texts[f.name] ?? f.text;
    if (text === '') {
      if (f.required) wrong[f.name] = 'must be given';
      continue;
    }
    try {
      input[f.name] = valueOf(f, text);
    } catch (e) {
      wrong[f.name] = `must be ${e.message}`;
    }
  }
  return { input, wrong };
}

/* The newest run of each job that the page knows: from the live list, which is newest first. */
export function lastRuns(runs) {
  const out = new Map();
  for (const r of runs) if (r.pipeline && !out.has(r.pipeline) && r.state !== 'skipped') out.set(r.pipeline, r);
  return out;
}

export const ownSteps = (run) => run.steps.filter((s) => !s.after);
/* What follows a run, those stages that this end of it concerns. While it is under way, and until a snapshot taken behind its end says which they are, all of them. */
export const afterSteps = (run) => run.steps.filter((s) => s.after && (!run.whole || s.state !== 'pending'));
export const failedAfter = (run) => afterSteps(run).filter((s) => s.state === 'failed');
