"""What the pool's users do of their own accord."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from . import checks, shapes
from .dialog import Dialog, Pair
from .message import Message, address, param
from .pool import Pool, new_call_id

_DEAD = (408, 480, 481)


class Caller:
    """Opens sessions, writes, types, hangs up, and misbehaves on request."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._turns: dict[Pair, asyncio.Lock] = {}
        self._count = 0

    async def say(self, pair: Pair, text: str, content_type: str = "", body: bytes = b"") -> Message:
        """One message from our user to the partner; returns the response that settles it."""
        async with self._turns.setdefault(pair, asyncio.Lock()):
            answer = await self._say(pair, text, content_type, body)
            if answer.code in _DEAD and answer.cseq[1] == "MESSAGE":
                # The session is dead, the partner may not be: what a client does is to begin a new one, once.
                dialog = self.pool.current.get(pair)
                if dialog is not None:
                    await self.bye(dialog)
                answer = await self._say(pair, text, content_type, body)
            return answer

    async def _say(self, pair: Pair, text: str, content_type: str, body: bytes) -> Message:
        dialog = self.pool.current.get(pair)
        if dialog is None or not dialog.open:
            answer, dialog = await self.invite(pair, text)
            if dialog is None or "ms-text-format" in [t.lower() for t in answer.tokens("Supported")]:
                return answer
        return await self.in_dialog(dialog, "MESSAGE", content_type or "text/plain; charset=UTF-8", body or text.encode())

    async def in_dialog(self, dialog: Dialog, method: str, content_type: str, body: bytes) -> Message:
        """One request inside an open dialog."""
        headers = [("Supported", "ms-dialog-route-set-update"), ("Supported", "timer"), ("User-Agent", shapes.AGENT)]
        if content_type:
            headers.append(("Content-Type", content_type))
        link = await self.pool.out(dialog.pair)
        return await self.pool.transact(link, dialog.request(method, self.pool.vias(), headers, body))

    async def invite(self, pair: Pair, text: str, body: bytes = b"", content_type: str = "") -> tuple[Message, Dialog | None]:
        """Open a session. Returns the final answer, and the dialog when there is one."""
        pool, (user, peer) = self.pool, pair
        self._count += 1
        routes = shapes.record_routes(pool.settings.fqdn, pool.settings.port)
        dialog = Dialog(pair, new_call_id(), shapes.token(5), pool.contact_for(user), routes, caller=True)
        headers = shapes.invite_headers(user, peer, text, dialog.own_contact, shapes.conversation_id(), self._count % 2 == 0)
        if content_type:
            headers = [(n, content_type if n == "Content-Type" else v) for n, v in headers]
        request = dialog.request("INVITE", pool.vias(), headers, body or shapes.offer())
        request.headers[0:0] = [("Record-Route", r) for r in routes]
        dialog.invite_seq = dialog.local_seq
        pool.dialogs[dialog.call_id] = dialog
        answer = await pool.transact(await pool.out(pair), request)
        link = await pool.out(pair)
        if answer.code >= 300:
            self._acknowledge_refusal(link, request, answer)
            pool.dialogs.pop(dialog.call_id, None)
            return answer, None
        self._learn(dialog, request, answer)
        ack = dialog.request("ACK", pool.vias(), [])
        pool.trace(">", link, ack)
        link.send(ack)
        dialog.open = True
        pool.current[pair] = dialog
        return answer, dialog

    def _learn(self, dialog: Dialog, request: Message, answer: Message) -> None:
        for bad in checks.accepted(request, answer, *dialog.pair, self.pool.settings.turnout_fqdn):
            self.pool.complain(f"{answer.summary()}: {bad}")
        dialog.remote_tag = param(answer.get("To"), "tag")
        dialog.target = address(answer.get("Contact")) if answer.get("Contact") else ""
        foreign = answer.listed("Record-Route")[:-len(dialog.record_routes)]
        dialog.sending_routes = list(reversed(foreign))

    def _acknowledge_refusal(self, link: Any, request: Message, answer: Message) -> None:
        if answer.get("X-Rig"):
            return
        headers = [("Via", request.get("Via"))] + [(n, request.get(n)) for n in ("Max-Forwards", "From")]
        headers += [("To", answer.get("To")), ("Call-ID", request.call_id), ("CSeq", f"{request.cseq[0]} ACK")]
        link.send(Message(method="ACK", uri=request.uri, headers=headers))

    async def bye(self, dialog: Dialog) -> Message:
        """Hang up."""
        self.forget(dialog)
        return await self.in_dialog(dialog, "BYE", "", b"")

    def forget(self, dialog: Dialog) -> None:
        """The dialog is over on our side."""
        dialog.open = False
        if self.pool.current.get(dialog.pair) is dialog:
            del self.pool.current[dialog.pair]
        self.pool.dialogs.pop(dialog.call_id, None)

    async def many(self, pair: Pair, prefix: str, first: int, count: int) -> dict[str, Any]:
        """Numbered messages, each after the one before has been answered."""
        codes: dict[int, int] = {}
        for number in range(first, first + count):
            answer = await self.say(pair, f"{prefix}{number}")
            codes[answer.code] = codes.get(answer.code, 0) + 1
        return {"codes": codes}

    async def typing(self, pair: Pair, active: bool) -> Message:
        """KeyboardActivity in an open dialog."""
        dialog = self._dialog(pair)
        return await self.in_dialog(dialog, "INFO", "application/xml", shapes.typing_body(active))

    async def audio(self, pair: Pair) -> Message:
        """A voice call."""
        answer, dialog = await self.invite(pair, "", shapes.audio_offer(), "application/sdp")
        if dialog is not None:
            await self.bye(dialog)
        return answer

    async def outside(self, pair: Pair, method: str, headers: list[tuple[str, str]], body: bytes = b"") -> Message:
        """One request outside any dialog: OPTIONS, NEGOTIATE, unknown methods."""
        scratch = Dialog(pair, new_call_id(), shapes.token(5), "", [], caller=True)
        request = scratch.request(method, self.pool.vias(), headers, body)
        if method in ("OPTIONS", "NEGOTIATE"):
            s = self.pool.settings
            request.uri = f"sip:{s.turnout_fqdn}:{s.next_port};transport=tls"
            request.headers = [(n, f"<{request.uri}>" if n == "To" else v) for n, v in request.headers]
        return await self.pool.transact(await self.pool.out(pair), request)

    def _dialog(self, pair: Pair) -> Dialog:
        dialog = self.pool.current.get(pair)
        if dialog is None or not dialog.open:
            raise LookupError(f"no open dialog between {pair[0]} and {pair[1]}")
        return dialog


def expand(text: str) -> str:
    """`{x*N}` in a control command means x repeated: keeps 64 KiB bodies out of the control socket."""
    return re.sub(r"\{(.)\*(\d+)\}", lambda m: m[1] * int(m[2]), text)
