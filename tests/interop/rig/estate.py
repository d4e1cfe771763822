"""A whole estate: partner, legacy gateway, 2019 pool, DNS, certificates, and turnout in the middle.

    partner.example  --S2S-->  turnout outside | inside  --S2S-->  gateway that owns contoso.com (legacy users)
                                            SIP listener <--SIP-->  scripted pool (2019 users)

A case says only what it wants different from `Plan`'s defaults.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import certs
from .certs import Authority, Identity
from .client import User
from .dns import Dns, Zone
from .ejabberd import Ejabberd
from .jabberd2 import Jabberd2
from .ldap import DIRECTORIES, Directory
from .kamailio import Kamailio
from .net import Block
from .poolctl import SkypePool
from .presence_server import PresenceServer
from .prosody import Prosody
from .roster import Roster
from .server import Server, ServerSettings
from .tap import Tap
from .turnout import Partner, Settings, SipHome, Turnout

# Set by the runner: whether estates keep their directories, and what the last failed one has to say.
KEEP = False
# Leave turnout out: partner and gateway federate directly. What fails like that is the rig's or the peers' doing.
BYPASS = False
LAST_REPORT = ""

PROGRAMS: dict[str, type[Server]] = {"prosody": Prosody, "ejabberd": Ejabberd, "jabberd2": Jabberd2}
PARTNER, LOCAL = "partner.example", "contoso.com"
# Last numbers of the estate's addresses.
_PARTNER, _GATEWAY, _OUTSIDE, _INSIDE, _POOL, _PROXY, _DNS, _DNS_GATEWAY = 2, 3, 4, 5, 6, 7, 53, 54
# Taps: before the partner, before the gateway, before turnout's outside and inside listeners.
_TAP_OUT, _TAP_IN, _TAP_OUTSIDE, _TAP_INSIDE = 12, 13, 14, 15
_STRANGER, _AGENT, _DIRECTORY = 16, 17, 18
_ADMIN_PORT = 9280


@dataclass
class Plan:
    """What an estate is made of.

    `partner_cert`: good | server-only | self-signed | wrong-name | stranger | expired. `pool`: skype | simple | simple-tcp (both
    brought by the case) | presence (Kamailio with an agent behind it) | none. `presence`: keys of that table; none, no store.
    `directory`: csv | slapd | samba.
    """

    partner: str = "prosody"
    gateway: str = "ejabberd"
    partner_cert: str = "good"
    partner_tls: str = "required"
    partner_verify: bool = True
    partner_dialback: bool = True
    partner_direct_tls: bool = False
    partner_acknowledges: bool = False
    partner_bidi: bool = False
    shards: int = 2
    only_direct_tls: bool = False
    start_partner: bool = True
    policy: Partner = field(default_factory=lambda: Partner(PARTNER))
    gateway_tls: str = "optional"
    inside_tls: str = "optional"
    pool: str = "skype"
    proxy: bool = False
    taps: bool = False
    presence: dict[str, int | bool] = field(default_factory=dict)
    spool: str = "memory"
    spool_path: str = "spool"
    directory: str = "csv"
    users: dict[str, str] = field(default_factory=lambda: {
        "legacy@contoso.com": "legacy", "modern@contoso.com": "sfb2019", "mover@contoso.com": "legacy"})


class Estate:
    """Use as `async with Estate(plan) as estate`.

    `before` is called when certificates exist and before turnout's configuration is written.
    """

    def __init__(self, plan: Plan | None = None, before: Callable[["Estate"], None] | None = None) -> None:
        self.plan = plan or Plan()
        self._before = before
        self.failed = True
        self.dir = Path(tempfile.mkdtemp(prefix="turnout-interop-"))
        self.block = Block()
        self._stops: list[object] = []
        self._users: list[User] = []
        self._rosters: list[Roster] = []
        self.proxy: Kamailio | None = None
        self.pool: SkypePool | None = None
        self.presence: PresenceServer | None = None
        self.directory: Directory | None = None
        self.tap_out: Tap | None = None
        self.tap_in: Tap | None = None
        self.tap_before_outside: Tap | None = None
        self.tap_before_inside: Tap | None = None

    def at(self, host: int) -> str:
        """One of the estate's addresses."""
        return self.block.address(host)

    async def __aenter__(self) -> "Estate":
        try:
            await self._build()
        except BaseException:
            await self._tear_down()
            raise
        return self

    async def __aexit__(self, kind: object, _: object, __: object) -> None:
        self.failed = kind is not None
        await self._tear_down()

    async def _build(self) -> None:
        p = self.plan
        self.ca = Authority(self.dir / "ca")
        self.dns = await self._dns("world", _DNS, self._world())
        self.gateway_dns = await self._dns("gateway", _DNS_GATEWAY, self._gateway_view())
        self.partner = PROGRAMS[p.partner](ServerSettings(
            PARTNER, self.at(_PARTNER), self._partner_identity(), self.ca.certificate, p.partner_tls, p.partner_verify,
            p.partner_dialback, p.partner_direct_tls, p.partner_acknowledges, p.partner_bidi), self.dns, self.dir / "partner")
        self.gateway = PROGRAMS[p.gateway](ServerSettings(
            LOCAL, self.at(_GATEWAY), self.ca.issue("gateway", ["edge2015.contoso.com", LOCAL]), self.ca.certificate,
            p.gateway_tls, False, True, BYPASS and p.partner_direct_tls), self.gateway_dns, self.dir / "gateway")
        if p.directory != "csv":
            self.directory = DIRECTORIES[p.directory](self.at(_DIRECTORY), self.ca, self.dir / "directory")
            self._stops.append(self.directory)
            await self.directory.start()
            for user, home in p.users.items():
                self.directory.add(user, home)
        servers = [self.gateway] + ([self.partner] if p.start_partner else [])
        self._stops += servers
        if self._before is not None:
            self._before(self)
        self.turnout = Turnout(self._settings(), self.dns, self.dir / "turnout", (self.at(_INSIDE), _ADMIN_PORT))
        self._stops.append(self.turnout)
        if p.taps:
            await self._tap()
        routers = [] if BYPASS else [self._start_pool(), self.turnout.start()]
        await asyncio.gather(*[s.start() for s in servers], *routers)

    async def _dns(self, name: str, host: int, zone: Zone) -> Dns:
        dns = Dns(name, self.at(host), zone, self.dir / "dns")
        self._stops.append(dns)
        await dns.start()
        return dns

    def _world(self) -> Zone:
        """What partner, pool and turnout see."""
        p = self.plan
        partner_at = self.at(_TAP_OUT if p.taps else _PARTNER)
        outside_at = self.at(_TAP_OUTSIDE if p.taps else _GATEWAY if BYPASS else _OUTSIDE)
        zone = (Zone().host("xmpp.partner.example", partner_at).host("access.contoso.com", outside_at)
                .host("edge2015.contoso.com", self.at(_GATEWAY)).host("pool2019.contoso.com", self.at(_POOL))
                .host("agent.contoso.com", self.at(_AGENT)).host("sipproxy.contoso.com", self.at(_PROXY))
                .host("turnout.contoso.com", self.at(_INSIDE)).host("dc1.contoso.com", self.at(_DIRECTORY))
                .host("other.contoso.com", self.at(_DIRECTORY)))
        if not p.only_direct_tls:
            zone.service("_xmpp-server._tcp.partner.example", "xmpp.partner.example", 5269)
            zone.service("_xmpp-server._tcp.contoso.com", "access.contoso.com", 5269)
        if p.partner_direct_tls:
            zone.service("_xmpps-server._tcp.partner.example", "xmpp.partner.example", 5270)
            zone.service("_xmpps-server._tcp.contoso.com", "access.contoso.com", 5270)
        return zone

    def _gateway_view(self) -> Zone:
        """What the legacy gateway sees: every partner lives at turnout's inside listener, as ProxyFqdn says."""
        if BYPASS and not self.plan.taps:
            return self._world()
        return (Zone().host("inside.contoso.com", self.at(_TAP_INSIDE if self.plan.taps else _INSIDE))
                .service("_xmpp-server._tcp.partner.example", "inside.contoso.com", 5269))

    def _partner_identity(self) -> Identity:
        kind, where = self.plan.partner_cert, self.dir / "partner-cert"
        if kind == "self-signed":
            where.mkdir()
            return certs.self_signed(where, "partner", [PARTNER])
        if kind == "stranger":
            return Authority(where, "stranger").issue("partner", [PARTNER])
        names = ["other.example"] if kind == "wrong-name" else [PARTNER]
        usage = "serverAuth" if kind == "server-only" else "serverAuth,clientAuth"
        return self.ca.issue("partner", names, usage, days=-1 if kind == "expired" else 20)

    def _settings(self) -> Settings:
        p = self.plan
        sip = None
        if p.pool != "none":
            hop = "sipproxy.contoso.com" if p.proxy else "pool2019.contoso.com"
            plain = p.pool == "simple-tcp"
            sip = SipHome([f"{hop}:5061"], f"{self.at(_INSIDE)}:5061", self.ca.issue("turnout-sip", ["turnout.contoso.com"]),
                          self.ca.certificate, "skype" if p.pool == "skype" else "simple", "tcp" if plain else "tls")
        gateway = f"{self.at(_TAP_IN)}:5269" if p.taps else "edge2015.contoso.com:5269"
        return Settings(self.at(_OUTSIDE), self.at(_INSIDE), gateway, self.ca.issue("turnout", [LOCAL]), self.ca.certificate,
                        [p.policy], sip, p.users, p.inside_tls, direct_tls=True, shards=p.shards, presence=p.presence, spool=p.spool,
                        spool_path=p.spool_path,
                        directory=self.directory.toml() if self.directory is not None else "")

    async def _tap(self) -> None:
        self.tap_out = Tap((self.at(_TAP_OUT), 5269), (self.at(_PARTNER), 5269))
        self.tap_in = Tap((self.at(_TAP_IN), 5269), (self.at(_GATEWAY), 5269))
        self.tap_before_outside = Tap((self.at(_TAP_OUTSIDE), 5269), (self.at(_OUTSIDE), 5269))
        self.tap_before_inside = Tap((self.at(_TAP_INSIDE), 5269), (self.at(_INSIDE), 5269))
        taps = [self.tap_out, self.tap_in, self.tap_before_outside, self.tap_before_inside]
        if BYPASS:
            # Two plain relays in turnout's place, so that the taps themselves can be shown to work.
            taps += [Tap((self.at(_OUTSIDE), 5269), (self.at(_TAP_IN), 5269)),
                     Tap((self.at(_INSIDE), 5269), (self.at(_TAP_OUT), 5269))]
        for tap in taps:
            self._stops.append(tap)
            await tap.start()

    async def _start_pool(self) -> None:
        p = self.plan
        if p.proxy:
            self.proxy = Kamailio(self.at(_PROXY), self.ca.issue("proxy", ["sipproxy.contoso.com"]), self.ca.certificate,
                                  self.dns, self.dir / "kamailio", pool=(self.at(_POOL), 5061), turnout=(self.at(_INSIDE), 5061),
                                  pool_tls=p.pool == "skype")
            self._stops.append(self.proxy)
            await self.proxy.start()
        if p.pool == "presence":
            self.pool = SkypePool("agent.contoso.com", self.at(_AGENT), (self.at(_POOL), 5061), PresenceServer.name,
                                  self.ca.issue("agent", ["agent.contoso.com"]), self.ca.certificate, self.dir / "pool.log")
            self.presence = PresenceServer(self.at(_POOL), self.ca.issue("pool", [PresenceServer.name]), self.ca.certificate, self.dns,
                                           self.dir / "kamailio", self.pool, self.at(_INSIDE), list(p.users))
            self._stops += [self.pool, self.presence]
            await asyncio.gather(self.pool.start(), self.presence.start())
            await self.pool.home(*p.users)
        if p.pool == "skype":
            hop, name = ((self.at(_PROXY), "sipproxy.contoso.com") if p.proxy else (self.at(_INSIDE), "turnout.contoso.com"))
            self.pool = SkypePool("pool2019.contoso.com", self.at(_POOL), (hop, 5061), name,
                                  self.ca.issue("pool", ["pool2019.contoso.com"]), self.ca.certificate, self.dir / "pool.log")
            self._stops.append(self.pool)
            await self.pool.start()
            await self.pool.home(*[u for u, home in p.users.items() if home == "sfb2019"], "mover@contoso.com")

    async def stranger_pool(self, name: str) -> SkypePool:
        """A second pool program with a certificate of our root for another name, which turnout must not trust."""
        stranger = SkypePool(name, self.at(_STRANGER), self.sip_listener, "turnout.contoso.com", self.ca.issue("stranger-pool", [name]),
                             self.ca.certificate, self.dir / "stranger.log")
        self._stops.append(stranger)
        await stranger.start()
        return stranger

    @property
    def pool_address(self) -> tuple[str, int]:
        """Where the SIP pool has to listen; for pools a case brings itself."""
        return self.at(_POOL), 5061

    @property
    def sip_listener(self) -> tuple[str, int]:
        """turnout's SIP listener."""
        return self.at(_INSIDE), 5061

    async def partner_user(self, name: str = "romeo", resource: str = "orchard") -> User:
        """A person at the partner's."""
        return await self._login(User(self.partner, name, resource))

    async def legacy_user(self, name: str = "legacy", resource: str = "desk") -> User:
        """A person on the legacy gateway."""
        return await self._login(User(self.gateway, name, resource))

    async def _login(self, user: User) -> User:
        self._users.append(user)
        return await user.login()

    async def roster(self, name: str = "romeo", resource: str = "orchard", accepting: bool = False) -> Roster:
        """A person at the partner's who has contacts."""
        return self._kept(Roster(await self.partner_user(name, resource), accepting))

    async def legacy_roster(self, name: str, accepting: bool = False) -> Roster:
        """A person on the legacy gateway who has contacts."""
        return self._kept(Roster(await self.legacy_user(name), accepting))

    def _kept(self, roster: Roster) -> Roster:
        self._rosters.append(roster)
        return roster

    async def again(self, roster: Roster) -> None:
        """Log a person in once more, after his server was away."""
        old = roster.user
        await old.logout()
        roster.again(await self._login(User(old.server, old.name, old.resource)))

    async def restart(self, one: Turnout | SkypePool | PresenceServer | Server, away: float = 0.5, kill: bool = False) -> None:
        """End a party, leave it away for a while, start it again. A server's clients come back with `again`."""
        stop = one.kill if kill and isinstance(one, (Turnout, Prosody)) else one.stop
        await asyncio.get_running_loop().run_in_executor(None, stop)
        await asyncio.sleep(away)
        await one.start()

    async def warm(self, *users: User) -> None:
        """Have the users' servers set their streams up before a case that looks at order.

        Prosody 0.12 lets stanzas that come while a new stream is being authenticated overtake those queued before: in a run
        without turnout number 0 came after number 3349. That must not be put down to turnout.
        """
        for user in users:
            other = PARTNER if user.server.domain == LOCAL else LOCAL
            user.raw(f'<iq to="{other}" type="get" id="warm-{user.resource}"><ping xmlns="urn:xmpp:ping"/></iq>')
        for user in users:
            await user.expect(lambda r, i=f"warm-{user.resource}": r.xml.get("id") == i, 30, "any answer to a ping")

    def report(self) -> str:
        """Tails of every log, for a failure."""
        paths = [self.dir / "turnout" / "turnout.log", *self.partner.logs(), *self.gateway.logs(), self.dir / "pool.log"]
        paths += self.directory.logs() if self.directory is not None else []
        paths += [kamailio.log for kamailio in (self.proxy, self.presence) if kamailio is not None]
        out = []
        for path in paths:
            if path.exists() and path.stat().st_size:
                lines = path.read_text(errors="replace").splitlines()[-30:]
                out.append(f"---- {path.relative_to(self.dir)}\n" + "\n".join(line[:400] for line in lines))
        return "\n".join(out)

    async def _tell(self) -> None:
        global LAST_REPORT  # noqa: PLW0603 - the runner reads it after the case has been torn down
        LAST_REPORT = self.report() if hasattr(self, "gateway") else ""
        if self.pool is not None and self.pool.process is not None and self.pool.process.alive():
            try:
                trace = (await self.pool.ask("trace", lines=30, limit=5))["trace"]
                LAST_REPORT += "\n---- pool trace\n" + "\n".join(trace)
            except (AssertionError, OSError, ValueError, asyncio.TimeoutError):
                pass

    async def _tear_down(self) -> None:
        for roster in self._rosters:
            roster.close()
        for user in self._users:
            await user.logout()
        if self.failed:
            await self._tell()
        loop = asyncio.get_running_loop()
        taps = [s for s in self._stops if isinstance(s, Tap)]
        for tap in taps:
            tap.stop()
        others = [s for s in self._stops if not isinstance(s, Tap)]
        await asyncio.gather(*[loop.run_in_executor(None, s.stop) for s in reversed(others)])  # type: ignore[attr-defined]
        self.block.release()
        if not KEEP:
            shutil.rmtree(self.dir, ignore_errors=True)
