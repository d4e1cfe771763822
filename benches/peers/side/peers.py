"""How each peer is set up. All as fast as they come without giving up what they do: see the notes beside each."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .rig import Failure, Rig, wait_port

SECRET = "componentsecret"
FRONT, SINK = 7000, 7001
PARTNER = "127.0.0.2:5269"


# ---------------------------------------------------------------------------------------------- byte relays

_HAPROXY = """global
    nbthread 1
    maxconn {connections}
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    {option}
frontend front
    bind 127.0.0.1:{front}{bind}
    default_backend back
backend back
    server sink 127.0.0.1:{sink}{server}
"""


def haproxy(rig: Rig, tls_in: bool = False, tls_out: bool = False, splice: bool = False, connections: int = 2000) -> dict:
    """One thread, TCP mode. Gives what the generator's relay job needs."""
    bind = f" ssl crt {rig.folder}/front.pem" if tls_in else ""
    server = f" ssl verify required ca-file {rig.folder}/ca.pem sni str(contoso.com) verifyhost contoso.com" if tls_out else ""
    (rig.folder / "haproxy.cfg").write_text(_HAPROXY.format(
        option="option splice-auto" if splice else "", front=FRONT, sink=SINK, bind=bind, server=server,
        connections=connections))
    rig.start("haproxy", ["haproxy", "-db", "-f", str(rig.folder / "haproxy.cfg")], ("127.0.0.1", FRONT))
    return {"target": f"127.0.0.1:{FRONT}", "sink": f"127.0.0.1:{SINK}", "in": tls_in or None, "out": tls_out or None,
            "certs": rig.folder if tls_in or tls_out else None}


# ---------------------------------------------------------------------------------------------- XMPP servers

_PROSODY = """
run_as_root = true
pidfile = "{dir}/prosody.pid"
data_path = "{dir}/prosody-data"
certificates = "{dir}"
interfaces = {{ "127.0.0.1" }}
component_interfaces = {{ "127.0.0.1" }}
component_ports = {{ 5347 }}
c2s_ports = {{ }}
c2s_direct_tls_ports = {{ }}
s2s_ports = {{ 5269 }}
s2s_direct_tls_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
network_backend = "epoll"
modules_enabled = {{ "dialback", "tls", "disco" }}
modules_disabled = {{ "limits", "s2s_bidi" }}
s2s_require_encryption = false
s2s_secure_auth = false
s2s_stanza_size_limit = 1048576
component_stanza_size_limit = 1048576
storage = "none"
authentication = "internal_plain"
{gc}
log = {{ {{ levels = {{ min = "warn" }}, to = "file", filename = "{dir}/prosody.log" }} }}
VirtualHost "host.invalid"
Component "contoso.com"
    component_secret = "{secret}"
"""


def prosody(rig: Rig, generational: bool = False) -> dict:
    """Epoll; the collector as it comes, or the generational one, which is faster."""
    (rig.folder / "prosody-data").mkdir(exist_ok=True)
    gc = 'gc = { mode = "generational" }' if generational else ""
    (rig.folder / "prosody.cfg.lua").write_text(_PROSODY.format(dir=rig.folder, secret=SECRET, gc=gc))
    rig.start("prosody", ["prosody", "--config", str(rig.folder / "prosody.cfg.lua"), "-F"], ("127.0.0.1", 5269))
    wait_port("127.0.0.1", 5347, 10)
    return _server()


def _server() -> dict:
    return {"target": "127.0.0.1:5269", "verify": PARTNER, "component": "127.0.0.1:5347", "secret": SECRET}


_EJABBERD = """
loglevel: warning
hosts:
  - "host.invalid"
s2s_use_starttls: false
s2s_queue_type: ram
outgoing_s2s_families: [ipv4]
auth_method: internal
listen:
  - port: 5269
    ip: "127.0.0.1"
    module: ejabberd_s2s_in
    max_stanza_size: 1048576
    shaper: none
  - port: 5347
    ip: "127.0.0.1"
    module: ejabberd_service
    max_stanza_size: 1048576
    shaper: none
    access: all
    hosts:
      "contoso.com":
        password: "{secret}"
modules:
  mod_s2s_dialback: {{}}
"""


def ejabberd(rig: Rig, busy: bool = True) -> dict:
    """No shapers, dialback alone. `busy`: Erlang's schedulers spin while idle, as they do by default."""
    (rig.folder / "ejabberd.yml").write_text(_EJABBERD.format(secret=SECRET))
    (rig.folder / "inetrc").write_text('{lookup,["file","native"]}.\n{file, resolv, "/etc/resolv.conf"}.\n')
    (rig.folder / "mnesia").mkdir(exist_ok=True)
    libraries = [str(path.parent) for path in Path("/usr/lib").glob("*/ejabberd-*")]
    if not libraries:
        raise Failure("ejabberd's library is not below /usr/lib")
    quiet = [] if busy else ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]
    rig.start("ejabberd", ["erl", "-noinput", "+K", "true", *quiet, "-mnesia", "dir", f'"{rig.folder}/mnesia"', "-s", "ejabberd"],
              ("127.0.0.1", 5269), EJABBERD_CONFIG_PATH=str(rig.folder / "ejabberd.yml"),
              EJABBERD_LOG_PATH=str(rig.folder / "ejabberd-own.log"), ERL_INETRC=str(rig.folder / "inetrc"),
              ERL_CRASH_DUMP=str(rig.folder / "crash.dump"), ERL_LIBS=libraries[0], HOME=str(rig.folder))
    wait_port("127.0.0.1", 5347, 20)
    return _server()


_ROUTER = """<router><id>router</id><log type='stdout'/>
<local><ip>127.0.0.1</ip><port>5347</port><users>{dir}/router-users.xml</users><secret>{secret}</secret></local>
<check><interval>60</interval><keepalive>0</keepalive></check>
<io><max_fds>4096</max_fds><limits><bytes>0</bytes><connects>0</connects></limits><access><order>allow,deny</order></access></io>
<aliases/><aci><acl type='all'><user>jabberd</user></acl></aci></router>"""

_S2S = """<s2s><id>s2s</id>
<router><ip>127.0.0.1</ip><port>5347</port><user>jabberd</user><pass>{secret}</pass>
<retry><init>20</init><lost>3</lost><sleep>1</sleep></retry></router><log type='stdout'/>
<local><ip>127.0.0.1</ip><port>5269</port><origins><ip>127.0.0.1</ip></origins><secret>dialback</secret></local>
<io><max_fds>4096</max_fds><limits><bytes>0</bytes><stanzas>0</stanzas><connects>0</connects><stanzasize>1048576</stanzasize></limits>
<access><order>allow,deny</order></access></io>
<lookup><srv>_xmpp-server._tcp</srv><resolve-ipv6/></lookup><check><interval>60</interval><queue>60</queue><invalid>1800</invalid>
<keepalive>0</keepalive><idle>86400</idle><dnscache>300</dnscache></check></s2s>"""


def jabberd2(rig: Rig) -> dict:
    """Router and s2s, the two that a stanza passes."""
    common = {"dir": rig.folder, "secret": SECRET}
    (rig.folder / "router-users.xml").write_text(
        f"<users><user><name>jabberd</name><secret>{SECRET}</secret></user></users>")
    (rig.folder / "router.xml").write_text(_ROUTER.format(**common))
    (rig.folder / "s2s.xml").write_text(_S2S.format(**common).replace("<resolve-ipv6/>", ""))
    rig.start("jabberd2-router", ["jabberd2-router", "-c", str(rig.folder / "router.xml")], ("127.0.0.1", 5347))
    rig.start("jabberd2-s2s", ["jabberd2-s2s", "-c", str(rig.folder / "s2s.xml")], ("127.0.0.1", 5269))
    return _server()


# ---------------------------------------------------------------------------------------------- turnout

_TURNOUT = """domains = ["contoso.com"]

[federation]
listen = ["127.0.0.1:5269"]
listen_tls = ["127.0.0.1:5270"]
certificate = "contoso.com.pem"
key = "contoso.com.key"
ca_file = "ca.pem"
connections_max = 60000
connections_per_partner_max = 60000
stanza_bytes_max = 262144

[[partner]]
domain = "partner.example"
additional_domains = [{domains}]
type = "federated"
{terms}
proxy = "127.0.0.2:5269"

[home.legacy]
backend = "xmpp"
connect = ["127.0.0.1:15269"]
listen = "127.0.0.1:5369"
tls = "{gateway_tls}"
registrar_pools = ["sfb2015.contoso.com"]

[home.sfb2019]
backend = "sip"
dialect = "skype"
connect = ["127.0.0.1:15061"]
listen = "127.0.0.1:5061"
transport = "{transport}"
certificate = "turnout.contoso.com.pem"
key = "turnout.contoso.com.key"
ca_file = "ca.pem"
{sip_more}
registrar_pools = ["pool2019.contoso.com"]

[directory]
source = "csv"
file = "users.csv"
default_xmpp_access = true

[engine]
shards = {shards}
driver = "{driver}"

[admin]
listen = "127.0.0.1:9280"
"""

_PLAIN = 'tls = "none"\nsasl = "none"\ndialback = true'
_SECURED = 'tls = "required"\nsasl = "required"\ndialback = false'


def write_users(path: Path, count: int, share_2019: float = 0.0) -> None:
    """Users as `Get-CsUser | Export-Csv` writes them, the first of every hundred on the 2019 pool."""
    with open(path, "w", encoding="ascii", newline="") as out:
        out.write('#TYPE Microsoft.Rtc.Management.ADConnect.Schema.OCSADUser\r\n')
        out.write('"SipAddress","RegistrarPool","HostingProvider","EnabledForFederation","Enabled"\r\n')
        for first in range(0, count, 10000):
            rows = []
            for n in range(first, min(first + 10000, count)):
                pool = "pool2019" if n % 100 < share_2019 * 100 else "sfb2015"
                rows.append(f'"sip:u{n:08d}@contoso.com","{pool}.contoso.com","SRV:","True","True"\r\n')
            out.write("".join(rows))


def turnout(rig: Rig, *, tls: bool = False, driver: str = "auto", shards: int = 0, users: int = 1024, share_2019: float = 0.0,
            domains: int = 1, sip: str = "tcp") -> dict:
    """The router, from a configuration file as an administrator would write it. With TLS: on both legs, EXTERNAL from partners."""
    write_users(rig.folder / "users.csv", users, share_2019)
    names = ", ".join(f'"p{n:04d}.partner.example"' for n in range(domains)) if domains > 1 else ""
    (rig.folder / "turnout.toml").write_text(_TURNOUT.format(
        domains=names, terms=_SECURED if tls else _PLAIN, gateway_tls="required" if tls else "none", transport=sip,
        sip_more='trusted_names = ["pool2019.contoso.com"]' if sip == "tls" else 'name = "turnout.contoso.com"',
        shards=shards, driver=driver))
    rig.start("turnout", [str(rig.turnout), "run", "--config", str(rig.folder / "turnout.toml")], ("127.0.0.1", 5269),
              180 if users > 1_000_000 else 30)
    at = {"target": "127.0.0.1:5270" if tls else "127.0.0.1:5269", "verify": PARTNER, "gateway": "127.0.0.1:15269"}
    return {**at, "in": "direct", "out": True, "certs": rig.folder} if tls else at


# ---------------------------------------------------------------------------------------------- Kamailio

_KAMAILIO = """#!KAMAILIO
debug=-1
log_stderror=yes
children=1
tcp_children=2
tcp_rd_buf_size=65536
tcp_conn_wq_max=33554432
tcp_wq_max=67108864
tcp_connection_lifetime=3600
listen=tcp:127.0.0.1:5060
dns_try_ipv6=no
server_signature=no
loadmodule "pv.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "textops.so"
loadmodule "maxfwd.so"
{modules}
request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    {route}
}}
"""

_ROUTES = {
    "stateless": '$du = "sip:127.0.0.1:6000;transport=tcp"; forward(); exit;',
    "stateful": '$du = "sip:127.0.0.1:6000;transport=tcp"; t_relay(); exit;',
    "gateway": 'xmpp_send_message(); sl_send_reply("200", "Accepted"); exit;',
}

_GATEWAY = f"""loadmodule "xmpp.so"
modparam("xmpp", "backend", "component")
modparam("xmpp", "gateway_domain", "contoso.com")
modparam("xmpp", "xmpp_domain", "partner.example")
modparam("xmpp", "xmpp_host", "127.0.0.1")
modparam("xmpp", "xmpp_port", 5347)
modparam("xmpp", "xmpp_password", "{SECRET}")
"""


def kamailio(rig: Rig, kind: str) -> dict:
    """TCP with two workers and the tlsf allocator, which is four times as fast as the one it starts with. The gateway module needs the
    preloaded repair beside it."""
    env: dict[str, str] = {}
    if kind == "gateway":
        shim = rig.folder / "expat_shim.so"
        source = Path(__file__).with_name("expat_shim.c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True)
        env["LD_PRELOAD"] = str(shim)
    (rig.folder / "kamailio.cfg").write_text(_KAMAILIO.format(
        modules=_GATEWAY if kind == "gateway" else "", route=_ROUTES[kind]))
    shared = "4096" if kind == "stateful" else "512"
    rig.start("kamailio", ["kamailio", "-DD", "-E", "-m", shared, "-M", "64", "-x", "tlsf", "-X", "tlsf",
                           "-f", str(rig.folder / "kamailio.cfg"), "-Y", str(rig.folder), "-w", str(rig.folder)],
              ("127.0.0.1", 5060), **env)
    at = {"target": "127.0.0.1:5060"}
    return {**at, "port": "127.0.0.1:5347"} if kind == "gateway" else {**at, "pool": "127.0.0.1:6000"}
