"""Users from real directory servers: slapd, and a Samba Active Directory domain controller."""

from __future__ import annotations

import asyncio
import json
import time
import tomllib
import urllib.error
from typing import Any, Callable

from rig.estate import Estate, Plan
from rig.ldap import BASE, Directory
from rig.turnout import Turnout

from . import case
from .tracks import MODERN, ROMEO

MOVER, LEGACY = "mover@contoso.com", "legacy@contoso.com"
_PATIENCE = 30.0


def _plan(kind: str, **more: Any) -> Plan:
    users = {LEGACY: "legacy", MODERN: "sfb2019", MOVER: "legacy", **{f"user{n}@contoso.com": "legacy" for n in range(12)}}
    return Plan(directory=kind, users=users, **more)


async def _until(what: str, check: Callable[[], Any]) -> None:
    end = time.monotonic() + _PATIENCE
    while not await check():
        assert time.monotonic() < end, f"{what}: not within {_PATIENCE:.0f} s"
        await asyncio.sleep(0.1)


async def _user(turnout: Turnout, user: str) -> dict[str, Any] | None:
    try:
        return await turnout.get(f"/api/users/{user}")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
        return None


async def _shown(estate: Estate, user: str, **wanted: Any) -> None:
    async def check() -> bool:
        found = await _user(estate.turnout, user)
        return found is not None and all(found.get(k) == v for k, v in wanted.items())

    await _until(f"{user} as {wanted}", check)


async def _gone(estate: Estate, user: str) -> None:
    async def check() -> bool:
        return await _user(estate.turnout, user) is None

    await _until(f"{user} gone", check)


async def _status(estate: Estate) -> dict[str, Any]:
    return (await estate.turnout.get("/api/status"))["directory"]


async def _stands(estate: Estate, what: str, check: Callable[[dict[str, Any]], bool]) -> None:
    async def asked() -> bool:
        return check(await _status(estate))

    await _until(what, asked)


async def _checked(estate: Estate) -> tuple[int, dict[str, Any]]:
    done = await estate.turnout.command("check", "--config", str(estate.turnout.config), "--json", seconds=60)
    assert done.stdout, f"no report: {done.stderr}"
    return done.returncode, json.loads(done.stdout)


async def _found(estate: Estate, severity: str, *parts: str) -> None:
    """`turnout check` has a finding with all these parts in it."""
    code, report = await _checked(estate)
    texts = [f"{f['key']}: {f['what']}; {f['cure']}" for f in report["findings"] if f["severity"] == severity]
    assert any(all(part in text for part in parts) for text in texts), f"{parts} not in {json.dumps(report['findings'], indent=1)}"
    assert code == (1 if severity == "error" else 0), report["findings"]


async def _rehearsed(estate: Estate, summary: dict[str, Any]) -> None:
    """`turnout rehearse` takes the users of an export and the homes of this configuration, and counts as the directory does."""
    turnout = estate.turnout
    homes = {name: home["registrar_pools"][0] for name, home in tomllib.loads(turnout.config.read_text())["home"].items()}
    rows = ["SipAddress,RegistrarPool,HostingProvider,Enabled,EnabledForFederation,ExternalAccessPolicy"]
    for user in (await turnout.get("/api/users?limit=1000"))["users"]:
        pool = homes.get(user.get("home") or "", "")
        provider = "sipfed.online.lync.com" if user["residence"] == "cloud" else "SRV:"
        rows.append(f"sip:{user['user']},{pool},{provider},{user['enabled']},{user['federation_enabled']},Sales")
    export, policies = turnout.config.parent / "old-users.csv", turnout.config.parent / "old-policies.csv"
    export.write_text("\n".join(rows) + "\n")
    policies.write_text("Identity,EnableXmppAccess\nGlobal,False\nTag:Sales,True\n")
    args = ("rehearse", "--config", str(turnout.config), "--json")
    done = await turnout.command(*args, seconds=60)
    assert done.returncode == 1 and "give the users of the old estate with --users" in done.stdout, done
    done = await turnout.command(*args, "--users", str(export), "--policies", str(policies), "--all", seconds=60)
    told = json.loads(done.stdout)
    places = {g["place"]: g["keep"] + g["gain"] + g["lose"] + g["none"] for g in told["users"]["groups"]}
    assert {name: count for name, count in places.items() if name in homes} == dict(summary["homes"]), (places, summary)
    assert told["users"]["total"] == summary["users"], told
    assert any("numbers of the directory" in finding["what"] for finding in told["findings"]), told["findings"]


def _directory(estate: Estate) -> Directory:
    assert estate.directory is not None
    return estate.directory


async def _follows_moves(estate: Estate) -> None:
    """A change of PrimaryHomeServer moves the user between the tracks, in the middle of a conversation."""
    directory = _directory(estate)
    romeo, mover, pool = await estate.partner_user(), await estate.legacy_user("mover"), estate.pool
    romeo.say(MOVER, "to legacy")
    await mover.expect_text("to legacy")
    directory.set(MOVER, TargetHomeServer=directory.home_dn("sfb2019"))
    await _shown(estate, MOVER, home="legacy", moving=True)
    romeo.say(MOVER, "while a server moves him")
    await mover.expect_text("while a server moves him")
    directory.move(MOVER, "sfb2019")
    await _shown(estate, MOVER, home="sfb2019", moving=False)
    romeo.say(MOVER, "to 2019")
    await pool.expect_text(MOVER, ROMEO, "to 2019")
    directory.move(MOVER, "legacy")
    await _shown(estate, MOVER, home="legacy")
    romeo.say(MOVER, "to legacy again")
    await mover.expect_text("to legacy again")
    assert not [r for r in romeo.inbox if r.kind == "error"], "a move caused an error"


@case(90)
async def directory_slapd() -> None:
    """slapd, paged over StartTLS and LDAPS: classes, policies, moves in mid-conversation; a shrunken directory is refused; a start without it."""
    async with Estate(_plan("slapd")) as estate:
        directory = _directory(estate)
        directory.add("bert@contoso.com", "branch")
        directory.add("cloe@contoso.com", "", DeploymentLocator="sipfed.online.lync.com")
        directory.add("dora@contoso.com", "")
        directory.add("emil@contoso.com", "strange")
        directory.add("fred@contoso.com", "legacy", policies=("7=5",), UserEnabled="FALSE")
        directory.add("gina@contoso.com", "legacy", policies=(), FederationEnabled="FALSE")
        directory.keys["tls"] = '"starttls"'
        estate.turnout.settings.directory = directory.toml()
        estate.turnout.write()
        await estate.turnout.reload()
        code, report = await _checked(estate)
        assert code == 0, report
        summary = report["summary"]
        assert summary["homes"] == [["legacy", 16], ["sfb2019", 1]], summary
        assert summary["classes"] == {"home": 17, "cloud": 1, "unassigned": 1, "branch": 1, "unknown_pool": 1, "moving": 0}, summary
        assert summary["policies"] == {"21=1": 19, "7=5": 1, "7=6": 19}, summary
        assert summary["server"] == "dc1.contoso.com:389", summary
        # The pool of emil cannot be looked up: it keeps its DN.
        dn = directory.home_dn("strange")
        await _found(estate, "warning", f"1 user(s) live on {json.dumps(dn.lower())}", "registrar_pool_dns")
        await _shown(estate, "bert@contoso.com", residence="branch")
        await _shown(estate, "cloe@contoso.com", residence="cloud")
        await _shown(estate, "dora@contoso.com", residence="unassigned")
        await _shown(estate, "fred@contoso.com", enabled=False, xmpp_enabled=False)
        await _shown(estate, "gina@contoso.com", federation_enabled=False, xmpp_enabled=False)
        await _shown(estate, LEGACY, home="legacy", enabled=True, federation_enabled=True, xmpp_enabled=True)
        await _rehearsed(estate, summary)
        await _follows_moves(estate)
        directory.delete("dora@contoso.com")
        await _gone(estate, "dora@contoso.com")

        directory.keys["tls"] = '"ldaps"'
        directory.keys["registrar_pool_dns"] = ""
        estate.turnout.settings.directory = directory.toml()
        estate.turnout.write()
        assert (await estate.turnout.reload())["moved"]["users"] == 0

        # Twelve of twenty are gone at once: that is a broken directory.
        directory.delete(*[f"user{n}@contoso.com" for n in range(12)])
        await _stands(estate, "a refusal", lambda d: "shrink_percent_max" in d.get("failing", ""))
        assert await _user(estate.turnout, "user7@contoso.com") is not None
        # A start does not make it better: what was kept on disk goes before it.
        await estate.restart(estate.turnout)
        status = await _status(estate)
        assert status["from_disk"] and "shrink_percent_max" in status["failing"] and status["users"] == 20, status
        for n in range(12):
            directory.add(f"user{n}@contoso.com", "legacy")
        await _stands(estate, "the directory again", lambda d: not d["from_disk"] and "failing" not in d)

        directory.stop()
        await _stands(estate, "a failure", lambda d: "cannot be reached" in d.get("failing", ""))
        # Another change of the configuration is made all the same; one of the directory's own is not.
        directory.outer["shrink_percent_max"] = "30"
        estate.turnout.settings.directory = directory.toml()
        estate.turnout.write()
        assert (await estate.turnout.reload())["moved"]["users"] == 0
        status = await _status(estate)
        assert "cannot be reached" in status["failing"] and not status["from_disk"] and status["users"] == 20, status
        directory.keys["page_size"] = "4"
        estate.turnout.settings.directory = directory.toml()
        estate.turnout.write()
        try:
            await estate.turnout.reload()
            raise AssertionError("users of a directory that was never asked were taken")
        except urllib.error.HTTPError as error:
            assert "cannot be reached" in error.read().decode()
        await estate.restart(estate.turnout)
        status = await _status(estate)
        assert status["from_disk"] and "cannot be reached" in status["failing"] and status["users"] == 20, status
        await _found(estate, "warning", "cannot be reached", "a start would take the 20 users of the last good load")
        metrics = (await estate.turnout.get("/metrics", parse=False)).decode()
        assert estate.turnout.metric(metrics, "turnout_directory_from_disk") == 1
        assert estate.turnout.metric(metrics, "turnout_directory_failing") == 1
        assert 'turnout_directory_class_users{class="branch"} 1' in metrics
        romeo, user = await estate.partner_user("benvolio"), await estate.legacy_user("legacy")
        romeo.say(LEGACY, "without a directory")
        await user.expect_text("without a directory")
        await directory.start()
        await _stands(estate, "the directory again", lambda d: not d["from_disk"] and "failing" not in d)


@case(60)
async def directory_errors() -> None:
    """What is wrong with a directory is told by name: password, certificate, name, base, rights, what the server cannot do."""
    async with Estate(_plan("slapd", pool="none")) as estate:
        directory = _directory(estate)

        async def told(*parts: str, severity: str = "error", **keys: str) -> None:
            directory.keys = {"last_good": "", **keys}
            estate.turnout.settings.directory = directory.toml()
            estate.turnout.write()
            await _found(estate, severity, *parts)

        (wrong := directory.folder / "wrong").write_text("Wrong.1234\n")
        (empty := directory.folder / "empty").write_text("\n")
        stranger = type(estate.ca)(directory.folder / "stranger", "stranger").certificate
        await told("refuses to let CN=reader", "wrong name or password", "password_file", password_file=f'"{wrong}"')
        await told("holds no password", password_file=f'"{empty}"')
        await told("refuses to let CN=nobody", bind_dn=f'"CN=nobody,{BASE}"')
        await told("shows a certificate that no authority in", "directory.ldap.ca_file", ca_file=f'"{stranger}"')
        await told("shows a certificate for another name", "directory.ldap.servers", servers='["other.contoso.com"]')
        await told("cannot be resolved", servers='["nowhere.contoso.com"]')
        await told("cannot be reached", servers='["dc1.contoso.com:1"]')
        await told("there is no", "directory.ldap.base", base='"OU=nowhere,DC=contoso,DC=com"')
        await told("shows msRTCSIP-UserEnabled", "let CN=blind", bind_dn=f'"CN=blind,{BASE}"')
        await told("does not number its changes", '"full"', mode='"usn"')
        await told("cannot tell what has changed", '"full"', mode='"dirsync"')
        await told("TLS", "`tls`", servers='["dc1.contoso.com:389"]')
        await told("hung up", servers='["dc1.contoso.com:636"]', tls='"none"')
        await told("in the clear", severity="warning", tls='"none"')
        await told("shows no user below", severity="warning", base=f'"CN=Pools,{BASE}"')
        # One dead server is no harm while another lives.
        await told("is not set: a start while the directory is away fails", severity="warning",
                   servers='["dc1.contoso.com:1", "dc1.contoso.com"]')


@case(60)
async def directory_samba() -> None:
    """A Samba domain controller, by uSNChanged and by DirSync: moves, new, disabled and deleted users; the page is smaller than the domain."""
    async with Estate(_plan("samba")) as estate:
        directory = _directory(estate)
        code, report = await _checked(estate)
        assert code == 0 and report["summary"]["homes"] == [["legacy", 14], ["sfb2019", 1]], report
        assert report["summary"]["server"] == "dc1.contoso.com:636", report["summary"]
        await _follows_moves(estate)
        for mode, new in (("usn", "nora@contoso.com"), ("dirsync", "otto@contoso.com")):
            directory.keys = {"mode": f'"{mode}"'}
            if mode == "dirsync":
                # Whoever may replicate is told of deletions too.
                directory.keys.update(bind_dn=f'"{directory.admin[0]}"', password_file=f'"{_admin_password(directory)}"')
            estate.turnout.settings.directory = directory.toml()
            estate.turnout.write()
            await estate.turnout.reload()
            directory.add(new, "sfb2019")
            await _shown(estate, new, home="sfb2019", enabled=True, xmpp_enabled=True)
            directory.set(new, UserEnabled="FALSE")
            await _shown(estate, new, enabled=False)
            directory.set(new, PrimaryUserAddress="sip:renamed@contoso.com", UserEnabled="TRUE")
            await _shown(estate, "renamed@contoso.com", enabled=True)
            await _gone(estate, new)
            # No user any more, though the account stays.
            directory.set(new, PrimaryUserAddress="")
            await _gone(estate, "renamed@contoso.com")
            directory.move(MOVER, "sfb2019")
            await _shown(estate, MOVER, home="sfb2019")
            directory.move(MOVER, "legacy")
            await _shown(estate, MOVER, home="legacy")
        directory.delete("user3@contoso.com")
        await _gone(estate, "user3@contoso.com")
        # By numbers, whoever may see deleted objects is told as well.
        directory.keys["mode"] = '"usn"'
        estate.turnout.settings.directory = directory.toml()
        estate.turnout.write()
        await estate.turnout.reload()
        directory.delete("user4@contoso.com")
        await _gone(estate, "user4@contoso.com")
        # And whoever may not replicate follows with less, and is told so.
        directory.keys = {"mode": '"dirsync"'}
        estate.turnout.settings.directory = directory.toml()
        estate.turnout.write()
        await _found(estate, "warning", "Replicating Directory Changes", "deleted users are seen at the next full load")
        await estate.turnout.reload()
        directory.move(MOVER, "sfb2019")
        await _shown(estate, MOVER, home="sfb2019")
        log = estate.turnout.log.read_text(errors="replace")
        assert "asking for everything anew" not in log, "changes were not followed but read in full"


def _admin_password(directory: Directory) -> str:
    path = directory.folder / "admin-password"
    path.touch(mode=0o600)
    path.write_text(directory.admin[1])
    return str(path)
