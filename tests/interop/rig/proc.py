"""Child processes: started with a log, ended by their own process id, seen through their own DNS.

Some peers (jabberd2 above all) know no other resolver than /etc/resolv.conf. A private mount namespace with a file of ours
bound over it works for every peer alike, so it is used for all of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

_ENTER = (
    'mount --bind "$0" /etc/resolv.conf && mount --bind "$1" /etc/hosts && shift && exec "$@"'
)


def seeing(resolv: tuple[Path, Path], argv: list[str]) -> list[str]:
    """A command line whose program has these files as its resolv.conf and hosts."""
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *root, "--mount", "--propagation", "private", "sh", "-c", _ENTER, str(resolv[0]), str(resolv[1]), *argv]


class Process:
    """One child with one log file."""

    def __init__(self, name: str, argv: list[str], log: Path, cwd: Path | None = None,
                 env: dict[str, str] | None = None, resolv: tuple[Path, Path] | None = None,
                 stdin_pipe: bool = False) -> None:
        self.name = name
        self.log = log
        if resolv is not None:
            argv = seeing(resolv, argv)
        self._out = open(log, "ab")
        self.child = subprocess.Popen(
            argv, cwd=cwd, env={**os.environ, **(env or {})}, stdout=self._out, stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE if stdin_pipe else subprocess.DEVNULL, start_new_session=True)

    def alive(self) -> bool:
        """Whether the child still runs."""
        return self.child.poll() is None

    def send(self, number: int) -> None:
        """Send one signal to the child, if it still runs."""
        if self.alive():
            self.child.send_signal(number)

    async def wait(self, seconds: float) -> int:
        """The exit code, or TimeoutError."""
        end = time.monotonic() + seconds
        while self.child.poll() is None:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name} did not end within {seconds:.0f} s")
            await asyncio.sleep(0.02)
        return self.child.returncode

    def stop(self, number: int = signal.SIGTERM, seconds: float = 5.0) -> None:
        """Ask it to end, then make it end. Only this process id (and the session it leads) is touched."""
        if self.alive():
            self.child.send_signal(number)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(5)
        try:
            # Helpers the peer forked stay in the session it leads, whose id is the child's own.
            os.killpg(self.child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self._out.close()

    def tail(self, lines: int = 25) -> str:
        """The last lines of the log, for a failure report."""
        try:
            text = self.log.read_text(errors="replace").splitlines()
        except OSError as error:
            return f"({error})"
        return "\n".join(text[-lines:])
