"""A person: a slixmpp client logged in to one of the rig's servers.

Everything it receives is kept in order, as the XML that came, so that a case can compare whole stanzas and not only texts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Callable
from xml.etree import ElementTree

# Before the import: slixmpp remarks on its string preparation while it is loaded.
logging.getLogger("slixmpp").setLevel(logging.CRITICAL)

import slixmpp  # noqa: E402
from slixmpp.xmlstream.handler import Callback  # noqa: E402
from slixmpp.xmlstream.matcher import MatchXPath  # noqa: E402

from .server import Server  # noqa: E402


@dataclass
class Received:
    """One stanza as it came off the client's stream."""

    name: str
    xml: ElementTree.Element

    @property
    def body(self) -> str:
        """The text of the first body, or nothing."""
        return self.xml.findtext("{jabber:client}body") or ""

    @property
    def sender(self) -> str:
        """The full JID it came from."""
        return self.xml.get("from", "")

    @property
    def kind(self) -> str:
        """The type attribute as written; empty where absent."""
        return self.xml.get("type", "")

    @property
    def condition(self) -> str:
        """The defined condition of an error stanza, or nothing."""
        error = self.xml.find("{jabber:client}error")
        if error is None:
            return ""
        for child in error:
            space, _, name = child.tag[1:].partition("}")
            if space == "urn:ietf:params:xml:ns:xmpp-stanzas" and name != "text":
                return name
        return ""

    def canonical(self) -> str:
        """The stanza in canonical XML, for comparing infosets."""
        return canonical(ElementTree.tostring(self.xml, encoding="unicode"))


class User:
    """One logged-in resource."""

    def __init__(self, server: Server, name: str, resource: str = "rig") -> None:
        self.server, self.name, self.resource = server, name, resource
        self.inbox: list[Received] = []
        self._news = asyncio.Event()
        self._client: slixmpp.ClientXMPP | None = None

    @property
    def bare(self) -> str:
        """user@domain"""
        return f"{self.name}@{self.server.domain}"

    @property
    def full(self) -> str:
        """user@domain/resource"""
        return f"{self.bare}/{self.resource}"

    async def login(self, seconds: float = 20.0) -> "User":
        """Make the account, connect, send initial presence."""
        await self.server.add_user(self.name, "secret")
        client = slixmpp.ClientXMPP(self.full, "secret")
        client["feature_mechanisms"].unencrypted_plain = True
        client["feature_mechanisms"].unencrypted_scram = True
        client.whitespace_keepalive = False
        # Cases answer subscription requests themselves.
        client.auto_authorize = None
        client.auto_subscribe = False
        client.use_presence_ids = client.use_message_ids = False
        for kind in ("message", "presence", "iq"):
            client.register_handler(Callback(f"rig {kind}", MatchXPath(f"{{jabber:client}}{kind}"), self._keep))
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(_: object) -> None:
            if not ready.done():
                ready.set_result(None)

        def failed(reason: object) -> None:
            if not ready.done():
                ready.set_exception(RuntimeError(f"{self.full} cannot log in: {reason}"))

        client.add_event_handler("session_start", done)
        client.add_event_handler("failed_all_auth", failed)
        self._client = client
        client.connect(self.server.client_port, use_ssl=False, disable_starttls=True)
        await asyncio.wait_for(ready, seconds)
        # Only a resource that asked for its roster is told about subscriptions (RFC 6121 section 2.2).
        await self._roster("rig-roster", seconds)
        self.inbox.clear()
        client.send_presence()
        # What contacts send upon that is part of what a case looks at; the server has done its part when it has answered once more.
        await self._roster("rig-there", seconds)
        self.inbox = [r for r in self.inbox if r.name != "iq" and r.sender.split("/")[0] != self.bare]
        return self

    async def _roster(self, ident: str, seconds: float) -> None:
        self.raw(f'<iq type="get" id="{ident}"><query xmlns="jabber:iq:roster"/></iq>')
        await self.expect(lambda r: r.xml.get("id") == ident, seconds, "the roster")

    def _keep(self, stanza: slixmpp.xmlstream.StanzaBase) -> None:
        self.inbox.append(Received(stanza.xml.tag.partition("}")[2], stanza.xml))
        self._news.set()

    def raw(self, xml: str) -> None:
        """Send exactly these characters."""
        assert self._client is not None, "login() first"
        self._client.send_raw(xml)

    def say(self, to: str, text: str, kind: str = "chat", id_: str = "", extra: str = "") -> None:
        """Send one message."""
        ident = f' id="{id_}"' if id_ else ""
        self.raw(f'<message to="{to}" type="{kind}"{ident}><body>{escape(text)}</body>{extra}</message>')

    async def expect(self, wanted: Callable[[Received], bool], seconds: float = 20.0, what: str = "a stanza") -> Received:
        """The first stanza received so far, or from now on, that is wanted."""
        seen, end = 0, time.monotonic() + seconds
        while True:
            while seen < len(self.inbox):
                if wanted(self.inbox[seen]):
                    return self.inbox[seen]
                seen += 1
            await self._more(end, what)

    async def expect_text(self, text: str, seconds: float = 20.0) -> Received:
        """The message (not an error) with this body."""
        return await self.expect(lambda r: r.name == "message" and r.kind != "error" and r.body == text, seconds,
                                 f"a message that says {text[:60]!r}")

    async def expect_error(self, id_: str, seconds: float = 20.0) -> Received:
        """The error stanza that answers this id."""
        return await self.expect(lambda r: r.kind == "error" and r.xml.get("id") == id_, seconds, f"an error for id {id_!r}")

    async def expect_count(self, wanted: Callable[[Received], bool], count: int, seconds: float) -> list[Received]:
        """All wanted stanzas, as soon as there are `count` of them."""
        end = time.monotonic() + seconds
        while True:
            found = [r for r in self.inbox if wanted(r)]
            if len(found) >= count:
                return found
            await self._more(end, f"{count} stanzas (have {len(found)})")

    async def _more(self, end: float, what: str) -> None:
        self._news.clear()
        left = end - time.monotonic()
        try:
            if left <= 0:
                raise asyncio.TimeoutError
            await asyncio.wait_for(self._news.wait(), left)
        except asyncio.TimeoutError:
            last = "; ".join(f"{r.name} {r.kind} {r.condition} {r.body[:40]!r}" for r in self.inbox[-4:]) or "nothing"
            raise AssertionError(f"{self.full} did not get {what}; last: {last}") from None

    async def logout(self) -> None:
        """Close the stream. Never raises: it runs while tidying up."""
        if self._client is not None:
            try:
                self._client.abort()
            except Exception:  # noqa: BLE001 - the stream may be in any state here
                pass
            await asyncio.sleep(0)


def canonical(xml: str) -> str:
    """Canonical XML with prefixes renamed, so that only the infoset counts."""
    return ElementTree.canonicalize(xml, rewrite_prefixes=True)


def escape(text: str) -> str:
    """Text as XML character data."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
