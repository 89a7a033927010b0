# SPDX-License-Identifier: Apache-2.0
"""Many browsers that all see the same events: WebSocket subscribers of hookmesh and of nginx with nchan, one worker each,
with the same client (wsload.c), turn about. An event is a text message of 200 bytes; hookmesh makes it from a key that is
written, and keeps the key; nchan hands on what is published and keeps the last ten messages in memory."""
import json
import os
import subprocess

import world

CLIENTS = 5000
WINDOW = 4  # events under way
NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {dir}/pid;
error_log {dir}/error.log warn;
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    scgi_temp_path {dir}/scgi;
    uwsgi_temp_path {dir}/uwsgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /sub {{ nchan_subscriber websocket; nchan_channel_id bench; }}
        location /pub {{ nchan_publisher http; nchan_channel_id bench; }}
    }}
}}
"""


class Hookmesh:
    name = "hookmesh"
    kind = "hookmesh"

    def __init__(self, w):
        self.server = world.Server(w, w.config("settings: {}\n"))
        self.port = self.server.port
        self.pids, self.redis_pids = self.server.pids()

    def stop(self):
        self.server.stop()


class Nchan:
    name = "nginx+nchan"
    kind = "nchan"

    def __init__(self, w):
        path = w.directory()
        os.chmod(w.dir, 0o755)
        os.chmod(path, 0o777)
        self.port = world.free_port()
        conf = os.path.join(path, "nginx.conf")
        with open(conf, "w") as f:
            f.write(NGINX.format(dir=path, port=self.port))
        self.process = w.start(["nginx", "-p", path, "-c", conf])
        world.wait_until("nginx has its worker", 10, lambda: len(world.family(self.process.pid)) > 1)
        self.pids = world.family(self.process.pid)[1:]
        self.redis_pids = []

    def stop(self):
        self.process.stop()


def measure(w, side, program, seconds):
    empty = world.rss_kb(side.pids)
    load = subprocess.Popen([program, side.kind, str(side.port), str(CLIENTS), str(seconds), str(WINDOW)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def heard():
        line = load.stdout.readline()
        if not line:
            raise RuntimeError(f"wsload ended with {load.wait()}")
        return line

    try:
        heard()  # connected
        full = world.rss_kb(side.pids)
        before = [world.cpu_us(p) for p in (side.pids, side.redis_pids)]
        load.stdin.write("go\n")
        load.stdin.flush()
        r = json.loads(heard())
        used = [world.cpu_us(p) - b for p, b in zip((side.pids, side.redis_pids), before)]
        heard()  # done
        busy = world.rss_kb(side.pids)
    finally:
        load.kill()
        load.wait()
    return {"rate": r["messages"] / r["seconds"], "cpu": used[0] / r["messages"], "redis": used[1] / r["messages"],
            "bytes": r["bytes"], "each": (full - empty) / CLIENTS, "busy": (busy - empty) / CLIENTS,
            "empty": empty / 1024}


def run(w, quick):
    program = w.tool("wsload")
    seconds, rounds = (2, 1) if quick else (5, 5)
    results = {Hookmesh: [], Nchan: []}
    for _ in range(rounds):
        for kind, all_of_it in results.items():
            side = kind(w)
            all_of_it.append(measure(w, side, program, seconds))
            side.stop()
    rows = []
    for kind, all_of_it in results.items():
        mid = {key: world.median([r[key] for r in all_of_it]) for key in all_of_it[0]}
        rows.append([kind.name, world.n0(mid["rate"]), f"{mid['bytes']:.0f}", f"{mid['cpu']:.1f}", f"{mid['redis']:.2f}",
                     f"{mid['empty']:.1f}", f"{mid['each']:.2f}", f"{mid['busy']:.2f}"])
    world.table([f"{CLIENTS:,} browsers", "messages/s", "bytes", "CPU us", "Redis CPU us", "RSS empty MB",
                 "KB each", "KB each after"], rows)
    ratios = [a["rate"] / b["rate"] for a, b in zip(*results.values())]
    print(f"  hookmesh / peer: {world.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})\n", flush=True)
    return True
