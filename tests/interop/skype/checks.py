"""What the pool holds against turnout. Each function returns complaints; none of them raises or forgives."""

from __future__ import annotations

import re

from .dialog import Dialog
from .message import Message, address, host_of, param

_IP = re.compile(r"^\[?[0-9a-fA-F:.]+\]?$")


def request(message: Message, fqdn: str, secure: bool) -> list[str]:
    """Rules for any request: RFC 3261 section 8.1.1 and the pool's own wish for FQDNs."""
    bad: list[str] = []
    for name in ("Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq"):
        if not message.get(name):
            bad.append(f"no {name}")
    for name in ("Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "Content-Type"):
        if len(message.all(name)) > 1:
            bad.append(f"{name} more than once")
    via = (message.listed("Via") or [""])[-1]
    wanted = "SIP/2.0/TLS" if secure else "SIP/2.0/TCP"
    if not via.startswith(wanted + " "):
        bad.append(f"turnout's Via should say {wanted}: {via!r}")
    sent_by = via.partition(" ")[2].split(";")[0].strip().rsplit(":", 1)[0].lower()
    if sent_by != fqdn:
        bad.append(f"turnout's Via sent-by is {sent_by!r}, must be the trusted name {fqdn!r}")
    if not param(via, "branch").startswith("z9hG4bK"):
        bad.append(f"Via branch without the magic cookie: {via!r}")
    if not param(message.get("From"), "tag"):
        bad.append("From without a tag")
    if "sip:" not in message.get("From") or "sip:" not in message.get("To"):
        bad.append("From or To without a sip: URI")
    if message.cseq[1] != message.method:
        bad.append(f"CSeq {message.get('CSeq')!r} does not name {message.method}")
    if not message.get("Max-Forwards").isdigit():
        bad.append(f"Max-Forwards {message.get('Max-Forwards')!r}")
    if message.body and not message.get("Content-Type"):
        bad.append("a body without Content-Type")
    return bad


def contact(message: Message, fqdn: str) -> list[str]:
    """A Contact names turnout by its FQDN, never by an address, and never asks for proxy=replace."""
    value = message.get("Contact")
    if not value:
        return ["no Contact"]
    host = host_of(address(value))
    bad = []
    if _IP.match(host):
        bad.append(f"Contact by IP address: {value!r}")
    elif host != fqdn:
        bad.append(f"Contact host {host!r} is not the trusted name {fqdn!r}")
    if "proxy=replace" in value:
        bad.append("Contact with proxy=replace")
    return bad


def opening_invite(message: Message, fqdn: str, conversations_seen: set[str]) -> list[str]:
    """An IM INVITE outside a dialog."""
    bad = contact(message, fqdn)
    if param(message.get("To"), "tag"):
        bad.append("To of an opening INVITE has a tag")
    kind = message.get("Content-Type").split(";")[0].strip().lower()
    if kind != "application/sdp":
        bad.append(f"INVITE with Content-Type {kind!r}")
    media = [line for line in message.text().split("\r\n") if line.startswith("m=")]
    if len(media) != 1 or not re.fullmatch(r"m=message \d+ sip null", media[0]):
        bad.append(f"the offer must be one 'm=message <port> sip null': {media}")
    if "a=accept-types:" not in message.text() or "text/plain" not in message.text():
        bad.append("the offer does not accept text/plain")
    conversation = message.get("Ms-Conversation-ID")
    if not conversation:
        bad.append("no Ms-Conversation-ID")
    elif conversation in conversations_seen:
        bad.append(f"Ms-Conversation-ID {conversation} used before")
    conversations_seen.add(conversation)
    return bad


def in_dialog(message: Message, dialog: Dialog) -> list[str]:
    """A request inside a dialog: tags, CSeq order, remote target and route set (RFC 3261 section 12.2)."""
    bad: list[str] = []
    if param(message.get("To"), "tag") != dialog.local_tag:
        bad.append(f"To tag {param(message.get('To'), 'tag')!r} is not ours {dialog.local_tag!r}")
    if dialog.remote_tag and param(message.get("From"), "tag") != dialog.remote_tag:
        bad.append(f"From tag changed from {dialog.remote_tag!r} to {param(message.get('From'), 'tag')!r}")
    number = message.cseq[0]
    if message.method in ("ACK", "CANCEL"):
        if not dialog.caller and number != dialog.invite_seq:
            bad.append(f"{message.method} CSeq {number}, the INVITE had {dialog.invite_seq}")
    elif dialog.remote_seq >= 0 and number != dialog.remote_seq + 1:
        bad.append(f"CSeq {number} after {dialog.remote_seq}")
    if message.uri != address(dialog.own_contact):
        bad.append(f"Request-URI {message.uri!r} is not our Contact {address(dialog.own_contact)!r}")
    expected = [address(r) for r in dialog.expected_routes()]
    got = [address(r) for r in message.listed("Route")]
    if got != expected:
        bad.append(f"route set came back as {got}, must be {expected}")
    return bad


def instant_message(message: Message) -> list[str]:
    """A text message: RFC 3428 forbids Contact; the pool's clients want UTF-8 plain text."""
    bad: list[str] = []
    if message.get("Contact"):
        bad.append("MESSAGE with Contact")
    kind = message.get("Content-Type").lower().replace(" ", "").replace('"', "")
    if kind not in ("text/plain;charset=utf-8", "application/im-iscomposing+xml"):
        bad.append(f"MESSAGE with Content-Type {message.get('Content-Type')!r}")
    if len(message.body) > 128 * 1024:
        bad.append(f"MESSAGE body of {len(message.body)} bytes, clients take 128 KB at most")
    try:
        message.body.decode("utf-8")
    except UnicodeDecodeError:
        bad.append("MESSAGE body is not UTF-8")
    return bad


def response(sent: Message, answer: Message, fqdn: str) -> list[str]:
    """An answer to a request of ours."""
    bad: list[str] = []
    for name in ("Via", "From", "Call-ID", "CSeq"):
        got, want = answer.listed(name), sent.listed(name)
        if name == "Via":
            # received= and rport= may be added to the topmost Via (RFC 3261 18.2.1), nothing else may change.
            got = [re.sub(r";(received|rport)=[^;]*", "", v) if at == 0 else v for at, v in enumerate(got)]
        if got != want:
            bad.append(f"{answer.code} to {sent.method}: {name} came back as {got}, sent {want}")
    if not answer.get("To").startswith(sent.get("To")):
        bad.append(f"{answer.code} to {sent.method}: To came back as {answer.get('To')!r}, sent {sent.get('To')!r}")
    if answer.code > 100 and not param(answer.get("To"), "tag"):
        bad.append(f"{answer.code} to {sent.method}: To without a tag")
    if answer.code == 405 and not answer.get("Allow"):
        bad.append("405 without Allow")
    if answer.code == 415 and not answer.get("Accept"):
        bad.append("415 without Accept")
    if sent.method == "MESSAGE" and 200 <= answer.code < 300 and answer.get("Contact"):
        bad.append("2xx to MESSAGE with Contact")
    return bad


def accepted(sent: Message, answer: Message, user: str, peer: str, fqdn: str) -> list[str]:
    """The 2xx to an IM INVITE of ours."""
    bad = contact(answer, fqdn)
    ours = sent.listed("Record-Route")
    if answer.listed("Record-Route")[-len(ours):] != ours:
        bad.append(f"Record-Route not copied into the 200: {answer.listed('Record-Route')}")
    media = [line for line in answer.text().split("\r\n") if line.startswith("m=")]
    if len(media) != 1 or not re.fullmatch(r"m=message [1-9]\d* sip sip:\S+", media[0]):
        bad.append(f"the answer must be one 'm=message <port> sip sip:<user>': {media}")
    elif peer not in media[0].lower():
        bad.append(f"the answer names {media[0]!r}, the answering user is {peer}")
    return bad


def subscribe(message: Message, fqdn: str) -> list[str]:
    """A SUBSCRIBE of turnout's, first or refresh (RFC 6665 section 4.1)."""
    bad = contact(message, fqdn)
    if message.get("Event").split(";")[0].strip() != "presence":
        bad.append(f"SUBSCRIBE with Event {message.get('Event')!r}")
    if not message.get("Expires").isdigit():
        bad.append(f"SUBSCRIBE with Expires {message.get('Expires')!r}")
    if "application/pidf+xml" not in message.tokens("Accept"):
        bad.append(f"SUBSCRIBE that does not accept PIDF: {message.tokens('Accept')}")
    for name in ("Proxy-Require", "Supported"):
        if "ms-benotify" in message.tokens(name) or "ms-piggyback-first-notify" in message.tokens(name):
            bad.append(f"SUBSCRIBE with {name}: {message.tokens(name)}, which turnout must not ask for")
    if message.body:
        bad.append("SUBSCRIBE with a body")
    return bad


def notify(message: Message, fqdn: str, accept: str) -> list[str]:
    """A NOTIFY of turnout's (RFC 6665 section 4.2.2)."""
    bad = contact(message, fqdn)
    if message.method != "NOTIFY":
        bad.append(f"{message.method}, which was not asked for")
    if message.get("Event").split(";")[0].strip() != "presence":
        bad.append(f"NOTIFY with Event {message.get('Event')!r}")
    state, _, params = message.get("Subscription-State").partition(";")
    if state not in ("active", "pending", "terminated"):
        bad.append(f"NOTIFY with Subscription-State {message.get('Subscription-State')!r}")
    if state in ("active", "pending") and not re.search(r"(^|;)\s*expires=\d+", params):
        bad.append(f"Subscription-State without expires: {message.get('Subscription-State')!r}")
    if state == "terminated" and "reason=" not in params:
        bad.append(f"Subscription-State terminated without a reason: {params!r}")
    kind = message.get("Content-Type").split(";")[0].strip().lower()
    if message.body and kind not in [a.strip() for a in accept.split(",")]:
        bad.append(f"NOTIFY with {kind!r}, accepted was {accept}")
    if message.body and state == "pending":
        bad.append("NOTIFY pending with presence in it")
    return bad


def subscribed(answer: Message, fqdn: str, asked: int) -> list[str]:
    """The 2xx to a SUBSCRIBE of ours (RFC 6665 sections 4.2.1 and 8.3.1)."""
    bad = contact(answer, fqdn)
    if answer.code == 202:
        bad.append("202 to SUBSCRIBE, which RFC 6665 has done away with")
    if not answer.get("Expires").isdigit():
        bad.append(f"2xx to SUBSCRIBE with Expires {answer.get('Expires')!r}")
    elif int(answer.get("Expires")) > asked:
        bad.append(f"2xx to SUBSCRIBE with Expires {answer.get('Expires')}, asked was {asked}")
    return bad
