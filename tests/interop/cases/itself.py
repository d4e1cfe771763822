"""The rig shown against itself: whatever fails here is not turnout's doing."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from rig.certs import Authority
from rig.client import User
from rig.dns import Dns, Zone
from rig.estate import PROGRAMS
from rig.kamailio import Kamailio
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


_BAD_INVITE = (
    "INVITE sip:alice@contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.9:5060;branch=oldstyle\r\nFrom: <sip:bob@partner.example>\r\n"
    "To: <sip:alice@contoso.com>\r\nCall-ID: bad-1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:10.0.0.9:5060>\r\n"
    "Content-Type: application/sdp\r\nContent-Length: {size}\r\n\r\n{body}")
_BAD_MESSAGE = (
    "MESSAGE sip:alice@contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP turnout.contoso.com;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n"
    "From: <sip:bob@partner.example>;tag=other\r\nTo: <sip:alice@contoso.com>;tag=wrong\r\nCall-ID: bad-1\r\nCSeq: 7 MESSAGE\r\n"
    "Contact: <sip:x@turnout.contoso.com>\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx")
_NOTICED = ("sent-by is '10.0.0.9'", "without the magic cookie", "From without a tag", "Contact by IP address", "no Ms-Conversation-ID",
            "the offer must be one", "is not ours", "CSeq 7 after 1", "is not our Contact", "route set came back", "sent before the ACK",
            "MESSAGE with Contact", "MESSAGE with Content-Type")


@case(30, router=False)
async def rig_pool_notices() -> None:
    """Rig only: the scripted pool finds every mistake in an INVITE and a MESSAGE full of them."""
    with tempfile.TemporaryDirectory(prefix="turnout-interop-") as name:
        block, where = Block(), Path(name)
        pool = SkypePool("pool2019.contoso.com", block.address(6), (block.address(5), 5061), "turnout.contoso.com", None, where,
                         where / "pool.log")
        try:
            await pool.start()
            await pool.home("alice@contoso.com")
            reader, writer = await asyncio.open_connection(block.address(6), 5061)
            body = "v=0\r\nm=audio 5060 RTP/AVP 0\r\n"
            writer.write(_BAD_INVITE.format(size=len(body), body=body).encode())
            await asyncio.wait_for(reader.readuntil(b"SIP/2.0 200"), 5)
            writer.write(_BAD_MESSAGE.encode())
            await pool.ask("received", kind="text", count=1, seconds=5)
            found = "\n".join((await pool.ask("violations"))["violations"])
            missed = [text for text in _NOTICED if text not in found]
            assert not missed, f"not noticed: {missed}; noticed:\n{found}"
            writer.close()
        finally:
            pool.stop()
            block.release()


@case(60, router=False)
async def rig_pool_behind_kamailio() -> None:
    """Rig only: two scripted pools talk through Kamailio over mutual TLS; its Via and Record-Route disturb nobody."""
    block = Block()
    stops: list = []
    with tempfile.TemporaryDirectory(prefix="turnout-interop-") as name:
        where = Path(name)
        at_pool, at_turnout, at_proxy = block.address(6), block.address(5), block.address(7)
        try:
            ca = Authority(where / "ca")
            zone = Zone().host("pool2019.contoso.com", at_pool).host("turnout.contoso.com", at_turnout).host(Kamailio.name, at_proxy)
            dns = Dns("world", block.address(53), zone, where / "dns")
            stops.append(dns)
            await dns.start()
            proxy = Kamailio(at_proxy, ca.issue("proxy", [Kamailio.name]), ca.certificate, dns, where / "kamailio", (at_pool, 5061),
                             (at_turnout, 5061), pool_tls=True)
            stops.append(proxy)
            pool = SkypePool("pool2019.contoso.com", at_pool, (at_proxy, 5061), Kamailio.name,
                             ca.issue("pool", ["pool2019.contoso.com"]), ca.certificate, where / "pool.log")
            # The second pool plays turnout: its shapes are a pool's, so what the first finds in its requests does not count, what
            # it finds in the answers to its own does.
            other = SkypePool("turnout.contoso.com", at_turnout, (at_proxy, 5061), Kamailio.name,
                              ca.issue("turnout", ["turnout.contoso.com"]), ca.certificate, where / "other.log",
                              turnout_name="pool2019.contoso.com", contact="sip:turnout.contoso.com:5061;transport=tls")
            stops += [pool, other]
            await asyncio.gather(proxy.start(), pool.start(), other.start())
            await pool.home("alice@contoso.com")
            await other.home("bob@partner.example")
            for text in ("first", "second ✓"):
                answer = await pool.say("alice@contoso.com", "bob@partner.example", text)
                assert answer["code"] == 200, answer
                await other.expect_text("bob@partner.example", "alice@contoso.com", text)
            assert (await pool.ask("bye"))["codes"] == [200]
            await pool.no_violations()
            answer = await other.say("bob@partner.example", "alice@contoso.com", "the other way")
            assert answer["code"] == 200, answer
            await pool.expect_text("alice@contoso.com", "bob@partner.example", "the other way")
            assert not proxy.complaints(), proxy.complaints()
        finally:
            for one in reversed(stops):
                one.stop()
            block.release()


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


@case(60, router=False)
async def rig_sipp_as_simple_pool() -> None:
    """Rig only: pager messages reach SIPp directly over TCP and through Kamailio from TLS; bodies are read back right."""
    block = Block()
    stops: list = []
    with tempfile.TemporaryDirectory(prefix="turnout-interop-") as name:
        where = Path(name)
        at_pool, at_turnout, at_proxy = block.address(6), block.address(5), block.address(7)
        keys = {"user": "bob@partner.example", "peer": "alice@contoso.com", "words": "straight"}
        try:
            ca = Authority(where / "ca")
            zone = Zone().host("pool2019.contoso.com", at_pool).host(Kamailio.name, at_proxy)
            dns = Dns("world", block.address(53), zone, where / "dns")
            stops.append(dns)
            await dns.start()
            proxy = Kamailio(at_proxy, ca.issue("proxy", [Kamailio.name]), ca.certificate, dns, where / "kamailio", (at_pool, 5061),
                             (at_turnout, 5061), pool_tls=False)
            other = SkypePool("turnout.contoso.com", at_turnout, (at_proxy, 5061), Kamailio.name,
                              ca.issue("turnout", ["turnout.contoso.com"]), ca.certificate, where / "other.log",
                              turnout_name="pool2019.contoso.com")
            taker = Sipp("simple_uas", where / "uas", (at_pool, 5061), calls=5).start()
            stops += [proxy, other, taker]
            await asyncio.gather(proxy.start(), other.start())
            sender = Sipp("simple_uac", where / "uac", (at_turnout, free_port(at_turnout)), (at_pool, 5061), calls=2, keys=keys).start()
            stops.append(sender)
            await sender.finish(30)
            for text in ("erste ü", "zwei\nZeilen", "three"):
                answer = await other.ask("request", user="bob@partner.example", peer="alice@contoso.com", method="MESSAGE",
                                         headers=[["Content-Type", "text/plain; charset=UTF-8"]], body=text)
                assert answer["code"] == 200, answer
            await taker.finish(30)
            bodies = [body for _, body in taker.received("MESSAGE")]
            assert bodies == ["straight 1", "straight 2", "erste ü", "zwei\nZeilen", "three"], bodies
            assert not proxy.complaints(), proxy.complaints()
        finally:
            for one in reversed(stops):
                one.stop()
            block.release()
