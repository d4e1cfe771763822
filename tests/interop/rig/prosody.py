"""Prosody 0.12: EXTERNAL, dialback, direct TLS both ways."""

from __future__ import annotations

import signal
from pathlib import Path

from .net import wait_port
from .proc import Process
from .server import C2S_PORT, S2S_DIRECT_PORT, S2S_PORT, Server

_CONFIG = """
run_as_root = true
pidfile = "{dir}/prosody.pid"
data_path = "{data}"
certificates = "{dir}"
interfaces = {{ "{address}" }}
c2s_ports = {{ {c2s} }}
s2s_ports = {{ {s2s} }}
c2s_direct_tls_ports = {{ }}
s2s_direct_tls_ports = {{ {direct} }}
http_ports = {{ }}
https_ports = {{ }}
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "ping", "posix"{dialback}{smacks}{bidi} }}
modules_disabled = {{ "limits"{no_dialback} }}
authentication = "internal_plain"
storage = "internal"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
s2s_require_encryption = {require}
s2s_secure_auth = {secure}
c2s_stanza_size_limit = 1048576
s2s_stanza_size_limit = 1048576
ssl = {{ key = "{key}", certificate = "{cert}", cafile = "{ca}", capath = "" }}
log = {{ {{ levels = {{ min = "debug" }}, to = "file", filename = "{dir}/prosody.log" }} }}
VirtualHost "{domain}"
"""


class Prosody(Server):
    """One Prosody with one virtual host."""

    program = "prosody"
    process: Process | None = None

    async def start(self) -> None:
        s = self.settings
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        modules_off = "" if s.dialback else ', "dialback"'
        if s.tls == "none":
            modules_off += ', "tls"'
        config = self.directory / "prosody.cfg.lua"
        config.write_text(_CONFIG.format(
            dir=self.directory, data=data, address=s.address, c2s=C2S_PORT, s2s=S2S_PORT,
            direct=S2S_DIRECT_PORT if s.direct_tls else "", dialback=', "dialback"' if s.dialback else "",
            smacks=', "smacks"' if s.acknowledges else "", bidi=', "s2s_bidi"' if s.bidi else "",
            no_dialback=modules_off, require="true" if s.tls == "required" else "false",
            secure="true" if s.verify else "false", key=s.identity.key, cert=s.identity.certificate, ca=s.ca_file,
            domain=s.domain))
        self.process = Process(f"prosody {s.domain}", ["prosody", "--config", str(config), "-F"],
                               self.directory / "prosody.out", resolv=self.dns.files)
        await wait_port(s.address, C2S_PORT, 30, self.process.alive)
        await wait_port(s.address, S2S_PORT, 30, self.process.alive)

    async def add_user(self, name: str, password: str) -> None:
        accounts = self.directory / "data" / _escaped(self.domain) / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        (accounts / f"{_escaped(name)}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')

    def kill(self) -> None:
        """End it without a word to anybody."""
        if self.process is not None:
            self.process.stop(signal.SIGKILL)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()

    def logs(self) -> list[Path]:
        return [self.directory / "prosody.log", self.directory / "prosody.out"]


def _escaped(name: str) -> str:
    """Prosody's file names: everything but letters and digits as %xx."""
    return "".join(chr(b) if chr(b).isascii() and chr(b).isalnum() else f"%{b:02x}" for b in name.encode())
