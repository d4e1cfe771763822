"""Both tracks, both directions: who is homed where decides, and nobody at the partner can tell."""

from __future__ import annotations

from rig.estate import Estate

from . import case

MODERN, ROMEO = "modern@contoso.com", "romeo@partner.example"


@case()
async def legacy_track() -> None:
    """Partner to legacy user and back, bare and full JIDs."""
    async with Estate() as estate:
        romeo, legacy = await estate.partner_user(), await estate.legacy_user()
        romeo.say(legacy.bare, "to the bare JID")
        assert (await legacy.expect_text("to the bare JID")).sender == romeo.full
        romeo.say(legacy.full, "to the full JID")
        assert (await legacy.expect_text("to the full JID")).xml.get("to") == legacy.full
        legacy.say(romeo.bare, "back, bare")
        assert (await romeo.expect_text("back, bare")).sender == legacy.full
        legacy.say(romeo.full, "back, full")
        assert (await romeo.expect_text("back, full")).xml.get("to") == romeo.full
        await estate.pool.no_violations()


@case()
async def modern_track() -> None:
    """Partner to 2019 user and back: an IM session of Skype for Business over mutual TLS."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        romeo.say(MODERN, "hello over there")
        await pool.expect_text(MODERN, ROMEO, "hello over there")
        answer = await pool.say(MODERN, ROMEO, "hello yourself")
        assert answer["code"] == 200, answer
        got = await romeo.expect_text("hello yourself")
        assert got.sender.split("/")[0] == MODERN and got.kind == "chat", f"from {got.sender}, type {got.kind!r}"
        romeo.say(MODERN, "second in the same session")
        await pool.expect_text(MODERN, ROMEO, "second in the same session")
        counts = (await pool.ask("status"))["counts"]
        assert counts.get("INVITE", 0) == 1, f"one conversation needs one INVITE: {counts}"
        await pool.no_violations()


@case()
async def modern_user_begins() -> None:
    """A 2019 user opens the conversation: first message in the INVITE and as MESSAGE, delivered once."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        for number in range(3):
            answer = await pool.say(MODERN, ROMEO, f"opening {number}")
            assert answer["code"] == 200, answer
        for number in range(3):
            await romeo.expect_text(f"opening {number}")
        texts = [r.body for r in romeo.inbox if r.name == "message"]
        assert texts == [f"opening {n}" for n in range(3)], f"once each and in order, got {texts}"
        romeo.say(MODERN, "answer")
        await pool.expect_text(MODERN, ROMEO, "answer")
        await pool.no_violations()


@case()
async def three_users() -> None:
    """One partner user writes to a legacy, a 2019 and an unknown user of the same domain; all answers come back."""
    async with Estate() as estate:
        romeo, legacy, pool = await estate.partner_user(), await estate.legacy_user(), estate.pool
        romeo.say("legacy@contoso.com", "one", id_="1")
        romeo.say(MODERN, "two", id_="2")
        romeo.say("nobody@contoso.com", "three", id_="3")
        await legacy.expect_text("one")
        await pool.expect_text(MODERN, ROMEO, "two")
        error = await romeo.expect_error("3")
        assert error.condition == "service-unavailable", error.condition
        assert error.sender == "nobody@contoso.com", error.sender
        legacy.say(romeo.full, "re: one")
        await pool.say(MODERN, ROMEO, "re: two")
        await romeo.expect_text("re: one")
        await romeo.expect_text("re: two")
        assert not [r for r in legacy.inbox if r.body in ("two", "three")], "the legacy side saw another user's message"
        await pool.no_violations()


@case()
async def two_resources() -> None:
    """Two resources of one partner user talk to one 2019 user; the answer reaches the one that wrote last."""
    async with Estate() as estate:
        pool = estate.pool
        desk, phone = await estate.partner_user(resource="desk"), await estate.partner_user(resource="phone")
        desk.say(MODERN, "from the desk")
        await pool.expect_text(MODERN, ROMEO, "from the desk")
        phone.say(MODERN, "from the phone")
        await pool.expect_text(MODERN, ROMEO, "from the phone")
        await pool.say(MODERN, ROMEO, "to whom it may concern")
        await phone.expect_text("to whom it may concern")
        await pool.no_violations()


@case()
async def many_partner_users() -> None:
    """Twenty users at the partner, each with a 2019 and a legacy contact at once; nothing is mixed up."""
    async with Estate() as estate:
        pool, legacy = estate.pool, await estate.legacy_user()
        people = [await estate.partner_user(f"user{n}") for n in range(20)]
        for person in people:
            person.say(MODERN, f"{person.name} to modern")
            person.say(legacy.bare, f"{person.name} to legacy")
        for person in people:
            await pool.expect_text(MODERN, person.bare, f"{person.name} to modern")
            got = await legacy.expect_text(f"{person.name} to legacy")
            assert got.sender == person.full, got.sender
            await pool.say(MODERN, person.bare, f"modern to {person.name}")
        for person in people:
            await person.expect_text(f"modern to {person.name}")
            assert len([r for r in person.inbox if r.name == "message"]) == 1, f"{person.name} got another's message"
        await pool.no_violations()
