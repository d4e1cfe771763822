"""The shapes a Skype for Business 2016 client and its pool put on the wire.

Header set and order of the opening INVITE follow what real clients were seen to send; every value is our own. turnout must cope with
all of it and needs almost none of it, which is exactly why it is all here.
"""

from __future__ import annotations

import base64
import secrets

AGENT = "UCCAPI/16.0.4417.1000 OC/16.0.4417.1000 (Skype for Business)"
ALLOW = "INVITE, BYE, ACK, CANCEL, INFO, MESSAGE, UPDATE, REFER, NOTIFY, BENOTIFY"
ACCEPT_TYPES = ("text/plain multipart/alternative image/gif text/rtf text/html application/x-ms-ink "
                "application/ms-imdn+xml text/x-msmsgsinvite")
Headers = list[tuple[str, str]]


def token(size: int = 8) -> str:
    """A fresh opaque token."""
    return secrets.token_hex(size)


def conversation_id() -> str:
    """A fresh Ms-Conversation-ID, shaped like the real ones."""
    return base64.b64encode(secrets.token_bytes(22)).decode().rstrip("=") + "=="


def record_routes(fqdn: str, port: int) -> list[str]:
    """Two signed routes, as a pool behind a front end adds them. They must come back byte for byte."""
    return [f"<sip:{fqdn}:{port};transport=tls;opaque=state:T:F:Ci.R{token(4)};lr;ms-route-sig={token(20)}AA~z'_x>;tag={token(8).upper()}",
            f"<sip:{fqdn}:{port};transport=tls;ms-fe=fe1.contoso.com;opaque=state:F:Ci.R{token(3)};lr;ms-route-sig=bb{token(18)}>"
            f";tag={token(8).upper()}"]


def vias(host: str, port: int, client_port: int) -> list[str]:
    """The pool's hop above the client's; the lower one carries no branch, as pools really send it."""
    return [f"SIP/2.0/TLS {host}:{port};branch=z9hG4bK{token(6).upper()}.{token(8).upper()};branched=FALSE;"
            f'ms-internal-info="{token(12)}"',
            f"SIP/2.0/TLS 10.0.1.9:{client_port};ms-received-port={client_port};ms-received-cid=3E8A00"]


def gruu(user: str, epid: str) -> str:
    """The Contact of one endpoint of a user."""
    return f"<sip:{user};opaque=user:epid:hYns{epid}AA;gruu>"


def offer(port: int = 5060, media: str = "message", answer_user: str = "") -> bytes:
    """SDP of an IM session: an offer, or an answer when the answering user is given."""
    target = f"sip:{answer_user}" if answer_user else "null"
    lines = ["v=0", "o=- 0 0 IN IP4 10.0.1.9", "s=session", "c=IN IP4 10.0.1.9", "t=0 0",
             f"m={media} {port} sip {target}", f"a=accept-types:{ACCEPT_TYPES}"]
    return ("\r\n".join(lines) + "\r\n").encode()


def audio_offer() -> bytes:
    """SDP of a voice call, which a text gateway must refuse with 488."""
    return (b"v=0\r\no=- 0 0 IN IP4 10.0.1.9\r\ns=session\r\nc=IN IP4 10.0.1.9\r\nt=0 0\r\nm=audio 50010 RTP/AVP 114 9 0 8\r\n"
            b"a=rtpmap:114 x-msrta/16000\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n")


def invite_headers(user: str, peer: str, text: str, contact: str, conversation: str, newer: bool) -> Headers:
    """What stands between Contact and the body, in the order clients use."""
    plain = base64.b64encode(text.encode()).decode()
    html = base64.b64encode(f"<DIV>{text}</DIV>".encode()).decode()
    rtf = base64.b64encode(b"{\\rtf1 " + text.encode("ascii", "replace") + b"}").decode()
    first: Headers = [] if not text else [
        ("ms-text-format", f"text/plain; charset=UTF-8; ms-body={plain}"),
        ("ms-im-format", f"text/html; charset=UTF-8; ms-body={html}"),
        ("ms-im-format", f"text/rtf; charset=UTF-8; ms-body={rtf}"),
        ("Supported", "ms-embedded-first-message")]
    return [("Contact", contact), ("User-Agent", AGENT), ("Supported", "ms-dialog-route-set-update"), *first,
            ("Supported", "ms-delayed-accept"), ("Supported", "ms-renders-isf"), ("Supported", "ms-renders-gif"),
            ("Supported", "ms-renders-mime-alternative"), ("Ms-Conversation-ID", conversation), ("Supported", "timer"),
            ("Supported", "histinfo"), ("Supported", "ms-safe-transfer"), ("Supported", "ms-sender"),
            ("Supported", "ms-early-media"), ("Roster-Manager", f"sip:{user}"),
            ("EndPoints", f"<sip:{user}>, <sip:{peer}>"), ("Supported", "com.microsoft.rtc-multiparty"),
            ("ms-keep-alive", "UAC;hop-hop=yes"), ("Allow", ALLOW), ("ms-subnet", "10.0.1.0"),
            ("Supported", "ms-conf-invite"),
            ("Content-Type", "application/sdp;call-type=im" if newer else "application/sdp"),
            ("history-info", f"<sip:{peer}>;index=1")]


def accept_headers(user: str, contact: str, takes_first: bool) -> Headers:
    """What a Skype for Business endpoint adds to its 200 to an IM INVITE."""
    supported = ["ms-sender", "histinfo", "ms-safe-transfer", "ms-dialog-route-set-update", "ms-conf-invite"]
    if takes_first:
        supported.insert(0, "ms-text-format")
    return [("Contact", contact), ("User-Agent", AGENT), *[("Supported", s) for s in supported], ("Allow", ALLOW),
            ("Content-Type", "application/sdp")]


def typing_body(active: bool) -> bytes:
    """KeyboardActivity, the INFO the clients send while somebody types."""
    status = "type" if active else "idle"
    return (f'<?xml version="1.0"?><KeyboardActivity xmlns="http://schemas.microsoft.com/sip/"><status status="{status}"/>'
            "</KeyboardActivity>").encode()


def alternative(text: str) -> tuple[str, bytes]:
    """A multipart/alternative with the plain part in the middle, so that neither first nor last wins by luck."""
    edge = f"----=_Part_{token(6)}"
    plain = base64.b64encode(text.encode())
    parts = [(b"text/rtf", b"", b"{\\rtf1 rich}"),
             (b"text/plain; charset=UTF-8", b"Content-Transfer-Encoding: base64\r\n", plain),
             (b"text/html; charset=UTF-8", b"", b"<DIV>rich &amp; wrong</DIV>")]
    out = b"".join(b"--" + edge.encode() + b"\r\nContent-Type: " + kind + b"\r\n" + more + b"\r\n" + body + b"\r\n"
                   for kind, more, body in parts)
    return f'multipart/alternative; boundary="{edge}"', out + b"--" + edge.encode() + b"--\r\n"
