"""IM sessions of the `skype` dialect in bad weather: refusals, dead sessions, glare, idle close, lost links, odd requests."""

from __future__ import annotations

import asyncio

from rig.estate import Estate, Plan

from . import case
from .tracks import MODERN, ROMEO

# Final answers to our INVITE and what the partner's sender must be told (protocols A.3.4, domain 3.6).
_ANSWERS: list[tuple[int, str, tuple[str, ...]]] = [
    (403, "", ("forbidden", "not-allowed", "policy-violation")),
    (404, '1003;reason="User does not exist"', ("item-not-found", "service-unavailable")),
    (408, "", ("remote-server-timeout",)),
    (480, "", ("recipient-unavailable",)),
    (486, "", ("recipient-unavailable",)),
    (488, "", ("not-acceptable",)),
    (500, "", ("internal-server-error",)),
    (503, "", ("internal-server-error",)),
    (504, "", ("remote-server-timeout",)),
    (603, "", ("recipient-unavailable",)),
    (606, "", ("not-acceptable", "policy-violation")),
]


@case(240)
async def invite_refused() -> None:
    """Every final answer to the INVITE becomes the error the mapping table names, once, and the next message works."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        for code, diagnostics, conditions in _ANSWERS:
            # Room for one retry by turnout: what counts is what the sender is told in the end.
            await pool.ask("script", method="INVITE", code=code, diagnostics=diagnostics, times=3)
            romeo.say(MODERN, f"refused with {code}", id_=f"r{code}")
            error = await romeo.expect_error(f"r{code}", 40)
            assert error.condition in conditions, f"{code} became {error.condition}, expected one of {conditions}"
            await pool.ask("reset")
            romeo.say(MODERN, f"after {code}")
            await pool.expect_text(MODERN, ROMEO, f"after {code}", 70)
            await pool.ask("bye")
        await pool.no_violations()


@case(120)
async def message_finds_session_dead() -> None:
    """481, 480 and 408 to an in-dialog MESSAGE: a new session with a new Ms-Conversation-ID, the text delivered once."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        romeo.say(MODERN, "opens")
        await pool.expect_text(MODERN, ROMEO, "opens")
        for code in (481, 480, 408):
            await pool.ask("script", method="MESSAGE", code=code)
            romeo.say(MODERN, f"despite {code}")
            await pool.expect_text(MODERN, ROMEO, f"despite {code}")
        await pool.ask("forget", user=MODERN, peer=ROMEO)
        romeo.say(MODERN, "after a restart of the pool")
        await pool.expect_text(MODERN, ROMEO, "after a restart of the pool")
        assert not [r for r in romeo.inbox if r.kind == "error"], "the sender was told of an error that was repaired"
        await pool.no_violations()


@case(120)
async def slow_invite_keeps_order() -> None:
    """Messages written while the INVITE waits are queued and follow in order."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        await estate.warm(romeo)
        await pool.ask("script", method="INVITE", delay=4)
        for number in range(20):
            romeo.say(MODERN, f"queued {number}")
        texts = await pool.texts(MODERN, ROMEO, 20, 30)
        assert texts == [f"queued {n}" for n in range(20)], texts
        await pool.no_violations()


@case(120)
async def slow_messages_keep_order() -> None:
    """The pool takes its time over one MESSAGE; those behind it do not overtake."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        await estate.warm(romeo)
        romeo.say(MODERN, "slow 0")
        await pool.expect_text(MODERN, ROMEO, "slow 0")
        await pool.ask("script", method="MESSAGE", delay=2)
        for number in range(1, 11):
            romeo.say(MODERN, f"slow {number}")
        texts = await pool.texts(MODERN, ROMEO, 11, 30)
        assert texts == [f"slow {n}" for n in range(11)], texts
        await pool.no_violations()


@case(120)
async def glare() -> None:
    """Two INVITEs cross: both texts arrive, once each, and the conversation goes on."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        for turn in range(3):
            await pool.ask("glare", user=MODERN, peer=ROMEO, text=f"from modern {turn}")
            romeo.say(MODERN, f"from romeo {turn}")
            await pool.expect_text(MODERN, ROMEO, f"from romeo {turn}", 30)
            await romeo.expect_text(f"from modern {turn}", 30)
            romeo.say(MODERN, f"and on {turn}")
            await pool.expect_text(MODERN, ROMEO, f"and on {turn}", 30)
            await pool.say(MODERN, ROMEO, f"indeed {turn}")
            await romeo.expect_text(f"indeed {turn}", 30)
            await pool.ask("bye")
        bodies = [r.body for r in romeo.inbox if r.name == "message"]
        assert len(bodies) == len(set(bodies)), f"something came twice: {bodies}"
        await pool.no_violations()


@case(120)
async def idle_close() -> None:
    """The pool ends an idle session with BYE; the next message of either side opens a new one."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        for turn in range(3):
            romeo.say(MODERN, f"in {turn}")
            await pool.expect_text(MODERN, ROMEO, f"in {turn}")
            codes = (await pool.ask("bye"))["codes"]
            assert codes == [200], f"BYE was answered {codes}"
            answer = await pool.say(MODERN, ROMEO, f"out {turn}")
            assert answer["code"] == 200, answer
            await romeo.expect_text(f"out {turn}")
            await pool.ask("bye")
        assert not [r for r in romeo.inbox if r.kind == "error"]
        await pool.no_violations()


@case(150)
async def lost_links() -> None:
    """Every SIP connection is cut; the conversation goes on from both sides."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        romeo.say(MODERN, "before")
        await pool.expect_text(MODERN, ROMEO, "before")
        await pool.say(MODERN, ROMEO, "before, back")
        await romeo.expect_text("before, back")
        await pool.ask("drop")
        await asyncio.sleep(1)
        romeo.say(MODERN, "after the cut")
        await pool.expect_text(MODERN, ROMEO, "after the cut", 70)
        await pool.ask("drop")
        answer = await pool.say(MODERN, ROMEO, "and back")
        assert answer["code"] == 200, answer
        await romeo.expect_text("and back", 70)
        await pool.no_violations()


@case(150)
async def link_lost_before_the_answer() -> None:
    """The connection goes while a MESSAGE waits for its answer: delivered once or told of, and what follows gets through."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        await estate.warm(romeo)
        romeo.say(MODERN, "opens")
        await pool.expect_text(MODERN, ROMEO, "opens")
        await pool.ask("script", method="MESSAGE", drop=True)
        romeo.say(MODERN, "on the edge", id_="edge")
        romeo.say(MODERN, "behind it")
        await pool.expect_text(MODERN, ROMEO, "behind it", 70)
        delivered = (await pool.ask("received", user=MODERN, peer=ROMEO, text="on the edge"))["messages"]
        told = [r for r in romeo.inbox if r.kind == "error" and r.xml.get("id") == "edge"]
        assert len(delivered) + len(told) == 1, f"delivered {len(delivered)} times, told {len(told)} times"
        await pool.no_violations()


@case()
async def first_message_in_the_invite() -> None:
    """A pool that claims ms-text-format takes the first text from the INVITE; it must not get it a second time."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        await estate.warm(romeo)
        await pool.ask("set", takes_first=True)
        romeo.say(MODERN, "first ☝")
        romeo.say(MODERN, "second")
        texts = await pool.texts(MODERN, ROMEO, 2)
        await asyncio.sleep(0.5)
        texts = await pool.texts(MODERN, ROMEO, 2)
        assert texts == ["first ☝", "second"], texts
        await pool.no_violations()


@case()
async def odd_requests() -> None:
    """Calls, conferences, NEGOTIATE, OPTIONS, unknown methods and types get the answers a text gateway owes."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        pair = {"user": MODERN, "peer": ROMEO}
        await pool.say(MODERN, ROMEO, "opens")
        await romeo.expect_text("opens")
        for do, more, codes in (
                ("audio", {}, (488,)), ("conference", {}, (488, 415)), ("negotiate", {}, (405, 501, 403, 488)),
                ("options", {}, (200,)), ("request", {"method": "PUBLISH"}, (405, 501)),
                ("request", {"method": "REFER", "headers": [["Refer-To", "<sip:x@contoso.com>"]]}, (403, 405, 481, 501)),
                ("say", {"text": "ink", "content_type": "application/x-ms-ink"}, (415,)),
                ("say", {"text": "file?", "content_type": "text/x-msmsgsinvite; charset=UTF-8"}, (415, 488, 603))):
            answer = await pool.ask(do, **pair, **more)
            assert answer["code"] in codes and not answer["local"], f"{do} {more}: {answer['code']}, expected one of {codes}"
            names = {n.lower() for n, _ in answer["headers"]}
            assert do != "options" or {"allow", "accept"} <= names, f"OPTIONS answered with {sorted(names)}"
            assert answer["code"] != 405 or "allow" in names, f"405 without Allow to {do}"
        await pool.say(MODERN, ROMEO, "still here")
        await romeo.expect_text("still here")
        shown = [r.body for r in romeo.inbox if r.name == "message" and r.body]
        assert shown == ["opens", "still here"], f"something odd went through: {shown}"
        await pool.no_violations()


@case()
async def typing_is_harmless() -> None:
    """Typing INFO in a session is answered and breaks nothing."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        await pool.say(MODERN, ROMEO, "opens")
        await romeo.expect_text("opens")
        for active in (True, False):
            answer = await pool.ask("typing", user=MODERN, peer=ROMEO, active=active)
            assert not answer["local"] and answer["code"] in (200, 405, 415, 488, 501), answer
        await pool.say(MODERN, ROMEO, "typed")
        await romeo.expect_text("typed")
        await pool.no_violations()


@case(120)
async def four_links() -> None:
    """Four parallel connections from the pool, forty conversations over them, all in order."""
    users = [f"m{n}@contoso.com" for n in range(3)] + [MODERN]
    async with Estate(Plan(users={user: "sfb2019" for user in users})) as estate:
        pool = estate.pool
        people = [await estate.partner_user(f"user{n}") for n in range(10)]
        links = (await pool.ask("connect", links=4))["links"]
        assert links["out"] == 4, links
        work = [pool.ask("say_many", user=u, peer=p.bare, prefix=f"{u} ", count=20) for u in users for p in people]
        for answer in await asyncio.gather(*work):
            assert answer["codes"] == {"200": 20}, answer
        for person in people:
            got = await person.expect_count(lambda r: r.name == "message" and r.kind != "error", 80, 30)
            for user in users:
                texts = [r.body for r in got if r.body.startswith(user + " ")]
                assert texts == [f"{user} {n}" for n in range(20)], f"{person.name} from {user}: {texts[:5]}…"
        await pool.no_violations()
