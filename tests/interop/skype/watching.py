"""Commands of the control socket that concern presence."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Callable

from . import pidf, shapes
from .dialog import Dialog, Pair
from .message import Message
from .notifier import Notifier
from .pool import Pool, new_call_id
from .subscriber import Subscriber

Command = dict[str, Any]


class Watching:
    """Mixed into Control; every command answers as those do."""

    pool: Pool
    subscriber: Subscriber
    notifier: Notifier
    _published: dict[tuple[str, str], str]

    async def _until(self, good: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not good():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.pool.news.clear()
            try:
                await asyncio.wait_for(self.pool.news.wait(), left)
            except asyncio.TimeoutError:
                pass
        return True

    # Our users watch the partner's ---------------------------------------------------------------------------------------

    async def do_watch(self, c: Command) -> dict[str, Any]:
        """SUBSCRIBE to a partner's user: expires, accept; microsoft=false for a plain RFC 3856 watcher. "pairs" for many at once."""
        pairs = [(u.lower(), p.lower()) for u, p in c["pairs"]] if "pairs" in c else [_pair(c)]
        answers = await asyncio.gather(*[self.subscriber.watch(pair, int(c.get("expires", 3600)), c.get("accept", ""),
                                                               bool(c.get("microsoft", True))) for pair in pairs])
        codes: dict[int, int] = {}
        for answer in answers:
            codes[answer.code] = codes.get(answer.code, 0) + 1
        return {"code": answers[-1].code, "codes": codes}

    async def do_unwatch(self, c: Command) -> dict[str, Any]:
        """SUBSCRIBE with Expires 0 in the dialog. With "silent" the watch is given up without a word."""
        watch = self.subscriber.watches[_pair(c)]
        if c.get("silent"):
            watch.stopped = True
            return {"code": 0}
        return {"code": (await self.subscriber.end(watch)).code}

    async def do_refresh(self, c: Command) -> dict[str, Any]:
        """SUBSCRIBE again, now."""
        return {"code": (await self.subscriber.refresh(self.subscriber.watches[_pair(c)])).code}

    async def do_fetch(self, c: Command) -> dict[str, Any]:
        """SUBSCRIBE with Expires 0 in a dialog of its own."""
        return await self.subscriber.fetch(_pair(c))

    async def do_seen(self, c: Command) -> dict[str, Any]:
        """What a user of ours sees of a partner's. Waits up to "seconds" for what is in "want", e.g. {"basic": "open"}."""
        watch = self.subscriber.watches[_pair(c)]
        want = c.get("want", {})
        met = await self._until(lambda: all(watch.view().get(k) == v for k, v in want.items()), float(c.get("seconds", 0)))
        return {"met": met, **watch.view(), "notifies": watch.notifies[-int(c.get("last", 20)):], "answers": watch.answers[-20:]}

    async def do_seen_all(self, c: Command) -> dict[str, Any]:
        """How many watches show what is wanted; waits until "count" do."""
        want, every = c.get("want", {}), self.subscriber.watches

        def good() -> int:
            return sum(all(w.view().get(k) == v for k, v in want.items()) for w in every.values())

        await self._until(lambda: good() >= int(c["count"]), float(c.get("seconds", 0)))
        return {"count": good(), "watches": len(every)}

    # The partner's users watch ours --------------------------------------------------------------------------------------

    async def do_present(self, c: Command) -> dict[str, Any]:
        """A user's presence: basic (open, closed), activity, note, name, availability. "users" for many at once."""
        state = {k: c[k] for k in ("basic", "activity", "note", "name", "availability") if k in c}
        return {"told": sum(self.notifier.present(u.lower(), state) for u in c.get("users", [c.get("user", "")]))}

    async def do_policy(self, c: Command) -> dict[str, Any]:
        """active, pending, rejected, or a code for SUBSCRIBE; for one watcher ("peer") or for all of a user's."""
        return {"told": self.notifier.decide(c["user"].lower(), c.get("peer", "").lower(), str(c["policy"]))}

    async def do_terminate(self, c: Command) -> dict[str, Any]:
        """NOTIFY terminated to the watchers: reason, retry_after."""
        return {"told": self.notifier.terminate(c["user"].lower(), c.get("peer", "").lower(), c["reason"], c.get("retry_after"))}

    async def do_watchers(self, c: Command) -> dict[str, Any]:
        """Who watches a user; waits up to "seconds" until there are "count" of them (in "state", if said)."""
        user, state = c["user"].lower(), c.get("state")

        def now() -> list[dict[str, Any]]:
            return [w for w in self.notifier.watchers(user) if state in (None, w["state"])]

        if "count" in c:
            await self._until(lambda: len(now()) == int(c["count"]), float(c.get("seconds", 0)))
        return {"watchers": now()}

    async def do_watched(self, _: Command) -> dict[str, Any]:
        """How many subscriptions each user of ours has, and how many in all."""
        counts: dict[str, int] = {}
        for one in self.notifier.subscriptions.values():
            counts[one.dialog.pair[0]] = counts.get(one.dialog.pair[0], 0) + 1
        return {"total": sum(counts.values()), "counts": counts}

    async def do_subscribes(self, c: Command) -> dict[str, Any]:
        """The log of SUBSCRIBE in and NOTIFY out of one user or all, oldest first."""
        user = c.get("user")
        return {"log": [e for e in self.notifier.log if user in (None, e["user"])][-int(c.get("last", 200)):]}

    async def do_notifier(self, c: Command) -> dict[str, Any]:
        """Switches: notify_first (NOTIFY before the 200), max_expires, routed (Record-Route in the first NOTIFY too)."""
        self.notifier.routed = bool(c.get("routed", self.notifier.routed))
        self.notifier.notify_first = bool(c.get("notify_first", self.notifier.notify_first))
        self.notifier.max_expires = int(c.get("max_expires", self.notifier.max_expires))
        return {}

    async def do_amnesia(self, c: Command) -> dict[str, Any]:
        """Forget the presence dialogs ("side": watching, watched; both without), as a front end that restarted."""
        side = c.get("side", "")
        return {"watching": self.subscriber.forget() if side in ("", "watching") else 0,
                "watched": self.notifier.forget() if side in ("", "watched") else 0}

    # A user behind a presence server -------------------------------------------------------------------------------------

    async def do_publish(self, c: Command) -> dict[str, Any]:
        """PUBLISH one device's state (RFC 3903) to the next hop: device, basic, activity, note; expires 0 takes it back."""
        user, device = c["user"].lower(), c.get("device", "desk")
        expires, etag = int(c.get("expires", 600)), self._published.get((c["user"].lower(), c.get("device", "desk")), "")
        headers = [("Event", "presence"), ("Expires", str(expires))] + ([("SIP-If-Match", etag)] if etag else [])
        body = b""
        if expires:
            headers.append(("Content-Type", "application/pidf+xml"))
            body = pidf.one_device(user, device, c)
        scratch = Dialog((user, user), new_call_id(), shapes.token(5), "", [], caller=True)
        request = scratch.request("PUBLISH", self.pool.vias(), headers, body)
        answer = await self.pool.transact(await self.pool.out((user, user)), request)
        self._remember(user, device, answer if expires else None)
        return {"code": answer.code}

    def _remember(self, user: str, device: str, answer: Message | None) -> None:
        if answer is None or not answer.get("SIP-ETag"):
            self._published.pop((user, device), None)
        else:
            self._published[user, device] = answer.get("SIP-ETag")


def _pair(c: Command) -> Pair:
    return c["user"].lower(), c["peer"].lower()
