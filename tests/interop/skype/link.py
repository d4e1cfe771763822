"""One connection between the pool and turnout: framing by Content-Length and nothing else."""

from __future__ import annotations

import asyncio
import ssl
from typing import Callable

from .message import Malformed, Message, parse_head

_HEAD_MAX = 64 * 1024


class Link:
    """Reads whole messages and hands them on; writes messages whole."""

    _count = 0

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, outbound: bool,
                 on_message: Callable[["Link", Message], None], on_fault: Callable[[str], None]) -> None:
        Link._count += 1
        self.number = Link._count
        self.outbound = outbound
        self._reader, self._writer = reader, writer
        self._on_message, self._on_fault = on_message, on_fault
        self.closed = asyncio.Event()

    def peer_names(self) -> list[str]:
        """DNS names of the certificate the other side showed; empty on plain TCP."""
        tls: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
        certificate = tls.getpeercert() if tls is not None else None
        return [name for kind, name in (certificate or {}).get("subjectAltName", ()) if kind == "DNS"]

    def encrypted(self) -> bool:
        """Whether TLS is on."""
        return self._writer.get_extra_info("ssl_object") is not None

    def send(self, message: Message) -> None:
        """Queue one message."""
        if not self.closed.is_set():
            self._writer.write(message.encode())

    def send_bytes(self, data: bytes) -> None:
        """Queue raw bytes, for keep-alives."""
        if not self.closed.is_set():
            self._writer.write(data)

    def drop(self) -> None:
        """Cut the connection without any goodbye."""
        self.closed.set()
        transport = self._writer.transport
        if transport is not None:
            transport.abort()

    async def run(self) -> None:
        """Read until the peer closes."""
        try:
            while True:
                await self._one()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, OSError):
            pass
        except (Malformed, asyncio.LimitOverrunError) as fault:
            self._on_fault(f"framing: {fault}")
        finally:
            self.closed.set()
            self._writer.close()

    async def _one(self) -> None:
        first = await self._reader.readexactly(2)
        if first == b"\r\n":
            # RFC 5626 keep-alive: a double CRLF wants one CRLF back, a single one is the answer to ours.
            try:
                second = await asyncio.wait_for(self._reader.readexactly(2), 0.2)
            except asyncio.TimeoutError:
                return
            if second == b"\r\n":
                self.send_bytes(b"\r\n")
                return
            first = second
        head = first + await self._reader.readuntil(b"\r\n\r\n")
        if len(head) > _HEAD_MAX:
            raise Malformed(f"head of {len(head)} bytes")
        message = parse_head(head[:-4])
        lengths = message.all("Content-Length")
        if len(lengths) != 1 or not lengths[0].isdigit():
            raise Malformed(f"Content-Length is {lengths} in {message.summary()}")
        message.body = await self._reader.readexactly(int(lengths[0]))
        self._on_message(self, message)


async def connect(host: str, port: int, context: ssl.SSLContext | None, server_name: str,
                  on_message: Callable[[Link, Message], None], on_fault: Callable[[str], None]) -> Link:
    """Open a link to turnout's SIP listener and start reading it."""
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=server_name if context else None, limit=_HEAD_MAX)
    link = Link(reader, writer, True, on_message, on_fault)
    link.task = asyncio.ensure_future(link.run())  # type: ignore[attr-defined]
    return link
