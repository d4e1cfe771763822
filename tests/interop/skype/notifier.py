"""The pool as a notifier: partner users subscribe to its users, through turnout.

Who may see whom is decided per watcher by policies a case sets: active, pending, rejected, or a final answer of choice.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from . import checks, pidf, shapes
from .dialog import Dialog, Pair
from .link import Link
from .message import Message, address, param, user_of
from .pool import Pool
from .subscription import Subscription, state_of

_CATEGORIES = "application/msrtc-event-categories+xml"
_OFFLINE: dict[str, Any] = {"basic": "closed"}


class Notifier:
    """SUBSCRIBE in, NOTIFY out."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.states: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, str] = {}
        self.subscriptions: dict[str, Subscription] = {}
        # Users who were here once: they are not unknown, they are elsewhere.
        self.known: set[str] = set()
        self.notify_first = False
        self.routed = True
        self.max_expires = 28800
        self.log: list[dict[str, Any]] = []
        self._turns: dict[str, asyncio.Lock] = {}

    def policy(self, pair: Pair) -> str:
        """The most exact policy there is: the pair's, the user's, or that everybody may see everybody."""
        return self.policies.get("|".join(pair)) or self.policies.get(pair[0]) or "active"

    def absence(self, user: str) -> str:
        """What ms-diagnostics says of a user who is not homed here."""
        text = '4006;reason="User not found in this pool"' if user in self.known else '1003;reason="User does not exist"'
        return f'{text};source="{self.pool.settings.fqdn}"'

    def subscribe(self, link: Link, message: Message, reply: Any, rule: dict[str, Any] | None, scripted: Any) -> None:
        """A SUBSCRIBE of turnout's."""
        pool = self.pool
        for bad in checks.subscribe(message, pool.settings.turnout_fqdn):
            pool.complain(f"{message.summary()}: {bad}")
        expires = min(int(message.get("Expires") or 3600) if message.get("Expires").isdigit() else 3600, self.max_expires)
        pair = (user_of(message.uri), user_of(address(message.get("From"))))
        within = self.subscriptions.get(message.call_id)
        if within is not None:
            pair = within.dialog.pair
        self.log.append({"at": time.monotonic(), "user": pair[0], "peer": pair[1], "expires": expires, "refresh": within is not None,
                         "new": not param(message.get("To"), "tag")})
        pool.news.set()
        if rule is not None and rule.get("drop"):
            link.drop()
        elif rule is not None and rule.get("code"):
            if within is not None and rule["code"] == 481:
                self.subscriptions.pop(message.call_id, None)
            scripted(link, message, rule)
        elif param(message.get("To"), "tag"):
            self._refresh(link, message, reply, within, expires)
        else:
            pool.spawn(self._begin(link, message, reply, pair, expires))

    def _refresh(self, link: Link, message: Message, reply: Any, within: Subscription | None, expires: int) -> None:
        if within is None:
            reply(link, message, 481)
            return
        for bad in checks.in_dialog(message, within.dialog):
            self.pool.complain(f"{message.summary()}: {bad}")
        within.dialog.remote_seq = message.cseq[0]
        within.expires = expires
        within.extend(expires)
        reply(link, message, 200, [("Contact", within.dialog.own_contact), ("Expires", str(expires))], within.dialog.local_tag)
        if expires == 0:
            self._end(within, "timeout")
        else:
            self.pool.spawn(self._notify(within))

    async def _begin(self, link: Link, message: Message, reply: Any, pair: Pair, expires: int) -> None:
        pool, fqdn = self.pool, self.pool.settings.fqdn
        policy = self.policy(pair)
        if pair[0] not in pool.home:
            reply(link, message, 404, [("ms-diagnostics", self.absence(pair[0]))])
            return
        if policy.isdigit():
            reply(link, message, int(policy))
            return
        routes = shapes.record_routes(fqdn, pool.settings.port)
        dialog = Dialog(pair, message.call_id, shapes.token(5), pool.contact_for(pair[0]), routes, caller=False,
                        remote_tag=param(message.get("From"), "tag"), target=address(message.get("Contact")),
                        sending_routes=message.listed("Record-Route"), remote_seq=message.cseq[0], open=True)
        # Nobody waits for the ACK of a SUBSCRIBE.
        dialog.acked.set()
        subscription = Subscription(dialog, expires, "pending" if policy == "pending" else "active", established=True,
                                    accept=", ".join(message.tokens("Accept")))
        subscription.extend(expires)
        if policy == "rejected" or expires == 0:
            subscription.state, subscription.reason = "terminated", "rejected" if policy == "rejected" else "timeout"
        else:
            self.subscriptions[dialog.call_id] = subscription
        headers = [("Record-Route", r) for r in routes + message.listed("Record-Route")]
        headers += [("Contact", dialog.own_contact), ("Expires", str(expires)), ("User-Agent", shapes.AGENT)]
        if self.notify_first:
            pool.spawn(self._notify(subscription, policy))
            await asyncio.sleep(0.2)
        reply(link, message, 200, headers, dialog.local_tag)
        if not self.notify_first:
            await self._notify(subscription, policy)

    async def _notify(self, subscription: Subscription, policy: str = "active") -> None:
        """The state there is when our turn comes; so what is sent last is what is true last."""
        dialog = subscription.dialog
        async with self._turns.setdefault(dialog.call_id, asyncio.Lock()):
            left = max(0, int(subscription.ends - time.monotonic()))
            state = subscription.state
            tail = f";reason={subscription.reason}" if state == "terminated" else f";expires={left}"
            headers = [("Contact", dialog.own_contact), ("User-Agent", shapes.AGENT), ("Event", "presence"),
                       ("Subscription-State", state + tail), ("Supported", "ms-dialog-route-set-update")]
            body = b""
            fetched = state == "terminated" and subscription.reason == "timeout" and policy == "active"
            if state == "active" or fetched:
                shown = self.states.get(dialog.pair[0], _OFFLINE)
                rich = _CATEGORIES in [a.strip() for a in subscription.accept.split(",")]
                body = (pidf.categories if rich else pidf.single_tuple)(dialog.pair[0], shown)
                headers.append(("Content-Type", _CATEGORIES if rich else "application/pidf+xml"))
            request = dialog.request("NOTIFY", self.pool.vias(), headers, body)
            if dialog.local_seq == 1:
                # Who wants to see the whole dialog says so in its first NOTIFY as well (RFC 6665 section 4.3).
                request.headers[0:0] = [("Record-Route", r) for r in reversed(dialog.record_routes)] if self.routed else []
            try:
                answer = await self.pool.transact(await self.pool.out(dialog.pair), request)
            except OSError:
                # Nobody to be told: the watcher is gone as after a time-out (RFC 6665 section 4.2.2).
                self.subscriptions.pop(dialog.call_id, None)
                return
        if answer.code in (404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604):
            self.subscriptions.pop(dialog.call_id, None)
        self.log.append({"at": time.monotonic(), "user": dialog.pair[0], "peer": dialog.pair[1], "notify": state,
                         "answer": answer.code, "local": bool(answer.get("X-Rig"))})
        self.pool.news.set()

    def _end(self, subscription: Subscription, reason: str, retry_after: int | None = None) -> None:
        self.subscriptions.pop(subscription.dialog.call_id, None)
        subscription.state = "terminated"
        subscription.reason = reason + (f";retry-after={retry_after}" if retry_after is not None else "")
        self.pool.spawn(self._notify(subscription, ""))

    def _of(self, user: str, peer: str = "") -> list[Subscription]:
        return [s for s in list(self.subscriptions.values())
                if s.dialog.pair[0] == user and peer in ("", s.dialog.pair[1])]

    def present(self, user: str, state: dict[str, Any]) -> int:
        """A user's presence changes; everybody who may see him is told."""
        self.states[user] = state
        told = [s for s in self._of(user) if s.state == "active"]
        for subscription in told:
            self.pool.spawn(self._notify(subscription))
        return len(told)

    def decide(self, user: str, peer: str, policy: str) -> int:
        """A policy from now on, and at once for subscriptions there are."""
        self.policies["|".join((user, peer)) if peer else user] = policy
        found = self._of(user, peer)
        for subscription in found:
            if policy == "rejected" or policy.isdigit():
                self._end(subscription, "rejected")
            elif subscription.state != policy:
                subscription.state = policy
                self.pool.spawn(self._notify(subscription))
        return len(found)

    def terminate(self, user: str, peer: str, reason: str, retry_after: int | None) -> int:
        """End subscriptions for a reason of RFC 6665 section 4.1.3."""
        found = self._of(user, peer)
        for subscription in found:
            self._end(subscription, reason, retry_after)
        return len(found)

    def watchers(self, user: str) -> list[dict[str, Any]]:
        """Who watches a user now; a subscription that ran out is none."""
        now = time.monotonic()
        return [{"peer": s.dialog.pair[1], "state": s.state, "left": round(s.ends - now, 1)} for s in self._of(user) if s.ends > now]

    def forget(self) -> int:
        """Lose every dialog without a word."""
        count = len(self.subscriptions)
        self.subscriptions.clear()
        return count
