# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server for the tests of the HTTP client: prints its port, ends with its standard input."""
import os
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

hits = 0
release = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def begin_chunks(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def handle_any(self):
        global hits
        hits += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        if path == "/echo":
            lines = [self.command, self.path]
            lines += sorted(f"{k}: {v}" for k, v in self.headers.items() if k.lower() != "host")
            self.reply(200, "\n".join(lines).encode() + b"\n\n" + body, Content_Type="text/plain")
        elif path == "/status":
            status, _, after = query.partition("&")
            self.reply(int(status), b"no", ETag='"7"', Location="/elsewhere",
                       **({"Retry_After": after} if after else {}))
        elif path == "/big":
            self.reply(200, b"x" * int(query))
        elif path == "/chunks":
            self.begin_chunks()
            for i in range(int(query)):
                self.chunk(b"chunk %d\n" % i)
            self.chunk(b"")
        elif path == "/wait":  # the rest comes when /release is called
            self.begin_chunks()
            self.chunk(b"first\n")
            release.wait()
            self.chunk(b"second\n")
            self.chunk(b"")
        elif path == "/release":
            release.set()
            self.reply(200, b"")
        elif path == "/silent":
            release.wait()
            self.reply(200, b"")
        elif path == "/reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
        elif path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
            self.close_connection = True
        elif path == "/garbage":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
            self.close_connection = True
        elif path == "/hits":
            self.reply(200, str(hits - 1).encode())
        else:
            self.reply(404, b"")

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any

    def log_message(self, *args):
        pass

    def handle(self):
        try:
            super().handle()
        except (OSError, ValueError):
            pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
os._exit(0)
