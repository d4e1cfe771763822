"""Both ways on one stream (XEP-0288) with Prosody's mod_s2s_bidi, which begins as receiver or as initiator."""

from __future__ import annotations

from rig.estate import PARTNER, Estate, Plan
from rig.turnout import Partner

from . import case


def _plan(dialback: bool = False, acknowledges: bool = True) -> Plan:
    # One shard: a partner's stream is used for the way back on the shard that sends to him alone.
    policy = Partner(PARTNER, sasl="optional" if dialback else "required", bidi=True)
    return Plan(partner_bidi=True, partner_acknowledges=acknowledges, partner_dialback=dialback, pool="none", shards=1,
                policy=policy, partner_cert="self-signed" if dialback else "good", partner_verify=not dialback)


async def _streams(estate: Estate) -> tuple[float, float]:
    """Connections with partners that were accepted, and that were dialed."""
    text = (await estate.turnout.get("/metrics", parse=False)).decode()
    counts = []
    for which in ("accepted", "dialed"):
        lines = [line for line in text.splitlines() if line.startswith(f"turnout_links_{which}_total") and 'side="partners"' in line]
        assert lines, text
        counts.append(sum(float(line.rpartition(" ")[2]) for line in lines))
    return counts[0], counts[1]


async def _talk(estate: Estate, begin: str) -> tuple[float, float]:
    """Both talk; gives the connections that were accepted and dialed for it."""
    before = await _streams(estate)
    romeo, legacy = await estate.partner_user(), await estate.legacy_user()
    first, second = (romeo, legacy) if begin == "partner" else (legacy, romeo)
    first.say(second.full, "who is there")
    await second.expect_text("who is there")
    for number in range(20):
        second.say(first.full, f"answer {number}")
        first.say(second.full, f"question {number}")
    for number in range(20):
        await first.expect_text(f"answer {number}")
        await second.expect_text(f"question {number}")
    # An error comes back the same way.
    second.say(first.full.replace("romeo", "nobody").replace("legacy", "nobody"), "is anybody there")
    await second.expect(lambda r: r.kind == "error", 20)
    assert estate.turnout.metric((await estate.turnout.get("/metrics", parse=False)).decode(), "turnout_stanzas_unaccounted") == 0
    after = await _streams(estate)
    return after[0] - before[0], after[1] - before[1]


@case(60)
async def bidi_on_a_stream_to_the_partner() -> None:
    """turnout dials Prosody and asks for the way back: Prosody opens no stream of its own."""
    async with Estate(_plan()) as estate:
        assert await _talk(estate, "legacy") == (0, 1)
        assert "Requested bidirectional stream" in estate.partner.logs()[0].read_text()


@case(60)
async def bidi_on_a_stream_of_the_partner() -> None:
    """Prosody dials turnout and asks for the way back: turnout opens no stream of its own."""
    async with Estate(_plan()) as estate:
        assert await _talk(estate, "partner") == (1, 0)
        assert "sends back, acknowledged" in estate.turnout.log.read_text()


@case(60)
async def bidi_by_dialback() -> None:
    """The same where the certificate proves nothing: the keys are verified on streams of their own (XB-03), stanzas go on one."""
    async with Estate(_plan(dialback=True, acknowledges=False)) as estate:
        # turnout dialed once, to verify; Prosody did not have to verify turnout.
        assert await _talk(estate, "partner") == (1, 1)
        assert "sends back" in estate.turnout.log.read_text()
