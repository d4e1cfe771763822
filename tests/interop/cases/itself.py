"""The rig shown against itself: whatever fails here is not turnout's doing."""

from __future__ import annotations

import asyncio
import sys
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


@case(120, router=False)
async def rig_pool_commands() -> None:
    """Rig only: scripted codes, delays, dead sessions, glare, lost links and four links work between two pools."""
    block = Block()
    alice, bob = "alice@contoso.com", "bob@partner.example"
    with tempfile.TemporaryDirectory(prefix="turnout-interop-") as name:
        where = Path(name)
        at_pool, at_turnout = block.address(6), block.address(5)
        ca = Authority(where / "ca")
        pool = SkypePool("pool2019.contoso.com", at_pool, (at_turnout, 5061), "turnout.contoso.com",
                         ca.issue("pool", ["pool2019.contoso.com"]), ca.certificate, where / "pool.log")
        other = SkypePool("turnout.contoso.com", at_turnout, (at_pool, 5061), "pool2019.contoso.com",
                          ca.issue("turnout", ["turnout.contoso.com"]), ca.certificate, where / "other.log",
                          turnout_name="pool2019.contoso.com", contact="sip:turnout.contoso.com:5061;transport=tls")
        try:
            await asyncio.gather(pool.start(), other.start())
            await pool.home(alice)
            await other.home(bob)
            await _exercise(pool, other, alice, bob)
        finally:
            other.stop()
            pool.stop()
            block.release()


async def _exercise(pool: SkypePool, other: SkypePool, alice: str, bob: str) -> None:
    for code in (404, 486, 503):
        await pool.ask("script", method="INVITE", code=code, diagnostics='1003;reason="x"')
        answer = await other.say(bob, alice, "refused")
        assert answer["code"] == code and answer["method"] == "INVITE", answer
    await pool.ask("script", method="INVITE", delay=0.3)
    await asyncio.gather(*[other.say(bob, alice, f"queued {n}") for n in range(5)])
    assert sorted(await pool.texts(alice, bob, 5)) == [f"queued {n}" for n in range(5)]
    for code in (481, 480, 408):
        await pool.ask("script", method="MESSAGE", code=code)
        assert (await other.say(bob, alice, f"despite {code}"))["code"] == 200
        await pool.expect_text(alice, bob, f"despite {code}")
    await pool.ask("forget", user=alice, peer=bob)
    assert (await other.say(bob, alice, "after forgetting"))["code"] == 200
    await pool.expect_text(alice, bob, "after forgetting")
    await other.ask("bye")
    await pool.ask("glare", user=alice, peer=bob, text="crossing back")
    assert (await other.say(bob, alice, "crossing"))["code"] == 200
    await pool.expect_text(alice, bob, "crossing")
    await other.expect_text(bob, alice, "crossing back")
    await pool.ask("drop")
    await asyncio.sleep(0.2)
    assert (await other.say(bob, alice, "after the cut", alternative=False))["code"] == 200
    await pool.ask("set", takes_first=True)
    await other.ask("bye")
    await other.say(bob, alice, "taken from the INVITE")
    await pool.expect_text(alice, bob, "taken from the INVITE")
    assert (await pool.ask("typing", user=alice, peer=bob))["code"] == 200
    assert (await pool.ask("options", user=alice, peer=bob))["code"] == 200
    assert (await pool.ask("negotiate", user=alice, peer=bob))["code"] == 405
    assert (await pool.ask("connect", links=4))["links"]["out"] == 4
    counted = await pool.ask("say_many", user=alice, peer=bob, prefix="n ", count=300)
    assert counted["codes"] == {"200": 300}, counted
    texts = await other.texts(bob, alice, 300)
    assert [t for t in texts if t.startswith("n ")] == [f"n {n}" for n in range(300)], texts[:5]
    # Being itself a pool, the other side is found at fault for its Via and for nothing else.
    found = [v for v in (await pool.ask("violations"))["violations"] if "Via" not in v]
    assert not found, found[:5]


@case(10, router=False)
async def rig_ledger_of_chaos() -> None:
    """What the ledger of the chaos run calls overtaken: what did not arrive in the order in which its server sent it."""
    sys.path.append(str(Path(__file__).resolve().parents[2] / "chaos"))
    from ledger import Way, judge, sent_by_server

    line = "Nov 28 08:16:36 s2sout55e99ca77140\tdebug\tSending[s2sout]: <message type='chat' id='{}' to='legacy@contoso.com'>\n"
    with tempfile.TemporaryDirectory(prefix="turnout-interop-") as name:
        log = Path(name) / "prosody.log"
        log.write_text("".join(line.format(id_) for id_ in ("one/0", "one/2", "two/0", "one/1", "one/3", "one/1")) +
                       line.format("one/4").replace("Sending[s2sout]", "Received[c2s]"))
        sends = sent_by_server(log)
    assert sends == {"one": [0, 2, 1, 3, 1], "two": [0]}, sends

    def overtaken(arrived: list[int], order: list[int] | None) -> list[tuple[int, int]]:
        return judge(Way("one", True, [0.0] * 4, {}, arrived), [], order).overtaken

    assert overtaken([0, 1, 2, 3], None) == [] and overtaken([0, 2, 1, 3], None) == [(2, 1)]
    assert overtaken([0, 2, 1, 3], sends["one"]) == [], "its server sent it so"
    assert overtaken([0, 2, 3, 1], sends["one"]) == [], "it was sent again behind the last one"
    assert overtaken([0, 1, 2, 3], sends["one"]) == [(1, 2)], "the numbers are in order and what was sent is not"
    assert overtaken([2, 0, 1, 3], sends["one"]) == [(2, 0)]
