"""ejabberd 23.01: a second, independent S2S stack.

Started as a plain Erlang program without distribution: no node name and no epmd, so that several can run beside each other and
nothing outlives the process we started.
"""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
import urllib.request
from pathlib import Path

from .net import wait_port
from .proc import Process
from .server import C2S_PORT, S2S_DIRECT_PORT, S2S_PORT, Server

_API_PORT = 5280

_CONFIG = """
loglevel: debug
hosts:
  - "{domain}"
certfiles:
  - "{pem}"
ca_file: "{ca}"
s2s_cafile: "{ca}"
s2s_use_starttls: {starttls}
s2s_timeout: 20
s2s_queue_type: ram
outgoing_s2s_families: [ipv4]
auth_method: internal
auth_password_format: plain
listen:
  - port: {c2s}
    ip: "{address}"
    module: ejabberd_c2s
    max_stanza_size: 1048576
    starttls: false
  - port: {s2s}
    ip: "{address}"
    module: ejabberd_s2s_in
    max_stanza_size: 1048576
{direct}  - port: {api}
    ip: "{address}"
    module: ejabberd_http
    request_handlers:
      /api: mod_http_api
api_permissions:
  "rig":
    from: mod_http_api
    who: all
    what: "*"
access_rules:
  all_local:
    allow: all
modules:
  mod_roster: {{}}
  mod_disco: {{}}
  mod_ping: {{}}
  mod_http_api: {{}}
{dialback}"""

_STARTTLS = {"required": "required", "optional": "optional", "none": "false"}


class Ejabberd(Server):
    """One ejabberd with one host."""

    program = "ejabberd"
    process: Process | None = None

    async def start(self) -> None:
        s = self.settings
        config, spool = self.directory / "ejabberd.yml", self.directory / "mnesia"
        spool.mkdir(exist_ok=True)
        direct = (f'  - port: {S2S_DIRECT_PORT}\n    ip: "{s.address}"\n    module: ejabberd_s2s_in\n    tls: true\n'
                  if s.direct_tls else "")
        starttls = "required_trusted" if s.tls == "required" and s.verify and not s.dialback else _STARTTLS[s.tls]
        config.write_text(_CONFIG.format(
            domain=s.domain, pem=s.identity.both, ca=s.ca_file, starttls=starttls, address=s.address, c2s=C2S_PORT,
            s2s=S2S_PORT, api=_API_PORT, direct=direct, dialback="  mod_s2s_dialback: {}\n" if s.dialback else ""))
        inetrc = self.directory / "inetrc"
        inetrc.write_text('{lookup,["file","native"]}.\n{file, resolv, "/etc/resolv.conf"}.\n')
        self.process = Process(
            f"ejabberd {s.domain}",
            ["erl", "-noinput", "+K", "true", "+P", "50000", "-mnesia", "dir", f'"{spool}"', "-s", "ejabberd"],
            self.directory / "ejabberd.out", cwd=self.directory, resolv=self.dns.files,
            env={"EJABBERD_CONFIG_PATH": str(config), "EJABBERD_LOG_PATH": str(self.directory / "ejabberd.log"),
                 "ERL_CRASH_DUMP": str(self.directory / "crash.dump"), "ERL_INETRC": str(inetrc),
                 "ERL_LIBS": _erlang_libraries(), "HOME": str(self.directory)})
        for port in (C2S_PORT, S2S_PORT, _API_PORT):
            await wait_port(s.address, port, 60, self.process.alive)

    async def add_user(self, name: str, password: str) -> None:
        body = json.dumps({"user": name, "host": self.domain, "password": password}).encode()
        url = f"http://{self.settings.address}:{_API_PORT}/api/register"

        def post() -> None:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    answer.read()
            except urllib.error.HTTPError as error:
                # The account is there already: somebody comes back.
                if error.code != 409:
                    raise

        await asyncio.get_running_loop().run_in_executor(None, post)

    def stop(self) -> None:
        if self.process is not None:
            # Its data is thrown away, so there is nothing an orderly end of some seconds would save.
            self.process.stop(signal.SIGKILL)

    def logs(self) -> list[Path]:
        return [self.directory / "ejabberd.log", self.directory / "ejabberd.out"]


def _erlang_libraries() -> str:
    """Debian keeps ejabberd's library below the architecture's directory; find it instead of naming the architecture."""
    for path in Path("/usr/lib").glob("*/ejabberd-*"):
        return str(path.parent)
    return "/usr/lib/erlang/lib"
