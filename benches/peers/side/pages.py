"""docs/performance.md and its plots, out of one record. What people write about it is in benches/peers/notes.md and stays."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from pathlib import Path

from . import svg, targets
from .targets import median, ratio_text

DRIVERS = ("poll", "io_uring")
NAMES = {
    "haproxy": "HAProxy", "haproxy-splice": "HAProxy, splice", "prosody": "Prosody", "prosody-generational": "Prosody, generational GC",
    "ejabberd": "ejabberd", "ejabberd-no-busy-wait": "ejabberd, no busy wait", "jabberd2": "jabberd2",
    "turnout-poll": "**turnout** (poll)", "turnout-io_uring": "**turnout** (io_uring)",
    "kamailio-gateway": "Kamailio, `xmpp` gateway (SIP → XMPP)", "kamailio-stateless": "Kamailio, stateless (SIP → SIP)",
    "kamailio-stateful": "Kamailio, stateful (SIP → SIP)",
}
WAYS = {"plain": "plain", "tls": "TLS → TLS"}


def circumstances(root: Path, turnout: Path, packages: list[str]) -> dict:
    """Machine, kernel, versions."""
    def say(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
        return done.stdout.strip()

    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    model = cpu.group(1).strip() if cpu else platform.machine()
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text()).group(1)) // 1024 // 1024
    cores = len(os.sched_getaffinity(0))
    lines = say("dpkg-query", "-W", "-f=${Package} ${Version}\n", *packages).splitlines()
    system = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    return {"machine": f"{model}, {cores} cores, {memory} GiB", "slug": f"{re.sub('[^a-z0-9]+', '-', model.lower()).strip('-')}-{cores}",
            "kernel": f"Linux {platform.release().split('-')[0]}", "system": system.group(1) if system else "Linux",
            "versions": dict(line.split(" ", 1) for line in lines if " " in line), "rust": say("rustc", "--version"),
            "turnout": say(str(turnout), "--version"),
            "commit": say("git", "rev-parse", "--short=12", "HEAD") + (" and changes" if say("git", "status", "--porcelain", "-uno") else "")}


def spread(values: list[float], unit: float = 1.0, digits: int = 3) -> str:
    """Median (least..greatest)."""
    def short(value: float) -> str:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"

    values = [value / unit for value in values]
    return f"{short(statistics.median(values))} ({short(min(values))}..{short(max(values))})" if values else "–"


def short_time(us: float) -> str:
    return f"{us / 1000:.3g} ms" if us >= 1000 else f"{us:.3g} µs"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def at_share(result: dict) -> dict | None:
    return next((rate for rate in result.get("rates", []) if rate["share"]), None)


def named(key: str) -> tuple[str, str, str]:
    kind, size, peer = key.split(".", 2)
    return kind, size, peer


def throughput(results: dict, kinds: tuple[str, ...]) -> str:
    rows = []
    for key, result in results.items():
        if key.split(".")[0] not in kinds or key.count(".") != 2:
            continue
        kind, size, peer = named(key)
        label = NAMES.get(peer, peer.replace("turnout-", "**turnout** ").replace("-", " "))
        if "failed" in result:
            rows.append([label, WAYS.get(kind, kind), size, f"failed: {result['failed'].splitlines()[0][:90]}", "", "", "", "", "", ""])
            continue
        half = at_share(result)
        rows.append([label, WAYS.get(kind, kind), size, spread(result["per_second"]), spread(result["mb_per_second"]),
                     spread(result["cpu_s_per_million"]), f"{median(result['cores']):.2f}", f"{result.get('pss_kib', 0) / 1024:.0f}",
                     f"{short_time(median(half['p50_us']))} / {short_time(median(half['p99_us']))}" if half else "–",
                     f"{median(half['cpu_s_per_million']):.3g}" if half else "–"])
    return table(["peer", "way", "bytes", "max stanzas/s (min..max)", "MB/s", "CPU-s/M at max", "cores", "PSS MiB", "p50 / p99 at 50 %",
                  "CPU-s/M at 50 %"], rows)


def fixed(results: dict) -> str:
    rows = []
    for key, result in results.items():
        if key.split(".")[0] not in ("plain", "tls", "sip") or key.count(".") != 2:
            continue
        kind, size, peer = named(key)
        cells = []
        for wanted in (2000, 10000, 100000):
            rate = next((r for r in result.get("rates", []) if not r["share"] and r["rate"] == wanted), None)
            cells.append(f"{short_time(median(rate['p50_us']))} / {short_time(median(rate['p99_us']))} / "
                         f"{median(rate['cpu_s_per_million']):.3g}" if rate else "–")
        if any(cell != "–" for cell in cells):
            rows.append([NAMES.get(peer, peer.replace("turnout-", "**turnout** ").replace("-", " ")), WAYS.get(kind, kind), size, *cells])
    return table(["peer", "way", "bytes", "2,000/s", "10,000/s", "100,000/s"], rows)


def single(results: dict) -> str:
    rows = []
    for key, result in results.items():
        if not key.startswith("single"):
            continue
        kind, _, peer = named(key)
        if "failed" in result:
            rows.append([NAMES.get(peer, peer), kind, result["failed"][:90], "", ""])
            continue
        paced = next((r for r in result.get("rates", []) if r["rate"] == 100000), None)
        rows.append([NAMES.get(peer, peer), "TLS → TLS, a record each" if "tls" in kind else "plain", spread(result["per_second"]),
                     spread(result["cpu_s_per_million"]), spread(paced["cpu_s_per_million"]) if paced else "–"])
    return table(["peer", "way", "flood, stanzas/s", "CPU-s/M then", "CPU-s/M at 100,000/s"], rows)


def idle(results: dict) -> str:
    rows = [[key.split(".")[1].replace("-", ", "), f"{result['rss_kib_each']:.1f}" if "failed" not in result else result["failed"][:90]]
            for key, result in results.items() if key.startswith("idle.")]
    return table(["peer", "KiB a stream (growth of RSS)"], rows)


def floors(results: dict) -> str:
    floor = results.get("floor.machine", results.get("floor", {}))
    rows = [[key.replace("_", " "), spread(value)] for key, value in floor.items() if isinstance(value, list)]
    alone = results.get("floor.generator", {})
    if alone.get("per_second"):
        rows.append(["the generator by itself, 250 bytes, stanzas/s", spread(alone["per_second"])])
    return table(["floor", "median (min..max)"], rows)


def others(results: dict) -> str:
    """How much of the machine somebody else had meanwhile."""
    taken = sorted(value for result in results.values() for value in result.get("other_cores", []))
    if not taken:
        return ""
    return (f"Of the machine's cores others took {statistics.median(taken):.2f} in the middle of the spans and {taken[len(taken) * 9 // 10]:.2f} "
            "or more in a tenth of them (the host's included).")


def growth(results: dict, name: str) -> list[tuple[float, float, dict]]:
    rows = [(result["x"], median(result["per_second"]), result) for key, result in results.items()
            if key.startswith(f"growth.{name}.") and "failed" not in result and result.get("per_second")]
    return sorted(rows, key=lambda row: row[0])


def growth_table(results: dict) -> str:
    rows = []
    for name, title in (("users", "users"), ("streams.turnout", "partner streams"), ("streams.haproxy", "connections, HAProxy"),
                        ("size.turnout", "bytes a stanza"), ("size.haproxy", "bytes a stanza, HAProxy"), ("shards", "shards"),
                        ("share", "percent of users on 2019")):
        for x, rate, result in growth(results, name):
            rows.append([title, f"{x:,}", f"{rate:,.0f}", f"{median(result['mb_per_second']):,.0f}",
                         f"{median(result['cpu_s_per_million']):.3g}", f"{result.get('rss_kib', 0) / 1024:,.0f}"])
        for key, result in results.items():
            if key.startswith(f"growth.{name}.") and "failed" in result:
                rows.append([title, f"{result['x']:,}", f"failed: {result['failed'].splitlines()[0][:90]}", "", "", ""])
    return table(["what grows", "to", "stanzas/s", "MB/s", "CPU-s/M", "RSS MiB"], rows)


def plots(results: dict) -> dict[str, str]:
    def rows(kind: str, of: str) -> list[tuple[str, float, int]]:
        found = []
        for key, result in results.items():
            if key.startswith(f"{kind}.250.") and result.get(of):
                peer = named(key)[2]
                colour = 0 if peer.startswith("turnout") else 1 if peer.startswith(("haproxy", "kamailio")) else 7
                found.append((NAMES.get(peer, peer).replace("*", "").replace("`", ""), median(result[of]), colour))
        return found

    def label(text: str, which: str) -> list[tuple[str, float, int]]:
        return [(f"{name}, {text}", value, colour) for name, value, colour in rows(text if text != "TLS" else "tls", which)]

    drawn = {
        "throughput.svg": svg.bars("Stanzas a second, one stream, 250 bytes", "stanzas/s", label("plain", "per_second") + label("TLS", "per_second")),
        "cpu.svg": svg.bars("CPU seconds a million stanzas, at the maximum, 250 bytes", "CPU-s/M",
                            label("plain", "cpu_s_per_million") + label("TLS", "cpu_s_per_million")),
        "sip.svg": svg.bars("Messages a second with SIP on one side, 250 bytes", "messages/s", rows("sip", "per_second")),
        "sip-cpu.svg": svg.bars("CPU seconds a million messages with SIP on one side, 250 bytes", "CPU-s/M", rows("sip", "cpu_s_per_million")),
        "memory.svg": svg.bars("An idle, authenticated inbound stream", "KiB", [
            (key.split(".")[1].replace("-", ", "), result["rss_kib_each"], 0 if "turnout" in key else 7)
            for key, result in results.items() if key.startswith("idle.") and "failed" not in result]),
    }
    for kind, title in (("plain", "plain"), ("tls", "TLS on both sides")):
        series, drawn_as = [], {"turnout-io_uring": 0, "haproxy": 1, "turnout-poll": 6}
        for key, result in results.items():
            if not key.startswith(f"{kind}.250."):
                continue
            colour = drawn_as.setdefault(named(key)[2], 2 + (len(drawn_as) - 3) % 4)
            points = sorted(result.get("rates", []), key=lambda rate: rate["rate"])
            name = NAMES.get(named(key)[2], named(key)[2]).replace("*", "")
            if "splice" in key or not points:
                continue
            for which, dashed in (("p50_us", False), ("p99_us", True)):
                series.append((f"{name} {which[:3]}", [(r["rate"], median(r[which])) for r in points], colour, dashed))
        drawn[f"latency-{kind}.svg"] = svg.lines(f"From due to delivered, {title}, 250 bytes", "stanzas a second", "µs", series)
    turnout, haproxy = ("turnout", 0, False), ("HAProxy", 1, False)

    def curve(parts: list[tuple[str, tuple[str, int, bool]]], per_byte: bool = False) -> list:
        return [(label, [(x, median(r["mb_per_second"]) if per_byte else rate) for x, rate, r in growth(results, name)], colour, dashed)
                for name, (label, colour, dashed) in parts]

    drawn["growth-users.svg"] = svg.lines("Growing directory, random recipients", "users", "stanzas/s", curve([("users", turnout)]), y_log=False)
    drawn["growth-streams.svg"] = svg.lines("Growing number of partner streams", "streams", "stanzas/s",
                                            curve([("streams.turnout", turnout), ("streams.haproxy", haproxy)]))
    drawn["growth-size.svg"] = svg.lines("Growing stanzas", "bytes", "MB/s", curve([("size.turnout", turnout), ("size.haproxy", haproxy)], True))
    drawn["growth-shards.svg"] = svg.lines("Shards, 16 streams", "shards", "stanzas/s", curve([("shards", turnout)]), False, False)
    drawn["growth-share.svg"] = svg.lines("Share of users on 2019", "percent", "stanzas/s", curve([("share", turnout)]), False, True)
    return drawn


def write(root: Path, record: dict, name: str) -> None:
    """Everything that people read."""
    results = record["results"]
    folder = root / "docs" / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in plots(results).items():
        (folder / file).write_text(text)
    notes = root / "benches" / "peers" / "notes.md"
    page = (Path(__file__).with_name("page.md")).read_text()
    versions = ", ".join(f"{package} {version}" for package, version in sorted(record["versions"].items())
                         if package not in ("gcc", "libc6-dev", "util-linux", "kamailio-xmpp-modules", "dnsmasq-base"))
    values = {
        "record": name, "machine": record["machine"], "system": f"{record['system']}, {record['kernel']}", "begun": record["begun"],
        "minutes": f"{record['minutes']} minutes" + (f"; {record['remark']}" if record.get("remark") else ""), "turnout": f"{record['turnout']} at {record['commit']}, {record['rust']}", "versions": versions,
        "targets": table(["what", "to reach", "reached", "in figures"], targets.rows(results)),
        "notes": notes.read_text().strip() if notes.exists() else "", "throughput": throughput(results, ("plain", "tls")),
        "fixed": fixed(results), "single": single(results), "sip": throughput(results, ("sip",)), "idle": idle(results),
        "others": others(results), "growth": growth_table(results), "floors": floors(results),
    }
    for key, value in values.items():
        page = page.replace("{{" + key + "}}", value.strip())
    (root / "docs" / "performance.md").write_text(page)
    print(f"wrote docs/performance.md and {len(plots(results))} plots from {name}")
    for row in targets.rows(results):
        print("  " + re.sub(r"[*`]", "", " | ".join(row)))


__all__ = ["circumstances", "ratio_text", "write"]
