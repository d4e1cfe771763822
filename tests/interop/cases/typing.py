"""Typing, both ways, in sessions and in pager mode."""

from __future__ import annotations

import asyncio
import time

from rig.estate import Estate
from rig.net import free_port
from rig.poolctl import SkypePool
from rig.sipp import Sipp

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


@case(120)
async def typing_in_pager_mode() -> None:
    """SIPp as a `simple` pool types (RFC 3994) and is told of typing once it has: a peer that never did would show it as text."""
    async with Estate(plan(pool="simple-tcp")) as estate:
        romeo, address = await estate.roster(), estate.pool_address[0]
        active = '<active xmlns="http://jabber.org/protocol/chatstates"/>'
        taker = Sipp("simple_uas", estate.dir / "sipp-uas", estate.pool_address, calls=4).start()
        typists: list[Sipp] = []
        await estate.warm(romeo.user)

        async def types(state: str) -> None:
            keys = {"user": MODERN, "peer": ROMEO, "state": state}
            typists.append(Sipp("simple_typing", estate.dir / f"sipp-{state}", (address, free_port(address)), estate.sip_listener,
                                keys=keys).start())
            await typists[-1].finish(30)

        try:
            await asyncio.sleep(0.5)
            romeo.user.say(MODERN, "first", extra=active)
            romeo.types(MODERN, "composing")
            romeo.user.say(MODERN, "second", extra=active)
            end = time.monotonic() + 20
            while len(taker.received("MESSAGE")) < 2:
                assert time.monotonic() < end, f"SIPp got {taker.received('MESSAGE')}"
                await asyncio.sleep(0.1)
            await types("active")
            await romeo.types_seen(MODERN, "composing")
            await types("idle")
            await asyncio.sleep(0.5)
            assert romeo.states(MODERN)[-1] in ("active", "paused"), romeo.states(MODERN)
            romeo.types(MODERN, "composing")
            romeo.types(MODERN, "paused")
            await taker.finish(30)
            got = [(head, body) for head, body in taker.received("MESSAGE")]
            typed = [body for head, body in got if "application/im-iscomposing+xml" in head]
            assert [body for head, body in got if "text/plain" in head] == ["first", "second"], got
            assert len(typed) == 2 and "<state>active</state>" in typed[0] and "<state>idle</state>" in typed[1], typed
            assert not [r for r in romeo.user.inbox if r.kind == "error"], "typing caused an error"
        finally:
            for one in [taker, *typists]:
                one.stop()
