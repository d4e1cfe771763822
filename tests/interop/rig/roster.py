"""A person with contacts: what his client shows of each, what his server says of each subscription, and how often he was asked.

Everything is read from what the client received, in order, so that a case can also say what must never have happened.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from xml.etree import ElementTree

from .client import Received, User, escape

_CLIENT = "{jabber:client}"
_ROSTER = "{jabber:iq:roster}"
_STATES = "{http://jabber.org/protocol/chatstates}"


@dataclass(frozen=True)
class Shown:
    """One resource of a contact as it is shown now."""

    show: str
    status: str
    priority: int


class Roster:
    """Contacts of one user. With `accepting`, subscription requests are granted as they come."""

    def __init__(self, user: User, accepting: bool = False) -> None:
        self.user, self.accepting = user, accepting
        # Prompts seen by clients of this person that are gone.
        self._asked_before: list[str] = []
        self._answered = 0
        self._task = asyncio.ensure_future(self._accept()) if accepting else None

    async def _accept(self) -> None:
        while True:
            prompts = self.prompts()
            for asker in prompts[self._answered:]:
                self.grant(asker)
            self._answered = len(prompts)
            await asyncio.sleep(0.05)

    def again(self, user: User) -> None:
        """The same person with a new stream, after a restart of his server: what he saw is void, prompts count on."""
        self._asked_before = self.prompts()
        self.user = user

    # Doing ---------------------------------------------------------------------------------------------------------------

    def ask(self, contact: str, **attributes: str) -> None:
        """Ask to see a contact."""
        self.presence("subscribe", contact, **attributes)

    def grant(self, contact: str) -> None:
        """Let a contact see us."""
        self.presence("subscribed", contact)

    def deny(self, contact: str) -> None:
        """Refuse, or take back what was granted."""
        self.presence("unsubscribed", contact)

    def drop(self, contact: str) -> None:
        """See no more of a contact."""
        self.presence("unsubscribe", contact)

    def remove(self, contact: str) -> None:
        """Take a contact out of the roster, which ends both directions (RFC 6121 section 2.5)."""
        self.user.raw(f'<iq type="set" id="remove-{escape(contact)}"><query xmlns="jabber:iq:roster">'
                      f'<item jid="{escape(contact)}" subscription="remove"/></query></iq>')

    def presence(self, kind: str, contact: str) -> None:
        """One directed presence stanza."""
        self.user.raw(f'<presence type="{kind}" to="{escape(contact)}"/>')

    def be(self, show: str = "", status: str = "", priority: int | None = None, online: bool = True) -> None:
        """Our own presence, to everybody who may see it."""
        if not online:
            self.user.raw('<presence type="unavailable"/>')
            return
        parts = [f"<show>{show}</show>"] if show else []
        parts += [f"<status>{escape(status)}</status>"] if status else []
        parts += [f"<priority>{priority}</priority>"] if priority is not None else []
        self.user.raw(f"<presence>{''.join(parts)}</presence>")

    def types(self, contact: str, state: str) -> None:
        """A chat state without a body (XEP-0085)."""
        self.user.raw(f'<message to="{escape(contact)}" type="chat"><{state} xmlns="{_STATES[1:-1]}"/></message>')

    # Seeing --------------------------------------------------------------------------------------------------------------

    def _presences(self, contact: str) -> list[Received]:
        return [r for r in self.user.inbox if r.name == "presence" and r.sender.split("/")[0] == contact]

    def shown(self, contact: str) -> dict[str, Shown]:
        """Resources of a contact that are shown as available."""
        return shown_in(self._presences(contact))

    def everybody(self) -> dict[str, dict[str, Shown]]:
        """The same of all contacts at once; those who are gone are left out."""
        rows: dict[str, list[Received]] = {}
        for one in self.user.inbox:
            if one.name == "presence" and one.sender.split("/")[0] != self.user.bare:
                rows.setdefault(one.sender.split("/")[0], []).append(one)
        every = {contact: shown_in(row) for contact, row in rows.items()}
        return {contact: shown for contact, shown in every.items() if shown}

    def told(self, contact: str) -> list[str]:
        """Types of all presence from a contact, in order; "available" for those without."""
        return [r.kind or "available" for r in self._presences(contact)]

    def count(self, contact: str, kind: str) -> int:
        """How often a contact sent this type of presence."""
        return self.told(contact).count(kind)

    def prompts(self, contact: str = "") -> list[str]:
        """Who asked to see us, once for every time."""
        asked = [r.sender.split("/")[0] for r in self.user.inbox if r.name == "presence" and r.kind == "subscribe"]
        return [a for a in self._asked_before + asked if contact in ("", a)]

    def states(self, contact: str) -> list[str]:
        """Chat states from a contact, in order."""
        return [child.tag[len(_STATES):] for r in self.user.inbox if r.name == "message" and r.sender.split("/")[0] == contact
                for child in r.xml if child.tag.startswith(_STATES)]

    async def server_says(self) -> dict[str, str]:
        """The roster as the server has it now: contact to none, to, from, both, with "+ask" while ours is not answered."""
        ident = f"roster-{time.monotonic_ns()}"
        self.user.raw(f'<iq type="get" id="{ident}"><query xmlns="jabber:iq:roster"/></iq>')
        answer = await self.user.expect(lambda r: r.name == "iq" and r.xml.get("id") == ident, 10, "the roster")
        return {item.get("jid", ""): item.get("subscription", "none") + ("+ask" if item.get("ask") else "")
                for item in answer.xml.iter(f"{_ROSTER}item")}

    # Waiting -------------------------------------------------------------------------------------------------------------

    async def sees(self, contact: str, seconds: float = 10.0, show: str | None = None, status: str | None = None,
                   resources: int | None = None) -> dict[str, Shown]:
        """Wait until a contact is shown as available: on so many resources, the foremost with this show and status."""
        def good() -> bool:
            shown = self.shown(contact)
            first = max(shown.values(), key=lambda s: s.priority, default=None)
            return first is not None and show in (None, first.show) and status in (None, first.status) and (
                resources in (None, len(shown)))

        wanted = ", ".join(f"{k} {v!r}" for k, v in (("show", show), ("status", status), ("resources", resources)) if v is not None)
        await self._until(good, seconds, f"should see {contact} available {wanted}", contact)
        return self.shown(contact)

    async def misses(self, contact: str, seconds: float = 10.0) -> None:
        """Wait until nothing of a contact is shown as available."""
        await self._until(lambda: not self.shown(contact), seconds, f"should see {contact} gone", contact)

    async def hears(self, contact: str, kind: str, seconds: float = 10.0, times: int = 1) -> None:
        """Wait for presence of a type, so many in all."""
        await self._until(lambda: self.count(contact, kind) >= times, seconds, f"should hear {kind} of {contact} {times} times", contact)

    async def subscription(self, contact: str, wanted: str, seconds: float = 10.0) -> None:
        """Wait until our server has this subscription with a contact; "" when it is not in the roster."""
        end = time.monotonic() + seconds
        while (has := (await self.server_says()).get(contact, "")) != wanted:
            assert time.monotonic() < end, f"{self.user.bare}: subscription with {contact} should be {wanted!r}, is {has!r}"
            await asyncio.sleep(0.2)

    async def types_seen(self, contact: str, state: str, seconds: float = 10.0, times: int = 1) -> None:
        """Wait for a chat state."""
        end = time.monotonic() + seconds
        while (seen := self.states(contact)).count(state) < times:
            assert time.monotonic() < end, f"{self.user.bare} should get {state} of {contact} {times} times, got {seen}"
            await asyncio.sleep(0.05)

    async def _until(self, good, seconds: float, what: str, contact: str) -> None:
        end = time.monotonic() + seconds
        while not good():
            assert time.monotonic() < end, (f"{self.user.full} {what} within {seconds:.0f} s, sees {self.shown(contact)}; "
                                            f"told {self.told(contact)[-8:]}")
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Answer no more."""
        if self._task is not None:
            self._task.cancel()


def shown_in(presences: list[Received]) -> dict[str, Shown]:
    """What is left of a row of presence stanzas of one contact."""
    shown: dict[str, Shown] = {}
    for one in presences:
        resource = one.sender.partition("/")[2]
        if one.kind == "":
            shown[resource] = _shown(one.xml)
        elif one.kind in ("unavailable", "error") and resource:
            shown.pop(resource, None)
        elif one.kind in ("unavailable", "error"):
            shown.clear()
    return shown


def _shown(xml: ElementTree.Element) -> Shown:
    priority = xml.findtext(f"{_CLIENT}priority") or "0"
    return Shown(xml.findtext(f"{_CLIENT}show") or "", xml.findtext(f"{_CLIENT}status") or "", int(priority))
