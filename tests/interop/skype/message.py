"""SIP messages as the scripted pool sees them: ordered headers, exact values, strict framing.

Written for the tests on purpose instead of borrowed: it must notice what a lenient library would repair.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length", "c": "content-type",
            "s": "subject", "k": "supported", "e": "content-encoding"}


class Malformed(Exception):
    """The bytes are not a SIP message."""


@dataclass
class Message:
    """A request (method set) or a response (code set)."""

    method: str = ""
    uri: str = ""
    code: int = 0
    reason: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    @property
    def is_request(self) -> bool:
        """Whether this is a request."""
        return self.code == 0

    def all(self, name: str) -> list[str]:
        """Values of every header line of this name, in order, untouched."""
        wanted = name.lower()
        return [value for key, value in self.headers if _long(key) == wanted]

    def get(self, name: str) -> str:
        """The first value, or the empty string."""
        values = self.all(name)
        return values[0] if values else ""

    def listed(self, name: str) -> list[str]:
        """Values of a header that may be written as several lines or as one with commas: one entry each, untouched."""
        out: list[str] = []
        for value in self.all(name):
            depth, quoted, start = 0, False, 0
            for at, char in enumerate(value):
                if char == '"':
                    quoted = not quoted
                elif not quoted and char in "<>":
                    depth += 1 if char == "<" else -1
                elif char == "," and depth == 0 and not quoted:
                    out.append(value[start:at].strip())
                    start = at + 1
            out.append(value[start:].strip())
        return out

    def tokens(self, name: str) -> list[str]:
        """Comma-separated tokens of all lines of this name."""
        return [t.strip() for value in self.all(name) for t in value.split(",") if t.strip()]

    @property
    def cseq(self) -> tuple[int, str]:
        """Number and method."""
        number, _, method = self.get("CSeq").partition(" ")
        try:
            return int(number), method.strip()
        except ValueError:
            return -1, ""

    @property
    def call_id(self) -> str:
        """Call-ID."""
        return self.get("Call-ID")

    @property
    def branch(self) -> str:
        """The branch of the topmost Via."""
        return param(self.get("Via"), "branch")

    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def encode(self) -> bytes:
        """The bytes on the wire. Content-Length is always written here, last but for nothing."""
        start = f"{self.method} {self.uri} SIP/2.0" if self.is_request else f"SIP/2.0 {self.code} {self.reason}"
        lines = [start] + [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body

    def summary(self) -> str:
        """One line for logs."""
        what = f"{self.method} {self.uri}" if self.is_request else f"{self.code} {self.reason}"
        return f"{what} [{self.get('CSeq')}] {self.call_id}"


def parse_head(head: bytes) -> Message:
    """Everything up to, without, the empty line."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"the head is not UTF-8: {error}") from None
    if "\n" in text.replace("\r\n", "") or "\r" in text.replace("\r\n", ""):
        raise Malformed("bare CR or LF in the head")
    lines = text.split("\r\n")
    message = _start_line(lines[0])
    for line in lines[1:]:
        if line[:1] in (" ", "\t"):
            raise Malformed(f"folded header line {line!r}: allowed, but turnout has no reason to fold")
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9.!%*_+`'~-]+", name):
            raise Malformed(f"not a header line: {line!r}")
        message.headers.append((name, value.strip()))
    return message


def _start_line(line: str) -> Message:
    response = re.fullmatch(r"SIP/2\.0 ([1-6]\d\d) (.*)", line)
    if response:
        return Message(code=int(response[1]), reason=response[2])
    request = re.fullmatch(r"([A-Z]+) (\S+) SIP/2\.0", line)
    if request:
        return Message(method=request[1], uri=request[2])
    raise Malformed(f"not a start line: {line!r}")


def _long(name: str) -> str:
    lower = name.lower()
    return _COMPACT.get(lower, lower)


def param(value: str, name: str) -> str:
    """A header parameter behind the address part, or the empty string."""
    rest = value.rpartition(">")[2] if "<" in value else value
    for piece in rest.split(";")[0 if "<" in value else 1:]:
        key, _, val = piece.strip().partition("=")
        if key.lower() == name.lower():
            return val or "yes"
    return ""


def address(value: str) -> str:
    """The URI inside a name-addr or addr-spec header value."""
    if "<" in value:
        return value[value.index("<") + 1:value.index(">")]
    return value.split(";")[0].strip()


def user_of(uri: str) -> str:
    """user@domain of a SIP URI, lower case, parameters dropped."""
    rest = uri.split(":", 1)[1] if ":" in uri else uri
    user, at, host = rest.rpartition("@")
    host = re.split(r"[;?:>]", host)[0]
    return (user.split(";")[0] + at + host).lower() if at else host.lower()


def host_of(uri: str) -> str:
    """The host of a SIP URI."""
    rest = uri.split(":", 1)[1] if ":" in uri else uri
    return re.split(r"[;?>]", rest.rpartition("@")[2])[0].rsplit(":", 1)[0].lower()
