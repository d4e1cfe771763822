"""Kamailio with its presence modules: a presence server after RFC 3856 and 3903 that nobody of us wrote, as a home of dialect `simple`.

Users behind it PUBLISH, it decides by rules documents (RFC 4745, 5025) who may see whom and NOTIFYs whoever subscribed. Whatever is
not about presence of its own users it relays: to the users' agent, or to turnout. It starts with empty tables,
so a restart forgets them all; only the rules are kept.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

from .certs import Identity
from .dns import Dns
from .kamailio import TLS
from .net import wait_port
from .poolctl import SkypePool
from .proc import Process

_TABLES = Path("/usr/share/kamailio/dbtext/kamailio")
_USED = ("version", "presentity", "active_watchers", "watchers", "xcap")
# doc_type of a rules document in Kamailio's table.
_PRES_RULES = 2

_CONFIG = """#!KAMAILIO
debug=2
log_stderror=yes
children=2
tcp_children=2
disable_tcp=no
enable_tls=yes
alias="{name}"
listen=tls:{address}:5061 advertise {name}:5061
dns_try_ipv6=no
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
loadmodule "kex.so"
loadmodule "db_text.so"
loadmodule "presence.so"
loadmodule "presence_xml.so"
modparam("tls", "config", "{dir}/tls.cfg")
modparam("rr", "enable_double_rr", 1)
modparam("rr", "append_fromtag", 1)
modparam("tm", "fr_timer", 5000)
modparam("db_text", "db_mode", 1)
modparam("presence|presence_xml", "db_url", "text://{dir}/db")
modparam("presence", "server_address", "sip:{name}:5061;transport=tls")
# Without a table of its own 5.6.3 forgets who may see whom and falls over when asked to look again.
modparam("presence", "subs_db_mode", 1)
modparam("presence", "publ_cache", 2)
modparam("presence", "clean_period", 2)
modparam("presence", "startup_mode", 0)
modparam("presence_xml", "integrated_xcap_server", 1)
modparam("presence_xml", "force_active", 0)
modparam("presence_xml", "xcapauth_userdel_reason", "rejected")

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (!sanity_check("17895", "7")) {{ xlog("L_ERR", "RIG insane request from $si: $rm $ru\\n"); exit; }}
    if (is_method("OPTIONS") && $rd == "{name}") {{ sl_send_reply("200", "OK"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (has_totag()) {{
        if (loose_route()) {{
            if (is_method("SUBSCRIBE") && uri == myself) {{ route(PRESENCE); }}
            t_relay(); exit;
        }}
        if (is_method("SUBSCRIBE") && uri == myself) {{ route(PRESENCE); }}
        if (is_method("ACK") && t_check_trans()) {{ t_relay(); exit; }}
        xlog("L_ERR", "RIG in-dialog request without our Route: $rm $ru\\n");
        sl_send_reply("404", "No Route Set");
        exit;
    }}
    if (is_method("PUBLISH")) {{ route(PRESENCE); }}
    if (is_present_hf("X-Rules-Of")) {{
        # A rules document has changed.
        pres_refresh_watchers("$hdr(X-Rules-Of)", "presence", 0);
        sl_send_reply("200", "OK");
        exit;
    }}
    record_route();
    if ($rd == "contoso.com") {{
        if (is_method("SUBSCRIBE")) {{ route(PRESENCE); }}
        $du = "sip:{agent}:5061;transport=tls";
    }}
    else {{ $du = "sip:{turnout}:5061;transport=tls"; }}
    t_relay();
    exit;
}}

route[PRESENCE] {{
    if (!t_newtran()) {{ sl_reply_error(); exit; }}
    if (is_method("PUBLISH")) {{ handle_publish(); }} else {{ handle_subscribe(); }}
    t_release();
    exit;
}}
"""

_RULES = """<?xml version="1.0"?><cr:ruleset xmlns:cr="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules">{}\
</cr:ruleset>"""
_RULE = """<cr:rule id="r{number}"><cr:conditions><cr:identity>{who}</cr:identity></cr:conditions><cr:actions>\
<pr:sub-handling>{what}</pr:sub-handling></cr:actions><cr:transformations/></cr:rule>"""


class PresenceServer:
    """One Kamailio that owns the presence of contoso.com and lets the users' agent speak for its users."""

    name = "pool2019.contoso.com"

    def __init__(self, address: str, identity: Identity, ca_file: Path, dns: Dns, directory: Path, agent: SkypePool, turnout: str,
                 users: list[str]) -> None:
        self.address, self.directory, self.agent, self._dns = address, directory, agent, dns
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "kamailio.log"
        self.process: Process | None = None
        # Without a document of rules it would show a user to everybody.
        self._rules: dict[str, dict[str, str]] = {user: {"nobody@nowhere.example": "block"} for user in users}
        self._written = int(time.time())
        database = directory / "db"
        database.mkdir(exist_ok=True)
        self._xcap_head = (_TABLES / "xcap").read_text()
        (directory / "tls.cfg").write_text(TLS.format(key=identity.key, certificate=identity.certificate, ca=ca_file))
        (directory / "kamailio.cfg").write_text(_CONFIG.format(name=self.name, address=address, dir=directory, agent=agent.address,
                                                               turnout=turnout))

    async def start(self) -> None:
        """Start, knowing nobody's presence and no subscription, and wait for the TLS port."""
        for table in _USED:
            shutil.copy(_TABLES / table, self.directory / "db" / table)
        self._write()
        self.process = Process("kamailio presence", ["kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-f",
                                                     str(self.directory / "kamailio.cfg"), "-Y", str(self.directory), "-w",
                                                     str(self.directory)],
                               self.log, cwd=self.directory, resolv=self._dns.files)
        await wait_port(self.address, 5061, 20, self.process.alive)

    async def allow(self, user: str, watcher: str, what: str = "allow") -> None:
        """A user's rule for one watcher: allow, confirm, polite-block or block. Who has no rule waits: pending."""
        self._rules.setdefault(user, {})[watcher] = what
        self._write()
        answer = await self.agent.ask("request", user=user, peer=watcher, method="INFO", headers=[["X-Rules-Of", f"sip:{user}"]])
        assert answer["code"] == 200, answer

    def _write(self) -> None:
        rows = []
        for number, (user, rules) in enumerate(self._rules.items(), 1):
            name, _, domain = user.partition("@")
            document = _RULES.format("".join(
                _RULE.format(number=n, what=what, who=f"<cr:one id={quoteattr('sip:' + watcher)}/>")
                for n, (watcher, what) in enumerate(rules.items())))
            escaped = document.replace("\\", "\\\\").replace(":", "\\:").replace("\n", "\\n")
            rows.append(f"{number}:{name}:{domain}:{escaped}:{_PRES_RULES}:e{number}:0:sip\\:{name}@{domain}:5060\n")
        # db_text looks at the time of the file, so it has to be a whole file at once.
        path, new = self.directory / "db" / "xcap", self.directory / "xcap.new"
        new.write_text(self._xcap_head + "".join(rows))
        # It looks at whole seconds: two files of one second are the same to it.
        self._written += 2
        os.utime(new, (self._written, self._written))
        new.replace(path)

    def complaints(self) -> list[str]:
        """What its sanity checks or our own rules held against a request."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [line for line in text.splitlines() if "RIG " in line or "sanity" in line.lower() and "ERROR" in line]

    def stop(self) -> None:
        """End it and its children."""
        if self.process is not None:
            self.process.stop()
