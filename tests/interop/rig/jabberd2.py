"""jabberd2 2.7: the oldest dialect still alive. Four processes; dialback only, TLS with STARTTLS."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from .net import wait_port
from .proc import Process
from .server import C2S_PORT, S2S_PORT, Server

ROUTER_PORT = 5347

# Tables and columns the modules below ask for. Written out because slim images leave the package's own schema file away.
_TABLES = {
    "active": "time INTEGER NOT NULL DEFAULT 0", "logout": "time INTEGER NOT NULL DEFAULT 0",
    "roster-items": 'jid TEXT NOT NULL, name TEXT, "to" BOOLEAN NOT NULL, "from" BOOLEAN NOT NULL, ask INTEGER NOT NULL',
    "roster-groups": 'jid TEXT NOT NULL, "group" TEXT NOT NULL', "queue": "xml TEXT NOT NULL", "private": "ns TEXT, xml TEXT",
    "privacy-default": '"default" TEXT',
    "privacy-items": 'list TEXT NOT NULL, type TEXT, value TEXT, deny BOOL, "order" INTEGER, block INTEGER',
    "status": 'status TEXT NOT NULL, show TEXT, "last-login" INTEGER DEFAULT 0, "last-logout" INTEGER DEFAULT 0, xml TEXT',
    "disco-items": "jid TEXT, name TEXT, node TEXT",
}

_ROUTER = """<router><id>router</id><log type='stdout'/>
<local><ip>{address}</ip><port>{port}</port><users>{dir}/router-users.xml</users><secret>rig</secret></local>
<check><interval>60</interval><keepalive>0</keepalive></check>
<io><max_fds>1024</max_fds><limits><bytes>0</bytes><connects>0</connects></limits><access><order>allow,deny</order></access></io>
<aliases/><aci><acl type='all'><user>jabberd</user></acl></aci></router>"""

_LINK = """<router><ip>{address}</ip><port>{port}</port><user>jabberd</user><pass>rig</pass>
<retry><init>20</init><lost>3</lost><sleep>1</sleep></retry></router><log type='stdout'/>"""

_SQLITE = "<sqlite><dbname>{dir}/sqlite.db</dbname><busy-timeout>2000</busy-timeout>{more}</sqlite>"

_C2S = """<c2s><id>c2s</id>{link}
<local><id>{domain}</id><ip>{address}</ip><port>{c2s}</port></local>
<io><max_fds>1024</max_fds><limits><bytes>0</bytes><stanzas>0</stanzas><connects>0</connects><stanzasize>1048576</stanzasize></limits>
<access><order>allow,deny</order></access><check><interval>0</interval><idle>0</idle><keepalive>0</keepalive></check></io>
<stats/><pbx/><stream_redirect/>
<authreg><path>{lib}</path><module>sqlite</module>
<mechanisms><traditional><plain/></traditional><sasl><plain/></sasl></mechanisms>
<ssl-mechanisms><traditional><plain/></traditional><sasl><plain/></sasl></ssl-mechanisms>{sqlite}</authreg></c2s>"""

_S2S = """<s2s><id>s2s</id>{link}
<local><ip>{address}</ip><port>{s2s}</port><secret>rig-dialback</secret>{pem}</local>
<io><max_fds>1024</max_fds><limits><stanzasize>1048576</stanzasize></limits></io>
<check><interval>5</interval><queue>30</queue><retry>60</retry><idle>86400</idle><keepalive>0</keepalive><dnscache>300</dnscache></check>
<stats/><lookup><srv>xmpp-server</srv><min-ttl>1</min-ttl><max-ttl>60</max-ttl><etc-hosts-ttl>60</etc-hosts-ttl>
<bad-host-timeout>1</bad-host-timeout></lookup>
<security>{require}</security></s2s>"""

_SM = """<sm><id>sm</id>{link}<local><id>{domain}</id></local>
<storage><path>{lib}</path><driver>sqlite</driver><limits/>{sqlite}</storage><aci/>
<modules><path>{lib}</path>
<chain id='sess-start'><module>status</module></chain><chain id='sess-end'><module>status</module></chain>
<chain id='in-sess'><module>validate</module><module>status</module><module>privacy</module><module>roster</module>
<module>iq-ping</module><module>disco</module><module>offline</module><module>presence</module><module>deliver</module></chain>
<chain id='out-sess'/><chain id='in-router'><module>session</module><module>validate</module><module>presence</module>
<module>privacy</module></chain><chain id='out-router'><module>privacy</module></chain>
<chain id='pkt-sm'><module>iq-ping</module><module>disco</module><module>presence</module></chain>
<chain id='pkt-user'><module>roster</module><module>presence</module><module>disco</module><module>deliver</module>
<module>offline</module></chain>
<chain id='pkt-router'><module>session</module><module>disco</module></chain>
<chain id='user-load'><module>active</module><module>roster</module><module>privacy</module></chain>
<chain id='user-unload'/><chain id='user-create'><module>active</module></chain>
<chain id='user-delete'><module>active</module></chain><chain id='disco-extend'/></modules>
<discovery><identity><category>server</category><type>im</type><name>rig</name></identity><items/></discovery>
<user><auto-create/></user><amp/><offline/><roster/><status/></sm>"""


class Jabberd2(Server):
    """One jabberd2 family."""

    program = "jabberd2"

    async def start(self) -> None:
        s, here = self.settings, self.directory
        self._open_database()
        link = _LINK.format(address=s.address, port=ROUTER_PORT)
        common = {"dir": here, "link": link, "domain": s.domain, "address": s.address, "lib": _library(), "port": ROUTER_PORT,
                  "c2s": C2S_PORT, "s2s": S2S_PORT,
                  "pem": "" if s.tls == "none" else f"<pemfile>{s.identity.both}</pemfile><cachain>{s.ca_file}</cachain>",
                  "require": "<require_tls/>" if s.tls == "required" else ""}
        plain = _SQLITE.format(dir=here, more="<password_type><plaintext/></password_type>")
        (here / "router-users.xml").write_text("<users><user><name>jabberd</name><secret>rig</secret></user></users>")
        for name, template in (("router", _ROUTER), ("sm", _SM), ("c2s", _C2S), ("s2s", _S2S)):
            (here / f"{name}.xml").write_text(template.format(**common, sqlite=plain))
        self.processes: list[Process] = []
        for name in ("router", "sm", "c2s", "s2s"):
            self.processes.append(Process(f"jabberd2-{name}", [f"jabberd2-{name}", "-c", str(here / f"{name}.xml")],
                                          here / f"{name}.log", resolv=self.dns.files))
            if name == "router":
                await wait_port(s.address, ROUTER_PORT, 20, self.processes[-1].alive)
        await wait_port(s.address, C2S_PORT, 30, self.processes[2].alive)
        await wait_port(s.address, S2S_PORT, 30, self.processes[3].alive)

    def _open_database(self) -> None:
        path = self.directory / "sqlite.db"
        if not path.exists():
            with sqlite3.connect(path) as database:
                database.execute("CREATE TABLE authreg (username TEXT NOT NULL, realm TEXT NOT NULL, password TEXT)")
                for table, columns in _TABLES.items():
                    database.execute(f'CREATE TABLE "{table}" ("collection-owner" TEXT NOT NULL, '
                                     f'"object-sequence" INTEGER PRIMARY KEY, {columns})')
            os.chmod(path, 0o600)

    async def add_user(self, name: str, password: str) -> None:
        self._open_database()
        with sqlite3.connect(self.directory / "sqlite.db", timeout=5) as database:
            database.execute('INSERT INTO authreg (username, realm, password) VALUES (?, ?, ?)', (name, self.domain, password))

    def stop(self) -> None:
        for process in reversed(getattr(self, "processes", [])):
            process.stop(seconds=2)

    def logs(self) -> list[Path]:
        return [self.directory / f"{name}.log" for name in ("s2s", "sm", "c2s")]


def _library() -> str:
    for path in Path("/usr/lib").glob("*/jabberd2"):
        return str(path)
    raise RuntimeError("jabberd2's modules are not below /usr/lib/*/jabberd2; is the package installed?")
