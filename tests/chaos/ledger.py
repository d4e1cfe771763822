"""Who wrote what to whom, and what became of it.

Every message has its way's name and a number. In the end each has arrived, or its sender was told, or the loss is one the promise names:
on a leg without acknowledgements, what lay in the buffers of two kernels when a connection or a process died is gone. What came twice
must have been sent around a time when something broke. And all has arrived in the order in which the sender's server sent it, by that
server's own log where there is one: Prosody 0.12 lets new stanzas overtake those it has queued while a stream is being set up, and sends
what was not acknowledged again behind newer ones.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

# What was sent so long before something broke may have been under way: the spool keeps it for 60 s, a retry takes a few more.
_UNDER_WAY_SECONDS = 70.0
# What lay in buffers then was sent at most so long before, or a moment after, until the other side noticed.
_IN_BUFFERS_SECONDS = (5.0, 3.0)


@dataclass
class Way:
    """One sender and one recipient. `strict`: every hop acknowledges, so nothing may be lost."""

    name: str
    strict: bool
    sent: list[float] = field(default_factory=list)
    told: dict[int, str] = field(default_factory=dict)
    arrived: list[int] = field(default_factory=list)

    def next(self) -> tuple[int, str]:
        """The next message: its number and its text."""
        self.sent.append(time.monotonic())
        number = len(self.sent) - 1
        return number, f"{self.name} {number}"

    def number(self, text: str) -> int | None:
        """The number in a text of this way."""
        name, _, number = text.partition(" ")
        return int(number) if name == self.name and number.isdigit() else None


@dataclass
class Verdict:
    """What is wrong with one way, and what had to be explained."""

    way: str
    sent: int
    arrived: int
    told: Counter[str]
    lost: list[int]
    excused: list[int]
    twice: list[int]
    unexplained: list[int]
    overtaken: list[tuple[int, int]]
    # Of these the sender's server has sent the larger number first.
    sent_so: int

    @property
    def good(self) -> bool:
        """Nothing is wrong."""
        return not (self.lost or self.unexplained or self.overtaken)

    def __str__(self) -> str:
        wrong = "".join(f"; {what}: {found[:8]}" for what, found in (("LOST", self.lost), ("TWICE FOR NO REASON", self.unexplained),
                                                                    ("OVERTAKEN", self.overtaken)) if found)
        why = f"  ({', '.join(f'{count} {what}' for what, count in self.told.most_common(3))})" if self.told else ""
        return (f"{self.way:<18} sent {self.sent:>6}  arrived {self.arrived:>6}  told {self.told.total():>5}  "
                f"lost in buffers {len(self.excused):>4}  twice {len(self.twice):>4}  sent out of order {self.sent_so:>4}{wrong}{why}")


def sent_by_server(log: Path) -> dict[str, list[int]]:
    """What a Prosody has put on its streams to other servers, by way and in its order, repetitions too, as its log says."""
    found: dict[str, list[int]] = defaultdict(list)
    for line in log.read_text(errors="replace").splitlines():
        if "Sending[s2sout]: <message " in line and (name := re.search(r" id='([a-z0-9-]+)/([0-9]+)'", line)):
            found[name[1]].append(int(name[2]))
    return found


def _out_of_order(first: list[int], sends: list[int]) -> list[tuple[int, int]]:
    """Where what arrived is not in the order in which it was sent, if what was sent twice may have arrived from either time."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(sends):
        places[number].append(place)
    wrong, before, last = [], -1, -1
    for number in first:
        later = places[number][bisect_right(places[number], last):]
        if later:
            last = later[0]
        else:
            wrong.append((before, number))
        before = number
    return wrong


def judge(way: Way, broke: list[float], sends: list[int] | None = None) -> Verdict:
    """The end of one way; `broke`: when connections and processes died; `sends`: the order in which the sender's server sent, where it
    is known; otherwise that of the numbers."""
    def near(number: int, before: float, after: float) -> bool:
        return any(way.sent[number] - after <= at <= way.sent[number] + before for at in broke)

    first = list(dict.fromkeys(way.arrived))
    missing = sorted(set(range(len(way.sent))) - set(first) - set(way.told))
    excused = [n for n in missing if not way.strict and near(n, *_IN_BUFFERS_SECONDS)]
    twice = sorted({n for n in first if way.arrived.count(n) > 1})
    by_number = [(a, b) for a, b in zip(first, first[1:]) if b < a]
    overtaken = by_number if sends is None else _out_of_order(first, sends)
    return Verdict(
        way.name, len(way.sent), len(first), Counter(way.told.values()), [n for n in missing if n not in excused], excused, twice,
        [n for n in twice if not near(n, _UNDER_WAY_SECONDS, 3.0)], overtaken, len(by_number) if sends is not None else 0)
