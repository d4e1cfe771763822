"""turnout itself: its configuration written from an estate, its process, its admin API and its command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .certs import Identity
from .dns import Dns
from .net import wait_port
from .proc import Process, seeing

ROOT = Path(__file__).resolve().parents[3]


def binary() -> Path:
    """The program under test: TURNOUT_BIN, else the debug build of this tree."""
    return Path(os.environ.get("TURNOUT_BIN") or ROOT / "target" / "debug" / "turnout")


@dataclass
class Partner:
    """One [[partner]] table. Strict by default, as DESIGN section 8 has it."""

    domain: str
    type: str = "federated"
    tls: str = "required"
    sasl: str = "required"
    dialback: bool = True
    ca_file: Path | None = None
    proxy: str = ""
    bidi: bool = False

    def toml(self) -> str:
        """The table as text."""
        lines = ["[[partner]]", f'domain = "{self.domain}"', f'type = "{self.type}"', f'tls = "{self.tls}"',
                 f'sasl = "{self.sasl}"', f"dialback = {str(self.dialback).lower()}"]
        if self.ca_file is not None:
            lines.append(f'ca_file = "{self.ca_file}"')
        if self.bidi:
            lines.append("bidi = true")
        if self.proxy:
            lines.append(f'proxy = "{self.proxy}"')
        return "\n".join(lines) + "\n"


@dataclass
class SipHome:
    """The [home.sfb2019] table."""

    connect: list[str]
    listen: str
    identity: Identity
    ca_file: Path
    dialect: str = "skype"
    transport: str = "tls"
    trusted_names: list[str] = field(default_factory=list)

    def toml(self) -> str:
        """The table as text."""
        lines = ["[home.sfb2019]", 'backend = "sip"', f'dialect = "{self.dialect}"', f"connect = {json.dumps(self.connect)}",
                 f'listen = "{self.listen}"', f'transport = "{self.transport}"', f'certificate = "{self.identity.certificate}"',
                 f'key = "{self.identity.key}"', f'ca_file = "{self.ca_file}"',
                 'registrar_pools = ["pool2019.contoso.com"]']
        if self.trusted_names:
            lines.append(f"trusted_names = {json.dumps(self.trusted_names)}")
        return "\n".join(lines) + "\n"


@dataclass
class Settings:
    """Everything an estate decides about its turnout."""

    outside: str
    inside: str
    gateway: str
    identity: Identity
    ca_file: Path
    partners: list[Partner]
    sip: SipHome | None
    users: dict[str, str]
    inside_tls: str = "optional"
    direct_tls: bool = True
    spool: str = "memory"
    spool_path: str = "spool"
    shards: int = 2
    presence: dict[str, int | bool] = field(default_factory=dict)
    directory: str = ""


_POOLS = {"legacy": "sfb2015.contoso.com", "sfb2019": "pool2019.contoso.com"}


def users_csv(users: dict[str, str]) -> str:
    """`Get-CsUser | Export-Csv` as Windows PowerShell writes it: #TYPE line, every field quoted, CRLF."""
    columns = ["SipAddress", "UserPrincipalName", "SamAccountName", "RegistrarPool", "HostingProvider", "EnabledForFederation",
               "EnabledForInternetAccess", "ExternalAccessPolicy"]
    rows = ["#TYPE Selected.Microsoft.Rtc.Management.ADConnect.Schema.OCSADUser", ",".join(f'"{c}"' for c in columns)]
    for jid, home in users.items():
        name = jid.partition("@")[0]
        values = [f"sip:{jid}", jid, name, _POOLS[home], "SRV:", "True", "True", "XmppUsers"]
        rows.append(",".join(f'"{v}"' for v in values))
    return "\r\n".join(rows) + "\r\n"


class Turnout:
    """One running router."""

    def __init__(self, settings: Settings, dns: Dns, directory: Path, admin: tuple[str, int]) -> None:
        self.settings, self._dns, self._dir = settings, dns, directory
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / "turnout.toml"
        self.log = directory / "turnout.log"
        self.admin = admin
        self.process: Process | None = None

    def toml(self) -> str:
        """The configuration file."""
        s = self.settings
        direct = f'listen_tls = ["{s.outside}:5270"]\n' if s.direct_tls else "listen_tls = []\n"
        parts = ['domains = ["contoso.com"]\n',
                 f'[federation]\nlisten = ["{s.outside}:5269"]\n{direct}certificate = "{s.identity.certificate}"\n'
                 f'key = "{s.identity.key}"\nca_file = "{s.ca_file}"\nunlisted_partners = "refuse"\n',
                 *[p.toml() for p in s.partners],
                 f'[home.legacy]\nbackend = "xmpp"\nconnect = ["{s.gateway}"]\nlisten = "{s.inside}:5269"\n'
                 f'tls = "{s.inside_tls}"\nregistrar_pools = ["lync2013.contoso.com", "sfb2015.contoso.com"]\n',
                 s.sip.toml() if s.sip is not None else "",
                 s.directory or '[directory]\nsource = "csv"\nfile = "users.csv"\npoll_seconds = 0\nxmpp_access_policies = ["XmppUsers"]\n',
                 f'[engine]\nshards = {s.shards}\ndriver = "poll"\n',
                 f'[spool]\nmode = "{s.spool}"\npath = "{s.spool_path}"\n',
                 self._presence(),
                 f'[dns]\nservers = ["{self._dns.address}:53"]\n',
                 f'[admin]\nlisten = "{self.admin[0]}:{self.admin[1]}"\n']
        return "\n".join(p for p in parts if p)

    def _presence(self) -> str:
        if not self.settings.presence:
            return ""
        keys = "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.settings.presence.items())
        return f'[presence]\nstore = "presence.redb"\n{keys}'

    async def start(self) -> None:
        """Write the files, start, wait until every listener accepts."""
        s = self.settings
        self.write()
        (self._dir / "users.csv").write_text(users_csv(s.users), newline="")
        if not binary().exists():
            raise FileNotFoundError(f"turnout is not built: no {binary()}; run `cargo build` or set TURNOUT_BIN")
        self.process = Process("turnout", [str(binary()), "run", "--config", str(self.config)], self.log, cwd=self._dir,
                               resolv=self._dns.files, env={"RUST_BACKTRACE": "1", "RUST_LOG": os.environ.get("RUST_LOG", "debug")})
        ports = [(s.outside, 5269), (s.inside, 5269), self.admin] + ([(s.outside, 5270)] if s.direct_tls else [])
        if s.sip is not None:
            host, _, port = s.sip.listen.rpartition(":")
            ports.append((host, int(port)))
        for address, port in ports:
            await wait_port(address, port, 20, self.process.alive)
        await self._ready()

    def write(self) -> None:
        """Write the configuration anew."""
        self.config.write_text(self.toml())

    async def reload(self) -> Any:
        """Have it read its configuration and its users anew."""
        request = urllib.request.Request(f"http://{self.admin[0]}:{self.admin[1]}/api/reload", b"{}",
                                         {"Content-Type": "application/json"}, method="POST")
        return await self._http(request, True)

    async def _ready(self) -> None:
        end = time.monotonic() + 20
        while True:
            try:
                await self.get("/readyz", parse=False)
                return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > end:
                    raise TimeoutError("/readyz did not become good within 20 s") from None
                await asyncio.sleep(0.1)

    async def get(self, path: str, parse: bool = True) -> Any:
        """GET from the admin API."""
        return await self._http(urllib.request.Request(f"http://{self.admin[0]}:{self.admin[1]}{path}"), parse)

    async def move(self, user: str | list[str], home: str) -> None:
        """Move a user, or several at once, as an administrator would, by the admin API."""
        who = {"user": user} if isinstance(user, str) else {"users": user}
        request = urllib.request.Request(
            f"http://{self.admin[0]}:{self.admin[1]}/api/users/move", json.dumps({**who, "home": home}).encode(),
            {"Content-Type": "application/json"}, method="POST")
        await self._http(request, False)

    @staticmethod
    async def _http(request: urllib.request.Request, parse: bool) -> Any:
        def call() -> bytes:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return answer.read()

        body = await asyncio.get_running_loop().run_in_executor(None, call)
        return json.loads(body) if parse else body

    async def command(self, *args: str, seconds: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run the program with other arguments, in the estate's directory."""
        def call() -> subprocess.CompletedProcess[str]:
            argv = seeing(self._dns.files, [str(binary()), *args])
            return subprocess.run(argv, cwd=self._dir, capture_output=True, text=True, timeout=seconds, check=False)

        return await asyncio.get_running_loop().run_in_executor(None, call)

    def metric(self, text: str, name: str) -> float:
        """The sum over labels of one metric in a /metrics page."""
        total = 0.0
        for line in text.splitlines():
            if line.startswith(name) and line[len(name):len(name) + 1] in ("{", " "):
                total += float(line.rpartition(" ")[2])
        return total

    def kill(self) -> None:
        """End it without any warning."""
        if self.process is not None:
            self.process.stop(signal.SIGKILL)

    def stop(self) -> None:
        """End it the polite way first."""
        if self.process is not None:
            self.process.stop(seconds=5)
