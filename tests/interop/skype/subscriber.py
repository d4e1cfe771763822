"""The pool as a watcher: its users have partner contacts, and their clients subscribe to each one by one.

A watch is what a user wants; a subscription is one dialog of it. As long as the watch is there a lost dialog is set up again, which is
what the clients do after a restart of either side.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from . import checks, pidf, shapes
from .dialog import Dialog, Pair
from .link import Link
from .message import Message, address, param
from .pool import Pool, new_call_id
from .subscription import ACCEPT, PLAIN, Subscription, state_of

_RETRY_SECONDS = 1.5


@dataclass
class Watch:
    """What one of our users wants to know of a partner's user, and everything he was told."""

    pair: Pair
    expires: int
    accept: str
    microsoft: bool
    subscription: Subscription | None = None
    notifies: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False
    busy: bool = False
    lost: int = 0

    def view(self) -> dict[str, Any]:
        """What the client would paint now."""
        shown = self.subscription.shown if self.subscription is not None else {}
        state = self.subscription.state if self.subscription is not None else ""
        return {"state": state, "reason": self.subscription.reason if self.subscription else "", "lost": self.lost,
                **{k: shown.get(k, "") for k in ("basic", "activity", "note", "show", "kind", "entity")},
                "tuples": shown.get("tuples", [])}


class Subscriber:
    """SUBSCRIBE out, NOTIFY in."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.watches: dict[Pair, Watch] = {}
        self._dialogs: dict[str, tuple[Watch, Subscription]] = {}
        self._keeping = False

    async def watch(self, pair: Pair, expires: int, accept: str, microsoft: bool) -> Message:
        """Begin to watch; the answer that settled the first SUBSCRIBE."""
        self._keep()
        watch = self.watches[pair] = Watch(pair, expires, accept or (ACCEPT if microsoft else PLAIN), microsoft)
        return await self._begin(watch)

    async def _begin(self, watch: Watch) -> Message:
        watch.busy = True
        try:
            return await self._open(watch)
        finally:
            watch.busy = False

    async def _open(self, watch: Watch) -> Message:
        pool = self.pool
        routes = shapes.record_routes(pool.settings.fqdn, pool.settings.port)
        dialog = Dialog(watch.pair, new_call_id(), shapes.token(5), pool.contact_for(watch.pair[0]), routes, caller=True)
        subscription = Subscription(dialog, watch.expires, accept=watch.accept)
        watch.subscription = subscription
        self._dialogs[dialog.call_id] = (watch, subscription)
        answer = await self._send(watch, subscription, watch.expires, watch.microsoft)
        if answer.code == 420 and watch.microsoft:
            # As the clients do: the proxy that does not know it is asked again without.
            if "ms-benotify" not in answer.tokens("Unsupported"):
                pool.complain(f"420 without Unsupported: ms-benotify: {answer.tokens('Unsupported')}")
            answer = await self._send(watch, subscription, watch.expires, False)
        return answer

    async def _send(self, watch: Watch, subscription: Subscription, expires: int, benotify: bool) -> Message:
        pool, dialog = self.pool, subscription.dialog
        headers = [("Contact", dialog.own_contact), ("User-Agent", shapes.AGENT), ("Event", "presence"),
                   ("Expires", str(expires)), ("Accept", watch.accept)]
        if watch.microsoft:
            headers.append(("Supported", "com.microsoft.autoextend"))
        if benotify:
            headers += [("Supported", "ms-benotify"), ("Proxy-Require", "ms-benotify")]
        request = dialog.request("SUBSCRIBE", pool.vias(), headers)
        if not subscription.established:
            request.headers[0:0] = [("Record-Route", r) for r in dialog.record_routes]
        try:
            answer = await pool.transact(await pool.out(watch.pair), request)
        except OSError as error:
            answer = Message(code=503, reason=f"no link: {error}", headers=[("CSeq", request.get("CSeq")), ("X-Rig", "local")])
        watch.answers.append({"code": answer.code, "at": time.monotonic(), "expires": answer.get("Expires"), "asked": expires,
                              "unsupported": answer.tokens("Unsupported"), "benotify": benotify})
        self._answered(watch, subscription, answer, expires)
        pool.news.set()
        return answer

    def _answered(self, watch: Watch, subscription: Subscription, answer: Message, expires: int) -> None:
        dialog = subscription.dialog
        if 200 <= answer.code < 300:
            for bad in checks.subscribed(answer, self.pool.settings.turnout_fqdn, expires):
                self.pool.complain(f"{answer.summary()}: {bad}")
            self._establish(subscription, answer, param(answer.get("To"), "tag"))
            subscription.expires = int(answer.get("Expires") or expires)
            subscription.extend(subscription.expires)
            asyncio.get_running_loop().call_later(3.0, self._notified, watch, subscription, len(watch.notifies))
        elif subscription.established and (answer.code in (404, 405, 410, 416, 481, 501, 604) or 482 <= answer.code <= 485):
            self._drop(watch, subscription)
        elif not subscription.established and answer.code != 420:
            self._drop(watch, subscription)
            watch.stopped = watch.stopped or answer.code in (403, 404, 406, 489, 603)

    def _notified(self, watch: Watch, subscription: Subscription, before: int) -> None:
        """Every accepted SUBSCRIBE is followed by a NOTIFY at once; before or behind the answer."""
        alive = self._dialogs.get(subscription.dialog.call_id, (None, None))[1] is subscription
        if alive and not watch.stopped and len(watch.notifies) <= max(0, before - 1):
            self.pool.complain(f"no NOTIFY within 3 s of the 2xx to SUBSCRIBE of {watch.pair}")

    def _establish(self, subscription: Subscription, message: Message, tag: str) -> None:
        dialog = subscription.dialog
        if subscription.established:
            return
        subscription.established = True
        dialog.remote_tag, dialog.open = tag, True
        dialog.target = address(message.get("Contact")) or f"sip:{dialog.pair[1]}"
        if message.is_request:
            dialog.sending_routes = message.listed("Record-Route")
        else:
            foreign = message.listed("Record-Route")[:-len(dialog.record_routes) or None]
            dialog.sending_routes = list(reversed(foreign))

    def _drop(self, watch: Watch, subscription: Subscription) -> None:
        self._dialogs.pop(subscription.dialog.call_id, None)
        if watch.subscription is subscription:
            watch.lost += 1
            subscription.ends = 0.0
            subscription.established = False
            # What was shown is not known any more.
            subscription.state, subscription.shown = "", {}

    def notify(self, link: Link, message: Message, reply: Any) -> None:
        """A NOTIFY of turnout's; BENOTIFY comes here too, to be held against it."""
        found = self._dialogs.get(message.call_id)
        if found is None or param(message.get("To"), "tag") != found[1].dialog.local_tag:
            reply(link, message, 481)
            return
        watch, subscription = found
        # A NOTIFY may overtake the answer to SUBSCRIBE (RFC 6665 section 4.1.2.4).
        self._establish(subscription, message, param(message.get("From"), "tag"))
        dialog = subscription.dialog
        problems = checks.in_dialog(message, dialog)
        problems += checks.notify(message, self.pool.settings.turnout_fqdn, watch.accept)
        state, params = state_of(message)
        shown, wrong = pidf.read(message.body) if message.body else ({}, [])
        for bad in problems + wrong:
            self.pool.complain(f"{message.summary()}: {bad}")
        if message.body and watch.microsoft and len(shown["tuples"]) != 1:
            self.pool.complain(f"{message.summary()}: {len(shown['tuples'])} tuples, a pool shows one")
        dialog.remote_seq = message.cseq[0]
        shown["kind"] = message.get("Content-Type").split(";")[0] if message.body else ""
        watch.notifies.append({"at": time.monotonic(), "state": state, "reason": params.get("reason", ""), "call_id": message.call_id,
                               "expires": params.get("expires", ""), **shown, "body": message.text()})
        subscription.state, subscription.reason, subscription.shown = state, params.get("reason", ""), shown
        if watch.microsoft and params.get("expires", "").isdigit():
            subscription.extend(int(params["expires"]))
        if state == "terminated":
            self._terminated(watch, subscription, params)
        self.pool.news.set()
        reply(link, message, 200)

    def _terminated(self, watch: Watch, subscription: Subscription, params: dict[str, str]) -> None:
        """RFC 6665 section 4.1.3: some reasons mean at once, some later, some never."""
        self._dialogs.pop(subscription.dialog.call_id, None)
        subscription.established = False
        reason = params.get("reason", "")
        if reason in ("rejected", "noresource", "invariant"):
            watch.stopped = True
        subscription.ends = float(params.get("retry-after", "0")) + time.monotonic() if reason in ("probation", "giveup") else 0.0

    def _keep(self) -> None:
        if not self._keeping:
            self._keeping = True
            self.pool.spawn(self._keep_alive())

    async def _keep_alive(self) -> None:
        """Refresh what is due, set up what was lost."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            for watch in self.watches.values():
                if not watch.stopped and not watch.busy and self._due(watch):
                    watch.busy = True
                    self.pool.spawn(self.refresh(watch))

    @staticmethod
    def _due(watch: Watch) -> bool:
        subscription, now = watch.subscription, time.monotonic()
        if subscription is None:
            return False
        if subscription.established:
            return subscription.ends - now < subscription.expires * 0.25
        # A while after the last try, or after a refusal that named its time.
        return subscription.ends <= now and (not watch.answers or now - watch.answers[-1]["at"] >= _RETRY_SECONDS * 0.6)

    async def refresh(self, watch: Watch, expires: int | None = None) -> Message:
        """SUBSCRIBE in the dialog; 481 means a new one, with the next look."""
        subscription = watch.subscription
        if subscription is None or not subscription.established:
            return await self._begin(watch)
        watch.busy = True
        try:
            return await self._send(watch, subscription, watch.expires if expires is None else expires, False)
        finally:
            watch.busy = False

    async def end(self, watch: Watch) -> Message:
        """The contact is removed: Expires 0, and a last NOTIFY is awaited."""
        watch.stopped = True
        return await self.refresh(watch, 0)

    async def fetch(self, pair: Pair) -> dict[str, Any]:
        """One look: a dialog of its own with Expires 0. Leaves a watch of the pair alone."""
        watch = Watch(pair, 0, PLAIN, False, stopped=True)
        answer = await self._begin(watch)
        end = time.monotonic() + 5
        while answer.code < 300 and not watch.notifies and time.monotonic() < end:
            await asyncio.sleep(0.05)
        return {"code": answer.code, "notifies": watch.notifies}

    def forget(self) -> int:
        """Lose every dialog without a word. Watches stay: clients want their contacts back."""
        count = len(self._dialogs)
        for watch, subscription in list(self._dialogs.values()):
            self._drop(watch, subscription)
        return count
