"""Many people on one server at once, each with a stream of the barest kind: they let everybody see them who asks, and ask back.

A slixmpp client each would take longer to log in than the case takes to run.
"""

from __future__ import annotations

import asyncio
import base64
import re

from .server import Server

_TAG = re.compile(rb"<presence\b[^>]*?(?:/>|>.*?</presence>)", re.S)
_AT_ONCE = 25


class Member:
    """One person: counts what he was asked and by whom he was told of what."""

    def __init__(self, name: str, domain: str) -> None:
        self.bare = f"{name}@{domain}"
        self.prompts = 0
        self.available = 0
        self.unavailable = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def login(self, server: Server) -> None:
        """SASL PLAIN, bind, roster, presence."""
        await server.add_user(self.bare.split("@")[0], "secret")
        self._reader, self._writer = await asyncio.open_connection(*server.client_port)
        header = f'<stream:stream to="{server.domain}" xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" version="1.0">'
        secret = base64.b64encode(b"\0" + self.bare.split("@")[0].encode() + b"\0secret").decode()
        await self._turn(header, b"</stream:features>")
        await self._turn(f'<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">{secret}</auth>', b"<success")
        await self._turn(header, b"</stream:features>")
        await self._turn('<iq type="set" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><resource>desk</resource></bind></iq>',
                         b"</iq>")
        await self._turn('<iq type="get" id="r"><query xmlns="jabber:iq:roster"/></iq><presence/>', b"</presence>", b"/>")
        self._task = asyncio.ensure_future(self._read())

    async def _turn(self, send: str, *until: bytes) -> None:
        assert self._reader is not None and self._writer is not None
        self._writer.write(send.encode())
        got = b""
        while not any(u in got for u in until):
            data = await asyncio.wait_for(self._reader.read(65536), 20)
            assert data, f"{self.bare}: the stream ended after {got!r}"
            got += data

    def raw(self, xml: str) -> None:
        """Send exactly these characters."""
        assert self._writer is not None
        self._writer.write(xml.encode())

    async def _read(self) -> None:
        assert self._reader is not None
        kept = b""
        while data := await self._reader.read(65536):
            kept += data
            end = 0
            for found in _TAG.finditer(kept):
                end = found.end()
                self._take(found[0].split(b">")[0])
            kept = kept[max(end, len(kept) - 65536):]

    def _take(self, head: bytes) -> None:
        sender = re.search(rb"""\bfrom=["']([^"'/]+)""", head)
        kind = re.search(rb"""\btype=["'](\w+)""", head)
        if sender is None or sender[1].decode() == self.bare:
            return
        if kind is None:
            self.available += 1
        elif kind[1] == b"unavailable":
            self.unavailable += 1
        elif kind[1] == b"subscribe":
            self.prompts += 1
            asker = sender[1].decode()
            self.raw(f'<presence type="subscribed" to="{asker}"/>')
            if self.prompts == 1:
                self.raw(f'<presence type="subscribe" to="{asker}"/>')

    def stop(self) -> None:
        """Cut the stream."""
        if self._task is not None:
            self._task.cancel()
        if self._writer is not None:
            self._writer.close()


class Crowd:
    """All of them."""

    def __init__(self, server: Server, names: list[str]) -> None:
        self._server = server
        self.members = [Member(name, server.domain) for name in names]

    async def login(self) -> "Crowd":
        """Everybody comes, some at a time."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(member: Member) -> None:
            async with gate:
                await member.login(self._server)

        await asyncio.gather(*[one(m) for m in self.members])
        return self

    def prompts(self) -> int:
        """How often anybody was asked."""
        return sum(m.prompts for m in self.members)

    def stop(self) -> None:
        """Everybody goes."""
        for member in self.members:
            member.stop()
