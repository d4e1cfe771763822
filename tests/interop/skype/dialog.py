"""The pool's half of one IM dialog."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from .message import Message
from .shapes import token

Pair = tuple[str, str]


@dataclass
class Dialog:
    """State for one Call-ID and pair of tags. `pair` is (local user, partner), both user@domain in lower case."""

    pair: Pair
    call_id: str
    local_tag: str
    own_contact: str
    record_routes: list[str]
    caller: bool
    remote_tag: str = ""
    target: str = ""
    sending_routes: list[str] = field(default_factory=list)
    local_seq: int = 0
    remote_seq: int = -1
    invite_seq: int = 0
    conversation: str = ""
    open: bool = False
    acked: asyncio.Event = field(default_factory=asyncio.Event)

    def expected_routes(self) -> list[str]:
        """What turnout must put into Route: our Record-Route as is when we called, turned round when we were called."""
        return list(self.record_routes) if self.caller else list(reversed(self.record_routes))

    def request(self, method: str, via: list[str], headers: list[tuple[str, str]], body: bytes = b"") -> Message:
        """An in-dialog request towards turnout, with the next CSeq (the INVITE's own for ACK)."""
        user, peer = self.pair
        if method == "ACK":
            number = self.invite_seq
        else:
            self.local_seq += 1
            number = self.local_seq
        base = [("Via", v) for v in via] + [("Route", r) for r in self.sending_routes] + [
            ("Max-Forwards", "69"), ("From", f'"{user.split("@")[0].title()}"<sip:{user}>;tag={self.local_tag};epid={token(5)}'),
            ("To", f"<sip:{peer}>" + (f";tag={self.remote_tag}" if self.remote_tag else "")),
            ("Call-ID", self.call_id), ("CSeq", f"{number} {method}")]
        return Message(method=method, uri=self.target or f"sip:{peer}", headers=base + headers, body=body)


def response_to(request: Message, code: int, reason: str, to_tag: str = "", headers: list[tuple[str, str]] | None = None,
                body: bytes = b"") -> Message:
    """A response with everything that must be copied, copied."""
    to = request.get("To")
    if to_tag and "tag=" not in to.rpartition(">")[2]:
        to += f";tag={to_tag}"
    base = [("Via", v) for v in request.all("Via")] + [
        ("From", request.get("From")), ("To", to), ("Call-ID", request.call_id), ("CSeq", request.get("CSeq"))]
    return Message(code=code, reason=reason, headers=base + (headers or []), body=body)


REASONS = {100: "Trying", 101: "Progress Report", 200: "OK", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
           408: "Request Timeout", 415: "Unsupported Media Type", 420: "Bad Extension", 423: "Interval Too Brief",
           480: "Temporarily Unavailable", 481: "Call Leg/Transaction Does Not Exist", 486: "Busy Here",
           487: "Request Terminated", 488: "Not Acceptable Here",
           489: "Bad Event", 491: "Request Pending", 500: "Server Internal Error", 503: "Service Unavailable", 504: "Server Time-out",
           603: "Decline", 606: "Not Acceptable"}
