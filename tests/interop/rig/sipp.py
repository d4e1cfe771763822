"""SIPp as a pool of the `simple` dialect, and as an independent opinion on the scripted pool.

The Debian build has no TLS, so it speaks TCP; where TLS is wanted Kamailio stands before it.
"""

from __future__ import annotations

import re
from pathlib import Path

from .proc import Process

SCENARIOS = Path(__file__).resolve().parent.parent / "sipp"


class Sipp:
    """One run of one scenario."""

    def __init__(self, scenario: str, directory: Path, local: tuple[str, int], remote: tuple[str, int] | None = None,
                 calls: int = 1, keys: dict[str, str] | None = None, rate: int = 10) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.messages = directory / f"{scenario}.messages"
        self.log = directory / f"{scenario}.log"
        argv = ["sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", local[0], "-p", str(local[1]), "-t", "t1",
                "-m", str(calls), "-r", str(rate), "-l", "1", "-nostdin", "-trace_msg", "-message_file", str(self.messages),
                "-message_overwrite", "false", "-trace_err", "-error_file", str(directory / f"{scenario}.errors"),
                "-deadcall_wait", "0", "-timeout", "120s", "-timeout_error", "-recv_timeout", "60000"]
        for key, value in (keys or {}).items():
            argv += ["-key", key, value]
        if remote is not None:
            argv.append(f"{remote[0]}:{remote[1]}")
        self._argv, self._dir = argv, directory
        self.errors = directory / f"{scenario}.errors"
        self.process: Process | None = None

    def start(self) -> "Sipp":
        """Begin."""
        self.process = Process("sipp", self._argv, self.log, cwd=self._dir, env={"TERM": "dumb"})
        return self

    async def finish(self, seconds: float = 60.0) -> None:
        """Wait for the end; anything but success fails with SIPp's own words."""
        assert self.process is not None, "start() first"
        code = await self.process.wait(seconds)
        errors = self.errors.read_text(errors="replace")[-2000:] if self.errors.exists() else ""
        assert code == 0, f"sipp ended with {code}\n{errors}"

    def received(self, method: str) -> list[tuple[str, str]]:
        """(head, body) of every request of this method it received, in order."""
        if not self.messages.exists():
            return []
        text = self.messages.read_text(errors="replace")
        out = []
        for block in re.split(r"-{40,} [^\n]*\n", text):
            found = re.match(r"\w+ message received \[\d+\] bytes :\s*\n\n?(.*)", block, re.S)
            if found and found[1].startswith(method + " "):
                head, _, body = found[1].replace("\r\n", "\n").partition("\n\n")
                length = re.search(r"(?im)^(?:content-length|l)\s*:\s*(\d+)", head)
                size = int(length[1]) if length else 0
                out.append((head, body.encode()[:size].decode(errors="replace")))
        return out

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stop(seconds=2)
