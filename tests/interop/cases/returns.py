"""After a restart of any party, and after moves, what is shown is what is true, within a stated time, and nobody is asked again."""

from __future__ import annotations

import asyncio
import time

from rig.crowd import Crowd
from rig.estate import PARTNER, Estate
from rig.roster import Roster
from rig.turnout import Partner

from . import case
from .contacts import PRESENCE, befriend, plan
from .tracks import MODERN, ROMEO

MOVER = "mover@contoso.com"
# Within this what is shown is what is true again: the longest of check_seconds and stale_seconds, and the time of a few requests.
_TRUE_SECONDS = max(PRESENCE["check_seconds"], PRESENCE["stale_seconds"]) + 8.0


def _unasked(romeo: Roster, contact: str, prompts: int = 1) -> None:
    assert len(romeo.prompts(contact)) == prompts, f"{romeo.user.bare} was asked {len(romeo.prompts(contact))} times"
    assert not romeo.count(contact, "unsubscribed") and not romeo.count(contact, "unsubscribe"), romeo.told(contact)


@case(90, waits=True)
async def turnout_restarts() -> None:
    """turnout is stopped, and killed: both sides change meanwhile, both are shown right afterwards, and nobody is asked again."""
    async with Estate(plan()) as estate:
        pool, romeo, turnout = estate.pool, await estate.roster(), estate.turnout
        await pool.ask("present", user=MODERN, basic="open")
        await befriend(estate, romeo)
        for kill, activity, show in ((False, "busy", "dnd"), (True, "away", "away")):
            begun = (await pool.ask("status"))["counts"].get("SUBSCRIBE", 0)
            await asyncio.get_running_loop().run_in_executor(None, turnout.kill if kill else turnout.stop)
            await pool.ask("present", user=MODERN, basic="open", activity=activity)
            romeo.be(show, f"while it was away, {show}")
            await asyncio.sleep(0.3)
            await turnout.start()
            await romeo.sees(MODERN, _TRUE_SECONDS, show=show)
            # The client finds its dialog gone when it refreshes it, and begins another.
            await pool.ask("refresh", user=MODERN, peer=ROMEO)
            await pool.sees(MODERN, ROMEO, _TRUE_SECONDS, state="active", basic="open", activity=activity)
            _unasked(romeo, MODERN)
            await pool.watchers(MODERN, 1)
            sent = (await pool.ask("status"))["counts"]["SUBSCRIBE"] - begun
            assert sent <= 3, f"{sent} SUBSCRIBEs to set up one watch again"
        await pool.no_violations()


@case(90, waits=True)
async def pool_restarts() -> None:
    """The pool dies: its users become unavailable, never unsubscribed. It comes back empty: they are seen again, unasked."""
    async with Estate(plan()) as estate:
        pool, romeo = estate.pool, await estate.roster()
        await pool.ask("present", user=MODERN, basic="open")
        await befriend(estate, romeo)
        begun = time.monotonic()
        await asyncio.get_running_loop().run_in_executor(None, pool.stop)
        await romeo.misses(MODERN, _TRUE_SECONDS)
        assert time.monotonic() - begun >= PRESENCE["stale_seconds"] - 1, "gone before the stated time was over"
        _unasked(romeo, MODERN)
        await pool.start()
        await pool.home(MODERN)
        await pool.ask("present", user=MODERN, basic="open", activity="busy")
        await romeo.sees(MODERN, _TRUE_SECONDS, show="dnd")
        await pool.ask("watch", user=MODERN, peer=ROMEO)
        await pool.sees(MODERN, ROMEO, _TRUE_SECONDS, state="active", basic="open")
        _unasked(romeo, MODERN)
        await pool.no_violations()


@case(120, waits=True)
async def partner_restarts() -> None:
    """The partner's server is killed: its user is shown gone. It comes back, he logs in: both sides see each other, unasked."""
    async with Estate(plan()) as estate:
        pool, romeo = estate.pool, await estate.roster()
        await pool.ask("present", user=MODERN, basic="open")
        await befriend(estate, romeo)
        await asyncio.get_running_loop().run_in_executor(None, estate.partner.kill)
        seen = await pool.ask("seen", user=MODERN, peer=ROMEO, want={"basic": ""}, seconds=_TRUE_SECONDS)
        if not seen["met"]:
            await pool.sees(MODERN, ROMEO, 1.0, basic="closed")
        assert seen["state"] == "active", f"the right to see him was lost with his server: {seen['state']}"
        await pool.ask("present", user=MODERN, basic="open", activity="away")
        await estate.partner.start()
        await estate.again(romeo)
        await pool.sees(MODERN, ROMEO, _TRUE_SECONDS, state="active", basic="open")
        await romeo.sees(MODERN, _TRUE_SECONDS, show="away")
        _unasked(romeo, MODERN)
        await pool.no_violations()


@case(120, waits=True)
async def ejabberd_partner_restarts() -> None:
    """The same with ejabberd: it is killed with a contact it had written down, and comes back."""
    policy = Partner(PARTNER, sasl="required", dialback=False)
    async with Estate(plan(partner="ejabberd", partner_dialback=False, policy=policy)) as estate:
        pool, romeo = estate.pool, await estate.roster()
        await pool.ask("present", user=MODERN, basic="open")
        await befriend(estate, romeo)
        # Mnesia writes what it was told to disk after a moment.
        await asyncio.sleep(4)
        await asyncio.get_running_loop().run_in_executor(None, estate.partner.stop)
        seen = await pool.ask("seen", user=MODERN, peer=ROMEO, want={"basic": ""}, seconds=_TRUE_SECONDS)
        if not seen["met"]:
            await pool.sees(MODERN, ROMEO, 1.0, basic="closed")
        await pool.ask("present", user=MODERN, basic="open", activity="away")
        await estate.partner.start()
        await estate.again(romeo)
        await pool.sees(MODERN, ROMEO, _TRUE_SECONDS, state="active", basic="open")
        await romeo.sees(MODERN, _TRUE_SECONDS, show="away")
        _unasked(romeo, MODERN)
        await pool.no_violations()


@case(120, waits=True)
async def gateway_restarts() -> None:
    """The gateway is killed: its user is shown gone, never unsubscribed. It comes back: she is asked for and seen, unasked."""
    async with Estate(plan(partner="ejabberd", partner_dialback=False,
                           policy=Partner(PARTNER, sasl="required", dialback=False))) as estate:
        romeo, mover = await estate.roster(accepting=True), await estate.legacy_roster("mover", accepting=True)
        romeo.ask(MOVER)
        mover.ask(ROMEO)
        await romeo.subscription(MOVER, "both")
        await romeo.sees(MOVER)
        prompts, begun = len(romeo.prompts()), time.monotonic()
        await asyncio.get_running_loop().run_in_executor(None, estate.gateway.kill)
        await romeo.misses(MOVER, _TRUE_SECONDS)
        assert time.monotonic() - begun >= PRESENCE["stale_seconds"] - 1, "gone before the stated time was over"
        _unasked(romeo, MOVER, prompts)
        await estate.gateway.start()
        await estate.again(mover)
        mover.be("away", "back again")
        await romeo.sees(MOVER, _TRUE_SECONDS, show="away")
        await mover.sees(ROMEO, _TRUE_SECONDS)
        _unasked(romeo, MOVER, prompts)


@case(120)
async def gateway_is_asked_after_a_restart_of_turnout() -> None:
    """A legacy user leaves while turnout is dead: the gateway is asked, and she is shown gone though nothing is said twice."""
    async with Estate(plan()) as estate:
        turnout, romeo = estate.turnout, await estate.roster(accepting=True)
        mover = await estate.legacy_roster("mover", accepting=True)
        romeo.ask(MOVER)
        mover.ask(ROMEO)
        await romeo.subscription(MOVER, "both")
        await romeo.sees(MOVER)
        prompts = len(romeo.prompts())
        await asyncio.get_running_loop().run_in_executor(None, turnout.kill)
        await mover.user.logout()
        await asyncio.sleep(1)
        await turnout.start()
        await romeo.misses(MOVER, _TRUE_SECONDS + 5)
        await estate.again(mover)
        await romeo.sees(MOVER, _TRUE_SECONDS)
        _unasked(romeo, MOVER, prompts)


@case(120)
async def one_contact_moves() -> None:
    """A legacy user with a contact moves to 2019 and back: he is seen where he is, his old resource is ended, nobody is asked."""
    async with Estate(plan(gateway="ejabberd")) as estate:
        pool, turnout = estate.pool, estate.turnout
        romeo, mover = await estate.roster(accepting=True), await estate.legacy_roster("mover", accepting=True)
        romeo.ask(MOVER)
        mover.ask(ROMEO)
        await romeo.subscription(MOVER, "both")
        await romeo.sees(MOVER)
        await mover.sees(ROMEO)
        assert list(romeo.shown(MOVER)) == ["desk"], romeo.shown(MOVER)
        prompts = len(romeo.prompts()), len(mover.prompts())
        await pool.ask("present", user=MOVER, basic="open", activity="busy")
        for _ in range(2):
            await mover.user.logout()
            await turnout.move(MOVER, "sfb2019")
            await pool.ask("watch", user=MOVER, peer=ROMEO)
            await pool.sees(MOVER, ROMEO, _TRUE_SECONDS, state="active", basic="open")
            shown = await romeo.sees(MOVER, _TRUE_SECONDS, show="dnd", resources=1)
            assert list(shown) == ["sfb"], shown
            await pool.watchers(MOVER, 1)
            await turnout.move(MOVER, "legacy")
            await pool.watchers(MOVER, 0)
            await pool.sees(MOVER, ROMEO, state="terminated")
            await pool.ask("unwatch", user=MOVER, peer=ROMEO, silent=True)
            await estate.again(mover)
            shown = await romeo.sees(MOVER, _TRUE_SECONDS, show="", resources=1)
            assert list(shown) == ["desk"], shown
            await mover.sees(ROMEO, _TRUE_SECONDS)
        assert (len(romeo.prompts()), len(mover.prompts())) == prompts, "a move asked somebody again"
        _unasked(romeo, MOVER)
        await pool.no_violations()


async def _all_seen(romeo: Roster, users: list[str], resource: str, seconds: float) -> None:
    end, wanted = time.monotonic() + seconds, set(users)
    while True:
        right = {c for c, shown in romeo.everybody().items() if list(shown) == [resource]}
        if wanted <= right:
            return
        missing = sorted(wanted - right)
        assert time.monotonic() < end, (f"{len(missing)} of {len(users)} are not seen under {resource} alone within {seconds:.0f} s: "
                                        f"{[(m, romeo.shown(m)) for m in missing[:4]]}")
        await asyncio.sleep(0.3)


@case(240)
async def five_hundred_contacts_move() -> None:
    """A roster of 500 contacts survives a batch move to 2019 and back: everybody is seen where he is, nobody is asked anything."""
    users = [f"c{n:03}@contoso.com" for n in range(500)]
    # ejabberd, as Prosody writes the whole roster to disk with every change.
    policy = Partner(PARTNER, sasl="required", dialback=False)
    async with Estate(plan(partner="ejabberd", partner_dialback=False, policy=policy,
                           users={user: "legacy" for user in users})) as estate:
        pool, romeo = estate.pool, await estate.roster(accepting=True)
        crowd = Crowd(estate.gateway, [user.split("@")[0] for user in users])
        try:
            await crowd.login()
            await estate.warm(romeo.user)
            for user in users:
                romeo.ask(user)
            await _all_seen(romeo, users, "desk", 60)
            end = time.monotonic() + 30
            while list((has := await romeo.server_says()).values()).count("both") < len(users):
                assert time.monotonic() < end, f"{list(has.values()).count('both')} of {len(users)} contacts are both ways"
                await asyncio.sleep(0.5)
            prompts = len(romeo.prompts()), crowd.prompts()
            assert prompts == (500, 500), prompts
            await pool.home(*users)
            await pool.ask("present", users=users, basic="open")
            await estate.turnout.move(users, "sfb2019")
            # The contact lists have moved along, and all of the pool's clients come back to see theirs.
            watched = await pool.ask("watch", pairs=[[user, ROMEO] for user in users], microsoft=False)
            assert watched["codes"] == {"200": len(users)}, watched
            await _all_seen(romeo, users, "sfb", 40)
            seen = await pool.ask("seen_all", want={"state": "active", "basic": "open"}, count=len(users), seconds=30)
            assert seen["count"] == len(users), f"the pool sees its contact for {seen['count']} of {len(users)}"
            await estate.turnout.move(users, "legacy")
            await _all_seen(romeo, users, "desk", 40)
            assert (await pool.ask("watched"))["total"] == 0, "watches were left behind in the pool"
            assert (len(romeo.prompts()), crowd.prompts()) == prompts, f"{len(romeo.prompts())} and {crowd.prompts()} prompts"
            assert not [r for r in romeo.user.inbox if r.name == "presence" and r.kind in ("unsubscribed", "unsubscribe")]
            await pool.no_violations()
        finally:
            crowd.stop()
