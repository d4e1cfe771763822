"""One presence subscription as the pool holds it, on either side, and the header that tells its state."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .dialog import Dialog
from .message import Message

# What clients of the pool offer, best first.
ACCEPT = "application/msrtc-event-categories+xml, application/xpidf+xml, text/xml+msrtc.pidf, application/pidf+xml"
PLAIN = "application/pidf+xml"


@dataclass
class Subscription:
    """A dialog of SUBSCRIBE and NOTIFY. `state`: pending, active, terminated; empty before the first NOTIFY."""

    dialog: Dialog
    expires: int = 3600
    state: str = ""
    reason: str = ""
    ends: float = 0.0
    accept: str = ACCEPT
    established: bool = False
    # Pool as subscriber: what the last NOTIFY said.
    shown: dict[str, Any] = field(default_factory=dict)

    def extend(self, seconds: int) -> None:
        """The clock starts again."""
        self.ends = time.monotonic() + seconds


def state_of(message: Message) -> tuple[str, dict[str, str]]:
    """The state and the parameters of Subscription-State."""
    state, *rest = message.get("Subscription-State").split(";")
    pairs = [piece.strip().partition("=") for piece in rest]
    return state.strip().lower(), {name.lower(): value for name, _, value in pairs}
