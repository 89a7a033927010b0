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


def look(server, seconds):
    """Memory after a while of doing nothing, and CPU over the same while again: server, its hosts of extensions, Redis."""
    time.sleep(seconds)
    own, redis = server.pids()
    parts = [own[:1], own[1:], redis]
    before = [world.cpu_us(pids) for pids in parts]
    time.sleep(seconds)
    return [cell for pids, b in zip(parts, before)
            for cell in (f"{world.rss_kb(pids) / 1024:.1f}", f"{(world.cpu_us(pids) - b) / seconds / 1e4:.2f}")]


def run(w, quick):
    seconds, starts = (5, 2) if quick else (30, 10)
    config = w.config(CONFIG)
    server = world.Server(w, config, {"BENCH_SECRET": ingest.SECRET})
    rows = [["just started"] + look(server, seconds)]
    documents.Load(w)("bulk", server.port, server.redis, "pipeline", "idle", 1000, "document")
    rows.append(["after 1,000 documents"] + look(server, seconds))
    world.table([f"idle for {seconds} s", "RSS MB", "CPU %", "hosts RSS MB", "CPU %", "Redis RSS MB", "CPU %"], rows)
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
