"""What must not get through, and what the sender is told."""

from __future__ import annotations

import asyncio

from rig.estate import PARTNER, Estate, Plan
from rig.turnout import Partner

from . import case
from .tracks import MODERN, ROMEO


@case()
async def unknown_user() -> None:
    """Message and IQ to an unknown user get service-unavailable with the right addresses; presence gets silence."""
    async with Estate() as estate:
        romeo = await estate.partner_user()
        romeo.say("nobody@contoso.com", "hello?", id_="m1")
        romeo.raw('<iq to="nobody@contoso.com" type="get" id="i1"><query xmlns="jabber:iq:version"/></iq>')
        romeo.raw('<presence to="nobody@contoso.com" id="p1"/>')
        for ident in ("m1", "i1"):
            error = await romeo.expect_error(ident)
            assert error.condition == "service-unavailable", f"{ident}: {error.condition}"
            assert error.sender == "nobody@contoso.com" and error.xml.get("to") == romeo.full, f"{error.sender} to {error.xml.get('to')}"
        await asyncio.sleep(0.5)
        assert not [r for r in romeo.inbox if r.xml.get("id") == "p1"], "presence to an unknown user was answered"


@case()
async def unknown_user_looks_like_any_other() -> None:
    """The error for an unknown user tells nothing more than the one the gateway itself would give."""
    async with Estate(Plan(pool="none")) as estate:
        romeo = await estate.partner_user()
        for name in ("nobody", "NoBody", "no.body", "n\u00f6body"):
            romeo.say(f"{name}@contoso.com", "hello?", id_=f"u-{name}")
            error = await romeo.expect_error(f"u-{name}")
            assert error.condition == "service-unavailable", f"{name}: {error.condition}"


@case()
async def own_domain_answers() -> None:
    """Ping and disco to the bare domain are answered by turnout itself, and it claims no more than it has."""
    async with Estate(Plan(pool="none")) as estate:
        romeo = await estate.partner_user()
        romeo.raw('<iq to="contoso.com" type="get" id="ping"><ping xmlns="urn:xmpp:ping"/></iq>')
        answer = await romeo.expect(lambda r: r.name == "iq" and r.xml.get("id") == "ping", what="an answer to the ping")
        assert answer.kind == "result", answer.condition
        romeo.raw('<iq to="contoso.com" type="get" id="disco"><query xmlns="http://jabber.org/protocol/disco#info"/></iq>')
        answer = await romeo.expect(lambda r: r.name == "iq" and r.xml.get("id") == "disco", what="an answer to disco")
        assert answer.kind == "result", answer.condition
        features = {f.get("var") for f in answer.xml.iter("{http://jabber.org/protocol/disco#info}feature")}
        assert "http://jabber.org/protocol/muc" not in features, features


@case(150, waits=True)
async def partner_down() -> None:
    """The partner's server is down: remote-server-timeout for the legacy user, 408 for the 2019 user."""
    async with Estate(Plan(start_partner=False)) as estate:
        legacy = await estate.legacy_user()
        legacy.say(ROMEO, "anybody home?", id_="down")
        error = await legacy.expect_error("down", 70)
        assert error.condition == "remote-server-timeout", error.condition
        answer = await estate.pool.say(MODERN, ROMEO, "anybody home?", limit=150)
        assert answer["code"] in (408, 504) and not answer["local"], answer
        await estate.pool.no_violations()


@case(150)
async def partner_not_in_dns() -> None:
    """The partner has no address: remote-server-not-found for the legacy user, 404 for the 2019 user."""
    plan = Plan(policy=Partner("gone.example"), start_partner=False)
    async with Estate(plan) as estate:
        estate.gateway_dns.zone.service("_xmpp-server._tcp.gone.example", "inside.contoso.com", 5269)
        estate.gateway_dns.stop()
        await estate.gateway_dns.start()
        legacy = await estate.legacy_user()
        legacy.say("romeo@gone.example", "anybody home?", id_="gone")
        error = await legacy.expect_error("gone", 70)
        assert error.condition == "remote-server-not-found", error.condition
        answer = await estate.pool.say(MODERN, "romeo@gone.example", "anybody home?", limit=150)
        assert answer["code"] == 404, answer
        await estate.pool.no_violations()


@case(150, waits=True)
async def gateway_down() -> None:
    """The legacy gateway is down: the partner's sender is told, and the 2019 side goes on."""
    async with Estate() as estate:
        romeo = await estate.partner_user()
        await asyncio.get_running_loop().run_in_executor(None, estate.gateway.stop)
        romeo.say("legacy@contoso.com", "are you there?", id_="g1")
        romeo.say(MODERN, "and you?")
        await estate.pool.expect_text(MODERN, ROMEO, "and you?")
        error = await romeo.expect_error("g1", 90)
        assert error.condition in ("remote-server-timeout", "service-unavailable", "recipient-unavailable"), error.condition
        await estate.pool.no_violations()


@case(150, waits=True)
async def pool_down() -> None:
    """The 2019 pool is down: the partner's sender is told, and the legacy side goes on."""
    async with Estate() as estate:
        romeo, legacy = await estate.partner_user(), await estate.legacy_user()
        await asyncio.get_running_loop().run_in_executor(None, estate.pool.stop)
        romeo.say(MODERN, "are you there?", id_="p1")
        romeo.say(legacy.bare, "and you?")
        await legacy.expect_text("and you?")
        error = await romeo.expect_error("p1", 90)
        assert error.condition in ("remote-server-timeout", "service-unavailable", "recipient-unavailable"), error.condition


@case(120)
async def gateway_may_not_speak_for_2019_users() -> None:
    """A user homed on 2019 who writes through the gateway is refused: his home says who may speak for him."""
    async with Estate() as estate:
        romeo, ghost = await estate.partner_user(), await estate.legacy_user("modern")
        ghost.say(romeo.full, "from the wrong side", id_="w1")
        await asyncio.sleep(3)
        assert not [r for r in romeo.inbox if r.body == "from the wrong side"], "a stanza from the wrong side went through"
        legacy = await estate.legacy_user()
        legacy.say(romeo.full, "from the right side")
        await romeo.expect_text("from the right side", 40)


@case(120)
async def pool_may_not_speak_for_legacy_users() -> None:
    """The pool cannot send as a user homed on legacy."""
    async with Estate() as estate:
        romeo = await estate.partner_user()
        answer = await estate.pool.say("legacy@contoso.com", ROMEO, "from the wrong side")
        assert 400 <= answer["code"] < 500 and not answer["local"], answer
        await estate.pool.say(MODERN, ROMEO, "from the right side")
        await romeo.expect_text("from the right side")
        assert not [r for r in romeo.inbox if r.body == "from the wrong side"], "a message from the wrong side went through"


@case(120)
async def pool_may_not_speak_for_others() -> None:
    """The pool cannot send from a foreign domain, nor to a domain that is no partner."""
    async with Estate() as estate:
        for user, peer in (("eve@elsewhere.example", ROMEO), (MODERN, "someone@elsewhere.example")):
            answer = await estate.pool.say(user, peer, "no")
            assert 400 <= answer["code"] < 600 and answer["code"] != 503 and not answer["local"], f"{user} to {peer}: {answer}"


@case()
async def sip_strangers_refused() -> None:
    """A SIP peer with a certificate of the right root and the wrong name gets 403 or no connection; the pool goes on."""
    async with Estate() as estate:
        stranger = await estate.stranger_pool("other.contoso.com")
        try:
            answer = await stranger.say(MODERN, ROMEO, "let me in")
            assert answer["local"] or answer["code"] == 403, answer
        except AssertionError as error:
            assert "ConnectionReset" in str(error) or "SSL" in str(error) or "Connection" in str(error), error
        romeo = await estate.partner_user()
        await estate.pool.say(MODERN, ROMEO, "I am the pool")
        await romeo.expect_text("I am the pool")
        assert not [r for r in romeo.inbox if r.body == "let me in"], "a stranger's message went through"


@case()
async def unverified_partner_waits_for_consent() -> None:
    """public-unverified: the partner may not write to a 2019 user first."""
    plan = Plan(policy=Partner(PARTNER, type="public-unverified"))
    async with Estate(plan) as estate:
        romeo = await estate.partner_user()
        romeo.say(MODERN, "buy cheap things", id_="spam")
        error = await romeo.expect_error("spam")
        assert error.condition in ("policy-violation", "forbidden", "subscription-required", "service-unavailable"), error.condition
        texts = (await estate.pool.ask("received", user=MODERN))["messages"]
        assert not texts, texts
