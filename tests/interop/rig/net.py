"""Loopback addresses and ports.

XMPP servers look for each other on 5269 and resolvers on 53, whatever else runs on the machine. So every estate takes a /24
of its own out of 127.0.0.0/8 (Linux answers on all of it without any set-up) and uses the usual ports inside that block. A lock
file keeps two runs on one machine from choosing the same block.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import socket
import tempfile
import time
from pathlib import Path


class Block:
    """One /24 of loopback, ours until `release()`."""

    def __init__(self) -> None:
        self._lock_fd = -1
        self._lock_path: Path | None = None
        self.prefix = self._take()

    def _take(self) -> str:
        for _ in range(200):
            first, second = random.randint(16, 250), random.randint(1, 250)
            path = Path(tempfile.gettempdir()) / f"turnout-interop-127.{first}.{second}.lock"
            fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                continue
            self._lock_fd, self._lock_path = fd, path
            return f"127.{first}.{second}"
        raise RuntimeError("no free loopback block after 200 attempts; remove stale turnout-interop-*.lock files")

    def address(self, host: int) -> str:
        """The address with this last number."""
        return f"{self.prefix}.{host}"

    def release(self) -> None:
        """Give the block back. Safe to call twice."""
        if self._lock_path is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock_fd)
            self._lock_path = None


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


async def wait_port(address: str, port: int, seconds: float = 30.0, alive=lambda: True) -> None:
    """Wait until something accepts on the port; give up early when `alive()` says the process has gone."""
    end = time.monotonic() + seconds
    while True:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 2)
            writer.close()
            return
        except (OSError, asyncio.TimeoutError):
            if not alive():
                raise RuntimeError(f"the process that should listen on {address}:{port} ended") from None
            if time.monotonic() > end:
                raise TimeoutError(f"nothing listens on {address}:{port} after {seconds:.0f} s") from None
            await asyncio.sleep(0.05)
