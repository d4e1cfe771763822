"""The rig shown against itself: whatever fails here is not turnout's doing."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from rig.certs import Authority
from rig.client import User
from rig.dns import Dns, Zone
from rig.estate import PROGRAMS
from rig.net import Block, free_port
from rig.poolctl import SkypePool
from rig.server import ServerSettings
from rig.sipp import Sipp

from . import case


async def _federate(first: str, second: str, tls: str, verify: bool) -> None:
    block = Block()
    stops: list = []
    with tempfile.TemporaryDirectory(prefix="turnout-interop-") as name:
        where = Path(name)
        try:
            authority = Authority(where / "ca")
            at = {"a.example": block.address(2), "b.example": block.address(3)}
            zone = Zone()
            for domain, address in at.items():
                zone.host(f"xmpp.{domain}", address).service(f"_xmpp-server._tcp.{domain}", f"xmpp.{domain}", 5269)
            dns = Dns("world", block.address(53), zone, where / "dns")
            stops.append(dns)
            await dns.start()
            servers = [PROGRAMS[program](ServerSettings(domain, address, authority.issue(domain, [domain]),
                                                        authority.certificate, tls=tls, verify=verify), dns, where / domain)
                       for program, (domain, address) in zip((first, second), at.items())]
            stops += servers
            await asyncio.gather(*[s.start() for s in servers])
            alice, bob = await User(servers[0], "alice").login(), await User(servers[1], "bob").login()
            alice.say(bob.bare, "there")
            await bob.expect_text("there")
            bob.say(alice.full, "and back")
            await alice.expect_text("and back")
            await alice.logout()
            await bob.logout()
        finally:
            for one in reversed(stops):
                one.stop()
            block.release()


@case(60, router=False)
async def rig_prosody_ejabberd() -> None:
    """Rig only: Prosody and ejabberd federate over verified TLS through our DNS and CA."""
    await _federate("prosody", "ejabberd", "required", True)


@case(60, router=False)
async def rig_prosody_jabberd2() -> None:
    """Rig only: Prosody and jabberd2 federate with dialback over TLS."""
    await _federate("prosody", "jabberd2", "required", False)


@case(60, router=False)
async def rig_plain_dialback() -> None:
    """Rig only: ejabberd and Prosody federate with dialback in the clear."""
    await _federate("ejabberd", "prosody", "none", False)


@case(60, router=False)
async def rig_pool_and_sipp() -> None:
    """Rig only: SIPp holds sessions with the scripted pool both ways, and the pool finds nothing to complain about."""
    block = Block()
    stops: list = []
    with tempfile.TemporaryDirectory(prefix="turnout-interop-") as name:
        where = Path(name)
        here, there = block.address(6), block.address(5)
        keys = {"user": "alice@contoso.com", "peer": "bob@partner.example", "fqdn": "turnout.contoso.com"}
        port = free_port(there)
        try:
            pool = SkypePool("pool2019.contoso.com", here, (there, port), "turnout.contoso.com", None, where, where / "pool.log")
            stops.append(pool)
            await pool.start()
            await pool.home("alice@contoso.com")
            caller = Sipp("session_uac", where / "uac", (there, free_port(there)), (here, 5061), calls=3, keys=keys).start()
            stops.append(caller)
            await caller.finish(30)
            texts = await pool.texts("alice@contoso.com", "bob@partner.example", 3)
            assert texts == ["hello 1", "hello 2", "hello 3"], texts
            await pool.no_violations()
            callee = Sipp("session_uas", where / "uas", (there, port), calls=1, keys=keys).start()
            stops.append(callee)
            await asyncio.sleep(0.5)
            answer = await pool.say("alice@contoso.com", "bob@partner.example", "grüß dich ☎")
            assert answer["code"] == 200, answer
            await pool.ask("bye")
            await callee.finish(30)
            assert [body for _, body in callee.received("MESSAGE")] == ["grüß dich ☎"], callee.received("MESSAGE")
            await pool.no_violations()
        finally:
            for one in reversed(stops):
                one.stop()
            block.release()
