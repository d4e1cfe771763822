"""What the pool answers to turnout's requests."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from . import checks, shapes
from .caller import Caller
from .dialog import REASONS, Dialog, Pair, response_to
from .link import Link
from .message import Message, address, param, user_of
from .notifier import Notifier
from .pool import Pool
from .subscriber import Subscriber

_ACK_SECONDS = 10.0


class Answerer:
    """The server half: a Skype for Business user's endpoint behind its pool."""

    def __init__(self, pool: Pool, caller: Caller, subscriber: Subscriber, notifier: Notifier) -> None:
        self.pool, self.caller = pool, caller
        self.subscriber, self.notifier = subscriber, notifier
        self.glare: dict[Pair, str] = {}
        self._cancelled: dict[str, asyncio.Event] = {}
        pool.on_request = self.handle

    def handle(self, link: Link, message: Message) -> None:
        """Every request of turnout comes through here, in the order of the link."""
        if message.method == "ACK":
            self._ack(message)
        elif message.method == "CANCEL":
            self._cancel(link, message)
        elif message.method == "INVITE":
            self.pool.spawn(self._invite(link, message))
        elif message.method == "OPTIONS":
            self._reply(link, message, 200, [("Allow", shapes.ALLOW), ("Accept", "application/sdp, text/plain")])
        elif message.method in ("MESSAGE", "INFO", "BYE"):
            self._within(link, message)
        elif message.method == "SUBSCRIBE":
            pair = (user_of(message.uri), user_of(address(message.get("From"))))
            within = self.notifier.subscriptions.get(message.call_id)
            rule = self._rule(message, within.dialog.pair if within is not None else pair)
            self.notifier.subscribe(link, message, self._reply, rule, self._scripted)
        elif message.method in ("NOTIFY", "BENOTIFY"):
            self.subscriber.notify(link, message, self._reply)
        else:
            self._reply(link, message, 405, [("Allow", shapes.ALLOW)])

    def _reply(self, link: Link, request: Message, code: int, headers: list[tuple[str, str]] | None = None, tag: str = "",
               body: bytes = b"", reason: str = "") -> None:
        answer = response_to(request, code, reason or REASONS.get(code, "Scripted"),
                             "" if code == 100 else tag or shapes.token(5), headers, body)
        self.pool.trace(">", link, answer)
        link.send(answer)

    def _rule(self, message: Message, pair: Pair) -> dict[str, Any] | None:
        for rule in self.pool.rules:
            if rule.get("method") not in (None, message.method) or rule.get("user") not in (None, pair[0]):
                continue
            if rule.get("peer") not in (None, pair[1]):
                continue
            rule["times"] = rule.get("times", 1) - 1
            if rule["times"] <= 0:
                self.pool.rules.remove(rule)
            return rule
        return None

    async def _invite(self, link: Link, message: Message) -> None:
        pool = self.pool
        if param(message.get("To"), "tag"):
            self._reinvite(link, message)
            return
        pair = (user_of(message.uri), user_of(address(message.get("From"))))
        for bad in checks.opening_invite(message, pool.settings.turnout_fqdn, pool.conversations):
            pool.complain(f"{message.summary()}: {bad}")
        cancelled = self._cancelled.setdefault(message.call_id, asyncio.Event())
        self._reply(link, message, 100)
        rule = self._rule(message, pair)
        text = self.glare.pop(pair, None)
        if text is not None:
            # Our own INVITE goes out before theirs is answered: both are now in flight.
            pool.spawn(self._cross(pair, text))
            await asyncio.sleep(0.5)
        if rule is not None and rule.get("drop"):
            link.drop()
            return
        if rule is not None and rule.get("delay"):
            await asyncio.wait({asyncio.ensure_future(cancelled.wait())}, timeout=rule["delay"])
        self._cancelled.pop(message.call_id, None)
        if cancelled.is_set():
            self._reply(link, message, 487)
        elif rule is not None and rule.get("code"):
            self._scripted(link, message, rule)
        elif pair[0] not in pool.home:
            self._reply(link, message, 404, [("ms-diagnostics", self.notifier.absence(pair[0]))])
        else:
            self._accept(link, message, pair)

    async def _cross(self, pair: Pair, text: str) -> None:
        """Our side of a glare: the text must get through whatever becomes of our INVITE, and once only."""
        answer = await self.caller.say(pair, text)
        if answer.code in (486, 488, 491) and answer.cseq[1] == "INVITE":
            await asyncio.sleep(1.0)
            answer = await self.caller.say(pair, text)
        if answer.code >= 300:
            self.pool.complain(f"the message of a crossed INVITE was answered {answer.code}")

    def _scripted(self, link: Link, message: Message, rule: dict[str, Any]) -> None:
        headers = [("ms-diagnostics", rule["diagnostics"])] if rule.get("diagnostics") else []
        headers += [(n, v) for n, v in rule.get("headers", [])]
        self._reply(link, message, rule["code"], headers, reason=rule.get("reason", ""))

    def _accept(self, link: Link, message: Message, pair: Pair) -> None:
        pool = self.pool
        routes = shapes.record_routes(pool.settings.fqdn, pool.settings.port)
        dialog = Dialog(pair, message.call_id, shapes.token(5), pool.contact_for(pair[0]), routes, caller=False,
                        remote_tag=param(message.get("From"), "tag"), target=address(message.get("Contact")),
                        sending_routes=message.listed("Record-Route"), remote_seq=message.cseq[0], invite_seq=message.cseq[0],
                        conversation=message.get("Ms-Conversation-ID"), open=True)
        pool.dialogs[dialog.call_id] = dialog
        pool.current[pair] = dialog
        if pool.progress:
            self._reply(link, message, 101, [("ms-diagnostics", '13004;reason="Request was proxied to one or more registered'
                                              f' endpoints";source="{pool.settings.fqdn}"')], dialog.local_tag)
        headers = [("Record-Route", r) for r in routes + message.listed("Record-Route")]
        headers += shapes.accept_headers(pair[0], dialog.own_contact, pool.takes_first)
        self._reply(link, message, 200, headers, dialog.local_tag, shapes.offer(answer_user=pair[0]))
        first = message.get("ms-text-format")
        if pool.takes_first and "ms-body=" in first:
            text = base64.b64decode(first.partition("ms-body=")[2].split(";")[0] + "==").decode("utf-8", "replace")
            pool.note(pair, "text", text, dialog.call_id, embedded=True)
        asyncio.get_running_loop().call_later(_ACK_SECONDS, self._acked, dialog)

    def _acked(self, dialog: Dialog) -> None:
        if not dialog.acked.is_set() and dialog.open:
            self.pool.complain(f"no ACK for {dialog.call_id} within {_ACK_SECONDS:.0f} s")

    def _reinvite(self, link: Link, message: Message) -> None:
        dialog = self.pool.dialogs.get(message.call_id)
        if dialog is None:
            self._reply(link, message, 481)
            return
        self._examine(message, dialog)
        dialog.invite_seq = message.cseq[0]
        self._reply(link, message, 200, shapes.accept_headers(dialog.pair[0], dialog.own_contact, False), dialog.local_tag,
                    shapes.offer(answer_user=dialog.pair[0]))

    def _ack(self, message: Message) -> None:
        dialog = self.pool.dialogs.get(message.call_id)
        if dialog is None or dialog.caller:
            return
        for bad in checks.in_dialog(message, dialog):
            self.pool.complain(f"{message.summary()}: {bad}")
        dialog.acked.set()

    def _cancel(self, link: Link, message: Message) -> None:
        pending = self._cancelled.get(message.call_id)
        if pending is None:
            self._reply(link, message, 481)
        else:
            self._reply(link, message, 200)
            pending.set()

    def _examine(self, message: Message, dialog: Dialog) -> None:
        for bad in checks.in_dialog(message, dialog):
            self.pool.complain(f"{message.summary()}: {bad}")
        dialog.remote_seq = message.cseq[0]
        if not dialog.caller and not dialog.acked.is_set():
            self.pool.complain(f"{message.summary()}: sent before the ACK")

    def _within(self, link: Link, message: Message) -> None:
        pool = self.pool
        dialog = pool.dialogs.get(message.call_id)
        if dialog is None:
            if not param(message.get("To"), "tag") and message.method == "MESSAGE" and pool.pager:
                self._page(link, message)
                return
            if not param(message.get("To"), "tag"):
                pool.complain(f"{message.summary()}: outside a dialog")
            self._reply(link, message, 481)
            return
        self._examine(message, dialog)
        rule = self._rule(message, dialog.pair)
        if rule is not None and rule.get("drop"):
            link.drop()
        elif rule is not None and rule.get("code"):
            if rule["code"] in (408, 480, 481):
                self.caller.forget(dialog)
            self._scripted(link, message, rule)
        elif rule is not None and rule.get("delay"):
            asyncio.get_running_loop().call_later(rule["delay"], self._settle, link, message, dialog)
        else:
            self._settle(link, message, dialog)

    def _page(self, link: Link, message: Message) -> None:
        """A pager-mode MESSAGE (RFC 3428): no session, so nothing to end either."""
        pair = (user_of(message.uri), user_of(address(message.get("From"))))
        kind = message.get("Content-Type").split(";")[0].strip().lower()
        typing = kind == "application/im-iscomposing+xml"
        for bad in checks.instant_message(message):
            self.pool.complain(f"{message.summary()}: {bad}")
        self.pool.note(pair, "typing" if typing else "text", message.text(), message.call_id)
        self._reply(link, message, 200)

    def _settle(self, link: Link, message: Message, dialog: Dialog) -> None:
        kind = message.get("Content-Type").split(";")[0].strip().lower()
        if message.method == "BYE":
            self.caller.forget(dialog)
            self.pool.note(dialog.pair, "bye", "", dialog.call_id)
        elif message.method == "INFO" or kind == "application/im-iscomposing+xml":
            self.pool.note(dialog.pair, "typing", message.text(), dialog.call_id)
        else:
            for bad in checks.instant_message(message):
                self.pool.complain(f"{message.summary()}: {bad}")
            self.pool.note(dialog.pair, "text", message.text(), dialog.call_id)
        self._reply(link, message, 200)
