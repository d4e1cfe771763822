"""Typing, both ways, in sessions and in pager mode."""

from __future__ import annotations

import asyncio

from rig.estate import Estate
from rig.poolctl import SkypePool

from . import case
from .contacts import plan
from .tracks import MODERN, ROMEO


async def _typed(pool: SkypePool, count: int, seconds: float = 10.0) -> list[str]:
    """What the pool's user saw the partner's user do."""
    found = await pool.ask("received", user=MODERN, peer=ROMEO, kind="typing", count=count, seconds=seconds, limit=seconds + 10)
    texts = [m["text"] for m in found["messages"]]
    assert len(texts) >= count, f"{len(texts)} of {count} typing indications: {texts}"
    return ["type" if 'status="type"' in t or ">active<" in t else "idle" if 'status="idle"' in t or ">idle<" in t else t for t in texts]


@case(60)
async def typing_in_a_session() -> None:
    """Composing and paused become KeyboardActivity and back, gone becomes BYE and back; typing alone opens no session."""
    async with Estate(plan()) as estate:
        pool, romeo = estate.pool, await estate.roster()
        romeo.types(MODERN, "composing")
        romeo.types(MODERN, "paused")
        await asyncio.sleep(1)
        assert not (await pool.ask("status"))["counts"].get("INVITE"), "typing alone opened a session"
        romeo.user.say(MODERN, "now then", extra='<active xmlns="http://jabber.org/protocol/chatstates"/>')
        await pool.expect_text(MODERN, ROMEO, "now then")
        romeo.types(MODERN, "composing")
        assert await _typed(pool, 1) == ["type"]
        romeo.types(MODERN, "paused")
        assert (await _typed(pool, 2))[-1] == "idle"
        answer = await pool.ask("typing", user=MODERN, peer=ROMEO, active=True)
        assert answer["code"] == 200, answer
        await romeo.types_seen(MODERN, "composing")
        answer = await pool.ask("typing", user=MODERN, peer=ROMEO, active=False)
        assert answer["code"] == 200, answer
        await asyncio.sleep(0.5)
        assert romeo.states(MODERN)[-1] in ("active", "paused"), romeo.states(MODERN)
        await pool.ask("bye", user=MODERN, peer=ROMEO)
        await romeo.types_seen(MODERN, "gone")
        romeo.user.say(MODERN, "once more")
        await pool.expect_text(MODERN, ROMEO, "once more")
        romeo.types(MODERN, "gone")
        found = await pool.ask("received", user=MODERN, peer=ROMEO, kind="bye", count=1, seconds=10)
        assert len(found["messages"]) == 1, found
        assert not [r for r in romeo.user.inbox if r.kind == "error"], "typing caused an error"
        await pool.no_violations()


@case(60)
async def typing_to_somebody_who_says_nothing_of_it() -> None:
    """A partner who never sent a chat state gets none standing alone; his messages come and go as before."""
    async with Estate(plan()) as estate:
        pool, romeo = estate.pool, await estate.roster()
        romeo.user.say(MODERN, "no states here")
        await pool.expect_text(MODERN, ROMEO, "no states here")
        await pool.ask("typing", user=MODERN, peer=ROMEO, active=True)
        await pool.say(MODERN, ROMEO, "I see")
        await romeo.user.expect_text("I see")
        alone = [r for r in romeo.user.inbox if r.name == "message" and not r.body]
        assert not alone, [r.canonical() for r in alone]
        await pool.no_violations()
