#!/usr/bin/python3
"""A scripted stand-in for a Skype for Business Server 2019 pool.

It is NOT a Skype for Business server and proves nothing about one. It sends what real clients and pools were seen to send (the shapes
are in skype/shapes.py), answers as they answer, checks strictly what turnout sends (skype/checks.py) and writes down both what its
users received, in order, and every rule turnout broke. Where real pools and this script differ, real pools are right.

It speaks SIP over mutual TLS (or TCP without --certificate) and is steered over a JSON-lines socket (skype/control.py):

    {"do": "home", "users": ["alice@contoso.com"]}
    {"do": "say", "user": "alice@contoso.com", "peer": "bob@partner.example", "text": "hello"}
    {"do": "received", "user": "alice@contoso.com", "count": 1, "seconds": 5}
    {"do": "script", "method": "INVITE", "code": 486}
    {"do": "violations"}

When it is ready it prints one line: `ready control=PORT`.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys

from skype.answerer import Answerer
from skype.caller import Caller
from skype.control import Control
from skype.notifier import Notifier
from skype.pool import Pool, PoolSettings
from skype.subscriber import Subscriber


def _context(options: argparse.Namespace, server: bool) -> ssl.SSLContext | None:
    if not options.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.certificate, options.key)
    context.load_verify_locations(options.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="scripted 2019 pool (a stand-in, see the file's head)")
    parser.add_argument("--name", default="pool2019.contoso.com", help="the pool's FQDN")
    parser.add_argument("--address", required=True, help="address to listen on")
    parser.add_argument("--port", type=int, default=5061)
    parser.add_argument("--turnout-name", default="turnout.contoso.com", help="the trusted application's FQDN")
    parser.add_argument("--next", required=True, metavar="ADDRESS:PORT", help="where our requests go: turnout, or a proxy before it")
    parser.add_argument("--next-name", default="", help="name in the next hop's certificate (default: --turnout-name)")
    parser.add_argument("--contact", default="", help="a fixed Contact URI instead of one a user (to play turnout in the rig's own cases)")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--ca-file")
    parser.add_argument("--control-address", default="127.0.0.1")
    return parser.parse_args()


async def _main(options: argparse.Namespace) -> None:
    host, _, port = options.next.rpartition(":")
    pool = Pool(PoolSettings(
        fqdn=options.name, address=options.address, port=options.port, turnout_fqdn=options.turnout_name, next_host=host,
        next_port=int(port), next_name=options.next_name or options.turnout_name, server_context=_context(options, True),
        client_context=_context(options, False), turnout_secure=bool(options.certificate), contact=options.contact))
    caller = Caller(pool)
    control = Control(pool, caller, Answerer(pool, caller, Subscriber(pool), Notifier(pool)))
    await pool.listen()
    server = await asyncio.start_server(control.serve, options.control_address, 0, limit=4 * 1024 * 1024)
    print(f"ready control={server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(_main(_options()))
    except KeyboardInterrupt:
        sys.exit(0)
