"""Users who move between the tracks while people talk to them."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from typing import Awaitable, Callable

from rig.client import User
from rig.estate import Estate
from rig.poolctl import SkypePool

from . import case
from .tracks import MODERN, ROMEO

MOVER = "mover@contoso.com"
_HOMES = ("legacy", "sfb2019")


def _count() -> int:
    """Messages per pair in the long case; INTEROP_COUNT shortens it while working on something else."""
    return int(os.environ.get("INTEROP_COUNT", "10000"))


async def _home_of(estate: Estate, user: str) -> str:
    return json.dumps(await estate.turnout.get(f"/api/users/{user}"))


@case(120)
async def move_in_mid_conversation() -> None:
    """A user moves to 2019 and back during a conversation; every message finds him, and his answers leave from where he is."""
    async with Estate() as estate:
        romeo, mover, pool = await estate.partner_user(), await estate.legacy_user("mover"), estate.pool
        for turn in range(3):
            romeo.say(MOVER, f"to legacy {turn}")
            await mover.expect_text(f"to legacy {turn}")
            mover.say(romeo.full, f"from legacy {turn}")
            await romeo.expect_text(f"from legacy {turn}")
            await estate.turnout.move(MOVER, "sfb2019")
            assert "sfb2019" in await _home_of(estate, MOVER), "the admin API does not show the new home"
            romeo.say(MOVER, f"to 2019 {turn}")
            await pool.expect_text(MOVER, ROMEO, f"to 2019 {turn}")
            answer = await pool.say(MOVER, ROMEO, f"from 2019 {turn}")
            assert answer["code"] == 200, answer
            await romeo.expect_text(f"from 2019 {turn}")
            await estate.turnout.move(MOVER, "legacy")
            assert "legacy" in await _home_of(estate, MOVER), "the admin API does not show the old home"
        assert not [r for r in romeo.inbox if r.kind == "error"], "a move caused an error"
        await pool.no_violations()


@case(60)
async def move_by_command_line() -> None:
    """`turnout user move` and `turnout user show` do the same from a shell."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        config = str(estate.turnout.config)
        done = await estate.turnout.command("user", "move", MOVER, "--to", "sfb2019", "--config", config)
        assert done.returncode == 0, f"user move: {done.stdout}{done.stderr}"
        shown = await estate.turnout.command("user", "show", MOVER, "--config", config, "--json")
        assert shown.returncode == 0 and "sfb2019" in shown.stdout, f"user show: {shown.stdout}{shown.stderr}"
        romeo.say(MOVER, "after the command")
        await pool.expect_text(MOVER, ROMEO, "after the command")
        wrong = await estate.turnout.command("user", "move", MOVER, "--to", "no-such-home", "--config", config)
        assert wrong.returncode != 0, "a move to a home that does not exist was accepted"


@case(60)
async def move_of_unknown_home_is_refused() -> None:
    """The admin API refuses a home that does not exist and says so; the user stays where he is."""
    async with Estate() as estate:
        try:
            await estate.turnout.move(MOVER, "nowhere")
        except OSError as error:  # urllib.error.HTTPError is one
            assert getattr(error, "code", 0) in (400, 404, 409, 422), error
        else:
            raise AssertionError("a move to an unknown home was accepted")
        assert "legacy" in await _home_of(estate, MOVER)


async def _keep_moving(estate: Estate, stop: asyncio.Event) -> int:
    moves = 0
    while not stop.is_set():
        moves += 1
        await estate.turnout.move(MOVER, _HOMES[moves % 2])
        try:
            await asyncio.wait_for(stop.wait(), 0.7)
        except asyncio.TimeoutError:
            pass
    return moves


async def _pour(romeo: User, to: str, count: int, arrived: Callable[[], Awaitable[int]], ahead: int = 1000) -> None:
    """Numbered messages, never more than `ahead` under way: queues are bounded, and their overflow is another case."""
    for number in range(count):
        romeo.say(to, f"n {number}")
        if number % 50 == 49:
            await asyncio.sleep(0.02)
        if number % 250 == 249:
            while number - await arrived() > ahead:
                await asyncio.sleep(0.1)


def _at(user: User, sender: str = "") -> Callable[[], Awaitable[int]]:
    """Counts the numbered messages a client got."""
    async def count() -> int:
        return sum(1 for r in user.inbox if r.kind != "error" and r.body.startswith("n ") and r.sender.startswith(sender))

    return count


def _at_pool(pool: SkypePool, user: str) -> Callable[[], Awaitable[int]]:
    """Counts the messages a pool user got, without fetching them."""
    async def count() -> int:
        return int((await pool.ask("counted", user=user))["count"])

    return count


def _no_errors(*users: User) -> None:
    for user in users:
        conditions = Counter(r.condition for r in user.inbox if r.kind == "error")
        assert not conditions, f"{user.name} was told of errors: {dict(conditions)}"


def _numbers(texts: list[str]) -> list[int]:
    return [int(t.split()[1]) for t in texts if t.startswith("n ")]


def _in_order(numbers: list[int], where: str) -> None:
    for before, after in zip(numbers, numbers[1:]):
        assert after > before, f"{where}: {after} came after {before}"


def _complete(numbers: list[int], count: int) -> None:
    missing = sorted(set(range(count)) - set(numbers))
    assert not missing, f"{len(missing)} lost, the first {missing[:10]}"
    assert len(numbers) == len(set(numbers)), f"{len(numbers) - len(set(numbers))} came twice"


@case(600)
async def ten_thousand_to_a_moving_user() -> None:
    """10,000 numbered messages to a user who moves back and forth: none lost, none twice, in order on each track."""
    count = _count()
    async with Estate() as estate:
        romeo, mover, pool = await estate.partner_user(), await estate.legacy_user("mover"), estate.pool
        await estate.warm(romeo, mover)
        stop = asyncio.Event()
        moving = asyncio.ensure_future(_keep_moving(estate, stop))
        at_legacy, at_pool = _at(mover), _at_pool(pool, MOVER)

        async def arrived() -> int:
            return await at_legacy() + await at_pool()

        await _pour(romeo, MOVER, count, arrived)
        legacy: list[int] = []
        modern: list[int] = []
        end = asyncio.get_running_loop().time() + 300
        while len(legacy) + len(modern) < count and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(1)
            legacy = _numbers([r.body for r in mover.inbox if r.name == "message" and r.kind != "error"])
            modern = _numbers([m["text"] for m in (await pool.ask("received", user=MOVER, kind="text"))["messages"]])
        stop.set()
        moves = await moving
        _no_errors(romeo)
        _in_order(legacy, "legacy track")
        _in_order(modern, "2019 track")
        _complete(legacy + modern, count)
        assert moves > 2 and legacy and modern, f"{moves} moves, {len(legacy)} legacy, {len(modern)} 2019: nothing was shown"
        await pool.no_violations()


@case(600)
async def ten_thousand_from_a_moving_user() -> None:
    """10,000 numbered messages from a user who moves: the partner gets all of them in one order over both tracks."""
    count, slice_ = _count(), 500
    async with Estate() as estate:
        romeo, mover, pool = await estate.partner_user(), await estate.legacy_user("mover"), estate.pool
        await estate.warm(romeo, mover)
        sent, side = 0, 0
        while sent < count:
            size = min(slice_, count - sent)
            await estate.turnout.move(MOVER, _HOMES[side])
            if _HOMES[side] == "legacy":
                for number in range(sent, sent + size):
                    mover.say(romeo.full, f"n {number}")
                # XMPP has no receipt of delivery: let the slice arrive before the user speaks from elsewhere.
                await romeo.expect_count(lambda r: r.name == "message" and r.kind != "error", sent + size, 60)
            else:
                answer = await pool.ask("say_many", user=MOVER, peer=ROMEO, prefix="n ", first=sent, count=size, limit=120)
                assert answer["codes"] == {"200": size}, answer
            sent, side = sent + size, 1 - side
        got = await romeo.expect_count(lambda r: r.name == "message" and r.kind != "error", count, 60)
        numbers = _numbers([r.body for r in got])
        _in_order(numbers, "at the partner")
        _complete(numbers, count)
        await pool.no_violations()


@case(600)
async def ten_thousand_on_each_track() -> None:
    """10,000 numbered messages each way on each track at once, nobody moving: order per pair."""
    count = _count()
    async with Estate() as estate:
        romeo, legacy, pool = await estate.partner_user(), await estate.legacy_user(), estate.pool
        await estate.warm(romeo, legacy)
        modern = "modern@contoso.com"
        outward = asyncio.ensure_future(pool.ask("say_many", user=modern, peer=ROMEO, prefix="n ", count=count, limit=400))
        await asyncio.gather(_pour(romeo, legacy.bare, count, _at(legacy)), _pour(romeo, modern, count, _at_pool(pool, modern)),
                             _pour(legacy, romeo.full, count, _at(romeo, legacy.bare)))
        got = await legacy.expect_count(lambda r: r.name == "message" and r.kind != "error", count, 200)
        _in_order(_numbers([r.body for r in got]), "to legacy")
        _complete(_numbers([r.body for r in got]), count)
        texts = await pool.texts(modern, ROMEO, count, 200)
        _in_order(_numbers(texts), "to 2019")
        _complete(_numbers(texts), count)
        assert (await outward)["codes"] == {"200": count}
        got = await romeo.expect_count(lambda r: r.name == "message" and r.kind != "error", 2 * count, 200)
        for sender in (legacy.bare, modern):
            numbers = _numbers([r.body for r in got if r.sender.split("/")[0] == sender])
            _in_order(numbers, f"from {sender}")
            _complete(numbers, count)
        _no_errors(romeo, legacy)
        await pool.no_violations()


@case(300)
async def flood_is_bounced_and_never_lost() -> None:
    """A flood to one 2019 user beyond every queue: each message is delivered or bounced once, and those delivered keep order."""
    count = min(_count(), 10_000)
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        await estate.warm(romeo)
        await pool.ask("script", method="INVITE", delay=5)
        for number in range(count):
            romeo.say(MODERN, f"n {number}", id_=f"f{number}")
            if number % 100 == 99:
                await asyncio.sleep(0.01)
        at_pool, end = _at_pool(pool, MODERN), asyncio.get_running_loop().time() + 200
        bounced: list[int] = []
        while await at_pool() + len(bounced) < count and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.5)
            bounced = [int(r.xml.get("id", "f-1")[1:]) for r in romeo.inbox if r.kind == "error"]
        delivered = _numbers(await pool.texts(MODERN, ROMEO, 1))
        _in_order(delivered, "delivered")
        _complete(sorted(delivered + bounced), count)
        conditions = {r.condition for r in romeo.inbox if r.kind == "error"}
        assert conditions <= {"resource-constraint"}, conditions
        await pool.no_violations()
