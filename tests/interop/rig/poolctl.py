"""Steers the scripted pool from a case."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from .certs import Identity
from .proc import Process

_POOL = Path(__file__).resolve().parent.parent / "pool.py"


class SkypePool:
    """The pool process and its control socket."""

    def __init__(self, name: str, address: str, next_hop: tuple[str, int], next_name: str, identity: Identity | None,
                 ca_file: Path, log: Path, turnout_name: str = "turnout.contoso.com", port: int = 5061, contact: str = "") -> None:
        self.name, self.address, self.port, self._log = name, address, port, log
        self._argv = [sys.executable, str(_POOL), "--name", name, "--address", address, "--port", str(port),
                      "--next", f"{next_hop[0]}:{next_hop[1]}", "--next-name", next_name, "--turnout-name", turnout_name]
        if contact:
            self._argv += ["--contact", contact]
        if identity is not None:
            self._argv += ["--certificate", str(identity.certificate), "--key", str(identity.key), "--ca-file", str(ca_file)]
        self.process: Process | None = None
        self._control_port = 0

    async def start(self) -> None:
        """Start and wait for the ready line."""
        before = len(self._log.read_text()) if self._log.exists() else 0
        self.process = Process("skype pool", self._argv, self._log)
        end = time.monotonic() + 15
        while not (found := re.search(r"ready control=(\d+)", self._log.read_text()[before:])):
            if not self.process.alive() or time.monotonic() > end:
                raise RuntimeError(f"the scripted pool did not start:\n{self.process.tail()}")
            await asyncio.sleep(0.05)
        self._control_port = int(found[1])

    async def ask(self, do: str, /, *, limit: float = 120.0, **more: Any) -> dict[str, Any]:
        """One command on a connection of its own; the answer must be ok."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._control_port, limit=64 * 1024 * 1024)
        try:
            writer.write(json.dumps({"do": do, **more}).encode() + b"\n")
            line = await asyncio.wait_for(reader.readline(), limit)
        finally:
            writer.close()
        answer = json.loads(line)
        assert answer.pop("ok"), f"pool command {do} {more}: {answer.get('error')}"
        return answer

    async def home(self, *users: str) -> None:
        """Who is homed on the pool."""
        await self.ask("home", users=list(users))

    async def say(self, user: str, peer: str, text: str, **more: Any) -> dict[str, Any]:
        """One message from a pool user; returns the settling response."""
        return await self.ask("say", user=user, peer=peer, text=text, **more)

    async def texts(self, user: str, peer: str, count: int, seconds: float = 20.0) -> list[str]:
        """Texts a pool user got from one partner, in order; fails when fewer than `count` come in time."""
        found = await self.ask("received", user=user, peer=peer, kind="text", count=count, seconds=seconds, limit=seconds + 10)
        texts = [m["text"] for m in found["messages"]]
        assert len(texts) >= count, f"{user} got {len(texts)} of {count} messages from {peer}; last {texts[-3:]}"
        return texts

    async def expect_text(self, user: str, peer: str, text: str, seconds: float = 20.0) -> None:
        """Wait for this very text, and insist that it came once."""
        found = await self.ask("received", user=user, peer=peer, kind="text", text=text, count=1, seconds=seconds,
                               limit=seconds + 10)
        assert len(found["messages"]) == 1, f"{user} got {len(found['messages'])} copies of {text[:60]!r} from {peer}, expected 1"

    async def sees(self, user: str, peer: str, seconds: float = 10.0, **want: str) -> dict[str, Any]:
        """Wait until a pool user sees this of the partner's user: state, basic, activity, note."""
        seen = await self.ask("seen", user=user, peer=peer, want=want, seconds=seconds, limit=seconds + 10)
        shown = {k: seen[k] for k in ("state", "reason", "basic", "activity", "note", "lost")}
        told = [(n["state"], n["reason"], n.get("basic")) for n in seen["notifies"]]
        assert seen["met"], (f"{user} should see {want} of {peer} within {seconds:.0f} s, sees {shown}; told {told}; "
                             f"answers {[a['code'] for a in seen['answers']]}")
        return seen

    async def watchers(self, user: str, count: int, seconds: float = 10.0, **more: str) -> list[dict[str, Any]]:
        """Wait until this many watch a pool user."""
        found = (await self.ask("watchers", user=user, count=count, seconds=seconds, limit=seconds + 10, **more))["watchers"]
        assert len(found) == count, f"{user} should have {count} watchers {more or ''} within {seconds:.0f} s, has {found}"
        return found

    async def no_violations(self) -> None:
        """Fail with whatever turnout did wrong on the SIP side."""
        found = (await self.ask("violations"))["violations"]
        assert not found, "SIP rules broken:\n    " + "\n    ".join(found[:12])

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stop()
