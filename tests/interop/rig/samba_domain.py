#!/usr/bin/python3
"""Makes the database of a Samba Active Directory domain: `samba_domain.py FOLDER ARC NAME/SYNTAX/OM/SINGLE,… NUMBER/FQDN,…`.

`samba-tool domain provision` sets access rights on the share of group policies and fails where the file system has none; nobody
needs that share here, so its library is called with that left out. Then the attributes of Skype for Business are added to the schema, and
an account to read with, and the objects of pools.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from samba.auth import system_session
from samba.dsdb import DS_DOMAIN_FUNCTION_2008_R2
from samba.param import LoadParm
from samba.provision import provision
from samba.samdb import SamDB

BASE = "DC=contoso,DC=com"
SCHEMA = f"CN=Schema,CN=Configuration,{BASE}"
# The class DN, which attributes that hold one have to say.
_DN_CLASS = bytes.fromhex("2b0c0287731c00854a")


def _provision(folder: Path) -> None:
    conf = folder / "etc" / "smb.conf"
    conf.parent.mkdir(parents=True)
    conf.touch()
    provision(logging.getLogger("provision"), system_session(), smbconf=str(conf), targetdir=str(folder), realm="CONTOSO.COM",
              domain="CONTOSO", hostname="dc1", hostip="127.0.0.1", adminpass="Passw0rd.123",
              serverrole="active directory domain controller", dns_backend="NONE", skip_sysvolacl=True, useeadb=True,
              dom_for_fun_level=DS_DOMAIN_FUNCTION_2008_R2, lp=LoadParm(), plaintext_secrets=True, backend_store="tdb")


def _open(folder: Path) -> SamDB:
    lp = LoadParm()
    lp.load(str(folder / "etc" / "smb.conf"))
    lp.set("dsdb:schema update allowed", "yes")
    return SamDB(url=str(folder / "private" / "sam.ldb"), session_info=system_session(lp), lp=lp)


def _extend(sam: SamDB, arc: str, attributes: list[list[str]]) -> None:
    for number, (name, syntax, om, single) in enumerate(attributes, 1):
        cn = f"ms-RTC-SIP-{name}"
        entry: dict[str, object] = {
            "dn": f"CN={cn},{SCHEMA}", "objectClass": "attributeSchema", "attributeID": f"{arc}.{number}",
            "lDAPDisplayName": f"msRTCSIP-{name}", "attributeSyntax": syntax, "oMSyntax": om, "isSingleValued": single.upper(),
            "searchFlags": "1", "adminDisplayName": cn}
        if om == "127":
            entry["oMObjectClass"] = _DN_CLASS
        sam.add(entry)
    sam.set_schema_update_now()
    may = "".join(f"mayContain: msRTCSIP-{name}\n" for name, *_ in attributes)
    sam.modify_ldif(f"dn: CN=User,{SCHEMA}\nchangetype: modify\nadd: mayContain\n{may}")
    # Containers stand in for pools, which bear their FQDN.
    sam.modify_ldif(f"dn: CN=Container,{SCHEMA}\nchangetype: modify\nadd: mayContain\nmayContain: dNSHostName\n")
    sam.set_schema_update_now()


def _fill(sam: SamDB, pools: list[list[str]]) -> None:
    sam.newuser("reader", "Reader.1234")
    services = f"CN=RTC Service,CN=Services,CN=Configuration,{BASE}"
    for dn in (services, f"CN=Pools,{services}"):
        sam.add({"dn": dn, "objectClass": "container"})
    for number, fqdn in pools:
        at = f"CN={number},CN=Pools,{services}"
        sam.add({"dn": at, "objectClass": "container", "dNSHostName": fqdn})
        sam.add({"dn": f"CN=Microsoft,{at}", "objectClass": "container"})
        sam.add({"dn": f"CN=Lc Services,CN=Microsoft,{at}", "objectClass": "container"})


def main() -> None:
    """Everything."""
    folder = Path(sys.argv[1])
    _provision(folder)
    sam = _open(folder)
    _extend(sam, sys.argv[2], [one.split("/") for one in sys.argv[3].split(",")])
    # The new attributes are known to a database that is opened after they were made.
    _fill(_open(folder), [one.split("/") for one in sys.argv[4].split(",")])


if __name__ == "__main__":
    main()
