"""The rig's presence shown against itself: rosters of two servers, two scripted pools, Kamailio's presence server."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import AsyncIterator

from rig.certs import Authority
from rig.client import User
from rig.crowd import Crowd
from rig.dns import Dns, Zone
from rig.estate import PROGRAMS
from rig.net import Block
from rig.poolctl import SkypePool
from rig.presence_server import PresenceServer
from rig.roster import Roster
from rig.server import ServerSettings

from . import case

ALICE, BOB = "alice@contoso.com", "bob@partner.example"


@contextlib.asynccontextmanager
async def _place() -> AsyncIterator[tuple[Path, Block, Authority, list]]:
    block, stops = Block(), []
    with tempfile.TemporaryDirectory(prefix="turnout-interop-") as name:
        try:
            yield Path(name), block, Authority(Path(name) / "ca"), stops
        finally:
            for one in reversed(stops):
                one.stop()
            block.release()


@case(90, router=False)
async def rig_rosters() -> None:
    """Rig only: a roster on Prosody and thirty people on ejabberd see each other, each asked once, and part again."""
    async with _place() as (where, block, authority, stops):
        at = {"a.example": block.address(2), "b.example": block.address(3)}
        zone = Zone()
        for domain, address in at.items():
            zone.host(f"xmpp.{domain}", address).service(f"_xmpp-server._tcp.{domain}", f"xmpp.{domain}", 5269)
        dns = Dns("world", block.address(53), zone, where / "dns")
        stops.append(dns)
        await dns.start()
        servers = [PROGRAMS[program](ServerSettings(domain, address, authority.issue(domain, [domain]), authority.certificate), dns,
                                     where / domain) for program, (domain, address) in zip(("prosody", "ejabberd"), at.items())]
        stops += servers
        await asyncio.gather(*[s.start() for s in servers])
        romeo = Roster(await User(servers[0], "romeo").login(), accepting=True)
        crowd = Crowd(servers[1], [f"c{n}" for n in range(30)])
        stops.append(crowd)
        await crowd.login()
        for member in crowd.members:
            romeo.ask(member.bare)
        for member in crowd.members:
            await romeo.sees(member.bare, resources=1)
            await romeo.subscription(member.bare, "both")
        assert (len(romeo.prompts()), crowd.prompts()) == (30, 30), (len(romeo.prompts()), crowd.prompts())
        crowd.members[0].raw("<presence><show>dnd</show><status>no</status></presence>")
        await romeo.sees(crowd.members[0].bare, show="dnd", status="no")
        crowd.members[1].stop()
        await romeo.misses(crowd.members[1].bare)
        romeo.remove(crowd.members[2].bare)
        await romeo.misses(crowd.members[2].bare)
        await romeo.subscription(crowd.members[2].bare, "")
        assert len(romeo.everybody()) == 28, sorted(romeo.everybody())
        romeo.close()
        await romeo.user.logout()


def _pools(where: Path, block: Block, ca: Authority, hop: tuple[str, str]) -> SkypePool:
    """The second pool plays turnout: what is found in its requests does not count, being itself a pool's."""
    return SkypePool("turnout.contoso.com", block.address(5), (hop[0], 5061), hop[1], ca.issue("turnout", ["turnout.contoso.com"]),
                     ca.certificate, where / "other.log", turnout_name="pool2019.contoso.com",
                     contact="sip:turnout.contoso.com:5061;transport=tls")


@case(60, router=False)
async def rig_pools_watch() -> None:
    """Rig only: a scripted pool watches another: pending, states, refresh, forgotten dialogs, reasons to end, a fetch, a restart."""
    async with _place() as (where, block, ca, stops):
        pool = SkypePool("pool2019.contoso.com", block.address(6), (block.address(5), 5061), "turnout.contoso.com",
                         ca.issue("pool", ["pool2019.contoso.com"]), ca.certificate, where / "pool.log")
        other = _pools(where, block, ca, (block.address(6), "pool2019.contoso.com"))
        stops += [pool, other]
        await asyncio.gather(pool.start(), other.start())
        await other.home(BOB)
        await other.ask("policy", user=BOB, policy="pending")
        assert (await pool.ask("watch", user=ALICE, peer=BOB, expires=4, accept="application/pidf+xml"))["code"] == 200
        await pool.sees(ALICE, BOB, state="pending", basic="")
        await other.ask("present", user=BOB, basic="open", activity="away", note="é <&>")
        await other.ask("policy", user=BOB, policy="active")
        await pool.sees(ALICE, BOB, state="active", basic="open", activity="away", note="é <&>")
        await asyncio.sleep(5)
        assert [e for e in (await other.ask("subscribes", user=BOB))["log"] if e.get("refresh")], "not refreshed"
        await other.ask("amnesia", side="watched")
        await other.watchers(BOB, 1)
        await pool.sees(ALICE, BOB, state="active", basic="open")
        await other.ask("terminate", user=BOB, reason="deactivated")
        await pool.sees(ALICE, BOB, state="terminated", reason="deactivated")
        await other.ask("notifier", notify_first=True)
        await other.watchers(BOB, 1)
        await pool.sees(ALICE, BOB, state="active", basic="open")
        fetched = await pool.ask("fetch", user=ALICE, peer=BOB)
        assert [n["basic"] for n in fetched["notifies"]] == ["open"], fetched
        await other.ask("script", method="SUBSCRIBE", code=423, headers=[["Min-Expires", "60"]])
        assert (await pool.ask("refresh", user=ALICE, peer=BOB))["code"] == 423
        await pool.ask("unwatch", user=ALICE, peer=BOB)
        await other.watchers(BOB, 0)
        assert (await pool.ask("watch", user=ALICE, peer="nobody@partner.example"))["code"] == 404
        await pool.ask("watch", user=ALICE, peer=BOB)
        pool.stop()
        await pool.start()
        assert (await other.ask("present", user=BOB, basic="closed"))["told"] == 1
        # The NOTIFY met a pool that knows nothing of it.
        await other.watchers(BOB, 0)
        # Being itself a pool, the other side is found at fault for its Via and its tuple, and for nothing else.
        found = [v for v in (await pool.ask("violations"))["violations"] if "Via" not in v and "tuple id" not in v]
        assert not found, found[:5]


@case(60, router=False)
async def rig_presence_server() -> None:
    """Rig only: Kamailio's presence server shows two devices to whom its user allows, and lets its users watch others."""
    async with _place() as (where, block, ca, stops):
        at_server, at_agent = block.address(6), block.address(17)
        zone = (Zone().host("pool2019.contoso.com", at_server).host("turnout.contoso.com", block.address(5))
                .host("agent.contoso.com", at_agent))
        dns = Dns("world", block.address(53), zone, where / "dns")
        stops.append(dns)
        await dns.start()
        agent = SkypePool("agent.contoso.com", at_agent, (at_server, 5061), PresenceServer.name,
                          ca.issue("agent", ["agent.contoso.com"]), ca.certificate, where / "agent.log")
        server = PresenceServer(at_server, ca.issue("pool", [PresenceServer.name]), ca.certificate, dns, where / "kamailio", agent,
                                block.address(5), [ALICE])
        other = _pools(where, block, ca, (at_server, PresenceServer.name))
        stops += [server, agent, other]
        await asyncio.gather(server.start(), agent.start(), other.start())
        await other.home(BOB)
        await agent.ask("publish", user=ALICE, device="desk", basic="open", activity="busy", note="in a room")
        await other.ask("watch", user=BOB, peer=ALICE, microsoft=False, expires=60)
        await other.sees(BOB, ALICE, state="pending", basic="")
        await server.allow(ALICE, BOB)
        await other.sees(BOB, ALICE, state="active", basic="open", activity="busy", note="in a room")
        await agent.ask("publish", user=ALICE, device="phone", basic="open")
        await agent.ask("publish", user=ALICE, device="desk", expires=0)
        await asyncio.sleep(0.5)
        seen = await other.ask("seen", user=BOB, peer=ALICE)
        assert [(t["id"], t["basic"]) for t in seen["tuples"]] == [("ID-desk", "closed"), ("ID-phone", "open")], seen["tuples"]
        await server.allow(ALICE, BOB, "block")
        await other.sees(BOB, ALICE, state="terminated", reason="rejected")
        await other.ask("present", user=BOB, basic="open")
        await agent.ask("watch", user=ALICE, peer=BOB, microsoft=False)
        await agent.sees(ALICE, BOB, state="active", basic="open")
        assert not server.complaints(), server.complaints()
