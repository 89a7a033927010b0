# SPDX-License-Identifier: Apache-2.0
"""Durable ingest of signed GitHub deliveries: 202 only after Redis holds it. One process each, a Redis each with the same
AOF settings, the same wrk. hookmesh and the peer take turns, each time with fresh data; only one of them is up at a time."""
import hashlib
import hmac
import json
import os
import re
import subprocess
import time

import world

SECRET = "benchsecret"
PACKAGES = ["fastify@5", "bullmq@6", "ioredis@6", "@octokit/webhooks@14", "@octokit/webhooks-examples@7"]
# Runs and ledger are kept whole, so that every accepted id can be counted afterwards; BullMQ keeps its jobs as well.
CONFIG = """
settings: {run_max: 100000000, ledger_max: 100000000}
triggers:
  - {type: webhook, path: /hooks/github, write: "sink.{run}.event", secret_env: BENCH_SECRET}
"""


def payloads(w):
    """The example of each event nearest to the size that stands for it."""
    path = os.path.join(world.HERE, "node_modules/@octokit/webhooks-examples/api.github.com/index.json")
    with open(path) as f:
        events = {e["name"]: e["examples"] for e in json.load(f)}
    out = []
    for event, size in (("push", 7700), ("pull_request", 21000)):
        bodies = [json.dumps(x, separators=(",", ":"), ensure_ascii=False).encode() for x in events[event]]
        body = min(bodies, key=lambda b: abs(len(b) - size))
        name = os.path.join(w.dir, event + ".json")
        with open(name, "wb") as f:
            f.write(body)
        out.append((event, name, body))
    return out


def wrk(url, event, name, body, seconds):
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    env = {**os.environ, "BODY": name, "EVENT": event, "SIGNATURE": signature}
    text = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds}s", "--timeout", "10s", "--latency", "-s",
                           os.path.join(world.HERE, "ingest.lua"), url], env=env, capture_output=True, text=True,
                          check=True).stdout
    result = json.loads(re.search(r"^RESULT (.*)$", text, re.M).group(1))
    result["rate"] = result["requests"] / result["seconds"]
    return result


class Hookmesh:
    name = "hookmesh"

    def __init__(self, w):
        self.server = world.Server(w, w.config(CONFIG), {"BENCH_SECRET": SECRET})
        self.url = self.server.url + "/hooks/github"
        self.pids = self.server.pids()

    def stored(self):
        sock = self.server.redis
        return min(world.redis(sock, "LLEN", "hm:runs"), world.count_keys(sock, "hm:run:*"),
                   world.count_keys(sock, "hm:kv:sink.*"), world.count_keys(sock, "hm:dup:*"))

    def stop(self):
        self.server.stop()


class Peer:
    name = "fastify+BullMQ"

    def __init__(self, w):
        self.redis, self.sock = w.redis(["--maxmemory-policy", "noeviction"])
        self.node = w.start(["node", os.path.join(world.HERE, "ingest_peer.mjs"), self.sock],
                            {"BENCH_SECRET": SECRET, "NODE_ENV": "production"})
        world.wait_until("the peer listens", 20, lambda: self.node.said("http://"))
        self.url = self.node.text().strip() + "/hooks/github"
        self.pids = [self.node.pid], [self.redis.pid]

    def stored(self):
        return min(world.redis(self.sock, "LLEN", "bull:hooks:wait"),
                   world.count_keys(self.sock, "bull:hooks:*-*"))

    def stop(self):
        self.node.stop()
        self.redis.stop()


def settled(side):
    """How many are stored, once those are that wrk sent and did not wait for."""
    before = -1
    while (now := side.stored()) != before:
        before = now
        time.sleep(0.2)
    return now


def measure(w, kind, event, name, body, seconds):
    side = kind(w)
    wrk(side.url, event, name, body, 1)  # warm: the compiler of V8, the connections' memory
    stored = settled(side)
    before = [world.cpu_us(pids) for pids in side.pids]
    r = wrk(side.url, event, name, body, seconds)
    used = [world.cpu_us(pids) - b for pids, b in zip(side.pids, before)]
    kept = settled(side) - stored
    side.stop()
    accepted = r["requests"] - r["refused"]
    r["cpu"], r["redis_cpu"] = (u / max(accepted, 1) for u in used)
    # The last request of each of the 64 connections may be stored after wrk has stopped to count.
    r["lost"] = max(0, accepted - kept)
    r["surplus"] = max(0, kept - accepted - 64)
    return r


def run(w, quick):
    w.node_modules(PACKAGES)
    good = True
    seconds, rounds = (2, 1) if quick else (6, 5)
    for event, name, body in payloads(w):
        results = {Hookmesh: [], Peer: []}
        for _ in range(rounds):
            for kind in results:
                results[kind].append(measure(w, kind, event, name, body, seconds))
        rows = []
        for kind, all_of_it in results.items():
            mid = {key: world.median([r[key] for r in all_of_it]) for key in all_of_it[0]}
            sums = {key: sum(r[key] for r in all_of_it) for key in ("refused", "failed", "lost", "surplus")}
            rows.append([kind.name, world.n0(mid["rate"]), f"{mid['p50']:.2f}", f"{mid['p99']:.2f}",
                         f"{mid['cpu']:.0f}", f"{mid['redis_cpu']:.0f}", sums["refused"], sums["failed"],
                         sums["lost"]])
            good &= not any(sums.values())
        world.table([f"{event}, {len(body):,} bytes", "requests/s", "p50 ms", "p99 ms", "CPU us", "Redis CPU us",
                     "not 2xx", "errors", "lost"], rows)
        ratios = [a["rate"] / b["rate"] for a, b in zip(*results.values())]
        print(f"  hookmesh / peer: {world.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})\n", flush=True)
    return good
