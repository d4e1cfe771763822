"""What is measured. Everybody's turn comes several times, one short after the other, so that a slow minute of a shared machine
falls on all alike; the spans of one peer are put together afterwards."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Callable

from . import peers
from .rig import Failure, Rig

RATES = "2000,10000,100000,50%"
STREAMS = (1, 10, 100, 1000, 10000)
SIZES = (200, 500, 1000, 4096, 16384, 65536)
USERS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SHARES = (0, 25, 50, 75, 100)
# Streams of one domain are 20 at most on the old gateway; so many domains are enough for the most streams.
DOMAINS_MAX = 500
# Its connections have two descriptors each, and 20,000 are what root may have where it may not ask for more.
RELAY_STREAMS_MAX = 9000


@dataclass
class Item:
    """One thing to measure."""

    name: str
    job: str
    setup: Callable[[Rig], dict]
    options: dict = field(default_factory=dict)
    # Whether it is measured once, in spans of its own, rather than in turns.
    once: bool = False
    about: dict = field(default_factory=dict)


def drivers(only: str | None) -> list[str]:
    return [only] if only else ["poll", "io_uring"]


def _turnout(**wish: object) -> Callable[[Rig], dict]:
    def setup(rig: Rig) -> dict:
        return peers.turnout(rig, **wish)
    return setup


def _to_sip(tls: bool, driver: str, share: float = 1.0) -> Callable[[Rig], dict]:
    def setup(rig: Rig) -> dict:
        at = peers.turnout(rig, share_2019=share, sip="tls" if tls else "tcp", driver=driver)
        return {**at, "certs": rig.folder, "pool": "127.0.0.1:15061", "pool_tls": tls}
    return setup


def _from_sip(tls: bool, driver: str) -> Callable[[Rig], dict]:
    def setup(rig: Rig) -> dict:
        peers.turnout(rig, share_2019=1.0, sip="tls" if tls else "tcp", driver=driver)
        return {"target": "127.0.0.1:5061", "verify": peers.PARTNER, "sessions": True, "tls": tls, "certs": rig.folder}
    return setup


def _idle(setup: Callable[[Rig], dict]) -> Callable[[Rig], dict]:
    def without_gateway(rig: Rig) -> dict:
        return {key: value for key, value in setup(rig).items() if key not in ("gateway", "out")}
    return without_gateway


SERVERS: dict[str, Callable[[Rig], dict]] = {
    "prosody": lambda rig: peers.prosody(rig),
    "prosody-generational": lambda rig: peers.prosody(rig, True),
    "ejabberd": lambda rig: peers.ejabberd(rig),
    "ejabberd-no-busy-wait": lambda rig: peers.ejabberd(rig, False),
    "jabberd2": lambda rig: peers.jabberd2(rig),
}


def _throughput(size: int, quick: bool, driver: str | None) -> list[Item]:
    rates = RATES if size == 250 else "50%"
    items = [Item(f"plain.{size}.haproxy", "relay", lambda rig: peers.haproxy(rig), {"size": size, "rates": rates})]
    items += [Item(f"plain.{size}.turnout-{name}", "xmpp", _turnout(driver=name), {"size": size, "rates": rates}) for name in drivers(driver)]
    if not quick:
        items.append(Item(f"plain.{size}.haproxy-splice", "relay", lambda rig: peers.haproxy(rig, splice=True), {"size": size, "rates": "50%"}))
    items.append(Item(f"tls.{size}.haproxy", "relay", lambda rig: peers.haproxy(rig, True, True), {"size": size, "rates": rates}))
    items += [Item(f"tls.{size}.turnout-{name}", "xmpp", _turnout(driver=name, tls=True), {"size": size, "rates": rates}) for name in drivers(driver)]
    if size == 250:
        single = {"size": size, "single": True, "rates": "100000"}
        items.append(Item(f"single.{size}.haproxy", "relay", lambda rig: peers.haproxy(rig), single))
        items += [Item(f"single.{size}.turnout-{name}", "xmpp", _turnout(driver=name), single) for name in drivers(driver)]
        if not quick:
            items.append(Item(f"single-tls.{size}.haproxy", "relay", lambda rig: peers.haproxy(rig, True, True), single))
            items += [Item(f"single-tls.{size}.turnout-{name}", "xmpp", _turnout(driver=name, tls=True), single)
                      for name in drivers(driver)]
    servers = {"jabberd2": SERVERS["jabberd2"]} if quick else SERVERS
    items += [Item(f"plain.{size}.{name}", "xmpp", setup, {"size": size, "rates": "2000,10000,50%" if size == 250 else "50%", "window": 4096})
              for name, setup in servers.items()]
    return items


def _sip(size: int, quick: bool, driver: str | None) -> list[Item]:
    # One text of each of 1,024 sessions at a time: who waits for an answer before the next cannot have more on the way.
    options = {"size": size, "rates": "2000,10000,50%" if size == 250 else "50%", "window": 1024}
    kinds = ["gateway"] if quick else ["gateway", "stateless", "stateful"]
    items = [Item(f"sip.{size}.kamailio-{kind}", "sip", lambda rig, kind=kind: peers.kamailio(rig, kind), options) for kind in kinds]
    for name in drivers(driver):
        for kind, tls in (("tcp", False), ("tls", True)):
            if quick and tls:
                continue
            items.append(Item(f"sip.{size}.turnout-to-{kind}-{name}", "xmpp", _to_sip(tls, name), options))
            items.append(Item(f"sip.{size}.turnout-from-{kind}-{name}", "sip", _from_sip(tls, name), options))
    return items


def _memory(quick: bool) -> list[Item]:
    count = {"count": 500 if quick else 2000, "seconds": 2 if quick else 4}
    items = [Item("idle.turnout-plain", "idle", _idle(_turnout()), count, once=True),
             Item("idle.turnout-tls", "idle", _idle(_turnout(tls=True)), count, once=True)]
    servers = {"jabberd2": SERVERS["jabberd2"]} if quick else {n: SERVERS[n] for n in ("prosody", "ejabberd", "jabberd2")}
    return items + [Item(f"idle.{name}-plain", "idle", _idle(setup), count, once=True) for name, setup in servers.items()]


def _growth(driver: str | None) -> list[Item]:
    name = driver or "auto"
    short = {"seconds": 0.6, "spans": 3}
    items = []
    for users in USERS:
        items.append(Item(f"growth.users.{users}", "xmpp", _turnout(users=users, driver=name), {**short, "users": users}, once=True,
                          about={"x": users}))
    for streams in STREAMS:
        domains = min(streams, DOMAINS_MAX)
        many = {**short, "streams": streams, "batch": min(256, max(16, 16384 // streams))}
        items.append(Item(f"growth.streams.turnout.{streams}", "xmpp", _turnout(domains=domains, driver=name),
                          {**many, "domains": domains}, once=True, about={"x": streams}))
        fewer = min(streams, RELAY_STREAMS_MAX)
        items.append(Item(f"growth.streams.haproxy.{streams}", "relay",
                          lambda rig, fewer=fewer: peers.haproxy(rig, connections=max(2000, fewer + 500)),
                          {**many, "streams": fewer}, once=True, about={"x": fewer}))
    for size in SIZES:
        sized = {**short, "size": size}
        items.append(Item(f"growth.size.turnout.{size}", "xmpp", _turnout(driver=name), sized, once=True, about={"x": size}))
        items.append(Item(f"growth.size.haproxy.{size}", "relay", lambda rig: peers.haproxy(rig), sized, once=True, about={"x": size}))
    for shards in range(1, cores() + 1):
        items.append(Item(f"growth.shards.{shards}", "xmpp", _turnout(shards=shards, domains=16, driver=name),
                          {**short, "streams": 16, "domains": 16}, once=True, about={"x": shards}))
    for share in SHARES:
        items.append(Item(f"growth.share.{share}", "xmpp", _to_sip(False, name, share / 100), {**short, "window": 1024}, once=True,
                          about={"x": share}))
    return items


def cores() -> int:
    import os
    return len(os.sched_getaffinity(0))


def plan(quick: bool, wanted: list[str], driver: str | None) -> list[Item]:
    """All that is to be measured, in order."""
    items = [Item("floor.machine", "floor", lambda rig: {}, {"spans": 3, "seconds": 0.5}, once=True)]
    items.append(Item("floor.generator", "relay", lambda rig: {"target": "127.0.0.1:7001", "sink": "127.0.0.1:7001"}, once=True))
    items += _throughput(250, quick, driver)
    if not quick:
        items += _throughput(2048, quick, driver)
    items += _sip(250, quick, driver)
    if not quick:
        items += _sip(2048, quick, driver)
    items += _memory(quick)
    if not quick or wanted:
        items += _growth(driver)
    return [item for item in items if not wanted or any(part in item.name for part in wanted)]


def run(rig: Rig, items: list[Item], quick: bool, seconds: float, rounds: int) -> dict:
    """Measure it all; gives results by name."""
    rounds = rounds or (2 if quick else 3)
    timing = {"seconds": seconds or (0.4 if quick else 1.0), "spans": 2, "warmup": 0.3, "rate_spans": 1,
              "rate_seconds": seconds or (0.7 if quick else 1.2)}
    results: dict[str, dict] = {}
    items = _without_missing_driver(rig, items)
    groups: dict[str, list[Item]] = {}
    for item in items:
        parts = item.name.split(".")
        groups.setdefault(parts[0] if item.once else f"{parts[0].split('-')[0]} {parts[1]}", []).append(item)
    begun = time.monotonic()
    for members in groups.values():
        for turn in range(1 if members[0].once else rounds):
            for item in members:
                if "failed" in results.get(item.name, {}):
                    continue
                result = _measure(rig, item, {} if item.job in ("floor", "idle") else timing)
                merge(results.setdefault(item.name, dict(item.about)), result)
                told = "  ".join(f"{key} {value}" for key, value in tell(result).items())
                print(f"{time.monotonic() - begun:6.0f} s  {item.name}{'' if item.once else f' ({turn + 1}/{rounds})'}: {told}", flush=True)
    return results


def _without_missing_driver(rig: Rig, items: list[Item]) -> list[Item]:
    """Leave io_uring out where this turnout or this kernel has none."""
    if not any(item.name.endswith("-io_uring") for item in items):
        return items
    try:
        peers.turnout(rig, driver="io_uring")
    except Failure as failure:
        why = [line for line in str(failure).splitlines() if "io_uring" in line]
        print("without io_uring:", (why or [str(failure)])[0].strip(), flush=True)
        return [item for item in items if not item.name.endswith("-io_uring")]
    finally:
        rig.stop()
    return items


def _measure(rig: Rig, item: Item, timing: dict) -> dict:
    try:
        at = item.setup(rig)
        options = {**timing, **at, **item.options}
        if item.job == "floor":
            return rig.load(item.job, **options)
        return rig.load(item.job, pids=rig.pids(), **options)
    except Failure as failure:
        return {"failed": str(failure)[:600]}
    finally:
        rig.stop()


def merge(into: dict, more: dict) -> None:
    """Put the spans of another turn to those that are there."""
    for key, value in more.items():
        if key == "rates":
            for rate in value:
                mine = [old for old in into.setdefault("rates", []) if same(old, rate)]
                if mine:
                    merge(mine[0], rate)
                else:
                    into["rates"].append(dict(rate))
        elif isinstance(value, list):
            into[key] = into.get(key, []) + value
        else:
            into[key] = value


def same(old: dict, new: dict) -> bool:
    return old["share"] == new["share"] and (new["share"] > 0 or old["rate"] == new["rate"])


def tell(result: dict) -> dict[str, str]:
    """The main figures in a line."""
    if "failed" in result:
        return {"FAILED": result["failed"].replace("\n", " / ")[:300]}
    told = {}
    for key in ("per_second", "cpu_s_per_million", "loopback_64k_gb_per_second"):
        if result.get(key):
            told[key] = f"{statistics.median(value for value in result[key] if value is not None):.4g}"
    if "rss_kib_each" in result:
        told["KiB each"] = f"{result['rss_kib_each']:.1f}"
    for rate in result.get("rates", []):
        told[f"@{rate['rate']:.0f}"] = f"{statistics.median(rate['p50_us']):.0f}/{statistics.median(rate['p99_us']):.0f} us"
    return told


if __name__ == "__main__":
    sys.exit("run benches/peers/run")
