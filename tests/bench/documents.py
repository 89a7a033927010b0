# SPDX-License-Identifier: Apache-2.0
"""The three stages of config/documents: documents are submitted in batches over the API, the two stages in C make the
rest. Beside an empty server stands one in which many documents wait for stages that it does not serve, and the same
stages over Redis Streams in Node. They take turns."""
import json
import os
import signal
import subprocess
import time

import world

STAGES = """
  - name: {name}
    stages:
      - {{name: extract, watch: "{root}.*.raw", extension: text, job: extract, write: "{root}.{{1}}.extracted"}}
      - {{name: summarize, watch: "{root}.*.extracted", also: ["{root}.{{1}}.raw"], extension: text, job: summarize,
         write: "{root}.{{1}}.summary"}}
"""
SERVED = """
extensions:
  - {name: text, path: "${HOOKMESH_EXT_DIR}/text.so"}
pipelines:""" + STAGES.format(name="document", root="pipeline")
ALL = SERVED + STAGES.format(name="backlog", root="backlog")


class Load:
    def __init__(self, w):
        self.program = w.tool("docload")

    def __call__(self, *words):
        done = subprocess.run([self.program, *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"docload {words[0]}: {done.stderr}")
        if done.stderr:
            print(done.stderr, end="")
        return json.loads(done.stdout)


def rest(sock):
    """No rewrite of the log runs, whose fork would take a core."""
    world.wait_until("Redis has rewritten its log", 120,
                     lambda: "aof_rewrite_in_progress:0" in world.redis(sock, "INFO", "persistence"))


class Hookmesh:
    def __init__(self, w, load, name, server):
        self.load, self.name, self.server = load, name, server
        self.results = []

    def measure(self, batch, n):
        s = self.server
        rest(s.redis)
        before = [world.cpu_us(p) for p in s.pids()]
        r = self.load("bulk", s.port, s.redis, "pipeline", batch, n, "document")
        used = [(world.cpu_us(p) - b) / n for p, b in zip(s.pids(), before)]  # new hosts of extensions count in full
        right = self.load("check", s.redis, "HGET hm:kv:pipeline.%s.summary value", batch, n)["right"]
        self.results.append({"rate": n / r["seconds"], "cpu": used[0], "redis_cpu": used[1], "wrong": n - right})


class Streams:
    """The peer: one process for all three, or one each."""

    def __init__(self, w, load, name, processes):
        self.w, self.load, self.name, self.processes = w, load, name, processes
        self.redis, self.sock = w.redis()
        self.results = []

    def measure(self, batch, n):
        path = os.path.join(self.w.dir, "documents")
        with open(path, "w") as f:
            subprocess.run([self.load.program, "print", batch, str(n)], stdout=f, check=True)
        nodes = [self.w.start(["node", os.path.join(world.HERE, "documents_peer.mjs"), self.sock, path, str(n), *roles])
                 for roles in self.processes]
        for _ in range(3):
            world.redis(self.sock, "BLPOP", "ready", 30)
        rest(self.sock)
        pids = [[node.pid for node in nodes], [self.redis.pid]]
        before = [world.cpu_us(p) for p in pids]
        start = time.monotonic()
        world.redis(self.sock, "LPUSH", "go", 1)
        if not world.redis(self.sock, "BLPOP", "done", 110):
            raise RuntimeError("the peer did not end: " + nodes[-1].text())
        seconds = time.monotonic() - start
        # A submitter of its own has ended by now, and its time with it.
        used = [(world.cpu_us(p) - b) / n for p, b in zip(pids, before)]
        for node in nodes:
            node.stop()
        right = self.load("check", self.sock, "GET pipeline.%s.summary", batch, n)["right"]
        self.results.append({"rate": n / seconds, "cpu": used[0], "redis_cpu": used[1], "wrong": n - right})


def park(w, load, n):
    """A server with n documents for stages that it knows and does not serve; and its configuration."""
    config = w.config(ALL)
    server = world.Server(w, config)
    server.stop()
    with open(os.path.join(config, "bench.yaml"), "w") as f:
        f.write(SERVED)
    server = world.Server(w, config, data=server.data)
    took = load("bulk", server.port, server.redis, "backlog", "b", n, "")["seconds"]
    waiting = world.redis(server.redis, "ZCARD", "hm:wait:backlog.extract")
    if waiting != n:
        raise RuntimeError(f"{waiting} documents wait, not {n}")
    print(f"  {world.n0(n)} documents parked at {world.n0(n / took)}/s")
    return server


def drain(load, server, n):
    """Serves the parked documents: both stages and all summaries."""
    rest(server.redis)
    with open(os.path.join(server.config, "bench.yaml"), "w") as f:
        f.write(ALL)
    start = time.monotonic()
    os.kill(server.process.pid, signal.SIGHUP)
    load("drain", server.redis, "backlog")
    seconds = time.monotonic() - start
    wrong = n - load("check", server.redis, "HGET hm:kv:backlog.%s.summary value", "b", n)["right"]
    print(f"  the backlog of {world.n0(n)} drained at {world.n0(n / seconds)}/s, {wrong} wrong\n", flush=True)
    return wrong == 0


def one_by_one(load, server, rounds, n):
    results = [load("one", server.port, "pipeline", f"one{i}", n) for i in range(rounds)]
    rows = [["PUT to summary's event", *(f"{world.median([r[k] for r in results]):.3f}" for k in ("p50", "p99", "max"))]]
    world.table([f"one document alone, {world.n0(n)} in turn", "p50 ms", "p99 ms", "max ms"], rows)


def run(w, quick):
    w.node_modules(["ioredis@6"])
    load = Load(w)
    n, waiting, rounds = (20000, 50000, 1) if quick else (100000, 1000000, 5)
    empty = world.Server(w, w.config(SERVED))
    sides = [Hookmesh(w, load, "hookmesh", empty),
             Hookmesh(w, load, f"hookmesh, {world.n0(waiting)} waiting", park(w, load, waiting)),
             Streams(w, load, "Streams in Node, 1 process", [["submit", "extract", "summarize"]]),
             Streams(w, load, "Streams in Node, 3 processes", [["submit"], ["extract"], ["summarize"]])]
    for i in range(rounds):
        for side in sides:
            side.measure(f"r{i}", n)
    rows, good = [], True
    for side in sides:
        mid = {key: world.median([r[key] for r in side.results]) for key in side.results[0]}
        ratio = world.median([r["rate"] / own["rate"] for r, own in zip(side.results, sides[0].results)])
        wrong = sum(r["wrong"] for r in side.results)
        rows.append([side.name, world.n0(mid["rate"]), f"{mid['cpu']:.0f}", f"{mid['redis_cpu']:.0f}", wrong, f"{ratio:.2f}"])
        good &= wrong == 0
    world.table([f"{world.n0(n)} documents", "documents/s", "CPU us", "Redis CPU us", "wrong", "of hookmesh"], rows)
    one_by_one(load, empty, rounds, 500 if quick else 2000)
    good &= drain(load, sides[1].server, waiting)
    for side in sides[:2]:
        side.server.stop()
    for side in sides[2:]:
        side.redis.stop()
    return good
