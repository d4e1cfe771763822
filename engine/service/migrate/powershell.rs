//! The cmdlets that attach turnout to an estate, out of a configuration: a trusted application and static routes on the 2019 registrar,
//! partners of the legacy gateway pointed to turnout; and the way back.
//!
//! Invariant: the text is ASCII, so that Windows PowerShell reads it alike with and without a byte order mark; whatever comes out of a
//! configuration stands in a [`literal`](quote::literal), which it cannot end, or in a comment of one line. Everything can be run
//! again: what is there already is left alone.

use turnout_core::home::BackendKind;
use turnout_core::jid::Domain;
use turnout_core::policy::Negotiation;
use turnout_core::world::World;

use crate::config::{Config, HomeConfig};

pub mod quote;
#[cfg(test)]
mod tests;

use quote::{comment, literal};

/// Port partners and gateways are dialed on where nothing else is said.
const XMPP_PORT: u16 = 5269;

/// What turnout is called among the trusted applications.
const APPLICATION: &str = "turnout";

/// Which cmdlets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Those of the 2019 pool.
    Pool,
    /// Those of the legacy gateway.
    Legacy,
    /// Both.
    All,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Which cmdlets.
    pub part: Part,
    /// The way back alone, ready to be run, in place of the way there with the way back as a comment.
    pub rollback: bool,
    /// Name by which the legacy Edge reaches the inside listener; without it the name of the first SIP home.
    pub proxy: Option<&'a str>,
    /// SiteId of the site of the 2019 pool; without it the script asks the topology.
    pub site: Option<&'a str>,
}

/// The script, and what could not be put into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// PowerShell.
    pub text: String,
    /// What is missing and why, also as comments in the text.
    pub findings: Vec<String>,
}

/// Makes the script.
pub fn script(config: &Config, world: &World, wanted: &Wanted<'_>) -> Script {
    let mut made = Script::default();
    let partners = Partners::of(config, &mut made);
    made.heading(config, wanted);
    let sections: [(Part, Section<'_>); 2] = [
        (Part::Pool, Section { there: pool, back: pool_back }),
        (Part::Legacy, Section { there: legacy, back: legacy_back }),
    ];
    let asked = |part: Part| wanted.part == Part::All || wanted.part == part;
    let estate = Estate { config, world, wanted, partners: &partners };
    for (_, section) in sections.iter().filter(|(part, _)| asked(*part) && !wanted.rollback) {
        (section.there)(&estate, &mut made);
    }
    // Back in the opposite order: the partners' streams first, the pool's routes last.
    let mut back = Script::default();
    for (_, section) in sections.iter().rev().filter(|(part, _)| asked(*part)) {
        (section.back)(&estate, &mut back);
    }
    if wanted.rollback {
        made.text.push_str(&back.text);
        made.findings.extend(back.findings);
    } else {
        made.comment("");
        made.comment("==== The way back. Take the comment signs off, or let `turnout export powershell --rollback` print it ready to run.");
        for line in back.text.lines() {
            made.comment(line);
        }
    }
    made
}

/// Cmdlets of one side, and the way back.
struct Section<'a> {
    there: fn(&Estate<'a>, &mut Script),
    back: fn(&Estate<'a>, &mut Script),
}

/// What the sections are made of.
struct Estate<'a> {
    config: &'a Config,
    world: &'a World,
    wanted: &'a Wanted<'a>,
    partners: &'a Partners,
}

/// The domains of partners, as the DNS has them.
struct Partners {
    /// The primary ones: identities of partner objects.
    primary: Vec<String>,
    /// All.
    all: Vec<String>,
}

impl Partners {
    fn of(config: &Config, made: &mut Script) -> Self {
        let mut partners = Self { primary: Vec::new(), all: Vec::new() };
        let mut ascii = |domain: &Domain| {
            let name = domain.to_ascii();
            if name.is_none() {
                made.findings
                    .push(format!("the partner {domain} has no name in the DNS; there is no route for it"));
            }
            name
        };
        for (_, partner) in config.policy.iter() {
            let Some(primary) = ascii(&partner.domain) else { continue };
            partners.all.push(primary.clone());
            partners.primary.push(primary);
            partners.all.extend(partner.additional_domains.iter().filter_map(&mut ascii));
        }
        partners
    }
}

impl Script {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn comment(&mut self, text: &str) {
        let line = comment(text);
        self.line(&line);
    }

    fn finding(&mut self, what: String) {
        self.comment(&format!("MISSING: {what}"));
        self.findings.push(what);
    }

    /// `$Name = @('a'; 'b')`, one a line.
    fn list(&mut self, name: &str, items: &[String]) {
        self.line(&format!("${name} = @("));
        for item in items {
            self.line(&format!("    {}", literal(item)));
        }
        self.line(")");
    }

    fn heading(&mut self, config: &Config, wanted: &Wanted<'_>) {
        let way = if wanted.rollback { "detaches turnout from" } else { "attaches turnout to" };
        self.comment(&format!(
            "Made by turnout {} out of {}: {way} the estate.",
            env!("CARGO_PKG_VERSION"),
            config.file.display()
        ));
        self.comment("Read it, try it in a lab, then run it part by part. Everything may be run again.");
        self.comment("Keep the legacy Edge with its XMPP proxy, and do not route XMPP through a 2019 Edge.");
        self.line("$ErrorActionPreference = 'Stop'");
    }
}

/// Trusted application and static routes, for each SIP home.
fn pool(estate: &Estate<'_>, made: &mut Script) {
    for (home, name, pools) in sip_homes(estate, made) {
        let Some(first) = pools.first() else { continue };
        made.line("");
        made.comment(&format!(
            "==== Home {}: run in the Skype for Business Server 2019 Management Shell.",
            home.name
        ));
        made.line(&format!("$Router = {}", literal(&name)));
        made.line(&format!("$Registrar = {}", literal(first)));
        match estate.wanted.site {
            Some(site) => made.line(&format!("$Site = {}", literal(site))),
            None => made.line("$Site = (Get-CsSite -Identity (Get-CsPool -Identity $Registrar).Site).SiteId"),
        }
        let port = home.listen.port();
        made.comment(
            "The next hop has to be the 2019 pool. The certificate turnout shows has to name $Router.",
        );
        made.line("if (-not (Get-CsTrustedApplicationPool | Where-Object { $_.PoolFqdn -eq $Router })) {");
        made.line(
            "    New-CsTrustedApplicationPool -Identity $Router -Registrar $Registrar -Site $Site -RequiresReplication $false \
             -ThrottleAsServer $true -TreatAsAuthenticated $true -OutboundOnly $false",
        );
        made.line("}");
        made.line("if (-not (Get-CsTrustedApplication | Where-Object { $_.TrustedApplicationPoolFqdn -eq $Router })) {");
        made.line(&format!(
            "    New-CsTrustedApplication -ApplicationId '{APPLICATION}' -TrustedApplicationPoolFqdn $Router -Port {port}"
        ));
        made.line("}");
        routes(home, &pools, estate.partners, port, made);
        made.line("Enable-CsTopology");
    }
}

/// One route a partner domain, on the registrar of the 2019 pool and never globally: a global one would take the legacy users' traffic.
fn routes(home: &HomeConfig, pools: &[String], partners: &Partners, port: u16, made: &mut Script) {
    if partners.all.is_empty() {
        made.finding("there is no [[partner]], so there are no routes".to_owned());
        return;
    }
    made.comment("One TLS route for each partner domain, on the 2019 registrar alone; a global route would also catch legacy users.");
    made.line(&format!("$Added = {}", literal(&added_file(home))));
    made.list("Domains", &partners.all);
    let scopes: Vec<String> = pools.iter().map(|pool| scope(pool)).collect();
    made.list("Scopes", &scopes);
    made.comment("A collection of its own takes the place of the global one for that registrar, so it gets the global routes as well.");
    made.comment("What is added is written down: the way back takes that out and nothing else.");
    for line in ROUTES {
        made.line(&line.replace("PORT", &port.to_string()));
    }
}

/// Adds routes for `$Domains` in `$Scopes`.
const ROUTES: [&str; 19] = [
    "foreach ($Scope in $Scopes) {",
    "    if (-not (Get-CsStaticRoutingConfiguration | Where-Object { $_.Identity -eq $Scope })) {",
    "        New-CsStaticRoutingConfiguration -Identity $Scope",
    "        Add-Content -Path $Added -Value \"$Scope`t*\"",
    "        foreach ($Route in (Get-CsStaticRoutingConfiguration -Identity Global).Route | Where-Object { $_ }) {",
    "            Set-CsStaticRoutingConfiguration -Identity $Scope -Route @{Add = $Route}",
    "        }",
    "    }",
    "    $Known = @((Get-CsStaticRoutingConfiguration -Identity $Scope).Route | ForEach-Object { $_.MatchUri })",
    "    foreach ($Domain in $Domains) {",
    "        if ($Known -contains $Domain) {",
    "            Write-Warning \"$Scope has a route for $Domain already; it is left as it is\"",
    "            continue",
    "        }",
    "        $Route = New-CsStaticRoute -TLSRoute -Destination $Router -Port PORT -MatchUri $Domain -UseDefaultCertificate $true",
    "        Set-CsStaticRoutingConfiguration -Identity $Scope -Route @{Add = $Route}",
    "        Add-Content -Path $Added -Value \"$Scope`t$Domain\"",
    "    }",
    "}",
];

/// Takes out what [`ROUTES`] added, then the trusted application.
const ROUTES_BACK: [&str; 22] = [
    "if (Test-Path -Path $Added) {",
    "    $Own = @()",
    "    foreach ($Line in Get-Content -Path $Added) {",
    "        $Scope, $Domain = $Line -split \"`t\"",
    "        if ($Domain -eq '*') {",
    "            $Own += $Scope",
    "            continue",
    "        }",
    "        $Config = Get-CsStaticRoutingConfiguration -Identity $Scope",
    "        foreach ($Route in @($Config.Route | Where-Object { $_.MatchUri -eq $Domain })) {",
    "            Set-CsStaticRoutingConfiguration -Identity $Scope -Route @{Remove = $Route}",
    "        }",
    "    }",
    "    # Collections that were made by the script: the global one holds again for these registrars.",
    "    foreach ($Scope in $Own) {",
    "        Remove-CsStaticRoutingConfiguration -Identity $Scope",
    "    }",
    "    Remove-Item -Path $Added",
    "}",
    "Get-CsTrustedApplication | Where-Object { $_.TrustedApplicationPoolFqdn -eq $Router } | Remove-CsTrustedApplication",
    "Get-CsTrustedApplicationPool | Where-Object { $_.PoolFqdn -eq $Router } | Remove-CsTrustedApplicationPool",
    "Enable-CsTopology",
];

fn pool_back(estate: &Estate<'_>, made: &mut Script) {
    let mut told = Script::default();
    for (home, name, _) in sip_homes(estate, &mut told) {
        made.line("");
        made.comment(&format!(
            "==== Home {}, back: the routes that were added, then the trusted application.",
            home.name
        ));
        made.line(&format!("$Router = {}", literal(&name)));
        made.line(&format!("$Added = {}", literal(&added_file(home))));
        ROUTES_BACK.iter().for_each(|line| made.line(line));
    }
}

/// Partners of the legacy gateway, pointed to turnout's inside listener.
fn legacy(estate: &Estate<'_>, made: &mut Script) {
    for (home, proxy) in xmpp_homes(estate, made) {
        made.line("");
        made.comment(&format!("==== Home {}: run in the management shell of the legacy servers.", home.name));
        made.comment("Partners reach turnout on the outside; the legacy Edge talks to turnout alone, on the inside listener, by dialback,");
        made.comment("because nobody could give turnout certificates of the partners. The partners' own settings hold on the outside.");
        if home.listen.port() != XMPP_PORT {
            made.finding(format!(
                "home.{}.listen has port {}, and the Edge dials ProxyFqdn on {XMPP_PORT}: listen there, or forward it",
                home.name,
                home.listen.port()
            ));
        }
        made.line(&format!("$Before = {}", literal(&before_file(home))));
        made.line(&format!("$Proxy = {}", literal(&proxy)));
        made.line("if (-not (Test-Path -Path $Before)) {");
        made.line("    Get-CsXmppAllowedPartner | Export-Clixml -Path $Before -Depth 4");
        made.line("}");
        made.list("Partners", &estate.partners.primary);
        made.line("foreach ($Partner in $Partners) {");
        made.line(&format!(
            "    Set-CsXmppAllowedPartner -Identity $Partner -TlsNegotiation {} -SaslNegotiation NotSupported \
             -SupportDialbackNegotiation $true -ProxyFqdn $Proxy",
            cmdlet_word(home.tls)
        ));
        made.line("}");
        made.comment(
            "If the Edge asks the DNS all the same when it verifies keys, give it a DNS view in which",
        );
        made.comment(
            "_xmpp-server._tcp.<partner domain> names $Proxy. Watch turnout's log on the first message.",
        );
    }
}

fn legacy_back(estate: &Estate<'_>, made: &mut Script) {
    let mut told = Script::default();
    for (home, _) in xmpp_homes(estate, &mut told) {
        made.line("");
        made.comment(&format!("==== Home {}, back: every partner as he was before.", home.name));
        made.line(&format!("$Before = {}", literal(&before_file(home))));
        made.line("foreach ($Was in Import-Clixml -Path $Before) {");
        made.line("    $Proxy = $null");
        made.line("    if (\"$($Was.ProxyFqdn)\") { $Proxy = \"$($Was.ProxyFqdn)\" }");
        made.line(
            "    Set-CsXmppAllowedPartner -Identity \"$($Was.Identity)\" -TlsNegotiation \"$($Was.TlsNegotiation)\" \
             -SaslNegotiation \"$($Was.SaslNegotiation)\" -SupportDialbackNegotiation $Was.SupportDialbackNegotiation -ProxyFqdn $Proxy",
        );
        made.line("}");
        made.comment("Then let _xmpp-server._tcp.<our domains> and port 5269 lead to the Access Edge again.");
    }
}

/// SIP homes that a script can attach: our name there, and their pools.
fn sip_homes<'a>(estate: &Estate<'a>, made: &mut Script) -> Vec<(&'a HomeConfig, String, Vec<String>)> {
    let mut found = Vec::new();
    for (id, home) in estate.config.homes_with_ids().filter(|(_, home)| home.backend == BackendKind::Sip) {
        let (Some(sip), Some(core)) = (estate.world.sip.get(&id), estate.world.homes.get(id)) else {
            continue;
        };
        if !sip.tls {
            made.finding(format!(
                "home.{} has transport = \"tcp\": a trusted application without TLS is not made here; use \"tls\", or make it by hand",
                home.name
            ));
            continue;
        }
        // A DN of the directory service is no name of a registrar.
        let pools: Vec<String> =
            core.registrar_pools.iter().filter(|pool| !pool.contains('=')).cloned().collect();
        if pools.is_empty() {
            made.finding(format!("home.{}.registrar_pools has no FQDN: the pool cannot be named", home.name));
            continue;
        }
        found.push((home, sip.our_name.to_string(), pools));
    }
    if found.is_empty() && made.findings.is_empty() {
        made.finding("no [home.NAME] has backend = \"sip\"".to_owned());
    }
    found
}

/// XMPP homes, and how each reaches us.
fn xmpp_homes<'a>(estate: &Estate<'a>, made: &mut Script) -> Vec<(&'a HomeConfig, String)> {
    let named = || {
        let mut sip = estate.config.homes_with_ids().filter_map(|(id, _)| estate.world.sip.get(&id));
        sip.next().map(|home| home.our_name.to_string())
    };
    let Some(proxy) = estate.wanted.proxy.map(str::to_owned).or_else(named) else {
        made.finding(
            "by which name the legacy Edge reaches turnout is not known; say it with --proxy".to_owned(),
        );
        return Vec::new();
    };
    let homes = estate.config.homes_with_ids().map(|(_, home)| home);
    let found: Vec<_> =
        homes.filter(|home| home.backend == BackendKind::Xmpp).map(|home| (home, proxy.clone())).collect();
    if found.is_empty() {
        made.finding("no [home.NAME] has backend = \"xmpp\"".to_owned());
    }
    found
}

/// Identity of the routes of one registrar.
fn scope(pool: &str) -> String {
    format!("service:Registrar:{pool}")
}

/// Where the script remembers which routes it added.
fn added_file(home: &HomeConfig) -> String {
    format!("turnout-{}-routes-added.txt", home.name)
}

/// Where the script keeps the partners as they were.
fn before_file(home: &HomeConfig) -> String {
    format!("turnout-{}-partners-before.xml", home.name)
}

fn cmdlet_word(negotiation: Negotiation) -> &'static str {
    match negotiation {
        Negotiation::Required => "Required",
        Negotiation::Optional => "Optional",
        Negotiation::NotSupported => "NotSupported",
    }
}
