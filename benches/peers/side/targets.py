"""The figures that were to be reached, held against what was measured, as ratios within one run."""

from __future__ import annotations

import statistics

DRIVERS = ("io_uring", "poll")
SERVERS = ("prosody", "prosody-generational", "ejabberd", "ejabberd-no-busy-wait", "jabberd2")


def median(values: list[float]) -> float:
    """The middle; 0 of nothing."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else 0.0


def ratio_text(value: float) -> str:
    """A ratio as people say it."""
    return f"{value:.0f} ×" if value >= 20 else f"{value:.2g} ×"


def rate_of(results: dict, key: str) -> float:
    """The middle of the maximum."""
    return median(results.get(key, {}).get("per_second", []))


def cpu_of(results: dict, key: str) -> float:
    """The middle of the CPU seconds a million, at the maximum."""
    return median(results.get(key, {}).get("cpu_s_per_million", []))


def best(results: dict, start: str) -> tuple[str, float]:
    """The driver that does more, and how much."""
    found = [(driver, rate_of(results, f"{start}-{driver}")) for driver in DRIVERS]
    return max(found, key=lambda pair: pair[1])


def verdict(value: float, reach: float, upper: bool = False) -> str:
    """Whether it was reached."""
    return "yes" if (value <= reach if upper else value >= reach) else "**no**"


def _throughput(results: dict, title: str, mine: str, theirs: str, reach: float, aim: str) -> list[str]:
    driver, rate = best(results, mine)
    other = rate_of(results, theirs)
    if not rate or not other:
        return [title, f"≥ {reach} ×{aim}", "not measured", ""]
    return [title, f"≥ {reach} ×{aim}", f"{verdict(rate / other, reach)}: {ratio_text(rate / other)}",
            f"{rate:,.0f} ({driver}) : {other:,.0f} stanzas/s; CPU-s/M {cpu_of(results, f'{mine}-{driver}'):.3g} : {cpu_of(results, theirs):.3g}"]


def at_rate(results: dict, key: str, rate: int) -> dict | None:
    """What was measured at a fixed rate."""
    return next((r for r in results.get(key, {}).get("rates", []) if not r["share"] and r["rate"] == rate), None)


def _single(results: dict) -> list[str]:
    title, theirs = "one write per stanza, at 100,000/s: CPU per stanza, of HAProxy's", at_rate(results, "single.250.haproxy", 100_000)
    found = [(driver, at_rate(results, f"single.250.turnout-{driver}", 100_000)) for driver in DRIVERS]
    found = [(driver, median(r["cpu_s_per_million"])) for driver, r in found if r]
    if not theirs or not found:
        return [title, "≤ 1.2 ×", "not measured", ""]
    driver, cpu = min(found, key=lambda pair: pair[1])
    other = median(theirs["cpu_s_per_million"])
    return [title, "≤ 1.2 ×", f"{verdict(cpu / other, 1.2, True)}: {ratio_text(cpu / other)}", f"{cpu:.3g} ({driver}) : {other:.3g} CPU-s/M"]


def _latency(results: dict, which: str, reach: float) -> list[str]:
    title = f"latency at 10,000/s, {which}, of HAProxy's"
    theirs = at_rate(results, "plain.250.haproxy", 10_000)
    found = [(driver, at_rate(results, f"plain.250.turnout-{driver}", 10_000)) for driver in DRIVERS]
    found = [(driver, median(r[f"{which}_us"])) for driver, r in found if r]
    if not theirs or not found:
        return [title, f"≤ {reach} ×", "not measured", ""]
    driver, time = min(found, key=lambda pair: pair[1])
    other = median(theirs[f"{which}_us"])
    return [title, f"≤ {reach} ×", f"{verdict(time / other, reach, True)}: {ratio_text(time / other)}", f"{time:.0f} ({driver}) : {other:.0f} µs"]


def _idle(results: dict, way: str, reach: float) -> list[str]:
    result = results.get(f"idle.turnout-{way}", {})
    title = f"memory of an idle inbound stream, {way}"
    if "rss_kib_each" not in result:
        return [title, f"≤ {reach} KiB", "not measured", ""]
    each = result["rss_kib_each"]
    return [title, f"≤ {reach:.0f} KiB", f"{verdict(each, reach, True)}: {each:.1f} KiB", f"growth over {result['streams']:.0f} streams"]


def _directory(results: dict) -> list[str]:
    few, many = results.get("growth.users.1000", {}), results.get("growth.users.10000000", {})
    title = "memory of the directory, 10 million users"
    if not few.get("rss_kib") or not many.get("rss_kib"):
        return [title, "≤ 45 bytes a user", "not measured", ""]
    each = (many["rss_kib"] - few["rss_kib"]) * 1024 / 1e7
    return [title, "≤ 45 bytes a user", f"{verdict(each, 45, True)}: {each:.0f} bytes", "growth of RSS since 1,000 users, after loading"]


def _drivers(results: dict) -> list[str]:
    ratios = {}
    for key in results:
        if key.endswith("-io_uring"):
            mine, other = rate_of(results, key), rate_of(results, key.removesuffix("io_uring") + "poll")
            if mine and other:
                ratios[key.replace("-io_uring", "").replace("turnout", "").strip(".-")] = mine / other
    if not ratios:
        return ["`io_uring` against `poll`, maximum", "≥ 0.95 ×", "not measured", "there is no io_uring driver to measure"]
    worst, most = min(ratios, key=ratios.get), max(ratios, key=ratios.get)
    return ["`io_uring` against `poll`, maximum", "≥ 0.95 ×", f"{verdict(ratios[worst], 0.95)}: {ratio_text(ratios[worst])} at the least ({worst})",
            f"{ratio_text(ratios[most])} at the most ({most})"]


def rows(results: dict) -> list[list[str]]:
    """The table."""
    fastest = max(SERVERS, key=lambda name: rate_of(results, f"plain.250.{name}"))
    found = [
        _throughput(results, "plain, one partner stream, of HAProxy's", "plain.250.turnout", "plain.250.haproxy", 0.7, ", aim 1.0"),
        _throughput(results, f"the same, of the fastest XMPP server ({fastest})", "plain.250.turnout", f"plain.250.{fastest}", 40, ""),
        _throughput(results, "TLS in, TLS out, of HAProxy's", "tls.250.turnout", "tls.250.haproxy", 0.7, ", aim 1.0"),
        _single(results),
        _throughput(results, "2 KiB stanzas, plain, of HAProxy's", "plain.2048.turnout", "plain.2048.haproxy", 0.8, ""),
    ]
    for way, title in (("to", "XMPP → SIP"), ("from", "SIP → XMPP")):
        found.append(_throughput(results, f"{title}, session MESSAGE and its 200, of Kamailio's gateway", f"sip.250.turnout-{way}-tcp",
                                 "sip.250.kamailio-gateway", 5, ", aim 10"))
    found += [_latency(results, "p50", 1.2), _latency(results, "p99", 1.5), _idle(results, "plain", 6), _idle(results, "tls", 32),
              _directory(results)]
    users = [rate_of(results, f"growth.users.{count}") for count in (1_000, 10_000_000)]
    if all(users):
        found.append(["socket to socket with 10 million users, random recipients, of that with 1,000", "≥ 0.6 × (in memory)",
                      f"{verdict(users[1] / users[0], 0.6)}: {ratio_text(users[1] / users[0])}", f"{users[1]:,.0f} : {users[0]:,.0f} stanzas/s"])
    found.append(_drivers(results))
    return found
