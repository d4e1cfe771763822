#!/usr/bin/python3
"""Real servers, numbered messages on every way, and everything breaking: `run.py [--seconds N] [--seed N]`.

A partner's Prosody with acknowledged streams, a Prosody as the legacy gateway, Kamailio before the scripted pool, turnout between them,
in a network namespace of their own. While messages flow, turnout is killed and stopped and started, its connections are reset, go
deaf and become slow, the disk of its spool is filled, Kamailio and the name servers die, the configuration is read anew and a user is moved. At
the end everybody has what was sent to him, or its sender was told, or the ledger says why not (ledger.py). Exit 0: the ledger is good. The
seed chooses what breaks and when.

What is not broken, and why: the partner's server and the pool keep what they were given in memory only, so that nobody could tell a
message they lost from one turnout did; their connections are cut instead.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "interop"), str(Path(__file__).resolve().parent)]

from ledger import Verdict, Way, judge, sent_by_server  # noqa: E402
from rig import estate as estates, netns  # noqa: E402
from rig.client import User  # noqa: E402
from rig.estate import Estate, Plan  # noqa: E402
from rig.turnout import binary  # noqa: E402

LEGACY, MODERN, MOVER = "legacy@contoso.com", "modern@contoso.com", "mover@contoso.com"
# Between two messages of one way.
_PAUSE = 0.1
# What is broken stays so for so long at most.
_AWAY = (0.2, 4.0)
# How late what goes over a slow connection arrives.
_LATE = (0.1, 1.5)
# The disk of the spool, where one can be mounted.
_DISK = "size=8m"
# In the end everything that waits is delivered or bounced within this.
_CALM_SECONDS = 100.0


class Storm:
    """An estate, its ways and what happens to it."""

    def __init__(self, estate: Estate, seed: int, disk: Path | None) -> None:
        self.estate, self.random, self.disk = estate, random.Random(seed), disk
        # How often the disk was filled, and how often turnout said that it cannot write then.
        self.filled = self.failed = 0
        self.broke: list[float] = []
        self.log: list[str] = []
        self.begun = time.monotonic()
        self.over = asyncio.Event()
        names = [("partner-legacy", False), ("partner-2019", True), ("partner-mover", False), ("legacy-partner", False),
                 ("2019-partner", True)]
        self.ways = {name: Way(name, strict) for name, strict in names}
        self._up = asyncio.Lock()

    def note(self, text: str) -> None:
        self.log.append(f"{time.monotonic() - self.begun:7.1f} {text}")

    def breaks(self, text: str) -> None:
        self.broke.append(time.monotonic())
        self.note(text)

    # ---- traffic

    async def write(self, way: str, user: User, to: str) -> None:
        """Messages by XMPP, one after the other, whatever happens."""
        while not self.over.is_set():
            number, text = self.ways[way].next()
            user.say(to, text, id_=f"{way}/{number}")
            await asyncio.sleep(_PAUSE)

    async def write_from_pool(self, way: str, to: str) -> None:
        """Messages by SIP: a 200 is a promise, everything else tells the sender."""
        while not self.over.is_set():
            number, text = self.ways[way].next()
            try:
                answer = await self.estate.pool.say(MODERN, to, text)
                if answer["code"] != 200:
                    self.ways[way].told[number] = str(answer["code"])
            except (AssertionError, asyncio.TimeoutError) as error:
                # No answer at all: the client shows that it failed.
                self.ways[way].told[number] = str(error).rpartition(": ")[2][:60] or "no answer"
            await asyncio.sleep(_PAUSE)

    # ---- what breaks

    async def _away(self) -> None:
        await asyncio.sleep(self.random.uniform(*_AWAY))

    async def _in_thread(self, call: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, call)

    async def kill(self) -> None:
        """turnout dies without a word."""
        self.breaks("turnout is killed")
        await self._in_thread(self.estate.turnout.kill)
        await self._away()
        await self.estate.turnout.start()
        self.breaks("turnout is there again")

    async def stop(self) -> None:
        """turnout is stopped in order."""
        self.breaks("turnout is stopped")
        await self._in_thread(self.estate.turnout.stop)
        await self._away()
        await self.estate.turnout.start()
        self.breaks("turnout is there again")

    async def cut(self) -> None:
        """Connections are reset, with what is in them."""
        name = self.random.choice(["tap_out", "tap_in", "tap_before_outside", "tap_before_inside"])
        self.breaks(f"{name} is cut")
        getattr(self.estate, name).cut()

    async def deaf(self) -> None:
        """Connections take everything and pass nothing on, then they are reset."""
        name = self.random.choice(["tap_out", "tap_before_outside"])
        tap = getattr(self.estate, name)
        self.breaks(f"{name} goes deaf")
        tap.deaf()
        await self._away()
        tap.cut()
        self.breaks(f"{name} is cut")

    async def slow(self) -> None:
        """What goes over a leg arrives late, in both directions; nothing of it is lost."""
        name, late = self.random.choice(["tap_out", "tap_in", "tap_before_outside", "tap_before_inside"]), self.random.uniform(*_LATE)
        self.note(f"{name} is late by {late:.1f} s")
        getattr(self.estate, name).slow(late)
        await self._away()
        getattr(self.estate, name).slow(0.0)

    async def full(self) -> None:
        """Somebody else fills the disk of the spool while the gateway is away; perhaps turnout dies then, too. Then there is room again."""
        if self.disk is None:
            return
        dies, filler = self.random.random() < 0.3, self.disk / "filler"
        self.breaks("tap_in is cut and stays away, and the disk is filled")
        self.estate.tap_in.away(True)
        self.estate.tap_in.cut()
        # It ends when there is no room for another octet.
        await self._in_thread(lambda: subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], check=False, stderr=subprocess.DEVNULL))
        self.filled += 1
        await asyncio.sleep(1.0)
        await self._away()
        self.failed += await self._metric("turnout_spool_disk_failures_total") > 0
        if dies:
            self.breaks("turnout is killed")
            await self._in_thread(self.estate.turnout.kill)
            await self.estate.turnout.start()
            self.breaks("turnout is there again, on a full disk")
            await self._away()
        filler.unlink()
        self.estate.tap_in.away(False)
        self.note("there is room on the disk, and tap_in is there")
        end = time.monotonic() + 10
        while await self._metric("turnout_spool_disk_failing") > 0:
            assert time.monotonic() < end, "there is room on the disk, and turnout does not write"
            await asyncio.sleep(0.2)

    async def _metric(self, name: str) -> float:
        return self.estate.turnout.metric((await self.estate.turnout.get("/metrics", parse=False)).decode(), name)

    async def proxy(self) -> None:
        """The SIP proxy before the pool dies."""
        self.breaks("Kamailio is killed")
        await self._in_thread(lambda: self.estate.proxy.process.stop(signal.SIGKILL))
        await self._away()
        await self.estate.proxy.start()
        self.note("Kamailio is there again")

    async def names(self) -> None:
        """Names cannot be looked up."""
        self.note("the name server stops")
        await self._in_thread(self.estate.dns.stop)
        await self._away()
        await self.estate.dns.start()
        self.note("the name server is there again")

    async def reload(self) -> None:
        """The configuration is read anew."""
        self.note("turnout reads its configuration anew")
        self.estate.turnout.process.send(signal.SIGHUP)

    async def move(self) -> None:
        """A user goes to the other home."""
        home = self.random.choice(["legacy", "sfb2019"])
        self.note(f"the mover goes to {home}")
        try:
            await self.estate.turnout.move(MOVER, home)
        except OSError as error:
            self.note(f"the move failed: {error}")

    async def rage(self, seconds: float, only: list[str]) -> None:
        """Something breaks every few seconds."""
        events: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (3, self.kill), (1, self.stop), (4, self.cut), (2, self.deaf), (2, self.proxy), (1, self.names), (1, self.reload), (3, self.move),
            (2, self.slow), (2, self.full)]
        events = [one for one in events if not only or one[1].__name__ in only]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self.random.uniform(0.5, 4.0))
            [event] = self.random.choices([e for _, e in events], [w for w, _ in events])
            await event()

    # ---- the end

    def told(self, user: User, *ways: str) -> None:
        """Errors a client got, by id."""
        for one in user.inbox:
            way, _, number = one.xml.get("id", "").partition("/")
            if one.kind == "error" and way in ways:
                self.ways[way].told[int(number)] = one.condition

    def arrived(self, texts: list[str], way: str) -> None:
        numbers = (self.ways[way].number(text) for text in texts)
        self.ways[way].arrived = [n for n in numbers if n is not None]

    async def count(self, romeo: User, legacy: User, mover: User) -> None:
        """What everybody has."""
        for user, *ways in ((romeo, "partner-legacy", "partner-2019", "partner-mover"), (legacy, "legacy-partner")):
            self.told(user, *ways)
        said = [r.body for r in romeo.inbox if r.kind != "error"]
        self.arrived(said, "legacy-partner")
        self.arrived(said, "2019-partner")
        self.arrived([r.body for r in legacy.inbox if r.kind != "error"], "partner-legacy")
        self.arrived(await self._of_pool(MODERN, romeo), "partner-2019")
        # The mover reads on two sides: that nothing is overtaken there is another test's matter (`ten_thousand_to_a_moving_user`).
        here = [r.body for r in mover.inbox if r.kind != "error"]
        self.arrived(here + await self._of_pool(MOVER, romeo), "partner-mover")
        self.ways["partner-mover"].arrived.sort()

    def verdicts(self) -> list[Verdict]:
        """What became of every way."""
        # The pool has no log of this kind and no streams either: it sends one after the other. The mover's are sorted already.
        sends = {way: order for server in (self.estate.partner, self.estate.gateway)
                 for way, order in sent_by_server(server.directory / "prosody.log").items() if way != "partner-mover"}
        return [judge(way, self.broke, sends.get(name)) for name, way in self.ways.items()]

    async def _of_pool(self, user: str, romeo: User) -> list[str]:
        found = await self.estate.pool.ask("received", user=user, peer=romeo.bare, kind="text", count=0, seconds=0)
        return [m["text"] for m in found["messages"]]


def _small_disk() -> Path | None:
    """A disk of its own for the spool, gone with this process's namespace. None where the kernel does not allow one."""
    if os.environ.get("TURNOUT_INTEROP_NETNS") != "1":
        return None
    path = Path(tempfile.mkdtemp(prefix="turnout-chaos-disk-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", _DISK, "tmpfs", str(path)], check=False, capture_output=True)
    if mounted.returncode:
        path.rmdir()
        print(f"no disk of its own for the spool: {mounted.stderr.decode().strip()}; it is not filled", flush=True)
        return None
    return path


async def _run(seconds: float, seed: int, only: list[str], disk: Path | None) -> bool:
    plan = Plan(gateway="prosody", partner_acknowledges=True, partner_dialback=False, taps=True, proxy=True,
                presence={"check_seconds": 5, "stale_seconds": 3}, spool="durable", spool_path=str(disk / "spool") if disk else "spool")
    async with Estate(plan) as estate:
        storm = Storm(estate, seed, disk)
        romeo, legacy, mover = await estate.partner_user(), await estate.legacy_user(), await estate.legacy_user("mover")
        await estate.warm(romeo)
        tasks = [asyncio.ensure_future(task) for task in (
            storm.write("partner-legacy", romeo, LEGACY), storm.write("partner-2019", romeo, MODERN),
            storm.write("partner-mover", romeo, MOVER), storm.write("legacy-partner", legacy, romeo.full),
            storm.write_from_pool("2019-partner", romeo.bare))]
        try:
            await storm.rage(seconds, only)
        except BaseException:
            print("\n".join(storm.log))
            raise
        finally:
            storm.over.set()
        await asyncio.gather(*tasks)
        storm.note("calm")
        end = time.monotonic() + _CALM_SECONDS
        while True:
            await storm.count(romeo, legacy, mover)
            verdicts = storm.verdicts()
            missing = [v.way for v in verdicts if v.lost]
            if not missing or time.monotonic() > end:
                break
            await asyncio.sleep(1)
        unaccounted = estate.turnout.metric((await estate.turnout.get("/metrics", parse=False)).decode(), "turnout_stanzas_unaccounted")
        good = all(v.good for v in verdicts) and unaccounted == 0
        if not good or estates.KEEP:
            print("\n".join(storm.log))
        print("\n".join(map(str, verdicts)))
        if storm.filled:
            print(f"the disk was full {storm.filled} times, and turnout could not write {storm.failed} times of these")
        print(f"{len(storm.broke)} times something broke; unaccounted in turnout: {unaccounted:.0f}")
        if estates.KEEP:
            print(f"the estate's files are in {estate.dir}")
        estate.failed = not good
        return good


def main() -> int:
    """Everything; returns the exit code."""
    parser = argparse.ArgumentParser(description="messages through turnout while everything breaks")
    parser.add_argument("--seconds", type=float, default=900.0, help="how long things break (default: 900)")
    parser.add_argument("--seed", type=int, default=None, help="chooses what breaks (default: by the clock, and printed)")
    parser.add_argument("--only", nargs="*", default=[], metavar="WHAT",
                        help="what may break: kill stop cut deaf slow full proxy names reload move (default: all)")
    parser.add_argument("--keep", action="store_true", help="keep the estate's directory, and tell what broke also when all is good")
    options = parser.parse_args()
    netns.enter("--mount")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    estates.KEEP = options.keep
    os.environ.setdefault("RUST_LOG", "info")
    if not binary().exists():
        sys.exit(f"turnout is not built: no {binary()}; run `cargo build` or set TURNOUT_BIN")
    seed = options.seed if options.seed is not None else int(time.time())
    print(f"chaos for {options.seconds:.0f} s, seed {seed}", flush=True)
    disk = _small_disk()
    try:
        good = asyncio.run(_run(options.seconds, seed, options.only, disk))
    finally:
        if disk is not None:
            subprocess.run(["umount", "--lazy", str(disk)], check=False)
            disk.rmdir()
    print("the ledger is good" if good else "the ledger is NOT good")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
