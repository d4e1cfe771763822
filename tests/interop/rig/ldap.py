"""Directory servers with the attributes of Skype for Business: OpenLDAP's slapd, and a Samba Active Directory domain controller.

Both hold the same estate: an account to read with, one that sees too little, the pools' objects under the names Active Directory gives
them, and users. Changes are made with ldapmodify, as an administrator's tools would.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from .certs import Authority
from .proc import Process

BASE = "DC=contoso,DC=com"
POOLS = {"legacy": ("1:1", "sfb2015.contoso.com"), "sfb2019": ("1:2", "pool2019.contoso.com"),
         "branch": ("1:3", "sba.contoso.com"), "strange": ("1:4", "strange.contoso.com")}
# Syntax in OpenLDAP and its rules; syntax and number in Active Directory; whether there is one value only.
_ATTRIBUTES = {
    "PrimaryUserAddress": ("1.3.6.1.4.1.1466.115.121.1.15", "caseIgnoreMatch", "2.5.5.12", 64, True),
    "PrimaryHomeServer": ("1.3.6.1.4.1.1466.115.121.1.12", "distinguishedNameMatch", "2.5.5.1", 127, True),
    "TargetHomeServer": ("1.3.6.1.4.1.1466.115.121.1.12", "distinguishedNameMatch", "2.5.5.1", 127, True),
    "UserEnabled": ("1.3.6.1.4.1.1466.115.121.1.7", "booleanMatch", "2.5.5.8", 1, True),
    "FederationEnabled": ("1.3.6.1.4.1.1466.115.121.1.7", "booleanMatch", "2.5.5.8", 1, True),
    "DeploymentLocator": ("1.3.6.1.4.1.1466.115.121.1.15", "caseIgnoreMatch", "2.5.5.12", 64, True),
    "UserPolicies": ("1.3.6.1.4.1.1466.115.121.1.15", "caseIgnoreMatch", "2.5.5.12", 64, False),
}
_ARC = "1.3.6.1.4.1.55555.1"


class Directory:
    """What both have. `keys` are those of [directory.ldap] a case wants otherwise, `outer` those of [directory]."""

    host = "dc1.contoso.com"
    admin = ("", "")
    reader = ("", "Reader.1234")
    people = ""
    services = ""
    filter = ""
    mode = "full"

    def __init__(self, address: str, ca: Authority, folder: Path) -> None:
        folder.mkdir()
        self.address, self.ca, self.folder = address, ca, folder
        self.identity = ca.issue("directory", [self.host])
        self.log = folder / "log"
        self.process: Process | None = None
        self.keys: dict[str, str] = {}
        self.outer: dict[str, str] = {}

    def toml(self) -> str:
        """[directory] and [directory.ldap]."""
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self.reader[1] + "\n")
        outer = {"source": '"ldap"', "default_xmpp_access": "false", "xmpp_access_policies": '["7=6"]',
                 "branch_pools": '["sba.contoso.com"]', **self.outer}
        keys = {"servers": f'["{self.host}"]', "bind_dn": f'"{self.reader[0]}"', "password_file": f'"{password}"', "base": f'"{BASE}"',
                "ca_file": f'"{self.ca.certificate}"', "mode": f'"{self.mode}"', "poll_seconds": "1", "page_size": "3",
                "last_good": '"directory.users"', "timeout_seconds": "5", **({"filter": f'"{self.filter}"'} if self.filter else {}),
                **self.keys}
        lines = ["[directory]", *[f"{k} = {v}" for k, v in outer.items()], "", "[directory.ldap]", *[f"{k} = {v}" for k, v in keys.items()]]
        return "\n".join(line for line in lines if not line.endswith("= ")) + "\n"

    def home_dn(self, home: str) -> str:
        """The DN of a pool's home server object."""
        return f"CN=Lc Services,CN=Microsoft,CN={POOLS[home][0]},CN=Pools,{self.services}"

    def dn(self, user: str) -> str:
        """The entry of a user."""
        return f"CN={user.partition('@')[0]},{self.people}"

    def _classes(self, name: str) -> str:
        raise NotImplementedError

    def add(self, user: str, home: str, policies: tuple[str, ...] = ("7=6", "21=1"), **more: str) -> None:
        """A user on a pool; `home` may be empty."""
        name = user.partition("@")[0]
        values = {"PrimaryUserAddress": f"sip:{user}", "UserEnabled": "TRUE", "FederationEnabled": "TRUE", "DeploymentLocator": "SRV:",
                  **({"PrimaryHomeServer": self.home_dn(home)} if home else {}), **more}
        lines = [f"dn: {self.dn(user)}", "changetype: add", self._classes(name)]
        lines += [f"msRTCSIP-{k}: {v}" for k, v in values.items()] + [f"msRTCSIP-UserPolicies: {p}" for p in policies]
        self.modify("\n".join(lines))

    def set(self, user: str, **values: str) -> None:
        """Replaces attributes of a user; an empty value removes one."""
        lines = [f"dn: {self.dn(user)}", "changetype: modify"]
        for name, value in values.items():
            lines += [f"replace: msRTCSIP-{name}", *([f"msRTCSIP-{name}: {value}"] if value else []), "-"]
        self.modify("\n".join(lines))

    def move(self, user: str, home: str) -> None:
        """What Move-CsUser leaves behind."""
        self.set(user, PrimaryHomeServer=self.home_dn(home), TargetHomeServer="")

    def delete(self, *users: str) -> None:
        """Removes entries."""
        self.modify("\n\n".join(f"dn: {self.dn(user)}\nchangetype: delete" for user in users))

    def modify(self, ldif: str) -> None:
        """Applies changes as the administrator."""
        argv = ["ldapmodify", "-x", "-H", f"ldap://{self.address}", "-D", self.admin[0], "-w", self.admin[1]]
        done = subprocess.run(argv, input=ldif + "\n", capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, f"{ldif}\n{done.stderr}"

    async def _wait(self) -> None:
        argv = ["ldapsearch", "-x", "-H", f"ldap://{self.address}", "-D", self.admin[0], "-w", self.admin[1], "-s", "base", "-b", BASE, "1.1"]
        end = time.monotonic() + 30
        while (done := subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)).returncode != 0:
            assert self.process is not None and self.process.alive(), "the directory server ended at once"
            assert time.monotonic() < end, f"the directory server does not answer: {done.stderr}"
            await asyncio.sleep(0.1)

    def _pools(self) -> str:
        raise NotImplementedError

    def logs(self) -> list[Path]:
        """For the report of a failure."""
        return [self.log]

    async def start(self) -> None:
        """Starts it; the first time, fills it."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends it."""
        if self.process is not None:
            self.process.stop(seconds=5)
            self.process = None


class Slapd(Directory):
    """OpenLDAP's server."""

    admin = (f"CN=admin,{BASE}", "Admin.1234")
    reader = (f"CN=reader,{BASE}", "Reader.1234")
    people = f"OU=people,{BASE}"
    services = BASE
    filter = "(msRTCSIP-PrimaryUserAddress=*)"

    def _classes(self, name: str) -> str:
        return f"objectClass: inetOrgPerson\nobjectClass: msRTCSIP-User\ncn: {name}\nsn: {name}"

    async def start(self) -> None:
        if first := not (self.folder / "data").exists():
            (self.folder / "data").mkdir()
            # A copy, as AppArmor lets the program in its usual place read its usual places only.
            shutil.copy("/usr/sbin/slapd", self.folder / "slapd")
            (self.folder / "slapd.conf").write_text(self._conf())
        self.process = Process("slapd", [str(self.folder / "slapd"), "-d", "256", "-f", str(self.folder / "slapd.conf"),
                                         "-h", f"ldap://{self.address} ldaps://{self.address}"], self.log, cwd=self.folder)
        if first:
            await self._listens()
            self._fill()
        await self._wait()

    async def _listens(self) -> None:
        argv = ["ldapsearch", "-x", "-H", f"ldap://{self.address}", "-s", "base", "-b", "", "1.1"]
        end = time.monotonic() + 30
        while subprocess.run(argv, capture_output=True, check=False, timeout=30).returncode != 0:
            assert self.process is not None and self.process.alive() and time.monotonic() < end, "slapd does not answer"
            await asyncio.sleep(0.1)

    def _conf(self) -> str:
        attributes = "".join(
            f"attributetype ( {_ARC}.{n} NAME 'msRTCSIP-{name}' EQUALITY {rule} SYNTAX {syntax}{' SINGLE-VALUE' if single else ''} )\n"
            for n, (name, (syntax, rule, _, _, single)) in enumerate(_ATTRIBUTES.items(), 1))
        may = " $ ".join(f"msRTCSIP-{name}" for name in _ATTRIBUTES)
        hidden = ",".join(f"msRTCSIP-{name}" for name in _ATTRIBUTES if name != "PrimaryUserAddress")
        return textwrap.dedent("""\
            include /etc/ldap/schema/core.schema
            include /etc/ldap/schema/cosine.schema
            include /etc/ldap/schema/inetorgperson.schema
            {attributes}
            attributetype ( {arc}.90 NAME 'dNSHostName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
            objectclass ( {arc}.100 NAME 'msRTCSIP-User' SUP top AUXILIARY MAY ( {may} ) )
            objectclass ( {arc}.101 NAME 'msRTCSIP-Pool' SUP top STRUCTURAL MUST cn MAY dNSHostName )
            pidfile {folder}/pid
            modulepath /usr/lib/ldap
            moduleload back_mdb
            TLSCACertificateFile {ca}
            TLSCertificateFile {certificate}
            TLSCertificateKeyFile {key}
            sizelimit size.soft=5 size.hard=5 size.prtotal=unlimited
            database mdb
            suffix "{base}"
            rootdn "{admin}"
            rootpw {password}
            directory {folder}/data
            dbnosync
            access to attrs=userPassword by anonymous auth by * none
            access to attrs={hidden} by dn.exact="CN=reader,{base}" read by * none
            access to dn.exact="CN=1:4,CN=Pools,{base}" by * none
            access to * by users read by * none
            """).replace("{attributes}", attributes).format_map({
                "arc": _ARC, "may": may, "folder": self.folder, "ca": self.ca.certificate, "certificate": self.identity.certificate,
                "key": self.identity.key, "base": BASE, "admin": self.admin[0], "password": self.admin[1], "hidden": hidden})

    def _fill(self) -> None:
        entries = [f"dn: {BASE}\nchangetype: add\nobjectClass: dcObject\nobjectClass: organization\ndc: contoso\no: contoso",
                   f"dn: {self.people}\nchangetype: add\nobjectClass: organizationalUnit\nou: people",
                   f"dn: CN=Pools,{BASE}\nchangetype: add\nobjectClass: msRTCSIP-Pool\ncn: Pools"]
        for name in ("reader", "blind"):
            entries.append(f"dn: CN={name},{BASE}\nchangetype: add\nobjectClass: person\ncn: {name}\nsn: {name}\nuserPassword: Reader.1234")
        for number, fqdn in POOLS.values():
            at = f"CN={number},CN=Pools,{BASE}"
            entries.append(f"dn: {at}\nchangetype: add\nobjectClass: msRTCSIP-Pool\ncn: {number}\ndNSHostName: {fqdn}")
            entries.append(f"dn: CN=Microsoft,{at}\nchangetype: add\nobjectClass: msRTCSIP-Pool\ncn: Microsoft")
        self.modify("\n\n".join(entries))


class SambaDc(Directory):
    """A Samba Active Directory domain controller, provisioned from nothing."""

    admin = ("administrator@contoso.com", "Passw0rd.123")
    reader = ("reader@contoso.com", "Reader.1234")
    people = f"CN=Users,{BASE}"
    services = f"CN=RTC Service,CN=Services,CN=Configuration,{BASE}"
    mode = "usn"

    def _classes(self, name: str) -> str:
        return f"objectClass: user\nsAMAccountName: {name}"

    async def start(self) -> None:
        state = self.folder / "domain"
        if not state.exists():
            # In a process of its own: the library changes its surroundings.
            script = Path(__file__).with_name("samba_domain.py")
            attributes = [f"{name}/{syntax}/{om}/{single}" for name, (_, _, syntax, om, single) in _ATTRIBUTES.items()]
            pools = [f"{number}/{fqdn}" for number, fqdn in POOLS.values()]
            argv = [sys.executable, str(script), str(state), _ARC, ",".join(attributes), ",".join(pools)]
            done = await asyncio.get_running_loop().run_in_executor(
                None, lambda: subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120))
            (self.folder / "provision.log").write_text(done.stdout + done.stderr)
            assert done.returncode == 0, f"the domain could not be made: {done.stderr[-2000:]}"
        (state / "run").mkdir(exist_ok=True)
        key = state / "directory.key"
        shutil.copy(self.identity.key, key)
        key.chmod(0o600)
        options = {"server services": "ldap", "interfaces": f"{self.address}/8", "bind interfaces only": "yes", "log file": f"{state}/log",
                   "pid directory": f"{state}/run", "ncalrpc dir": f"{state}/run/ncalrpc", "panic action": "",
                   "winbindd socket directory": f"{state}/run/wb", "ntp signd socket directory": f"{state}/run/ntp",
                   "ldap server require strong auth": "no", "tls enabled": "yes", "tls cafile": str(self.ca.certificate),
                   "tls certfile": str(self.identity.certificate), "tls keyfile": str(key)}
        argv = ["samba", "-F", "-M", "single", "-s", f"{state}/etc/smb.conf", *[f"--option={k}={v}" for k, v in options.items()]]
        self.process = Process("samba", argv, self.log, cwd=self.folder, env={"KRB5_CONFIG": f"{state}/private/krb5.conf"})
        await self._wait()

    def logs(self) -> list[Path]:
        return [self.log, self.folder / "provision.log", self.folder / "domain" / "log"]


DIRECTORIES: dict[str, type[Directory]] = {"slapd": Slapd, "samba": SambaDc}
