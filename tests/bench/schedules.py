# SPDX-License-Identifier: Apache-2.0
"""Schedules: the search for the next fire, against croner; what ten thousand cost that are not due; a thousand that are due at once."""
import datetime
import json
import os
import subprocess
import time
import urllib.request

import world

PACKAGES = ["croner@11"]
EXPRESSIONS = ["* * * * * *", "*/15 * * * *", "0 9 * * MON-FRI", "30 2 * * *", "0 0 1 * *", "0 12 29 2 *"]
ZONES = ["UTC", "Europe/Berlin"]
MANY, DUE, A_FILE = 10000, 1000, 500


def program(w):
    """nextfire.c with the library of the build."""
    out = os.path.join(w.dir, "nextfire")
    subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-I" + os.path.join(world.ROOT, "server"), "-o", out,
                    os.path.join(world.HERE, "nextfire.c"), os.path.join(world.BUILD, "libhookmesh_lib.a"), "-lcctz",
                    "-lstdc++", "-lm"], check=True)
    return out


def next_fires(w, quick):
    w.node_modules(PACKAGES)
    ours = [program(w), "20000" if quick else "500000"]
    theirs = ["node", os.path.join(world.HERE, "nextfire_peer.mjs"), "500" if quick else "20000"]
    pairs = [(z, e) for z in ZONES for e in EXPRESSIONS]
    text = "".join(f"{z}\t{e}\n" for z, e in pairs)

    def ask(argv):
        lines = subprocess.run(argv, input=text, capture_output=True, text=True, check=True, cwd=world.HERE).stdout
        return [float(line.split()[0]) for line in lines.splitlines()]

    rounds = [(ask(ours), ask(theirs)) for _ in range(1 if quick else 5)]
    rows, ratios = [], []
    for i, (zone, expression) in enumerate(pairs):
        ratio = world.median([peer[i] / own[i] for own, peer in rounds])
        ratios.append(ratio)
        rows.append([f"{expression} in {zone}", f"{world.median([own[i] for own, _ in rounds]):.0f}",
                     world.n0(world.median([peer[i] for _, peer in rounds])), f"{ratio:.0f}"])
    world.table(["next fire", "hookmesh ns", "croner ns", "croner / hookmesh"], rows)
    print(f"  croner / hookmesh: {world.median(ratios):.0f}  ({min(ratios):.0f} to {max(ratios):.0f})\n", flush=True)
    return quick or min(ratios) >= 10


def jobs(w, n, line, head=""):
    """A directory with n jobs; a file has a bounded number of values, so there are several."""
    path = w.config(head or "settings: {}\n")
    for first in range(0, n, A_FILE):
        with open(os.path.join(path, f"jobs{first}.yaml"), "w") as f:
            f.write("jobs:\n" + "".join(f"  - {{{line(i)}}}\n" for i in range(first, min(n, first + A_FILE))))
    return path


def idle(w, quick):
    """None of them is due: they are of the hours that are farthest away."""
    seconds = 5 if quick else 30
    hour = (datetime.datetime.now(datetime.timezone.utc).hour + 8) % 24
    rows = []
    for n in (0, MANY):
        config = jobs(w, n, lambda i: f"name: j{i}, schedule: '{i % 60} {(hour + i % 8) % 24} {i % 5 + 1}/5 * *', command: [cat]")
        start = time.monotonic()
        server = world.Server(w, config)
        took = time.monotonic() - start
        if n:
            world.wait_until("all are entered", 60, lambda: world.redis(server.redis, "ZCARD", "hm:cron") == n)
        time.sleep(2)
        parts = server.pids()
        before = [world.cpu_us(p) for p in parts]
        time.sleep(seconds)
        cpu = [(world.cpu_us(p) - b) / seconds / 1e4 for p, b in zip(parts, before)]
        rows.append([f"{n:,} schedules", *(f"{c:.2f}" for c in cpu), f"{world.rss_kb(parts[0][:1]) / 1024:.1f}", f"{took:.1f}"])
        good = sum(cpu) < 1
        server.stop()
    world.table([f"idle for {seconds} s", "CPU %", "Redis CPU %", "RSS MB", "ready after s"], rows)
    return good


def runs(server):
    out, path = [], "/v1/runs?limit=1000"
    while path:
        with urllib.request.urlopen(server.url + path) as answer:
            out += json.load(answer)
            link = answer.headers.get("link")
        path = link.split("<")[1].split(">")[0] if link else None
    return out


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def at_once(w, quick):
    """All are due every five seconds; how long behind that instant is the last of them started, and done?"""
    ticks = 1 if quick else 5
    so = os.path.join(world.BUILD, "ext", "trial.so")
    if not os.path.exists(so):
        raise RuntimeError(f"{so} is missing; build the target ext_trial")
    config = jobs(w, DUE, lambda i: f"name: j{i}, schedule: '*/5 * * * * *', extension: trial, job: echo",
                  f"extensions:\n  - {{name: trial, path: {so}}}\n")
    server = world.Server(w, config)
    world.wait_until("the ticks are done", 60 + 10 * ticks, lambda: (world.redis(server.redis, "LLEN", "hm:runs") or 0) >= DUE * (ticks + 1))
    by_tick = {}
    for run in runs(server):
        by_tick.setdefault(run["scheduled_at"], []).append(run)
    server.stop()
    rows, good = [], True
    for tick in sorted(by_tick)[:ticks]:
        due, here = instant(tick), by_tick[tick]
        good &= len(here) == DUE and all(run["state"] == "succeeded" for run in here)
        # Steps in C are too quick for a time of their own at which they begin: they have begun when they are done.
        rows.append([max(instant(run[what]) for run in here) - due for what in ("created", "finished")])
    last = [world.median([row[i] for row in rows]) * 1000 for i in range(2)]
    world.table([f"{DUE:,} jobs due at once, {len(rows)} times", "last one started ms", "last one done ms"],
                [["median", *(world.n0(x) for x in last)],
                 ["most", *(world.n0(max(row[i] for row in rows) * 1000) for i in range(2))]])
    return good and last[1] < 1000


def run(w, quick):
    good = next_fires(w, quick)
    good &= idle(w, quick)
    return good & at_once(w, quick)
