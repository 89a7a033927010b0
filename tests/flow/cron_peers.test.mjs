// SPDX-License-Identifier: Apache-2.0
// Our next fires beside those of croner and cron-parser: the expressions of tests/data/cron/expressions.txt in six zones, around both changes of the clock in 2026 and 2027
// and around 29 February. A difference must be one that tests/data/cron/differences.json explains; and where a change of the clock is the reason, what we say must be
// what the slow model below makes of the rule: it looks at every second by itself and shares nothing with our search, not even the parser.
//
// croniter (Python) is not run here. It reads the second as the last of six fields unless told otherwise, takes both days restricted as "either" as we do, and goes
// by the clock on the wall where that changes.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { CronExpressionParser } from "cron-parser";
import { Cron } from "croner";

const data = new URL("../data/cron/", import.meta.url);
const binary = process.env.HOOKMESH_BIN ?? "build/hookmesh";
const expressions = readFileSync(new URL("expressions.txt", data), "utf8").trim().split("\n");
const rules = JSON.parse(readFileSync(new URL("differences.json", data), "utf8"));
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const COUNT = 3;

// The instant of each change with the offsets before and after it, in minutes.
const zones = {
  UTC: [],
  "Asia/Kolkata": [],
  "Europe/Berlin": [
    ["2026-03-29T01:00Z", 60, 120],
    ["2026-10-25T01:00Z", 120, 60],
    ["2027-03-28T01:00Z", 60, 120],
    ["2027-10-31T01:00Z", 120, 60],
  ],
  "America/New_York": [
    ["2026-03-08T07:00Z", -300, -240],
    ["2026-11-01T06:00Z", -240, -300],
    ["2027-03-14T07:00Z", -300, -240],
    ["2027-11-07T06:00Z", -240, -300],
  ],
  "Australia/Lord_Howe": [
    ["2026-04-04T15:00Z", 660, 630],
    ["2026-10-03T15:30Z", 630, 660],
    ["2027-04-03T15:00Z", 660, 630],
    ["2027-10-02T15:30Z", 630, 660],
  ],
  "America/Santiago": [
    // At midnight.
    ["2026-04-05T03:00Z", -180, -240],
    ["2026-09-06T04:00Z", -240, -180],
    ["2027-04-04T03:00Z", -180, -240],
    ["2027-09-05T04:00Z", -240, -180],
  ],
};

const cases = Object.entries(zones).flatMap(([zone, changes]) => [
  { zone, from: Date.parse("2028-02-28T12:00Z") },
  ...changes.map(([at, before, after]) => {
    const change = { at: Date.parse(at), before: before * MINUTE, after: after * MINUTE };
    return { zone, change, from: change.at - 75 * MINUTE };
  }),
]);

const ask = (next, n) => {
  try {
    return Array.from({ length: n }, next);
  } catch (e) {
    return String(e.message);
  }
};
const peers = {
  // Without sloppyRanges it refuses 0/15.
  croner: (expression, { zone, from }) => {
    let at = new Date(from);
    let cron;
    return ask(() => {
      cron ??= new Cron(expression, { timezone: zone, paused: true, sloppyRanges: true });
      at = cron.nextRun(at);
      return at.getTime();
    }, COUNT);
  },
  // Some 100 times slower, most of all where a fire is far away.
  "cron-parser": (expression, { zone, from }) => {
    let it;
    return ask(() => {
      it ??= CronExpressionParser.parse(expression, { tz: zone, currentDate: new Date(from) });
      return it.next().getTime();
    }, COUNT);
  },
};

// It looks for a second or two, and often in vain, in the half hour that Lord Howe repeats: once is enough.
const hangs = ({ zone, change }) => zone === "Australia/Lord_Howe" && change?.after < change?.before;

const ours = ({ zone, from }) =>
  execFileSync(binary, ["cron", "next", "-", "--json", "-n", String(COUNT), "--tz", zone, "--from", new Date(from).toISOString()], {
    input: expressions.join("\n"),
    maxBuffer: 1 << 26,
    encoding: "utf8",
  })
    .trim()
    .split("\n")
    .map((line) => {
      const { next, error } = JSON.parse(line);
      return error ?? next.map((text) => Date.parse(text));
    });

if (!isMainThread) {
  const { peer, part } = workerData;
  for (const i of part) {
    const said = ours(cases[i]);
    const near = (fire) => cases[i].change && Math.abs(fire - cases[i].change.at) < 3 * HOUR;
    // cron-parser is asked around a change only for what fires there by us, croner for all.
    const wanted = (e) => peer === "croner" || !cases[i].change || (said[e].some(near) && (!hangs(cases[i]) || expressions[e] === "@hourly"));
    parentPort.postMessage([i, said, expressions.map((x, e) => (wanted(e) ? peers[peer](x, cases[i]) : null))]);
  }
} else {
  // What a schedule is, as cron-parser reads it.
  const read = (expression) => {
    const f = CronExpressionParser.parse(expression.replace("@midnight", "@daily")).fields;
    const set = (field) => new Set(field.values.map(Number));
    const words = expression.trim().split(/\s+/);
    const hour = words[words.length - 4] ?? "";
    return {
      second: set(f.second), minute: set(f.minute), hour: set(f.hour),
      day: set(f.dayOfMonth), month: set(f.month), weekday: set(f.dayOfWeek),
      anyDay: f.dayOfMonth.isWildcard, anyWeekday: f.dayOfWeek.isWildcard,
      interval: hour.includes("/") || f.hour.values.length === 24,
    };
  };
  const matches = (s, local) => {
    const t = new Date(local);
    const day = s.day.has(t.getUTCDate());
    const weekday = s.weekday.has(t.getUTCDay()) || (t.getUTCDay() === 0 && s.weekday.has(7));
    const date = s.anyDay ? weekday || s.anyWeekday : s.anyWeekday ? day : day || weekday;
    return date && s.month.has(t.getUTCMonth() + 1) && s.hour.has(t.getUTCHours()) &&
      s.minute.has(t.getUTCMinutes()) && s.second.has(t.getUTCSeconds());
  };
  // Does it fire at this instant, a few hours around a change?
  const fires = (s, t, { at, before, after }) => {
    if (t < at) return matches(s, t + before);
    const shift = Math.abs(after - before);
    if (s.interval) {
      const both = after > before || (s.hour.size === 24 && shift % HOUR !== 0);
      return matches(s, t + after) || (both && t < at + shift && matches(s, t + before));
    }
    if (after < before) return t >= at + shift && matches(s, t + after);
    if (t > at) return matches(s, t + after);
    for (let local = at + before; local <= at + after; local += 1000) if (matches(s, local)) return true;
    return false;
  };
  const model = (s, from, change, n) => {
    const out = [];
    const seconds = [...s.second].sort((a, b) => a - b);
    const anySecond = { ...s, second: new Set([0]) };
    for (let minute = from - (from % MINUTE); out.length < n && minute < change.at + 6 * HOUR; minute += MINUTE) {
      const change0 = minute === change.at; // what is skipped may have any second
      if (!change0 && !fires(anySecond, minute, change)) continue;
      for (const t of change0 ? Array.from({ length: 60 }, (_, i) => minute + i * 1000) : seconds.map((i) => minute + i * 1000))
        if (t > from && fires(s, t, change)) out.push(t);
    }
    return out.slice(0, n);
  };

  const clocks = new Map();
  const clock = (zone) => {
    if (!clocks.has(zone)) clocks.set(zone, new Intl.DateTimeFormat("sv", { timeZone: zone, dateStyle: "short", timeStyle: "medium" }));
    return clocks.get(zone);
  };
  const offset = (zone, t) => Date.parse(`${clock(zone).format(t).replace(" ", "T")}Z`) - t;
  // The change of the clock within some hours of an instant.
  const changeNear = (zone, t) => {
    let [low, high] = [t - 4 * HOUR, t + 4 * HOUR].map((x) => x - (x % MINUTE));
    const [before, after] = [offset(zone, low), offset(zone, high)];
    if (before === after) return undefined;
    while (high - low > MINUTE) {
      const middle = low + Math.floor((high - low) / 2 / MINUTE) * MINUTE;
      if (offset(zone, middle) === before) low = middle;
      else high = middle;
    }
    return { at: high, before, after };
  };

  const counts = new Map();
  const show = (list) => (Array.isArray(list) ? list.map((t) => new Date(t).toISOString()).join(" ") : list);
  const explain = (peer, expression, { zone, from }, we, they) => {
    const told = `${peer}: ${expression} in ${zone} from ${show([from])}\n  we:   ${show(we)}\n  they: ${show(they)}`;
    assert.ok(Array.isArray(we), told);
    const schedule = read(expression);
    const refused = !Array.isArray(they);
    const change = refused ? undefined : changeNear(zone, Math.min(...we.flatMap((t, i) => (t === they[i] ? [] : [t, they[i]]))));
    const rule = rules.find((r) => r.peer === peer && (r.says
      ? refused && they.includes(r.says)
      : change && r.change === (change.after > change.before ? "forward" : "back") &&
        r.schedule === (schedule.interval ? "interval" : "fixed")));
    assert.ok(rule, `not explained: ${told}`);
    counts.set(rule, (counts.get(rule) ?? 0) + 1);
    if (change) ckModel(schedule, zone, change, from, we, told);
  };
  const ckModel = (schedule, zone, change, from, we, told) => {
    const begin = Math.max(from, change.at - 3 * HOUR);
    const near = we.filter((t) => t > begin && t < change.at + 3 * HOUR);
    assert.deepEqual(near, model(schedule, begin, change, near.length), `the model says otherwise: ${told}`);
  };

  test("the zones change their clocks when the data says", () => {
    for (const { zone, change } of cases.filter((c) => c.change)) assert.deepEqual(changeNear(zone, change.at + HOUR), change, zone);
  });

  test("around a change of the clock each schedule does what the slow model says", () => {
    const schedules = expressions.map(read);
    for (const c of cases.filter((c) => c.change)) {
      for (const [e, we] of ours(c).entries())
        ckModel(schedules[e], c.zone, c.change, c.from, we, `${expressions[e]} in ${c.zone} from ${show([c.from])}: ${show(we)}`);
    }
  });

  test(`${expressions.length} expressions in ${Object.keys(zones).length} zones fire as others say, or the difference is explained`, async () => {
    assert.ok(expressions.length >= 500 && new Set(expressions).size === expressions.length);
    let asked = 0;
    const take = (peer) => ([i, said, theirs]) => {
      for (const [e, they] of theirs.entries()) {
        if (they === null) continue;
        asked++;
        if (String(said[e]) !== String(they)) explain(peer, expressions[e], cases[i], said[e], they);
      }
    };
    const all = cases.map((c, i) => i);
    const jobs = [["croner", all], ...[0, 1].map((half) => ["cron-parser", all.filter((i) => i % 2 === half)])];
    await Promise.all(jobs.map(([peer, part]) => new Promise((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { peer, part } });
      worker.on("message", (m) => {
        try {
          take(peer)(m);
        } catch (e) {
          reject(e);
        }
      }).on("error", reject).on("exit", resolve);
    })));
    console.log(`# ${asked} answers compared`);
    for (const rule of rules) {
      assert.ok(counts.has(rule), `a rule that explains nothing: ${JSON.stringify(rule)}`);
      console.log(`# ${counts.get(rule)} differ: ${rule.peer}: ${rule.says ?? `${rule.change}, ${rule.schedule}`}`);
    }
  });
}
