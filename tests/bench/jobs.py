# SPDX-License-Identifier: Apache-2.0
"""Starting a job over REST, to the end of its run, and what a finished run costs in memory; and the list of runs with a million of them."""
import http.client
import json
import os
import re
import subprocess
import time

import world

CONFIG = f"""
settings: {{run_max: 100000000, event_log_max: 200000}}
extensions:
  - {{name: trial, path: "{os.path.join(world.BUILD, 'ext', 'trial.so')}"}}
jobs:
  - {{name: noop, extension: trial, job: echo}}
"""

# Records as starts and ends leave them; the first ones are the oldest. One in a hundred failed, and ten of the oldest timed out.
FILL = """
local from, n, now, all = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local ids, lists = {}, {}
for i = from, from + n - 1 do
    local id = string.format('0%07d-0000-7000-8000-000000000000', i)
    local job = i < 100 and 'rare' or 'j' .. i % 10
    local state = i < 10 and 'timed_out' or i % 100 == 37 and 'dead' or 'succeeded'
    local created = string.format('%.0f', now - (all - i) * 20)
    redis.call('HSET', 'hm:run:' .. id, 'pipeline', 'job.' .. job, 'state', state, 'open', 0, 'created', created, 'started', created, 'finished', created,
        'rec', '{"cause":"api","key":"job.' .. job .. '.' .. id .. '.input","job":"' .. job .. '","received_at":"2026-11-21T03:36:28.244Z","size":7')
    ids[#ids + 1] = id
    local list = lists[job] or {}
    lists[job] = list
    list[#list + 1] = id
    if state ~= 'succeeded' then
        redis.call('ZADD', 'hm:runs@' .. state, created, id)
        redis.call('ZADD', 'hm:runs@' .. state .. ':job.' .. job, created, id)
    end
end
redis.call('RPUSH', 'hm:runs', unpack(ids))
for job, list in pairs(lists) do redis.call('RPUSH', 'hm:runs:job.' .. job, unpack(list)) end
return n
"""


def wrk(url, seconds, keyed):
    text = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "10s", "--latency", "-s",
                           os.path.join(world.HERE, "jobs.lua"), url], env={**os.environ, "STARTS_KEY": "1" if keyed else "0"},
                          capture_output=True, text=True, check=True).stdout
    return json.loads(re.search(r"^RESULT (.*)$", text, re.M).group(1))


def used_memory(sock):
    return int(re.search(r"used_memory:(\d+)", world.redis(sock, "INFO", "memory")).group(1))


def log_memory(sock):
    """Of the log of events, which is bounded: what a run keeps is counted without it."""
    return world.redis(sock, "MEMORY", "USAGE", "hm:events", "SAMPLES", "0") or 0


def ended(sock):
    return world.redis(sock, "LLEN", "hm:runs") if world.redis(sock, "ZCARD", "hm:runs@open") == 0 else None


def starts(w, seconds, keyed):
    server = world.Server(w, w.config(CONFIG))
    url = server.url + "/v1/jobs/noop/runs"
    wrk(url, 1, keyed)  # warm: the host of the extension, the connections' memory
    before = world.wait_until("all runs have ended", 120, lambda: ended(server.redis))
    pids = server.pids()
    cpu = [world.cpu_us(p) for p in pids]
    memory = used_memory(server.redis) - log_memory(server.redis)
    begin = time.monotonic()
    r = wrk(url, seconds, keyed)
    after = world.wait_until("all runs have ended", 300, lambda: ended(server.redis))
    took = time.monotonic() - begin
    n = after - before
    used = [world.cpu_us(p) - c for p, c in zip(pids, cpu)]
    grown = used_memory(server.redis) - log_memory(server.redis) - memory
    states = json.loads(get(server, "/v1/analytics/jobs?since=1d")[1])["jobs"][0]
    lost = max(0, r["requests"] - r["refused"] - n)
    wrong = states["runs"] - states["succeeded"]
    server.stop()
    return {"rate": n / took, "p50": r["p50"], "p99": r["p99"], "cpu": used[0] / n, "redis_cpu": used[1] / n, "bytes": grown / n,
            "refused": r["refused"], "failed": r["failed"], "lost": lost, "wrong": wrong}


def get(server, path, connection=None):
    c = connection or http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    begin = time.monotonic()
    c.request("GET", path)
    r = c.getresponse()
    body = r.read()
    took = (time.monotonic() - begin) * 1000
    if r.status != 200:
        raise RuntimeError(f"{path}: {r.status} {body[:300]}")
    return took, body, r.getheader("link")


def fill(server, n):
    world.redis(server.redis, "CONFIG", "SET", "appendonly", "no")
    now = int(time.time() * 1000)
    before = used_memory(server.redis)
    for i in range(0, n, 1000):
        world.redis(server.redis, "EVAL", FILL, 0, i, 1000, now, n)
    return (used_memory(server.redis) - before) / n


def lists(w, n, rounds):
    server = world.Server(w, w.config(CONFIG))
    per_run = fill(server, n)
    middle = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - n * 0.01))
    asked = [("newest 50", "/v1/runs"), ("of a job", "/v1/runs?job=job.j3"), ("of a job with 100 runs, the oldest", "/v1/runs?job=job.rare"),
             ("succeeded", "/v1/runs?state=succeeded"), ("dead", "/v1/runs?state=dead"), ("timed out: 10, the oldest", "/v1/runs?state=timed_out"),
             ("dead of a job", "/v1/runs?job=job.j7&state=dead"), ("open: none", "/v1/runs?state=queued,running,waiting"),
             ("before the middle", f"/v1/runs?until={middle}"), ("of a cause that none has", "/v1/runs?cause=schedule"), ("newest 1000", "/v1/runs?limit=1000")]
    rows, good = [], True
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for name, path in asked:
        times = sorted(get(server, path, connection)[0] for _ in range(rounds))
        found = len(json.loads(get(server, path, connection)[1]))
        p99 = times[int(len(times) * 0.99)]
        rows.append([name, found, f"{world.median(times):.2f}", f"{p99:.2f}", f"{times[-1]:.2f}"])
        good &= found > 0 or "none" in name
    server.stop()
    world.table([f"GET /v1/runs, {n:,} finished runs", "found", "p50 ms", "p99 ms", "max ms"], rows)
    print(f"  {per_run:,.0f} bytes of Redis a record with its places in the lists, without its keys\n", flush=True)
    return good


def run(w, quick):
    good = True
    rows = []
    for name, keyed in (("plain", False), ("with Idempotency-Key", True)):
        all_of_it = [starts(w, 2 if quick else 6, keyed) for _ in range(1 if quick else 5)]
        mid = {key: world.median([r[key] for r in all_of_it]) for key in all_of_it[0]}
        sums = {key: sum(r[key] for r in all_of_it) for key in ("refused", "failed", "lost", "wrong")}
        good &= not any(sums.values())
        rows.append([name, world.n0(mid["rate"]), f"{mid['p50']:.2f}", f"{mid['p99']:.2f}", f"{mid['cpu']:.0f}", f"{mid['redis_cpu']:.0f}",
                     world.n0(mid["bytes"]), *sums.values()])
    world.table(["a job in C, started over REST", "runs/s", "p50 ms", "p99 ms", "CPU us", "Redis CPU us", "bytes a run", "not 2xx", "errors", "lost", "wrong"], rows)
    return lists(w, 20000 if quick else 1000000, 20 if quick else 200) and good
