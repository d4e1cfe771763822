"""What every XMPP server of the rig can do, whichever program it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from .certs import Identity
from .dns import Dns

C2S_PORT = 5222
S2S_PORT = 5269
S2S_DIRECT_PORT = 5270


@dataclass(frozen=True)
class ServerSettings:
    """How one server is to federate.

    `tls`: required | optional | none. `verify`: whether it insists on a valid certificate of its peer (else dialback will do).
    `direct_tls`: listen for XEP-0368 connections as well (where the program can). `acknowledges`: stream management between servers,
    `bidi`: both ways on one stream (Prosody alone).
    """

    domain: str
    address: str
    identity: Identity
    ca_file: Path
    tls: str = "required"
    verify: bool = True
    dialback: bool = True
    direct_tls: bool = False
    acknowledges: bool = False
    bidi: bool = False


class Server(ABC):
    """One XMPP server process (or family of processes) in the foreground."""

    program = "?"

    def __init__(self, settings: ServerSettings, dns: Dns, directory: Path) -> None:
        self.settings = settings
        self.dns = dns
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def domain(self) -> str:
        """The domain it owns."""
        return self.settings.domain

    @property
    def client_port(self) -> tuple[str, int]:
        """Where clients log in, in plaintext: it is loopback."""
        return self.settings.address, C2S_PORT

    @abstractmethod
    async def start(self) -> None:
        """Start and return when clients and servers can connect."""

    @abstractmethod
    async def add_user(self, name: str, password: str) -> None:
        """Make an account. May be called before or after `start()`."""

    @abstractmethod
    def stop(self) -> None:
        """End every process of it."""

    @abstractmethod
    def logs(self) -> list[Path]:
        """Files whose tails explain a failure."""
