# SPDX-License-Identifier: Apache-2.0
"""A server that has nothing to do, and one that starts. It serves the stages of config/documents and one webhook."""
import http.client
import os
import shutil
import socket
import time

import documents
import ingest
import world

CONFIG = documents.SERVED + ingest.CONFIG


def cold_start(w, config, data):
    """From the start of the process to the first 200 of /readyz, looked for every half millisecond."""
    port = world.free_port()
    start = time.monotonic()
    process = w.start([os.path.join(world.BUILD, "hookmesh"), "serve", "--config", config, "--data", data, "--listen",
                       f"127.0.0.1:{port}"], {"BENCH_SECRET": ingest.SECRET})
    while not ready(port):
        if time.monotonic() - start > 20:
            raise RuntimeError("not ready in 20 s: " + process.text())
        time.sleep(0.0005)
    took = (time.monotonic() - start) * 1000
    process.stop()
    return took


def ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (ConnectionError, http.client.HTTPException, socket.timeout):
        return False
    finally:
        connection.close()


def run(w, quick):
    seconds, starts = (5, 2) if quick else (30, 10)
    config = w.config(CONFIG)
    server = world.Server(w, config, {"BENCH_SECRET": ingest.SECRET})
    time.sleep(seconds)
    own, redis = server.pids()
    before = [world.cpu_us(own), world.cpu_us(redis)]
    time.sleep(seconds)
    used = [world.cpu_us(own) - before[0], world.cpu_us(redis) - before[1]]
    rows = [[world.name_of(pid) if pid != own[0] else "hookmesh", f"{world.rss_kb([pid]) / 1024:.1f}"] for pid in own]
    rows.append(["all beside Redis", f"{world.rss_kb(own) / 1024:.1f}", f"{used[0] / seconds / 1e4:.2f}"])
    rows.append(["its Redis", f"{world.rss_kb(redis) / 1024:.1f}", f"{used[1] / seconds / 1e4:.2f}"])
    world.table([f"idle for {seconds} s", "RSS MB", "CPU %"], [r + [""] * (3 - len(r)) for r in rows])
    server.stop()

    fresh, again = [], []
    for _ in range(starts):
        data = w.directory()
        fresh.append(cold_start(w, config, data))
        again.append(cold_start(w, config, data))
        shutil.rmtree(data)
    world.table([f"cold start to /readyz, {starts} times", "median ms", "least", "most"],
                [[name, f"{world.median(all_of_it):.0f}", f"{min(all_of_it):.0f}", f"{max(all_of_it):.0f}"]
                 for name, all_of_it in (("new data directory", fresh), ("existing data directory", again))])
    return True
