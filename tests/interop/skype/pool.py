"""The pool's middle: links, transactions, records. What to say is in caller.py, what to answer in answerer.py."""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from dataclasses import dataclass, field
from typing import Any

from . import checks, link as links
from .dialog import Dialog, Pair
from .link import Link
from .message import Message
from .shapes import gruu, token, vias

TRANSACTION_SECONDS = 32.0


@dataclass(frozen=True)
class PoolSettings:
    """Where the pool lives and whom it talks to. `address`, `port`: its own listener. No context: plain TCP."""

    fqdn: str
    address: str
    port: int
    turnout_fqdn: str
    next_host: str
    next_port: int
    next_name: str
    server_context: ssl.SSLContext | None
    client_context: ssl.SSLContext | None
    turnout_secure: bool = True
    contact: str = ""

    @property
    def proxied(self) -> bool:
        """Whether somebody stands between turnout and this pool."""
        return self.next_name != self.turnout_fqdn


@dataclass
class Records:
    """Everything a case may ask for afterwards."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class Pool:
    """State shared by the two halves."""

    def __init__(self, settings: PoolSettings) -> None:
        self.settings = settings
        self.records = Records()
        self.home: set[str] = set()
        self.rules: list[dict[str, Any]] = []
        self.takes_first = False
        self.pager = False
        self.progress = True
        self.links_wanted = 1
        self.dialogs: dict[str, Dialog] = {}
        self.current: dict[Pair, Dialog] = {}
        self.conversations: set[str] = set()
        self.news = asyncio.Event()
        self.on_request: Any = None
        self._inbound: set[Link] = set()
        self._outbound: list[Link] = []
        self._waiting: dict[tuple[str, str], asyncio.Queue[Message]] = {}
        self._branches: set[tuple[str, str]] = set()
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Accept turnout's connections."""
        s = self.settings
        self._server = await asyncio.start_server(self._accepted, s.address, s.port, ssl=s.server_context, limit=64 * 1024)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer, False, self._arrived, self.complain)
        if link.encrypted() and self.settings.next_name not in link.peer_names():
            self.complain(f"a client certificate for {link.peer_names()} instead of {self.settings.next_name}")
        self._inbound.add(link)
        try:
            await link.run()
        finally:
            self._inbound.discard(link)

    async def out(self, pair: Pair) -> Link:
        """The link this pair's requests use: always the same one, so that order is ours to keep."""
        async with self._opening:
            self._outbound = [o for o in self._outbound if not o.closed.is_set()]
            while len(self._outbound) < self.links_wanted:
                s = self.settings
                self._outbound.append(await links.connect(
                    s.next_host, s.next_port, s.client_context, s.next_name, self._arrived, self.complain))
        return self._outbound[zlib.crc32(repr(pair).encode()) % len(self._outbound)]

    def drop_links(self) -> int:
        """Cut every connection at once."""
        every = list(self._inbound) + self._outbound
        for one in every:
            one.drop()
        self._outbound = []
        return len(every)

    def contact_for(self, user: str) -> str:
        """A Contact for one endpoint of a user of ours."""
        return f"<{self.settings.contact}>" if self.settings.contact else gruu(user, token(4))

    def open_links(self) -> dict[str, int]:
        """How many connections there are, by who opened them."""
        return {"in": len(self._inbound), "out": sum(not o.closed.is_set() for o in self._outbound)}

    def complain(self, text: str) -> None:
        """Record one violation."""
        if len(self.records.violations) < 500:
            self.records.violations.append(text)

    def note(self, pair: Pair, kind: str, text: str, call_id: str, **more: Any) -> None:
        """Record something a user of ours received."""
        self.records.messages.append({"at": time.monotonic(), "to": pair[0], "from": pair[1], "kind": kind, "text": text,
                                      "call_id": call_id, **more})
        self.news.set()

    def trace(self, direction: str, link: Link, message: Message) -> None:
        """Keep a short trace; the oldest lines go first."""
        lines = self.records.trace
        lines.append(f"{time.monotonic():.3f} link{link.number} {direction} {message.summary()}")
        if len(lines) > 4000:
            del lines[:2000]

    def vias(self) -> list[str]:
        """Fresh Via lines for one request."""
        return vias(self.settings.address, self.settings.port, 37737)

    def spawn(self, work: Any) -> None:
        """Run a handler on its own, and complain if it breaks."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)

        def done(finished: asyncio.Task[None]) -> None:
            self._tasks.discard(finished)
            if not finished.cancelled() and finished.exception() is not None:
                self.complain(f"the pool itself broke: {finished.exception()!r}")

        task.add_done_callback(done)

    def _arrived(self, link: Link, message: Message) -> None:
        self.trace("<", link, message)
        if not message.is_request:
            key = (message.branch, message.cseq[1])
            queue = self._waiting.get(key)
            if queue is None:
                self.complain(f"a response to nothing: {message.summary()}")
            else:
                queue.put_nowait(message)
            return
        self.records.counts[message.method] = self.records.counts.get(message.method, 0) + 1
        # A proxy in between makes ACK (to refusals) and CANCEL itself: those are not turnout's.
        if not (self.settings.proxied and message.method in ("ACK", "CANCEL")):
            for bad in checks.request(message, self.settings.turnout_fqdn, self.settings.turnout_secure):
                self.complain(f"{message.summary()}: {bad}")
        key = (message.branch, message.method)
        if message.method not in ("ACK", "CANCEL") and key in self._branches:
            self.complain(f"{message.summary()}: branch used before")
        self._branches.add(key)
        self.on_request(link, message)

    async def transact(self, link: Link, message: Message, on_provisional: Any = None) -> Message:
        """Send one request and return its final response; 408 of our own making when none comes."""
        key = (message.branch, message.method)
        queue: asyncio.Queue[Message] = asyncio.Queue()
        self._waiting[key] = queue
        self.trace(">", link, message)
        link.send(message)
        end = time.monotonic() + TRANSACTION_SECONDS
        try:
            while True:
                answer = await self._next_response(queue, link, end)
                if answer is None:
                    return Message(code=408, reason="No answer", headers=[("CSeq", message.get("CSeq")), ("X-Rig", "local")])
                for bad in checks.response(message, answer, self.settings.turnout_fqdn):
                    self.complain(f"{answer.summary()}: {bad}")
                if answer.code >= 200:
                    return answer
                if on_provisional is not None:
                    on_provisional(answer)
        finally:
            # Late duplicates of a final response are not complaints: keep the key for a while.
            asyncio.get_running_loop().call_later(TRANSACTION_SECONDS, self._waiting.pop, key, None)

    @staticmethod
    async def _next_response(queue: "asyncio.Queue[Message]", link: Link, end: float) -> Message | None:
        getter = asyncio.ensure_future(queue.get())
        closed = asyncio.ensure_future(link.closed.wait())
        try:
            await asyncio.wait({getter, closed}, timeout=max(0.0, end - time.monotonic()), return_when=asyncio.FIRST_COMPLETED)
            return getter.result() if getter.done() else None
        finally:
            for task in (getter, closed):
                if not task.done():
                    task.cancel()


def new_call_id() -> str:
    """A Call-ID as clients make them."""
    return token(16)
