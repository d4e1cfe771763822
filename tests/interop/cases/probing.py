"""`turnout probe` against a real partner's server, with real DNS: what it finds, and that it says why."""

from __future__ import annotations

import json
from typing import Any

from rig.estate import PARTNER, Estate, Plan
from rig.turnout import Partner

from . import case


async def probed(estate: Estate, domain: str = PARTNER) -> tuple[int, dict[str, Any]]:
    """Exit code and report."""
    done = await estate.turnout.command("probe", domain, "--config", str(estate.turnout.config), "--json", seconds=60)
    assert done.stdout, f"no report: {done.stderr}"
    return done.returncode, json.loads(done.stdout)


def steps(report: dict[str, Any], name: str) -> str:
    """Outcome and text of the steps of one name."""
    return "\n".join(f"{s['outcome']} {s['about']}: {s['text']}" for s in report["steps"] if s["step"] == name)


def expect(report: dict[str, Any], name: str, *parts: str) -> None:
    """Each part is in a step of that name."""
    for part in parts:
        assert part in steps(report, name), f"{name}: {part!r} not in {json.dumps(report, indent=1)}"


@case()
async def probe_good_partner() -> None:
    """A Prosody in order: both SRV sets, address, TLS, certificate with its rule, EXTERNAL accepted, dialback offered."""
    async with Estate(Plan(pool="none", partner_direct_tls=True, policy=Partner(PARTNER, sasl="optional"))) as estate:
        code, report = await probed(estate)
        expect(report, "dns", "good _xmpp-server._tcp.partner.example", "good _xmpps-server._tcp.partner.example", "xmpp.partner.example:5270")
        expect(report, "address", "good xmpp.partner.example")
        expect(report, "tcp", "good xmpp.partner.example (")
        expect(report, "tls", "good", "TLSv1.")
        expect(report, "certificate", 'fits by dNSName "partner.example"')
        expect(report, "external", "it takes us for contoso.com")
        expect(report, "dialback", "good", "offered; not tried")
        expect(report, "ping", "skipped")
        # The rig's certificates live for 20 days, and that is worth a note, not a finding.
        assert code == 0, json.dumps(report, indent=1)
        assert report["diagnosis"][0]["what"].startswith("its certificate ends in"), report["diagnosis"]


@case()
async def probe_wrong_name() -> None:
    """A Prosody whose certificate names another domain: the rule it breaks and the cure."""
    plan = Plan(pool="none", partner_cert="wrong-name", policy=Partner(PARTNER, tls="required", sasl="required", dialback=False))
    async with Estate(plan) as estate:
        code, report = await probed(estate)
        assert code == 1
        expect(report, "certificate", "bad", 'it names "other.example"')
        assert "for other names than partner.example" in report["diagnosis"][0]["what"], report["diagnosis"]


@case()
async def probe_partner_down() -> None:
    """No server behind the SRV record, and a domain that does not exist."""
    async with Estate(Plan(pool="none", start_partner=False)) as estate:
        code, report = await probed(estate)
        assert code == 1
        expect(report, "tcp", "bad xmpp.partner.example")
        assert report["diagnosis"][0]["what"] == "no address answers", report["diagnosis"]
        code, report = await probed(estate, "nowhere.example")
        assert code == 1
        expect(report, "policy", "is no [[partner]]")
        assert "the DNS knows neither SRV records nor an address" in report["diagnosis"][1]["what"], report["diagnosis"]
