"""A wire tap: a TCP relay that keeps the bytes of each direction.

Where a leg runs without TLS, a tap on it shows the very bytes of a stanza. Two taps, one before and one behind turnout, prove that
nothing was rewritten on the way: no XML library stands between the wire and the comparison.
"""

from __future__ import annotations

import asyncio
import re
import time

# Reads that may be on their way, each way.
_LATE_MAX = 64


class Tap:
    """Listens on one address and passes everything on to another."""

    def __init__(self, listen: tuple[str, int], target: tuple[str, int]) -> None:
        self._listen, self._target = listen, target
        self.forward, self.backward = bytearray(), bytearray()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._deaf = False
        self._delay = 0.0
        self._away = False

    async def start(self) -> None:
        """Begin to relay."""
        self._server = await asyncio.start_server(self._pair, *self._listen)

    async def _pair(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        for source, sink, keep in ((reader, back, self.forward), (there, writer, self.backward)):
            task = asyncio.ensure_future(self._copy(source, sink, keep))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, keep: bytearray) -> None:
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_LATE_MAX)
        writer = asyncio.ensure_future(self._pass_on(late, sink))
        try:
            while data := await source.read(65536):
                keep += data
                if self._deaf and keep is self.forward:
                    continue
                # What is behind something late is no earlier than that.
                await late.put((time.monotonic() + self._delay, data))
            await late.put((0.0, b""))
            await writer
        except (ConnectionError, OSError):
            pass
        finally:
            writer.cancel()
            sink.close()
            self._writers.discard(sink)

    async def _pass_on(self, late: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        while True:
            due, data = await late.get()
            if not data:
                return
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            try:
                sink.write(data)
                await sink.drain()
            except (ConnectionError, OSError):
                # The reading end hears of it by itself.
                pass

    def away(self, away: bool) -> None:
        """From now on every new connection is reset, or relayed again."""
        self._away = away

    def slow(self, seconds: float) -> None:
        """From now on everything arrives so much later; nothing is lost, and nothing overtakes."""
        self._delay = seconds

    def deaf(self) -> None:
        """From now on take what comes from the dialing side and pass none of it on: it dies with the connection."""
        self._deaf = True

    def cut(self) -> None:
        """Reset every connection, as a machine that dies does; new ones are relayed as ever."""
        self._deaf = False
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()

    def stop(self) -> None:
        """End every relay."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()


def stanza(data: bytes, marker: str) -> bytes:
    """The one top-level message element in captured bytes that holds the marker."""
    at = data.find(marker.encode())
    assert at >= 0, f"the tap never saw {marker!r}"
    start = max(data.rfind(b"<message ", 0, at), data.rfind(b"<message>", 0, at))
    end = re.compile(rb"</message\s*>").search(data, at)
    assert start >= 0 and end is not None, f"the tap saw {marker!r} outside a message"
    return bytes(data[start:end.end()])
