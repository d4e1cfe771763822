"""What is shown of whom: states, notes and resources both ways, in both dialects of a SIP home."""

from __future__ import annotations

import asyncio

from rig.estate import PARTNER, Estate
from rig.turnout import Partner

from . import case
from .contacts import PRESENCE, befriend, plan
from .tracks import MODERN, ROMEO

# A pool is told of a contact at most every 5 s (RFC 3856 section 6.10); what was last is told then.
_PACED_SECONDS = 9.0


async def _states_both_ways(estate: Estate) -> None:
    pool, romeo = estate.pool, await estate.roster(resource="desk")
    await pool.ask("present", user=MODERN, basic="open")
    await befriend(estate, romeo)
    for activity, show in (("busy", "dnd"), ("away", "away"), ("", ""), ("sleeping-in-a-hammock", "")):
        await pool.ask("present", user=MODERN, basic="open", activity=activity, note=f"I am {activity} & <so>")
        await romeo.sees(MODERN, show=show, status=f"I am {activity} & <so>", resources=1)
    await pool.ask("present", user=MODERN, basic="closed")
    await romeo.misses(MODERN)
    await pool.ask("present", user=MODERN, basic="open")
    await romeo.sees(MODERN, show="", status="")
    # Toward the pool every change but the first waits for its turn, so here is one; which show becomes what has unit tests.
    romeo.be("dnd", "now ✓ <&>")
    await pool.sees(MODERN, ROMEO, _PACED_SECONDS, basic="open", activity="busy", note="now ✓ <&>")
    romeo.be(online=False)
    await pool.sees(MODERN, ROMEO, _PACED_SECONDS, basic="closed")
    assert romeo.prompts() == [MODERN] and not romeo.count(MODERN, "unsubscribed")
    await pool.no_violations()


@case(90)
async def shows_and_notes() -> None:
    """Busy, away, available, offline and notes, from the pool and to it, with Prosody as the partner."""
    async with Estate(plan()) as estate:
        await _states_both_ways(estate)


@case(90)
async def shows_and_notes_with_ejabberd() -> None:
    """The same with ejabberd as the partner."""
    policy = Partner(PARTNER, sasl="required", dialback=False)
    async with Estate(plan(partner="ejabberd", partner_dialback=False, policy=policy)) as estate:
        await _states_both_ways(estate)


@case(90)
async def several_resources_are_one_to_the_pool() -> None:
    """Of a partner's user with two resources the pool is shown the more available one, in a single tuple."""
    async with Estate(plan()) as estate:
        pool, desk = estate.pool, await estate.roster(resource="desk")
        await pool.ask("present", user=MODERN, basic="open")
        await befriend(estate, desk)
        phone = await estate.roster(resource="phone")
        desk.be("away", "at lunch", priority=5)
        phone.be("", "on the phone", priority=1)
        await pool.sees(MODERN, ROMEO, _PACED_SECONDS, basic="open", activity="", note="on the phone")
        await phone.sees(MODERN)
        phone.be(online=False)
        await pool.sees(MODERN, ROMEO, _PACED_SECONDS, basic="open", activity="away", note="at lunch")
        await pool.no_violations()


@case(60)
async def flood_of_presence() -> None:
    """Fifty changes in a second reach the pool as few, and the last is the one that stays."""
    async with Estate(plan()) as estate:
        pool, romeo = estate.pool, await estate.roster()
        await pool.ask("present", user=MODERN, basic="open")
        await befriend(estate, romeo)
        before = (await pool.ask("status"))["counts"]["NOTIFY"]
        for number in range(50):
            romeo.be("dnd" if number % 2 else "", f"change {number}")
            await asyncio.sleep(0.02)
        await pool.sees(MODERN, ROMEO, _PACED_SECONDS, note="change 49", activity="busy")
        sent = (await pool.ask("status"))["counts"]["NOTIFY"] - before
        assert sent <= 4, f"{sent} NOTIFYs for 50 changes within a second or two"
        for number in range(50):
            await pool.ask("present", user=MODERN, basic="open", note=f"mine {number}")
        await romeo.sees(MODERN, status="mine 49")
        await pool.no_violations()


@case(60)
async def richer_presence_of_a_pool() -> None:
    """Asked for its own format first, the pool tells do-not-disturb from busy and be-right-back from away."""
    async with Estate(plan(presence={**PRESENCE, "rich": True})) as estate:
        pool, romeo = estate.pool, await estate.roster()
        await pool.ask("present", user=MODERN, basic="open")
        romeo.ask(MODERN)
        await romeo.hears(MODERN, "subscribed")
        for availability, show in ((9500, "dnd"), (3500, ""), (12500, "away"), (5000, "away"), (15500, "away")):
            await pool.ask("present", user=MODERN, basic="open", availability=availability, note=f"at {availability}")
            await romeo.sees(MODERN, show=show, status=f"at {availability}")
        await pool.ask("present", user=MODERN, basic="closed")
        await romeo.misses(MODERN)
        await pool.no_violations()


@case(60)
async def notes_are_not_for_the_public() -> None:
    """A public partner sees that somebody is busy and not why; what he writes himself is passed on."""
    async with Estate(plan(policy=Partner(PARTNER, type="public-verified"))) as estate:
        pool, romeo = estate.pool, await estate.roster()
        await pool.ask("present", user=MODERN, basic="open", activity="busy", note="with the board")
        await befriend(estate, romeo)
        await romeo.sees(MODERN, show="dnd", status="")
        assert not [r for r in romeo.user.inbox if "with the board" in r.canonical()], "the note got out"
        romeo.be("away", "mine")
        await pool.sees(MODERN, ROMEO, _PACED_SECONDS, activity="away", note="mine")
        await pool.no_violations()


@case(60)
async def unverified_partners_wait_to_be_added() -> None:
    """A user of an unverified partner may not ask to see a 2019 user who did not add him first."""
    async with Estate(plan(policy=Partner(PARTNER, type="public-unverified"))) as estate:
        pool, romeo = estate.pool, await estate.roster()
        await pool.ask("present", user=MODERN, basic="open", note="secret")
        romeo.ask(MODERN)
        await asyncio.sleep(1.5)
        assert not romeo.shown(MODERN) and not romeo.count(MODERN, "subscribed"), romeo.told(MODERN)
        assert not (await pool.ask("watchers", user=MODERN))["watchers"], "the pool was asked"
        await pool.ask("watch", user=MODERN, peer=ROMEO)
        await romeo.hears(MODERN, "subscribe")
        romeo.grant(MODERN)
        await pool.sees(MODERN, ROMEO, state="active", basic="open")
        romeo.drop(MODERN)
        # The answer to that, `unsubscribed`, would take a new request back at his server.
        await asyncio.sleep(1.5)
        romeo.ask(MODERN)
        await romeo.hears(MODERN, "subscribed")
        await romeo.sees(MODERN, status="")
        await pool.no_violations()


@case(120)
async def presence_server_of_another_make() -> None:
    """Kamailio's presence server as the home: pending, allowed, two devices, a device gone, blocked; and its users as watchers."""
    async with Estate(plan(pool="presence")) as estate:
        server, agent, romeo = estate.presence, estate.pool, await estate.roster()
        await agent.ask("publish", user=MODERN, device="desk", basic="open", activity="busy", note="in a room")
        romeo.ask(MODERN)
        await asyncio.sleep(1.5)
        assert not romeo.told(MODERN), f"told before the user had decided: {romeo.told(MODERN)}"
        await server.allow(MODERN, ROMEO)
        await romeo.hears(MODERN, "subscribed")
        shown = await romeo.sees(MODERN, show="dnd", status="in a room", resources=1)
        assert list(shown) == ["desk"], shown
        await agent.ask("publish", user=MODERN, device="phone", basic="open")
        assert set(await romeo.sees(MODERN, resources=2)) == {"desk", "phone"}
        await agent.ask("publish", user=MODERN, device="desk", expires=0)
        assert set(await romeo.sees(MODERN, resources=1)) == {"phone"}
        answer = await agent.ask("watch", user=MODERN, peer=ROMEO, microsoft=False)
        assert answer["code"] == 200, answer
        await agent.sees(MODERN, ROMEO, state="pending")
        await romeo.hears(MODERN, "subscribe")
        romeo.be("away", "gone fishing")
        romeo.grant(MODERN)
        await agent.sees(MODERN, ROMEO, _PACED_SECONDS, state="active", basic="open", note="gone fishing", activity="away")
        await estate.restart(server)
        await agent.ask("publish", user=MODERN, device="tablet", basic="open", note="back again")
        await romeo.sees(MODERN, 20, status="back again", resources=1)
        assert romeo.count(MODERN, "unsubscribed") == 0 and romeo.prompts() == [MODERN], romeo.told(MODERN)
        await server.allow(MODERN, ROMEO, "block")
        await romeo.hears(MODERN, "unsubscribed")
        await romeo.misses(MODERN)
        await agent.no_violations()
        assert not server.complaints(), server.complaints()[:5]
