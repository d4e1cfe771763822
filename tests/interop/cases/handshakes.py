"""How partner and turnout prove who they are: EXTERNAL, dialback, direct TLS, and the refusals."""

from __future__ import annotations

import asyncio

from rig.client import User
from rig.estate import PARTNER, Estate, Plan
from rig.turnout import Partner

from . import case


async def both_ways(estate: Estate) -> tuple[User, User]:
    """One message each way between a partner's and a legacy user."""
    romeo, legacy = await estate.partner_user(), await estate.legacy_user()
    romeo.say(legacy.bare, "to the legacy side")
    got = await legacy.expect_text("to the legacy side")
    assert got.sender == romeo.full, f"came from {got.sender}"
    legacy.say(romeo.full, "to the partner")
    got = await romeo.expect_text("to the partner")
    assert got.sender == legacy.full, f"came from {got.sender}"
    return romeo, legacy


async def refused(estate: Estate, conditions: tuple[str, ...] = ()) -> None:
    """Neither direction gets through and both senders are told."""
    romeo, legacy = await estate.partner_user(), await estate.legacy_user()
    romeo.say(legacy.bare, "must not arrive", id_="in")
    legacy.say(romeo.bare, "must not leave", id_="out")
    error = await legacy.expect_error("out", 60)
    assert not conditions or error.condition in conditions, f"legacy user was told {error.condition}, expected one of {conditions}"
    await romeo.expect_error("in", 60)
    await asyncio.sleep(0.5)
    assert not [r for r in legacy.inbox if r.body == "must not arrive" and r.kind != "error"], "a refused partner got through"
    assert not [r for r in romeo.inbox if r.body == "must not leave" and r.kind != "error"], "a message left for a refused partner"


def _external(cert: str) -> Plan:
    return Plan(partner_cert=cert, partner_dialback=False, pool="none",
                policy=Partner(PARTNER, tls="required", sasl="required", dialback=False))


@case()
async def external() -> None:
    """SASL EXTERNAL over TLS both ways; neither side can do dialback at all."""
    async with Estate(_external("good")) as estate:
        await both_ways(estate)


@case()
async def external_server_only() -> None:
    """EXTERNAL with a partner certificate that public authorities issue today: serverAuth purpose alone."""
    async with Estate(_external("server-only")) as estate:
        await both_ways(estate)


@case()
async def external_own_ca() -> None:
    """A partner under a root that only its own [[partner]] ca_file names."""
    plan = _external("stranger")
    async with Estate(plan, before=_trust_stranger) as estate:
        await both_ways(estate)


def _trust_stranger(estate: Estate) -> None:
    estate.plan.policy.ca_file = estate.dir / "partner-cert" / "stranger.pem"


@case()
async def external_refuses_self_signed() -> None:
    """A self-signed partner under a policy without dialback gets nothing through in either direction."""
    async with Estate(_external("self-signed")) as estate:
        await refused(estate, ("remote-server-timeout", "remote-server-not-found"))


@case()
async def external_refuses_wrong_name() -> None:
    """A valid certificate for another name is refused in either direction."""
    async with Estate(_external("wrong-name")) as estate:
        await refused(estate, ("remote-server-timeout", "remote-server-not-found"))


@case()
async def external_refuses_expired() -> None:
    """A certificate that has run out is refused in either direction."""
    async with Estate(_external("expired")) as estate:
        await refused(estate, ("remote-server-timeout", "remote-server-not-found"))


@case()
async def dialback_over_tls() -> None:
    """A self-signed partner whose policy allows dialback: TLS, then dialback."""
    plan = Plan(partner_cert="self-signed", partner_verify=False, pool="none",
                policy=Partner(PARTNER, tls="required", sasl="optional", dialback=True))
    async with Estate(plan) as estate:
        await both_ways(estate)


@case()
async def dialback_over_tls_without_sasl() -> None:
    """TLS dialback with SASL switched off in the policy, though the certificate would do."""
    plan = Plan(partner_verify=False, pool="none", policy=Partner(PARTNER, tls="required", sasl="none", dialback=True))
    async with Estate(plan) as estate:
        await both_ways(estate)


@case()
async def dialback_in_the_clear() -> None:
    """A partner without TLS, where the policy allows it: TCP dialback."""
    plan = Plan(partner_tls="none", partner_verify=False, pool="none",
                policy=Partner(PARTNER, tls="none", sasl="none", dialback=True))
    async with Estate(plan) as estate:
        await both_ways(estate)


@case()
async def dialback_in_the_clear_when_optional() -> None:
    """A partner without TLS under tls = "optional": falls back to TCP dialback."""
    plan = Plan(partner_tls="none", partner_verify=False, pool="none",
                policy=Partner(PARTNER, tls="optional", sasl="optional", dialback=True))
    async with Estate(plan) as estate:
        await both_ways(estate)


@case(150)
async def clear_text_refused() -> None:
    """A partner without TLS under a policy that requires it gets nothing through; both senders are told."""
    plan = Plan(partner_tls="none", partner_verify=False, pool="none",
                policy=Partner(PARTNER, tls="required", sasl="optional", dialback=True))
    async with Estate(plan) as estate:
        await refused(estate, ("remote-server-timeout", "remote-server-not-found", "policy-violation"))


@case()
async def direct_tls() -> None:
    """Direct TLS inbound and outbound: DNS names no STARTTLS service at all."""
    plan = Plan(partner_direct_tls=True, only_direct_tls=True, pool="none")
    async with Estate(plan) as estate:
        await both_ways(estate)


@case()
async def direct_tls_with_ejabberd() -> None:
    """The same with ejabberd as the partner."""
    plan = Plan(partner="ejabberd", gateway="prosody", partner_direct_tls=True, only_direct_tls=True, pool="none",
                policy=Partner(PARTNER, sasl="optional"))
    async with Estate(plan) as estate:
        await both_ways(estate)


@case()
async def unlisted_partner_refused() -> None:
    """A domain that no [[partner]] names gets nothing through while unlisted_partners is "refuse"."""
    plan = Plan(pool="none", policy=Partner("somebody.else.example"))
    async with Estate(plan) as estate:
        await refused(estate)


@case()
async def inside_tls() -> None:
    """The inside leg with TLS: the gateway insists on it and still speaks dialback."""
    plan = Plan(gateway_tls="required", inside_tls="required", pool="none")
    async with Estate(plan) as estate:
        await both_ways(estate)
