"""The control socket: one JSON object a line in, one JSON object a line out.

Every command has "do"; most have "user" (ours) and "peer" (the partner), both user@domain. An answer has "ok"; what went wrong is in
"error". Commands on one connection are run one after the other; open several connections to overlap.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Awaitable, Callable

from . import shapes
from .answerer import Answerer
from .caller import Caller, expand
from .dialog import Pair
from .message import Message
from .pool import Pool
from .watching import Watching

Command = dict[str, Any]


class Control(Watching):
    """Runs commands against one pool."""

    def __init__(self, pool: Pool, caller: Caller, answerer: Answerer) -> None:
        self.pool, self.caller, self.answerer = pool, caller, answerer
        self.subscriber, self.notifier, self._published = answerer.subscriber, answerer.notifier, {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One control connection."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._run(line)).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _run(self, line: bytes) -> dict[str, Any]:
        try:
            command = json.loads(line)
            action: Callable[[Command], Awaitable[dict[str, Any]]] | None = getattr(self, "do_" + str(command["do"]), None)
            if action is None:
                return {"ok": False, "error": f"unknown command {command['do']!r}"}
            return {"ok": True, **await action(command)}
        except (KeyError, ValueError, LookupError, OSError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    # State ---------------------------------------------------------------------------------------------------------------

    async def do_home(self, c: Command) -> dict[str, Any]:
        """Say who is homed here: "users" replaces the set; "add" and "remove" change it."""
        self.notifier.known |= self.pool.home
        if "users" in c:
            self.pool.home = {u.lower() for u in c["users"]}
        self.pool.home |= {u.lower() for u in c.get("add", [])}
        self.notifier.known |= self.pool.home
        self.pool.home -= {u.lower() for u in c.get("remove", [])}
        return {"users": sorted(self.pool.home)}

    async def do_set(self, c: Command) -> dict[str, Any]:
        """Switches: takes_first (claim ms-text-format), progress (send 101), links (1 to 4 connections of our own),
        pager (take messages outside sessions)."""
        pool = self.pool
        pool.takes_first = c.get("takes_first", pool.takes_first)
        pool.progress = c.get("progress", pool.progress)
        pool.pager = c.get("pager", pool.pager)
        pool.links_wanted = max(1, min(4, int(c.get("links", pool.links_wanted))))
        return {}

    async def do_script(self, c: Command) -> dict[str, Any]:
        """Answer the next matching request otherwise: method, user, peer, times; code, reason, diagnostics, headers, delay, drop."""
        self.pool.rules.append({k: v for k, v in c.items() if k != "do"})
        return {"rules": len(self.pool.rules)}

    async def do_reset(self, _: Command) -> dict[str, Any]:
        """Forget records, rules and crossings; dialogs and links stay."""
        self.pool.records.messages.clear()
        self.pool.records.violations.clear()
        self.pool.rules.clear()
        self.answerer.glare.clear()
        return {}

    # Looking -------------------------------------------------------------------------------------------------------------

    async def do_received(self, c: Command) -> dict[str, Any]:
        """Records in order; filters: user, peer, kind. With "count": wait for as many, up to "seconds"."""
        end = time.monotonic() + float(c.get("seconds", 0))
        while True:
            found = [m for m in self.pool.records.messages
                     if c.get("user", m["to"]) == m["to"] and c.get("peer", m["from"]) == m["from"]
                     and c.get("kind", m["kind"]) == m["kind"] and c.get("text", m["text"]) == m["text"]]
            left = end - time.monotonic()
            if len(found) >= int(c.get("count", 0)) or left <= 0:
                return {"messages": found}
            self.pool.news.clear()
            try:
                await asyncio.wait_for(self.pool.news.wait(), left)
            except asyncio.TimeoutError:
                pass

    async def do_counted(self, c: Command) -> dict[str, Any]:
        """How many texts a user got."""
        return {"count": sum(m["kind"] == "text" and m["to"] == c["user"] for m in self.pool.records.messages)}

    async def do_violations(self, _: Command) -> dict[str, Any]:
        """Every complaint so far."""
        return {"violations": list(self.pool.records.violations)}

    async def do_status(self, _: Command) -> dict[str, Any]:
        """Links, open dialogs, requests received by method."""
        return {"links": self.pool.open_links(), "dialogs": ["|".join(p) for p, d in self.pool.current.items() if d.open],
                "counts": self.pool.records.counts}

    async def do_trace(self, c: Command) -> dict[str, Any]:
        """The last lines of the message trace."""
        return {"trace": self.pool.records.trace[-int(c.get("lines", 60)):]}

    # Doing ---------------------------------------------------------------------------------------------------------------

    async def do_say(self, c: Command) -> dict[str, Any]:
        """One message. With "alternative": true it goes as multipart/alternative."""
        text = expand(c["text"])
        if c.get("alternative"):
            kind, body = shapes.alternative(text)
            return _settled(await self.caller.say(_pair(c), text, kind, body))
        return _settled(await self.caller.say(_pair(c), text, c.get("content_type", "")))

    async def do_say_many(self, c: Command) -> dict[str, Any]:
        """"count" messages "prefix"+number, one after the other."""
        return await self.caller.many(_pair(c), c.get("prefix", ""), int(c.get("first", 0)), int(c["count"]))

    async def do_typing(self, c: Command) -> dict[str, Any]:
        """INFO in the open dialog."""
        return _settled(await self.caller.typing(_pair(c), bool(c.get("active", True))))

    async def do_bye(self, c: Command) -> dict[str, Any]:
        """Hang up one session, or with no user all of them: the idle close of real clients."""
        if "user" in c:
            dialogs = [self.pool.current[_pair(c)]]
        else:
            # After a glare there may be two sessions for a pair, of which only one is current.
            dialogs = [d for d in self.pool.dialogs.values() if d.open]
        return {"codes": [(await self.caller.bye(d)).code for d in dialogs]}

    async def do_forget(self, c: Command) -> dict[str, Any]:
        """Lose the session without a word, as a pool that restarted: turnout's next request gets 481."""
        self.caller.forget(self.pool.current[_pair(c)])
        return {}

    async def do_glare(self, c: Command) -> dict[str, Any]:
        """When the next INVITE for the pair comes, send our own with this text before answering."""
        self.answerer.glare[_pair(c)] = expand(c["text"])
        return {}

    async def do_drop(self, _: Command) -> dict[str, Any]:
        """Cut every connection now."""
        return {"dropped": self.pool.drop_links()}

    async def do_connect(self, c: Command) -> dict[str, Any]:
        """Open as many connections of our own as "links" says (four is what a pool does)."""
        self.pool.links_wanted = max(1, min(4, int(c.get("links", 4))))
        await self.pool.out(("", ""))
        return {"links": self.pool.open_links()}

    async def do_audio(self, c: Command) -> dict[str, Any]:
        """A voice call."""
        return _settled(await self.caller.audio(_pair(c)))

    async def do_conference(self, c: Command) -> dict[str, Any]:
        """An INVITE with multipart/mixed, as conference invitations come."""
        body = (b"--x\r\nContent-Type: application/sdp\r\n\r\n" + shapes.audio_offer() +
                b"\r\n--x\r\nContent-Type: application/ms-conf-invite+xml\r\n\r\n<Conferencing version=\"2.0\"/>\r\n--x--\r\n")
        answer, dialog = await self.caller.invite(_pair(c), "", body, "multipart/mixed; boundary=x")
        if dialog is not None:
            await self.caller.bye(dialog)
        return _settled(answer)

    async def do_options(self, c: Command) -> dict[str, Any]:
        """The pool's keep-alive question."""
        return _settled(await self.caller.outside(_pair(c), "OPTIONS", [("Accept", "application/sdp")]))

    async def do_negotiate(self, c: Command) -> dict[str, Any]:
        """The compression offer of server links."""
        return _settled(await self.caller.outside(_pair(c), "NEGOTIATE", [("Compression", "LZ77-64K")]))

    async def do_request(self, c: Command) -> dict[str, Any]:
        """Any method outside a dialog, with headers and body of choice."""
        headers = [(n, v) for n, v in c.get("headers", [])]
        return _settled(await self.caller.outside(_pair(c), c["method"], headers, expand(c.get("body", "")).encode()))


def _pair(c: Command) -> Pair:
    return c["user"].lower(), c["peer"].lower()


def _settled(answer: Message) -> dict[str, Any]:
    return {"code": answer.code, "reason": answer.reason, "method": answer.cseq[1], "local": bool(answer.get("X-Rig")),
            "headers": [[n, v] for n, v in answer.headers], "body": answer.text()}
