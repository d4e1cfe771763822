"""Kamailio in front of the pool: a proxy of another make that adds Via and Record-Route and wants client certificates both ways."""

from __future__ import annotations

from pathlib import Path

from .certs import Identity
from .dns import Dns
from .net import wait_port
from .proc import Process

_CONFIG = """#!KAMAILIO
debug=2
log_stderror=yes
children=2
tcp_children=2
disable_tcp=no
enable_tls=yes
alias="{name}"
listen=tls:{address}:5061 advertise {name}:5061
{tcp}
dns_try_ipv6=no
use_dns_cache=on
server_signature=no
tcp_max_connections=64
tls_max_connections=64
loadmodule "tls.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "sanity.so"
loadmodule "xlog.so"
modparam("tls", "config", "{dir}/tls.cfg")
modparam("rr", "enable_double_rr", 1)
modparam("rr", "append_fromtag", 1)
modparam("tm", "fr_timer", 30000)
modparam("tm", "fr_inv_timer", 60000)

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (!sanity_check("17895", "7")) {{ xlog("L_ERR", "RIG insane request from $si: $rm $ru\\n"); exit; }}
    if (is_method("OPTIONS") && $rd == "{name}") {{ sl_send_reply("200", "OK"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); exit; }}
        if (is_method("ACK") && t_check_trans()) {{ t_relay(); exit; }}
        xlog("L_ERR", "RIG in-dialog request without our Route: $rm $ru\\n");
        sl_send_reply("404", "No Route Set");
        exit;
    }}
    record_route();
    if ($rd == "contoso.com") {{ $du = "sip:{pool_host}:{pool_port};transport={pool_transport}"; }}
    else {{ $du = "sip:{turnout_host}:{turnout_port};transport=tls"; }}
    t_relay();
    exit;
}}
"""

TLS = """[server:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
private_key = {key}
certificate = {certificate}
ca_list = {ca}

[client:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
private_key = {key}
certificate = {certificate}
ca_list = {ca}
"""


class Kamailio:
    """One proxy between turnout and the pool. With `pool_tls` off it speaks TCP towards the pool, so SIPp can be one."""

    name = "sipproxy.contoso.com"

    def __init__(self, address: str, identity: Identity, ca_file: Path, dns: Dns, directory: Path, pool: tuple[str, int],
                 turnout: tuple[str, int], pool_tls: bool) -> None:
        self.address, self.directory, self._dns = address, directory, dns
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "kamailio.log"
        self.process: Process | None = None
        tcp = "" if pool_tls else f"listen=tcp:{address}:5060 advertise {self.name}:5060"
        (directory / "tls.cfg").write_text(TLS.format(key=identity.key, certificate=identity.certificate, ca=ca_file))
        (directory / "kamailio.cfg").write_text(_CONFIG.format(
            name=self.name, address=address, tcp=tcp, dir=directory, pool_host=pool[0], pool_port=pool[1],
            pool_transport="tls" if pool_tls else "tcp", turnout_host=turnout[0], turnout_port=turnout[1]))

    async def start(self) -> None:
        """Start and wait for the TLS port."""
        self.process = Process("kamailio", ["kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-f",
                                            str(self.directory / "kamailio.cfg"), "-Y", str(self.directory), "-w", str(self.directory)],
                               self.log, cwd=self.directory, resolv=self._dns.files)
        await wait_port(self.address, 5061, 20, self.process.alive)

    def complaints(self) -> list[str]:
        """What its sanity checks or our own rules held against a request."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [line for line in text.splitlines() if "RIG " in line or "sanity" in line.lower() and "ERROR" in line]

    def stop(self) -> None:
        """End it and its children."""
        if self.process is not None:
            self.process.stop()
