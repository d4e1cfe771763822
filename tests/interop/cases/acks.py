"""Acknowledged streams (XEP-0198) against Prosody's mod_smacks: a connection that dies in the middle of a burst loses nothing."""

from __future__ import annotations

import asyncio

from rig.client import User
from rig.estate import Estate, Plan

from . import case

_COUNT = 300


def _plan() -> Plan:
    return Plan(partner_acknowledges=True, taps=True, pool="none", partner_dialback=False)


async def _burst(sender: User, to: str, first: int, count: int) -> None:
    for number in range(first, first + count):
        sender.say(to, f"number {number}", id_=f"n{number}")
        if number % 20 == 0:
            await asyncio.sleep(0)


def _numbers(user: User) -> list[int]:
    return [int(r.body.split()[1]) for r in user.inbox if r.kind != "error" and r.body.startswith("number ")]


async def _metric(estate: Estate, name: str) -> float:
    return estate.turnout.metric((await estate.turnout.get("/metrics", parse=False)).decode(), name)


async def _agreed(estate: Estate) -> None:
    for _ in range(50):
        if "acknowledged)" in estate.turnout.log.read_text():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("mod_smacks did not agree to acknowledge")


@case(120)
async def acknowledged_burst_out() -> None:
    """The stream to Prosody dies in a burst, with bytes the system had taken: all arrive, in order, what is doubled is counted."""
    async with Estate(_plan()) as estate:
        romeo, legacy = await estate.partner_user(), await estate.legacy_user()
        legacy.say(romeo.full, "first")
        await romeo.expect_text("first")
        await _agreed(estate)
        tap = estate.tap_out
        third = _COUNT // 3
        await _burst(legacy, romeo.full, 0, third)
        await romeo.expect_text(f"number {third - 1}")
        tap.deaf()
        await _burst(legacy, romeo.full, third, third)
        await asyncio.sleep(1)
        assert len(_numbers(romeo)) == third, "the tap is deaf"
        tap.cut()
        await _burst(legacy, romeo.full, 2 * third, third)
        await romeo.expect_text(f"number {3 * third - 1}", 60)
        await romeo.expect_count(lambda r: r.body.startswith("number "), 3 * third, 20)
        numbers = _numbers(romeo)
        once = list(dict.fromkeys(numbers))
        assert once == list(range(3 * third)), f"lost or out of order: {sorted(set(range(3 * third)) - set(once))[:10]}"
        repeated = await _metric(estate, "turnout_stanzas_repeated_total")
        assert repeated > 0, "the system had taken what the tap did not pass on"
        assert len(numbers) - len(once) <= repeated, (len(numbers), repeated)
        assert await _metric(estate, "turnout_stanzas_unaccounted") == 0


@case(120)
async def acknowledged_burst_in() -> None:
    """The stream from Prosody dies in a burst: each stanza arrived, or Prosody, which had no acknowledgement of it, told its sender."""
    async with Estate(_plan()) as estate:
        romeo, legacy = await estate.partner_user(), await estate.legacy_user()
        romeo.say(legacy.full, "first")
        await legacy.expect_text("first")
        tap = estate.tap_before_outside
        third = _COUNT // 3
        await _burst(romeo, legacy.full, 0, third)
        await legacy.expect_text(f"number {third - 1}")
        await asyncio.sleep(2)
        tap.deaf()
        await _burst(romeo, legacy.full, third, third)
        await asyncio.sleep(1)
        tap.cut()
        await asyncio.sleep(2)
        await _burst(romeo, legacy.full, 2 * third, third)
        await legacy.expect_text(f"number {3 * third - 1}", 60)
        await romeo.expect_count(lambda r: r.kind == "error", third, 30)
        told = {int(r.xml.get("id", "n-1")[1:]) for r in romeo.inbox if r.kind == "error"}
        numbers = _numbers(legacy)
        assert numbers == sorted(set(numbers)), "each once and in order"
        missing = set(range(3 * third)) - set(numbers) - told
        assert not missing, f"lost: {sorted(missing)[:10]}"
        early = {n for n in told if n < third}
        assert not early, f"what was delivered long ago had been acknowledged: {sorted(early)[:10]}"
