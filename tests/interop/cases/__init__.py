"""The cases. Importing the modules below registers them; run.py lists and runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Awaitable, Callable

CaseBody = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """One thing to show. `router`: whether turnout takes part; `waits`: it takes long and does little, so it runs beside others."""

    name: str
    about: str
    body: CaseBody
    seconds: float
    router: bool
    waits: bool


CASES: dict[str, Case] = {}


def case(seconds: float = 90.0, router: bool = True, waits: bool = False) -> Callable[[CaseBody], CaseBody]:
    """Register a coroutine function as a case; its docstring's first line says what it shows."""
    def register(body: CaseBody) -> CaseBody:
        name = body.__name__
        assert name not in CASES, f"two cases are called {name}"
        assert body.__doc__, f"case {name} does not say what it shows"
        CASES[name] = Case(name, body.__doc__.strip().splitlines()[0], body, seconds, router, waits)
        return body

    return register


def load() -> dict[str, Case]:
    """All cases, the rig's own first."""
    from . import (bidi, itself, itself_presence, handshakes, tracks, content, refusals, sessions, moves, peers, contacts, presence,  # noqa: F401
                   typing, probing, returns, acks, directory)

    return CASES
