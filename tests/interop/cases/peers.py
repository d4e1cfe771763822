"""Other peers in the same places: ejabberd and jabberd2 as the partner, Kamailio before the pool, SIPp as the pool."""

from __future__ import annotations

import asyncio

from rig.estate import PARTNER, Estate, Plan
from rig.net import free_port
from rig.sipp import Sipp
from rig.turnout import Partner

from . import case
from .tracks import MODERN, ROMEO


async def _whole_conversation(estate: Estate) -> None:
    """Both tracks both ways, an unknown user, a move."""
    romeo, legacy, pool = await estate.partner_user(), await estate.legacy_user(), estate.pool
    romeo.say(legacy.bare, "one 😀")
    await legacy.expect_text("one 😀")
    legacy.say(romeo.full, "two")
    await romeo.expect_text("two")
    romeo.say(MODERN, "three")
    await pool.expect_text(MODERN, ROMEO, "three")
    answer = await pool.say(MODERN, ROMEO, "four ✓")
    assert answer["code"] == 200, answer
    await romeo.expect_text("four ✓")
    romeo.say("nobody@contoso.com", "five", id_="e1")
    assert (await romeo.expect_error("e1")).condition == "service-unavailable"
    await estate.turnout.move(legacy.bare, "sfb2019")
    await pool.ask("home", add=[legacy.bare])
    romeo.say(legacy.bare, "six")
    await pool.expect_text(legacy.bare, ROMEO, "six")
    await pool.no_violations()


@case()
async def ejabberd_partner_external() -> None:
    """ejabberd as the partner with EXTERNAL, Prosody as the legacy gateway."""
    plan = Plan(partner="ejabberd", gateway="prosody", partner_dialback=False,
                policy=Partner(PARTNER, sasl="required", dialback=False))
    async with Estate(plan) as estate:
        await _whole_conversation(estate)


@case()
async def ejabberd_partner_dialback() -> None:
    """ejabberd as a self-signed partner: dialback over TLS, Prosody as the legacy gateway."""
    plan = Plan(partner="ejabberd", gateway="prosody", partner_cert="self-signed", partner_verify=False,
                policy=Partner(PARTNER, sasl="optional", dialback=True))
    async with Estate(plan) as estate:
        await _whole_conversation(estate)


@case()
async def jabberd2_partner() -> None:
    """jabberd2 as the partner: dialback over TLS as the oldest dialect does it."""
    plan = Plan(partner="jabberd2", partner_verify=False, policy=Partner(PARTNER, sasl="optional", dialback=True))
    async with Estate(plan) as estate:
        await _whole_conversation(estate)


@case()
async def jabberd2_gateway() -> None:
    """jabberd2 as the legacy gateway: of the three the one most like 2013's code."""
    plan = Plan(gateway="jabberd2")
    async with Estate(plan) as estate:
        await _whole_conversation(estate)


@case(120)
async def kamailio_before_the_pool() -> None:
    """Kamailio between turnout and the pool: mutual TLS on both legs, its Via and Record-Route in every dialog."""
    async with Estate(Plan(proxy=True)) as estate:
        await _whole_conversation(estate)
        romeo, pool = await estate.partner_user("juliet"), estate.pool
        await pool.say(MODERN, romeo.bare, "opens from the pool")
        await romeo.expect_text("opens from the pool")
        romeo.say(MODERN, "answers in that dialog")
        await pool.expect_text(MODERN, romeo.bare, "answers in that dialog")
        await pool.ask("bye")
        await pool.no_violations()
        assert not estate.proxy.complaints(), estate.proxy.complaints()[:5]


async def _simple(estate: Estate, calls_to: tuple[str, int]) -> None:
    """SIPp takes ten MESSAGEs in order and sends five of its own."""
    romeo, count = await estate.partner_user(), 10
    await estate.warm(romeo)
    taker = Sipp("simple_uas", estate.dir / "sipp-uas", estate.pool_address, calls=count).start()
    sender = None
    try:
        await asyncio.sleep(0.5)
        for number in range(count):
            romeo.say(MODERN, f"pager {number}")
        await taker.finish(60)
        bodies = [body for _, body in taker.received("MESSAGE")]
        assert bodies == [f"pager {n}" for n in range(count)], bodies
        for head, _ in taker.received("MESSAGE"):
            assert "\nContact:" not in head, f"a pager MESSAGE with Contact:\n{head}"
        address = estate.pool_address[0]
        sender = Sipp("simple_uac", estate.dir / "sipp-uac", (address, free_port(address)), calls_to, calls=5,
                      keys={"user": MODERN, "peer": ROMEO, "words": "from sipp"}).start()
        await sender.finish(60)
        got = await romeo.expect_count(lambda r: r.name == "message" and r.kind != "error", 5, 20)
        assert [r.body for r in got] == [f"from sipp {n}" for n in range(1, 6)], [r.body for r in got]
        assert not [r for r in romeo.inbox if r.kind == "error"]
    finally:
        taker.stop()
        if sender is not None:
            sender.stop()


@case(150)
async def sipp_as_simple_pool() -> None:
    """SIPp as a pool of the `simple` dialect over TCP: pager-mode MESSAGE both ways, one outstanding per pair."""
    async with Estate(Plan(pool="simple-tcp")) as estate:
        await _simple(estate, estate.sip_listener)


@case(150)
async def kamailio_before_sipp() -> None:
    """Kamailio takes turnout's TLS and hands pager messages to SIPp over TCP, and back."""
    async with Estate(Plan(pool="simple", proxy=True)) as estate:
        await _simple(estate, (estate.proxy.address, 5060))
        assert not estate.proxy.complaints(), estate.proxy.complaints()[:5]
