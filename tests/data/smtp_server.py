# SPDX-License-Identifier: Apache-2.0
"""A mail server for tests: prints {"port": N}, then each mail that it took as one JSON line; ends with its standard input.

Arguments: --starttls DIR (makes a certificate DIR/cert.pem), --smtps DIR, --require-starttls, --auth USER:PASSWORD, --port N.
Recipients that it treats in their own way: unknown@ 550, full@ 452, busy@ 450 for the first two times, spam@ refused after DATA,
later@ put off after DATA, drop@ cuts the connection, silent@ never answers DATA, rude@ never answers QUIT."""
import argparse
import asyncio
import json
import ssl
import subprocess
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

options = argparse.ArgumentParser()
options.add_argument("--starttls")
options.add_argument("--smtps")
options.add_argument("--require-starttls", action="store_true")
options.add_argument("--auth")
options.add_argument("--port", type=int, default=0)
options = options.parse_args()

busy = {}
rude = set()


def tell(what):
    print(json.dumps(what), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        name = address.split("@")[0]
        if name == "unknown":
            return "550 5.1.1 no such mailbox"
        if name == "full":
            return "452 4.2.2 mailbox full"
        if name == "drop":
            server.transport.abort()
        if name == "busy":
            busy[address] = busy.get(address, 0) + 1
            if busy[address] <= 2:
                return "450 4.2.1 come back later"
        if name == "rude":
            rude.add(session.peer)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        names = [a.split("@")[0] for a in envelope.rcpt_tos]
        if "spam" in names:
            return "554 5.7.1 this is spam"
        if "later" in names:
            return "451 4.3.0 not now"
        if "silent" in names:
            await asyncio.sleep(3600)
        tell({
            "from": envelope.mail_from, "to": envelope.rcpt_tos,
            "data": envelope.original_content.decode("latin-1"),
            "tls": session.ssl is not None or options.smtps is not None,
            "user": session.auth_data.login.decode() if session.auth_data else None,
        })
        return "250 2.0.0 queued as 4F1"

    async def handle_QUIT(self, server, session, envelope):
        tell({"quit": True})
        if session.peer in rude:
            await asyncio.sleep(3600)
        return "221 Bye"


def authenticate(server, session, envelope, mechanism, data):
    if not isinstance(data, LoginPassword):
        return AuthResult(success=False, handled=False)
    user, password = options.auth.encode().split(b":", 1)
    good = data.login == user and data.password == password
    return AuthResult(success=good, auth_data=data) if good else AuthResult(success=False, handled=False)


def certificate(directory):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", f"{directory}/key.pem", "-out", f"{directory}/cert.pem", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/cert.pem", f"{directory}/key.pem")
    return context


def connection():
    return SMTP(
        Handler(), hostname="mail.test", loop=asyncio.get_running_loop(), timeout=60,
        tls_context=starttls, require_starttls=options.require_starttls,
        auth_required=options.auth is not None, auth_require_tls=False,
        authenticator=authenticate if options.auth else None)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, "127.0.0.1", options.port, ssl=smtps)
    tell({"port": server.sockets[0].getsockname()[1]})
    await loop.run_in_executor(None, sys.stdin.read)


starttls = certificate(options.starttls) if options.starttls else None
smtps = certificate(options.smtps) if options.smtps else None
try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
