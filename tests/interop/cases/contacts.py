"""Contacts of 2019 users: added, accepted, refused, taken back and removed from either side, and nobody asked twice."""

from __future__ import annotations

import asyncio

from rig.estate import PARTNER, Estate, Plan
from rig.roster import Roster
from rig.turnout import Partner

from . import case
from .tracks import MODERN, ROMEO

# Short, so that a case need not wait: a partner's user is looked after every 5 s, a pool may be away for 3 s.
PRESENCE: dict[str, int | bool] = {"check_seconds": 5, "subscription_seconds": 600, "stale_seconds": 3, "requests_per_second": 500}


def plan(**more: object) -> Plan:
    """An estate with a store. Prosody on both sides starts fastest; who stands at the gateway does not matter to a 2019 user."""
    return Plan(**{"gateway": "prosody", "presence": dict(PRESENCE), **more})


async def befriend(estate: Estate, roster: Roster, user: str = MODERN) -> None:
    """Both see each other, each asked once."""
    roster.ask(user)
    await roster.hears(user, "subscribed")
    answer = await estate.pool.ask("watch", user=user, peer=roster.user.bare)
    assert answer["code"] == 200, answer
    await roster.hears(user, "subscribe")
    roster.grant(user)
    await estate.pool.sees(user, roster.user.bare, state="active", basic="open")
    await roster.subscription(user, "both")


async def _quiet(roster: Roster, contact: str, seconds: float, *kinds: str) -> None:
    """Nothing of these types comes for a while."""
    before = {kind: roster.count(contact, kind) for kind in kinds}
    await asyncio.sleep(seconds)
    after = {kind: roster.count(contact, kind) for kind in kinds}
    assert before == after, f"{roster.user.bare} was told of {contact}: {before} became {after}"


async def _a_friendship(estate: Estate) -> None:
    pool, romeo = estate.pool, await estate.roster()
    await pool.ask("present", user=MODERN, basic="open")
    romeo.ask(MODERN)
    await romeo.hears(MODERN, "subscribed")
    assert list(await romeo.sees(MODERN)) == ["sfb"], romeo.shown(MODERN)
    await pool.watchers(MODERN, 1, state="active")
    await romeo.subscription(MODERN, "to")
    assert not romeo.prompts(), "the partner's user was asked for nothing of his"
    answer = await pool.ask("watch", user=MODERN, peer=ROMEO)
    await pool.sees(MODERN, ROMEO, state="pending")
    await romeo.hears(MODERN, "subscribe")
    romeo.grant(MODERN)
    seen = await pool.sees(MODERN, ROMEO, state="active", basic="open")
    assert seen["entity"] in (f"sip:{ROMEO}", f"pres:{ROMEO}"), seen["entity"]
    # ms-benotify is refused on purpose, as RFC 3261 section 8.2.2.3 has it; the client asks again without.
    assert [a["code"] for a in seen["answers"]] == [420, 200] and answer["code"] == 200, seen["answers"]
    await romeo.subscription(MODERN, "both")
    romeo.remove(MODERN)
    await pool.sees(MODERN, ROMEO, state="terminated", reason="rejected")
    await pool.watchers(MODERN, 0)
    await romeo.misses(MODERN)
    await romeo.subscription(MODERN, "")
    assert romeo.prompts() == [MODERN], romeo.prompts()
    await pool.no_violations()


@case(60)
async def contact_added_and_removed() -> None:
    """A 2019 user is added, adds back, and is removed, by a roster of Prosody."""
    async with Estate(plan()) as estate:
        await _a_friendship(estate)


@case(60)
async def contact_added_and_removed_by_ejabberd() -> None:
    """The same with a roster of ejabberd."""
    policy = Partner(PARTNER, sasl="required", dialback=False)
    async with Estate(plan(partner="ejabberd", partner_dialback=False, policy=policy)) as estate:
        await _a_friendship(estate)


@case(90)
async def pool_decides_late_or_no() -> None:
    """Pending says nothing, active says subscribed, a refusal says unsubscribed, trouble on the way says neither."""
    people = {f"u{code}@contoso.com": code for code in (403, 489, 603)}
    users = {user: "sfb2019" for user in [MODERN, "busy@contoso.com", "brief@contoso.com", "gone@contoso.com", *people]}
    async with Estate(plan(users=users)) as estate:
        pool, romeo = estate.pool, await estate.roster()
        for user in users:
            await pool.ask("present", user=user, basic="open")
        await pool.ask("policy", user=MODERN, policy="pending")
        for user, code in people.items():
            await pool.ask("policy", user=user, policy=code)
        await pool.ask("script", method="SUBSCRIBE", user="busy@contoso.com", code=503)
        await pool.ask("script", method="SUBSCRIBE", user="brief@contoso.com", code=423, headers=[["Min-Expires", "900"]])
        await pool.ask("home", remove=["gone@contoso.com"])
        for user in users:
            romeo.ask(user)
        for user in people:
            await romeo.hears(user, "unsubscribed")
            await romeo.subscription(user, "none")
        await romeo.hears("brief@contoso.com", "subscribed")
        await romeo.hears("busy@contoso.com", "subscribed", 30)
        await pool.watchers(MODERN, 1, state="pending")
        await _quiet(romeo, MODERN, 1.0, "subscribed", "unsubscribed", "available")
        await pool.ask("policy", user=MODERN, policy="active")
        await romeo.hears(MODERN, "subscribed")
        await romeo.sees(MODERN)
        await pool.ask("policy", user=MODERN, policy="rejected")
        await romeo.hears(MODERN, "unsubscribed")
        await romeo.misses(MODERN)
        await romeo.subscription(MODERN, "none")
        assert not romeo.count("busy@contoso.com", "unsubscribed") and not romeo.prompts(), romeo.told("busy@contoso.com")
        await pool.no_violations()


@case(60)
async def partner_refuses_and_is_left_alone() -> None:
    """Who refused is not asked again until he asks himself; who took back what he had granted neither."""
    async with Estate(plan()) as estate:
        pool, romeo = estate.pool, await estate.roster()
        await pool.ask("present", user=MODERN, basic="open")
        for round_ in range(2):
            await pool.ask("watch", user=MODERN, peer=ROMEO)
            await romeo.hears(MODERN, "subscribe")
            romeo.deny(MODERN)
            await pool.sees(MODERN, ROMEO, state="terminated", reason="rejected")
            assert romeo.prompts() == [MODERN], f"asked again in round {round_}: {romeo.prompts()}"
        romeo.ask(MODERN)
        await romeo.hears(MODERN, "subscribed")
        await pool.ask("watch", user=MODERN, peer=ROMEO)
        await romeo.hears(MODERN, "subscribe", times=2)
        romeo.grant(MODERN)
        await pool.sees(MODERN, ROMEO, state="active", basic="open")
        romeo.deny(MODERN)
        await pool.sees(MODERN, ROMEO, state="terminated", reason="rejected")
        await romeo.subscription(MODERN, "to")
        await pool.ask("watch", user=MODERN, peer=ROMEO)
        await pool.sees(MODERN, ROMEO, state="terminated", reason="rejected")
        assert len(romeo.prompts()) == 2, romeo.prompts()
        await pool.no_violations()


@case(60)
async def removed_on_one_side_only() -> None:
    """The pool unsubscribes: the right to see stays and is not asked for again. The partner unsubscribes: the watch ends."""
    async with Estate(plan()) as estate:
        pool, romeo = estate.pool, await estate.roster()
        await pool.ask("present", user=MODERN, basic="open")
        await befriend(estate, romeo)
        await pool.ask("unwatch", user=MODERN, peer=ROMEO)
        await pool.sees(MODERN, ROMEO, state="terminated", reason="timeout")
        await _quiet(romeo, MODERN, 1.0, "unavailable", "unsubscribe", "unsubscribed")
        await pool.ask("watch", user=MODERN, peer=ROMEO)
        await pool.sees(MODERN, ROMEO, state="active", basic="open")
        fetched = await pool.ask("fetch", user=MODERN, peer=ROMEO)
        assert [n.get("basic") for n in fetched["notifies"]] == ["open"], fetched
        romeo.drop(MODERN)
        await pool.watchers(MODERN, 0)
        await romeo.misses(MODERN)
        await romeo.subscription(MODERN, "from")
        await pool.sees(MODERN, ROMEO, state="active", basic="open")
        assert romeo.prompts() == [MODERN], romeo.prompts()
        await pool.no_violations()


@case(90, waits=True)
async def watch_outlives_the_pool_s_moods() -> None:
    """NOTIFY before the 200, short lives, forgotten dialogs and every reason to end: the contact stays, or is gone for good."""
    async with Estate(plan()) as estate:
        pool, romeo = estate.pool, await estate.roster()
        await pool.ask("notifier", notify_first=True, max_expires=12)
        await pool.ask("present", user=MODERN, basic="open")
        romeo.ask(MODERN)
        await romeo.hears(MODERN, "subscribed")
        await romeo.sees(MODERN, show="")
        await asyncio.sleep(11)
        await pool.watchers(MODERN, 1)
        refreshed = [e for e in (await pool.ask("subscribes", user=MODERN))["log"] if e.get("refresh")]
        assert refreshed, "a watch of 12 s was not refreshed in its dialog"
        await pool.ask("amnesia", side="watched")
        await pool.ask("present", user=MODERN, basic="open", activity="away")
        await pool.watchers(MODERN, 1, 10)
        await romeo.sees(MODERN, show="away")
        for reason, more in (("deactivated", {}), ("probation", {"retry_after": 1})):
            before = len((await pool.ask("subscribes", user=MODERN))["log"])
            told = await pool.ask("terminate", user=MODERN, reason=reason, **more)
            assert told["told"] == 1, f"{reason}: {told}"
            await pool.watchers(MODERN, 1, 20)
            assert len((await pool.ask("subscribes", user=MODERN))["log"]) > before
        assert romeo.count(MODERN, "unsubscribed") == 0 and romeo.count(MODERN, "subscribed") == 1, romeo.told(MODERN)
        await pool.ask("policy", user=MODERN, policy="403")
        await romeo.hears(MODERN, "unsubscribed")
        await romeo.misses(MODERN)
        await pool.no_violations()


@case(60)
async def odd_subscribes() -> None:
    """SUBSCRIBE for another event, for a format nobody has, for a user who does not exist, or outside any partner's domain."""
    async with Estate(plan()) as estate:
        pool, romeo = estate.pool, await estate.roster()
        pair = {"user": MODERN, "peer": ROMEO, "method": "SUBSCRIBE"}
        head = [["Contact", f"<sip:{MODERN};opaque=user:epid:x;gruu>"], ["Expires", "600"]]
        answer = await pool.ask("request", **pair, headers=[*head, ["Event", "dialog"], ["Accept", "application/pidf+xml"]])
        assert answer["code"] == 489, answer
        assert "presence" in [v for n, v in answer["headers"] if n.lower() == "allow-events"], answer["headers"]
        answer = await pool.ask("request", **pair, headers=[*head, ["Event", "presence"], ["Accept", "text/xml+msrtc.pidf"]])
        assert answer["code"] == 406, answer
        assert not romeo.prompts(), romeo.prompts()
        await pool.ask("watch", user=MODERN, peer=f"nobody@{PARTNER}")
        seen = await pool.sees(MODERN, f"nobody@{PARTNER}")
        await asyncio.sleep(1)
        seen = await pool.ask("seen", user=MODERN, peer=f"nobody@{PARTNER}")
        assert seen["basic"] != "open", seen
        await pool.ask("watch", user=MODERN, peer="somebody@elsewhere.example")
        await asyncio.sleep(0.5)
        seen = await pool.ask("seen", user=MODERN, peer="somebody@elsewhere.example")
        assert seen["basic"] != "open" and seen["state"] != "active", seen
        await pool.no_violations()


@case(60)
async def strayed_user_is_found() -> None:
    """The directory says 2019, the pool says 4006: the message reaches the legacy side instead, once."""
    strayed = "strayed@contoso.com"
    async with Estate(plan(users={strayed: "sfb2019", MODERN: "sfb2019"})) as estate:
        pool, romeo, found = estate.pool, await estate.roster(), await estate.legacy_roster("strayed")
        await pool.ask("home", remove=[strayed])
        romeo.user.say(strayed, "where are you?")
        await found.user.expect_text("where are you?")
        await asyncio.sleep(0.5)
        assert len([r for r in found.user.inbox if r.body]) == 1 and not [r for r in romeo.user.inbox if r.kind == "error"]
        await pool.no_violations()
