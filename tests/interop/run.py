#!/usr/bin/python3
"""Runs the interop cases: `run.py [CASE…] [--list] [--turnout PATH]`.

One line a case: ok or FAIL, its name, its seconds. The exit code is 0 when every case was ok, 1 when one failed, 2 for wrong usage.
A CASE may be a pattern (`dialback*`). Those that wait more than they work run
beside the others, in a network of their own. Needs the peers (see tests/run) and Linux; root, or user namespaces, for private resolv.conf.
"""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import os
import signal
import subprocess
import sys
import textwrap
import time
import traceback
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)

import cases  # noqa: E402
from cases import Case  # noqa: E402
from rig import estate as estates, netns  # noqa: E402
from rig.turnout import binary  # noqa: E402


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="interop cases of turnout against real peers")
    parser.add_argument("case", nargs="*", help="names or patterns; all without any")
    parser.add_argument("--list", action="store_true", help="list the cases and what each shows")
    parser.add_argument("--turnout", metavar="PATH", help="the program under test (default: TURNOUT_BIN or target/debug/turnout)")
    parser.add_argument("--rig-only", action="store_true", help="only cases that need no turnout")
    parser.add_argument("--bypass", action="store_true", help="leave turnout out: shows which cases of the legacy track the peers pass "
                                                              "by themselves (the others fail)")
    parser.add_argument("--keep", action="store_true", help="keep the directories of estates")
    parser.add_argument("--quiet", action="store_true", help="no logs on failure")
    parser.add_argument("--beside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _chosen(options: argparse.Namespace) -> list[Case]:
    every = cases.load()
    if options.case:
        names = [n for n in every if any(fnmatch.fnmatch(n, pattern) for pattern in options.case)]
        missing = [p for p in options.case if not any(fnmatch.fnmatch(n, p) for n in every)]
        if missing:
            sys.exit(f"no such case: {', '.join(missing)}; --list shows all")
    else:
        names = list(every)
    return [every[n] for n in names if not (options.rig_only and every[n].router)]


def _beside(chosen: list[Case]) -> subprocess.Popen[bytes]:
    """Runs these in a process, and a network, of their own; it prints its own lines."""
    options = [word for word in sys.argv[1:] if word.startswith("--") and word != "--turnout" and "=" not in word]
    print(f"beside: {', '.join(one.name for one in chosen)}", flush=True)
    return subprocess.Popen([sys.executable, sys.argv[0], *options, "--beside", *(one.name for one in chosen)], env=netns.outside())


def _run(one: Case, quiet: bool) -> bool:
    begun = time.monotonic()
    estates.LAST_REPORT = ""
    try:
        asyncio.run(asyncio.wait_for(one.body(), one.seconds))
        failure = ""
    except TimeoutError as error:
        # asyncio's own has no text; ours say what did not happen.
        failure = str(error) or f"not done after {one.seconds:.0f} s"
    except (AssertionError, FileNotFoundError, RuntimeError) as error:
        failure = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a case may fail in any way; the run goes on
        failure = traceback.format_exc()
    seconds = time.monotonic() - begun
    told = f"{'FAIL' if failure else 'ok  '} {one.name:<40} {seconds:6.1f} s"
    if failure:
        told += "\n" + textwrap.indent(failure, "     ")
        if estates.LAST_REPORT and not quiet:
            told += "\n" + textwrap.indent(estates.LAST_REPORT, "     | ")
    # In one piece: others may print at the same time.
    print(told, flush=True)
    return not failure


def main() -> int:
    """Everything; returns the exit code."""
    options = _options()
    if options.turnout:
        os.environ["TURNOUT_BIN"] = os.path.abspath(options.turnout)
    estates.KEEP, estates.BYPASS = options.keep, options.bypass
    chosen = _chosen(options)
    if options.list:
        for one in chosen:
            print(f"{one.name:<40} {one.about}")
        return 0
    netns.enter()
    # Whoever ends us ends our peers too: the interrupt unwinds through every estate.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not options.bypass and any(c.router for c in chosen) and not binary().exists():
        print(f"note: no {binary()}; every case that needs turnout will fail. Build it, or say --turnout PATH.", file=sys.stderr)
    waiting = [c for c in chosen if c.waits]
    aside = None
    if not options.beside and waiting and len(waiting) < len(chosen):
        chosen = [c for c in chosen if not c.waits]
        aside = _beside(waiting)
    try:
        failed = [c.name for c in chosen if not _run(c, options.quiet)]
        if options.beside:
            return min(len(failed), 255)
        count = len(failed)
        if aside is not None:
            count += abs(aside.wait())
    except KeyboardInterrupt:
        if aside is not None:
            aside.terminate()
            aside.wait()
        raise
    every = len(chosen) + (len(waiting) if aside is not None else 0)
    print(f"{every - count} of {every} ok" + (f"; failed: {', '.join(failed) or 'see above'}" if count else ""))
    return 1 if count else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
