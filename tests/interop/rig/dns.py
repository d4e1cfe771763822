"""A dnsmasq per view of the world.

The legacy gateway must believe that partner.example lives at turnout's inside listener (the ProxyFqdn of its partner object), while
turnout itself must find the real partner. So an estate runs two servers with different answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .net import wait_port
from .proc import Process


@dataclass
class Zone:
    """What one view answers. Names not listed do not exist."""

    hosts: dict[str, str] = field(default_factory=dict)
    services: list[tuple[str, str, int, int, int]] = field(default_factory=list)

    def host(self, name: str, address: str) -> "Zone":
        """An A record."""
        self.hosts[name] = address
        return self

    def service(self, name: str, target: str, port: int, priority: int = 0, weight: int = 0) -> "Zone":
        """An SRV record."""
        self.services.append((name, target, port, priority, weight))
        return self


class Dns:
    """One dnsmasq on port 53 of an address of ours."""

    def __init__(self, name: str, address: str, zone: Zone, directory: Path) -> None:
        self.name, self.address, self.zone = name, address, zone
        self._dir = directory
        self.process: Process | None = None
        directory.mkdir(parents=True, exist_ok=True)
        resolv, hosts = directory / f"{name}.resolv.conf", directory / f"{name}.hosts"
        resolv.write_text(f"nameserver {address}\noptions timeout:2 attempts:2\n")
        hosts.write_text("127.0.0.1 localhost\n")
        self.files = (resolv, hosts)

    async def start(self) -> None:
        """Start and wait until it answers."""
        lines = ["no-resolv", "no-hosts", "no-daemon", "bind-interfaces", "log-queries", "local-ttl=1", "local=/#/", "user=root",
                 f"listen-address={self.address}", "port=53", f"pid-file={self._dir / (self.name + '.pid')}"]
        lines += [f"host-record={name},{address}" for name, address in self.zone.hosts.items()]
        lines += [f"srv-host={name},{target},{port},{priority},{weight}"
                  for name, target, port, priority, weight in self.zone.services]
        config = self._dir / f"{self.name}.dnsmasq.conf"
        config.write_text("\n".join(lines) + "\n")
        self.process = Process(f"dns-{self.name}", ["dnsmasq", "--conf-file=" + str(config)], self._dir / f"dns-{self.name}.log")
        await wait_port(self.address, 53, 10, self.process.alive)

    def queries(self) -> str:
        """The query log, to prove that a name was (or was not) asked for."""
        return (self._dir / f"dns-{self.name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stop()
