"""What is in a message: threads, subjects, emoji, size, languages, extensions, and the very bytes."""

from __future__ import annotations

from rig import tap
from rig.client import Received, canonical, escape
from rig.estate import PARTNER, Estate, Plan
from rig.turnout import Partner

from . import case
from .tracks import MODERN, ROMEO

EMOJI = "Grüße 👩‍👩‍👧‍👦 𝄞 \u202Eabc <tag> & \"quotes\" 'single' ]]> \ttab"
_RICH = (
    '<message to="{to}" id="rich-1" type="chat" xml:lang="de"><subject>Betreff &amp; mehr</subject>'
    '<subject xml:lang="en">Subject &lt;&gt;</subject><body>{body}</body><body xml:lang="fr">Où ça?</body>'
    '<thread parent="p-0">t-4711</thread><active xmlns="http://jabber.org/protocol/chatstates"/>'
    '<request xmlns="urn:xmpp:receipts"/><x:outer xmlns:x="urn:example:ext" x:key="a&quot;b" plain=\'c"d\'>'
    '<x:inner><deep xmlns="urn:example:other">1 &lt; 2</deep></x:inner>tail</x:outer>'
    '<nick xmlns="http://jabber.org/protocol/nick">Röm</nick></message>')


def _big(size: int) -> str:
    """Text of exactly this many bytes with a recognisable end and characters of every UTF-8 length."""
    unit = "aé€😀"
    text = unit * (size // len(unit.encode()))
    return text + "." * (size - len(text.encode()))


@case()
async def texts_on_the_legacy_track() -> None:
    """Emoji, bidi marks, XML specials and 64 KiB bodies, both ways through the gateway."""
    async with Estate(Plan(pool="none")) as estate:
        romeo, legacy = await estate.partner_user(), await estate.legacy_user()
        for text in (EMOJI, _big(64 * 1024), " leading and trailing ", "x"):
            romeo.say(legacy.bare, text)
            await legacy.expect_text(text)
            legacy.say(romeo.full, text)
            await romeo.expect_text(text)


@case()
async def texts_on_the_modern_track() -> None:
    """The same through the pool: MESSAGE bodies both ways, and texts that ride in the INVITE."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        for text in (EMOJI, _big(64 * 1024), "x"):
            romeo.say(MODERN, text)
            await pool.expect_text(MODERN, ROMEO, text)
        for text in (EMOJI, _big(60 * 1024), "y"):
            answer = await pool.say(MODERN, ROMEO, text)
            assert answer["code"] == 200, answer
            await romeo.expect_text(text)
        await pool.ask("bye")
        answer = await pool.say(MODERN, ROMEO, "😀 first of a new session")
        assert answer["code"] == 200, answer
        await romeo.expect_text("😀 first of a new session")
        await pool.no_violations()


@case()
async def multipart_from_the_pool() -> None:
    """multipart/alternative from a 2019 client arrives as its plain part."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        await pool.say(MODERN, ROMEO, "opens")
        await romeo.expect_text("opens")
        answer = await pool.say(MODERN, ROMEO, "the plain part ✓", alternative=True)
        assert answer["code"] == 200, answer
        await romeo.expect_text("the plain part ✓")
        await pool.no_violations()


@case()
async def thread_and_subject_to_the_pool() -> None:
    """Thread, subject, several languages and extensions towards SIP: the body of the stanza's language goes through."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        romeo.raw(_RICH.format(to=MODERN, body=escape(EMOJI)))
        await pool.expect_text(MODERN, ROMEO, EMOJI)
        romeo.raw(f'<message to="{MODERN}" type="normal"><subject>only normal</subject><body>a normal message</body></message>')
        await pool.expect_text(MODERN, ROMEO, "a normal message")
        await pool.no_violations()


@case()
async def empty_messages_stay_out_of_sessions() -> None:
    """Stanzas without a body (chat states, receipts) open no session and break none."""
    async with Estate() as estate:
        romeo, pool = await estate.partner_user(), estate.pool
        romeo.raw(f'<message to="{MODERN}" type="chat"><composing xmlns="http://jabber.org/protocol/chatstates"/></message>')
        romeo.raw(f'<message to="{MODERN}" type="chat"><received xmlns="urn:xmpp:receipts" id="none"/></message>')
        romeo.say(MODERN, "now a text")
        await pool.expect_text(MODERN, ROMEO, "now a text")
        texts = await pool.texts(MODERN, ROMEO, 1)
        assert texts == ["now a text"], texts
        await pool.no_violations()


@case()
async def infoset_on_the_legacy_track() -> None:
    """A stanza with everything in it is the same infoset at the gateway's client, extensions and xml:lang included."""
    # Prosody on both sides: ejabberd puts the children of a message into an order of its own.
    async with Estate(Plan(gateway="prosody", pool="none")) as estate:
        romeo, legacy = await estate.partner_user(), await estate.legacy_user()
        romeo.raw(_RICH.format(to=legacy.full, body=escape(EMOJI)))
        got = await legacy.expect_text(EMOJI)
        sent = _RICH.format(to=legacy.full, body=escape(EMOJI))
        sent = sent.replace("<message ", f'<message xmlns="jabber:client" from="{romeo.full}" ', 1)
        want = canonical(sent)
        assert got.canonical() == want, f"sent\n{want}\ngot\n{got.canonical()}"
        legacy.raw(_RICH.format(to=romeo.full, body=escape(EMOJI)))
        back: Received = await romeo.expect_text(EMOJI)
        want = canonical(_RICH.format(to=romeo.full, body=escape(EMOJI)).replace(
            "<message ", f'<message xmlns="jabber:client" from="{legacy.full}" ', 1))
        assert back.canonical() == want, f"sent\n{want}\ngot\n{back.canonical()}"


@case()
async def bytes_on_the_legacy_track() -> None:
    """Wire taps on both sides of turnout see the very same bytes of a stanza, in both directions."""
    plan = Plan(partner_tls="none", partner_verify=False, gateway_tls="none", inside_tls="none", taps=True, pool="none",
                policy=Partner(PARTNER, tls="none", sasl="none", dialback=True))
    async with Estate(plan) as estate:
        romeo, legacy = await estate.partner_user(), await estate.legacy_user()
        tap_out, tap_in = estate.tap_out, estate.tap_in
        # Both taps stand on connections that turnout opens: what it sends is `forward`. What reached turnout came over connections
        # the peers opened, so the stanza the peer wrote is taken from taps in front of turnout's own listeners.
        before_out, before_in = estate.tap_before_outside, estate.tap_before_inside
        romeo.raw(_RICH.format(to=legacy.full, body="marker-inward " + escape(EMOJI)))
        await legacy.expect(lambda r: r.body.startswith("marker-inward"))
        arrived, left = tap.stanza(before_out.forward, "marker-inward"), tap.stanza(tap_in.forward, "marker-inward")
        assert arrived == left, f"arrived\n{arrived!r}\nleft\n{left!r}"
        legacy.raw(_RICH.format(to=romeo.full, body="marker-outward " + escape(EMOJI)))
        await romeo.expect(lambda r: r.body.startswith("marker-outward"))
        arrived, left = tap.stanza(before_in.forward, "marker-outward"), tap.stanza(tap_out.forward, "marker-outward")
        assert arrived == left, f"arrived\n{arrived!r}\nleft\n{left!r}"


@case()
async def presence_and_iq_on_the_legacy_track() -> None:
    """Presence subscription and a version query pass between partner and legacy user, whatever turnout thinks of them."""
    async with Estate(Plan(pool="none")) as estate:
        romeo, legacy = await estate.partner_user(), await estate.legacy_user()
        romeo.raw(f'<presence to="{legacy.bare}" type="subscribe" id="s1"/>')
        await legacy.expect(lambda r: r.name == "presence" and r.kind == "subscribe", what="the subscription request")
        legacy.raw(f'<presence to="{romeo.bare}" type="subscribed"/>')
        await romeo.expect(lambda r: r.name == "presence" and r.kind == "subscribed", what="the approval")
        await romeo.expect(lambda r: r.name == "presence" and r.sender == legacy.full and r.kind == "", what="the presence")
        legacy.raw("<presence><show>dnd</show><status>Besetzt ✋</status></presence>")
        await romeo.expect(lambda r: r.xml.findtext("{jabber:client}status") == "Besetzt ✋", what="the new status")
        romeo.raw(f'<iq to="{legacy.full}" type="get" id="v1"><query xmlns="jabber:iq:version"/></iq>')
        await legacy.expect(lambda r: r.name == "iq" and r.xml.get("id") == "v1", what="the query")
        legacy.raw(f'<iq to="{romeo.full}" type="result" id="v1"><query xmlns="jabber:iq:version"><name>rig</name></query></iq>')
        answer = await romeo.expect(lambda r: r.name == "iq" and r.xml.get("id") == "v1", what="the answer to the query")
        assert answer.sender == legacy.full, answer.sender
