# SPDX-License-Identifier: Apache-2.0
"""The things that a benchmark needs: private directories, processes that surely end, their CPU time and memory, medians.

Only processes started here are ever stopped, and each by its own process group. Everything listens on loopback or on a
unix socket below one temporary directory, which goes away at the end."""
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")

# What the private Redis of hookmesh is started with, for the peers: the same durability, the same rewrites of the log.
REDIS = ["--port", "0", "--unixsocketperm", "700", "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
         "--auto-aof-rewrite-min-size", "512mb", "--rdbcompression", "no", "--latency-tracking", "no",
         "--hash-max-listpack-value", "16384", "--lazyfree-lazy-user-del", "yes", "--lazyfree-lazy-server-del", "yes"]


def cpu_name():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown CPU"


def median(values):
    return statistics.median(values)


def wait_until(what, seconds, condition):
    end = time.monotonic() + seconds
    while not (got := condition()):
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
    return got


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def family(pid):
    """pid and all its descendants."""
    out = [pid]
    for task in _list(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children") as f:
                for child in f.read().split():
                    out += family(int(child))
        except OSError:
            pass
    return out


def _list(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return ""


def cpu_us(pids):
    """User and system time used so far."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total * TICK_US


def rss_kb(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
    return total


class Process:
    """One child with its own process group and log file."""

    def __init__(self, argv, log, env=None, cwd=None):
        self.log = log
        self.argv = argv
        with open(log, "wb") as out:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd,
                                          env={**os.environ, **(env or {})}, start_new_session=True)
        self.pid = self.child.pid

    def said(self, text):
        if self.child.poll() is not None:
            raise RuntimeError(f"{self.argv[0]} ended with {self.child.returncode}:\n{self.text()[-2000:]}")
        return text in self.text()

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def stop(self):
        for sig, seconds in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
            if self.child.poll() is None:
                self.child.send_signal(sig)
                try:
                    self.child.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


class Server:
    """hookmesh with its private Redis."""

    def __init__(self, world, config, env=None, data=None):
        self.config = config
        self.data = data or world.directory()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.redis = os.path.join(self.data, "redis", "redis.sock")
        self.process = world.start([os.path.join(BUILD, "hookmesh"), "serve", "--config", config, "--data", self.data,
                                    "--listen", f"127.0.0.1:{self.port}"], env)
        wait_until("the server is ready", 60, lambda: self.process.said("event=ready url="))

    def pids(self):
        """The server with its workers and hosts of extensions, and apart from them its Redis."""
        all_of_it = family(self.process.pid)
        redis = [p for p in all_of_it if name_of(p) == "redis-server"]
        return [p for p in all_of_it if p not in redis], redis

    def stop(self):
        self.process.stop()


class World:
    def __init__(self):
        self.started = []

    def __enter__(self):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.dir = tempfile.mkdtemp(prefix="hmb.", dir="/tmp")
        for name in [n for n in os.environ if n.startswith("HOOKMESH_")]:
            del os.environ[name]
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            process.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def directory(self):
        return tempfile.mkdtemp(dir=self.dir)

    def start(self, argv, env=None, cwd=None):
        log = tempfile.NamedTemporaryFile(dir=self.dir, suffix=".log", delete=False)
        log.close()
        process = Process(argv, log.name, env, cwd)
        self.started.append(process)
        return process

    def config(self, text):
        path = self.directory()
        with open(os.path.join(path, "bench.yaml"), "w") as f:
            f.write(text)
        return path

    def redis(self, more=()):
        """A redis-server for a peer, and the path of its socket."""
        path = self.directory()
        sock = os.path.join(path, "r.sock")
        process = self.start(["redis-server", "--unixsocket", sock, "--dir", path, *REDIS, *more], cwd=path)
        wait_until("redis-server answers", 10, lambda: redis_answers(sock))
        return process, sock

    def tool(self, name):
        """A program in C beside this file, compiled when it is older than its source."""
        out_dir = os.path.join(ROOT, "build-bench")
        os.makedirs(out_dir, exist_ok=True)
        out = os.path.join(out_dir, name)
        sources = [os.path.join(HERE, name + ".c"), os.path.join(HERE, "client.c")]
        newest = max(os.path.getmtime(s) for s in sources + [os.path.join(HERE, "client.h")])
        if not os.path.exists(out) or os.path.getmtime(out) < newest:
            subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-o", out, *sources],
                           check=True)
        return out

    def node_modules(self, names):
        """npm packages, by name and version, installed here when they are not."""
        missing = [n for n in names
                   if not os.path.isdir(os.path.join(HERE, "node_modules", n.rsplit("@", 1)[0]))]
        if missing:
            subprocess.run(["npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--silent",
                            "--prefix", HERE, *names], check=True, cwd=HERE)


def redis_answers(sock):
    try:
        return redis(sock, "PING") == "PONG"
    except OSError:
        return False


def redis(sock, *words):
    """One command; the answer of redis-cli's kind: text, number, or list."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(120)
        s.connect(sock)
        request = b"*%d\r\n" % len(words)
        for word in words:
            raw = str(word).encode()
            request += b"$%d\r\n%s\r\n" % (len(raw), raw)
        s.sendall(request)
        with s.makefile("rb") as f:
            return _reply(f)


def _reply(f):
    line = f.readline()
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise OSError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        n = int(rest)
        return None if n < 0 else f.read(n + 2)[:-2].decode(errors="replace")
    if kind == b"*":
        return [_reply(f) for _ in range(int(rest))]
    return rest.decode()


def count_keys(sock, pattern):
    """Keys of a pattern, counted inside Redis."""
    script = ("local c, n = '0', 0 repeat local r = redis.call('SCAN', c, 'MATCH', ARGV[1], 'COUNT', 10000) "
              "c = r[1] n = n + #r[2] until c == '0' return n")
    return redis(sock, "EVAL", script, 0, pattern)


def table(head, rows):
    rows = [[str(cell) for cell in row] for row in [head] + rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print("  " + row[0].ljust(widths[0]) + "".join("  " + c.rjust(n) for c, n in zip(row[1:], widths[1:])))
    print(flush=True)


def n0(value):
    return f"{value:,.0f}"
