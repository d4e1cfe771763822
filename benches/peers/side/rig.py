"""Where peers run: a private network and mount namespace, a temporary folder, and processes that end with us.

Everything has the ports it wants and its own /etc/hosts and DNS, and nothing is left on the machine.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

NAMES = {"partner.example": "127.0.0.2", "contoso.com": "127.0.0.1"}
INSIDE = "TURNOUT_BENCHINSIDE"


class Failure(Exception):
    """A run that cannot go on, with the reason for people."""


def enter_namespace() -> None:
    """Start this program again inside namespaces of its own, once."""
    if os.environ.get(INSIDE):
        _loopback_up()
        return
    command = ["unshare", "--net", "--mount", "--propagation", "private"]
    if os.getuid() != 0:
        command.append("--map-root-user")
    probe = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        raise Failure(f"needs a network namespace of its own: {probe.stderr.strip()}; run it as root")
    os.environ[INSIDE] = "1"
    os.execvp("unshare", [*command, sys.executable, *sys.argv])


def _loopback_up() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 200_000
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(probe, 0x8913, request))[1]
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh22x", b"lo", flags | 1))
    # 40,000 connections of one run need more than the usual ports.
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("10000 65000\n")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Rig:
    """The folder and the processes of one run."""

    def __init__(self, folder: Path, load: Path, turnout: Path) -> None:
        self.folder, self.load_program, self.turnout = folder, load, turnout
        self._running: list[subprocess.Popen] = []
        self._services: list[subprocess.Popen] = []

    def names(self) -> None:
        """Give this namespace its own names, by file and by DNS."""
        hosts, resolv = self.folder / "hosts", self.folder / "resolv.conf"
        lines = ["127.0.0.1 localhost"] + [f"{address} {name}" for name, address in NAMES.items()]
        hosts.write_text("\n".join(lines) + "\n")
        resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        for source, target in ((hosts, "/etc/hosts"), (resolv, "/etc/resolv.conf")):
            subprocess.run(["mount", "--bind", str(source), target], check=True)
        conf = ["no-resolv", "no-hosts", "no-daemon", "bind-interfaces", "local=//", "listen-address=127.0.0.1", "port=53",
                "user=root", f"pid-file={self.folder}/dns.pid"]
        conf += [f"host-record={name},{address}" for name, address in NAMES.items()]
        (self.folder / "dns.conf").write_text("\n".join(conf) + "\n")
        self._services.append(self._spawn("dns", ["dnsmasq", f"--conf-file={self.folder}/dns.conf"], {}))
        wait_port("127.0.0.1", 53, 10)

    def _spawn(self, name: str, command: list[str], env: dict[str, str]) -> subprocess.Popen:
        with open(self.folder / f"{name}.log", "wb") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                    env={**os.environ, **env}, preexec_fn=_die_with_parent)

    def start(self, name: str, command: list[str], port: tuple[str, int] | None = None, patience: float = 30,
              **env: str) -> subprocess.Popen:
        """Start a peer and wait for its port."""
        process = self._spawn(name, command, env)
        self._running.append(process)
        if port:
            try:
                wait_port(*port, patience, lambda: process.poll() is None)
            except Failure as failure:
                raise Failure(f"{name}: {failure}\n{self.tail(name)}") from None
        return process

    def tail(self, name: str) -> str:
        """The end of a process's log."""
        path = self.folder / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.exists() else ""

    def stop(self) -> None:
        """End all peers, by their process ids and those of their children."""
        for process in reversed(self._running):
            family = descendants(process.pid)
            process.terminate()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pid in family:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self._running.clear()

    def close(self) -> None:
        """End everything."""
        self.stop()
        for process in self._services:
            process.kill()
            process.wait()

    def pids(self) -> str:
        """All processes of the peers, with commas."""
        found: list[int] = []
        for process in self._running:
            found += [process.pid, *descendants(process.pid)]
        return ",".join(map(str, found))

    def load(self, job: str, timeout: float = 300, **options: object) -> dict:
        """Run one job of the generator against the peers that are up."""
        command = [str(self.load_program), job]
        for name, value in options.items():
            if value is not None:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                command += [f"--{name.replace('_', '-')}", text]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise Failure(f"{job} took more than {timeout:.0f} s") from None
        if done.returncode:
            raise Failure(done.stderr.strip()[-800:] or f"the generator ended with {done.returncode}")
        return json.loads(done.stdout)


def descendants(pid: int) -> list[int]:
    """Children and theirs."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return found
    for task in tasks:
        try:
            children = Path(f"/proc/{pid}/task/{task}/children").read_text()
        except OSError:
            continue
        for child in map(int, children.split()):
            found += [child, *descendants(child)]
    return found


def wait_port(address: str, port: int, seconds: float, alive=lambda: True) -> None:
    """Until something listens there, looked up rather than connected to, so that nobody is disturbed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if _listens(port):
            return
        if not alive():
            raise Failure("ended at once")
        time.sleep(0.02)
    raise Failure(f"nothing listens on port {port} after {seconds:.0f} s")


def _listens(port: int) -> bool:
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                return True
    return False
