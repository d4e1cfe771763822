//! `Get-CsXmppAllowedPartner` to `[[partner]]`. Invariant: an entry is written whole or as a comment: a setting that decides who is believed
//! is never left out of an entry that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::str::FromStr;

use turnout_core::home::HostPort;
use turnout_core::jid::Domain;
use turnout_core::policy::{Methods, Negotiation, Partner, PartnerDefaults, PartnerType};

use super::{Imported, Weight, list, quoted};
use crate::exports::{self, ExportError, Record};

/// Settings that are carried over, and names every object has that mean nothing here.
const KNOWN: &[&str] = &[
    "Identity",
    "Domain",
    "AdditionalDomains",
    "PartnerType",
    "TlsNegotiation",
    "SaslNegotiation",
    "SupportDialbackNegotiation",
    "ProxyFqdn",
    "EnableKeepAlive",
    "ConnectionLimit",
    "Description",
    "Anchor",
    "Element",
    "XsAnyElements",
    "XsAnyAttributes",
    "ScopeClass",
    "Key",
    "PSComputerName",
    "RunspaceId",
    "PSShowComputerName",
];

/// Partners one file may have.
const PARTNERS_MAX: u64 = 100_000;

/// Most connections of a partner that can be configured.
const CONNECTIONS_MAX: u64 = 1_000_000;

/// Makes `[[partner]]` tables of an export.
///
/// # Errors
/// The file cannot be read. What is wrong with single partners is among the findings.
pub fn partners(source: impl io::Read, name: &str) -> Result<Imported, ExportError> {
    let mut import =
        Import { made: Imported::default(), owners: BTreeMap::new(), passed_over: BTreeSet::new(), seen: 0 };
    let format = exports::read(source, &mut |record| import.partner(&record))?;
    let Import { mut made, passed_over, seen, .. } = import;
    let body = std::mem::take(&mut made.toml);
    made.comment(format!(
        "Partners of the legacy gateway, out of {name} ({format}): {} of {seen} carried over.",
        made.taken
    ));
    made.comment("Every setting is written out, so that [partner_defaults] changes none of them.");
    made.comment("An export made after partners were pointed to turnout (ProxyFqdn, SASL NotSupported) is of no use here.");
    if seen == 0 {
        made.finding(Weight::Error, "", "there are no partners in the file");
    }
    if !passed_over.is_empty() {
        let names: Vec<&str> = passed_over.iter().map(String::as_str).collect();
        made.finding(Weight::Note, "", format!("no setting of a partner, passed over: {}", names.join(", ")));
    }
    made.toml.push_str(&body);
    Ok(made)
}

struct Import {
    made: Imported,
    /// The partner each domain belongs to.
    owners: BTreeMap<Domain, Domain>,
    passed_over: BTreeSet<String>,
    seen: u64,
}

/// What an object says.
struct Entry {
    partner: Partner,
    description: Option<String>,
    notes: Vec<String>,
    /// Findings that leave the entry in force.
    lacks: Vec<String>,
}

impl Import {
    fn partner(&mut self, record: &Record) -> Result<(), ExportError> {
        self.seen += 1;
        if self.seen > PARTNERS_MAX {
            return Err(ExportError::from(io::Error::other(format!(
                "there are more than {PARTNERS_MAX} partners"
            ))));
        }
        let unknown =
            record.names().filter(|name| !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name)));
        self.passed_over.extend(unknown.take(64).map(str::to_owned));
        self.made.line("");
        match entry(record).and_then(|entry| self.claim(entry)) {
            Ok(entry) => {
                self.made.taken += 1;
                for what in &entry.lacks {
                    self.made.finding(
                        Weight::Error,
                        &record.place,
                        format!("{}: {what}", entry.partner.domain),
                    );
                }
                for what in &entry.notes {
                    self.made.finding(
                        Weight::Note,
                        &record.place,
                        format!("{}: {what}", entry.partner.domain),
                    );
                }
                lines(&entry).iter().for_each(|line| self.made.line(line));
            }
            Err(whys) => {
                let name = name(record);
                for why in whys {
                    self.made.finding(Weight::Error, &record.place, format!("{name}: {why}"));
                }
            }
        }
        Ok(())
    }

    /// Gives an entry its domains, if nobody has them.
    fn claim(&mut self, entry: Entry) -> Result<Entry, Vec<String>> {
        let partner = &entry.partner;
        let domains: Vec<&Domain> =
            std::iter::once(&partner.domain).chain(&partner.additional_domains).collect();
        let mut wrong = Vec::new();
        for (at, domain) in domains.iter().enumerate() {
            if let Some(owner) = self.owners.get(*domain) {
                wrong.push(format!(
                    "the domain {domain} belongs to the partner {owner} already; decide for one of the two"
                ));
            } else if domains[..at].contains(domain) {
                wrong.push(format!("the domain {domain} is given twice"));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let claimed = domains.into_iter().map(|domain| (domain.clone(), partner.domain.clone()));
        self.owners.extend(claimed);
        Ok(entry)
    }
}

/// A partner with what its entry lacks, or all that is wrong with it.
type Described = Result<(Partner, Vec<String>), Vec<String>>;

/// The name an object goes by, and what it describes: for a comparison.
pub(super) fn object(record: &Record) -> (String, Described) {
    let entry = entry(record).map(|entry| (entry.partner, entry.lacks));
    (name(record), entry)
}

/// The name an object goes by, whatever is wrong with it.
fn name(record: &Record) -> String {
    let name = record.text("Domain").ok().flatten().or_else(|| record.text("Identity").ok().flatten());
    name.unwrap_or("a partner without a domain").to_owned()
}

/// Reads an object; gives all that is wrong with it.
fn entry(record: &Record) -> Result<Entry, Vec<String>> {
    let mut wrong = Vec::new();
    let (mut notes, mut lacks) = (Vec::new(), Vec::new());
    let domain = domain(record).map_err(|why| wrong.push(why)).ok();
    let mut settings = Settings { record, wrong: &mut wrong, notes: &mut notes };
    let defaults = PartnerDefaults::default();
    let kind: PartnerType = settings.word("PartnerType", defaults.kind, PartnerType::as_str);
    let tls: Negotiation = settings.word("TlsNegotiation", defaults.tls, Negotiation::as_str);
    let sasl: Negotiation = settings.word("SaslNegotiation", defaults.sasl, Negotiation::as_str);
    let dialback = settings.flag("SupportDialbackNegotiation", defaults.dialback);
    let keep_alive = settings.flag("EnableKeepAlive", defaults.keep_alive);
    let connections_max = match record.number("ConnectionLimit") {
        Ok(None | Some(0)) => None,
        Ok(Some(limit)) if limit <= CONNECTIONS_MAX => u32::try_from(limit).ok(),
        Ok(Some(limit)) => {
            wrong.push(format!(
                "ConnectionLimit {limit} is more than the {CONNECTIONS_MAX} that can be configured"
            ));
            None
        }
        Err(why) => {
            wrong.push(why);
            None
        }
    };
    let proxy = proxy(record).map_err(|why| wrong.push(why)).ok().flatten();
    let mut additional_domains = Vec::new();
    match record.list("AdditionalDomains") {
        Ok(names) => {
            for name in names {
                match parsed(&name) {
                    Ok(domain) => additional_domains.push(domain),
                    Err(why) => wrong.push(format!("AdditionalDomains: {why}")),
                }
            }
        }
        Err(why) => lacks
            .push(format!("{why}. Until the domains are listed, what comes from or goes to them is refused")),
    }
    let matrix = Methods::of(tls, sasl, dialback, false);
    if wrong.is_empty() && matrix.is_none() {
        wrong.push(format!(
            "TlsNegotiation {}, SaslNegotiation {} and SupportDialbackNegotiation {} leave no way to authenticate the partner: \
             an invalid combination on the legacy gateway too; allow dialback, or TLS and SASL both",
            cmdlet_word(tls), cmdlet_word(sasl), if dialback { "True" } else { "False" }
        ));
    }
    let (true, Some(domain)) = (wrong.is_empty(), domain) else { return Err(wrong) };
    let description = match record.text("Description") {
        Ok(text) => text.map(str::to_owned),
        Err(why) => {
            notes.push(why);
            None
        }
    };
    let mut partner = Partner::with_defaults(
        domain,
        &PartnerDefaults { kind, tls, sasl, dialback, keep_alive, ..defaults },
    );
    (partner.additional_domains, partner.connections_max, partner.proxy) =
        (additional_domains, connections_max, proxy);
    remarks(&partner, matrix, &mut notes);
    Ok(Entry { partner, description, notes, lacks })
}

/// What an administrator should know of an entry that is in force.
fn remarks(partner: &Partner, methods: Option<Methods>, notes: &mut Vec<String>) {
    if methods.is_some_and(|methods| methods.tcp_dialback) {
        notes.push(
            "may be reached without TLS, readable and changeable on the way; ask him for TLS, then set tls = \"required\"".to_owned(),
        );
    }
    if partner.kind == PartnerType::PublicVerified {
        notes.push("PublicVerified is advised against; federated or public-unverified says more clearly what is meant".to_owned());
    }
    if partner.connections_max.is_some() {
        notes.push("ConnectionLimit is counted for each shard of turnout by itself".to_owned());
    }
}

/// Settings of one object that have a default.
struct Settings<'a> {
    record: &'a Record,
    wrong: &'a mut Vec<String>,
    notes: &'a mut Vec<String>,
}

impl Settings<'_> {
    fn word<T: FromStr<Err: std::fmt::Display> + Copy>(
        &mut self,
        name: &str,
        default: T,
        shown: fn(T) -> &'static str,
    ) -> T {
        match self.record.word(name) {
            Ok(Some(word)) => match word.parse() {
                Ok(value) => value,
                Err(error) => {
                    self.wrong.push(format!("{name}: {error}"));
                    default
                }
            },
            Ok(None) => {
                self.notes.push(format!(
                    "the export has no {name}; the cmdlet's default, {}, is taken",
                    shown(default)
                ));
                default
            }
            Err(why) => {
                self.wrong.push(why);
                default
            }
        }
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.record.flag(name) {
            Ok(Some(flag)) => flag,
            Ok(None) => {
                self.notes
                    .push(format!("the export has no {name}; the cmdlet's default, {default}, is taken"));
                default
            }
            Err(why) => {
                self.wrong.push(why);
                default
            }
        }
    }
}

/// `Domain`, or `Identity`, which is the same.
fn domain(record: &Record) -> Result<Domain, String> {
    let (domain, identity) = (record.text("Domain")?, record.text("Identity")?);
    let name = domain.or(identity).ok_or("there is neither Domain nor Identity")?;
    parsed(name)
}

fn parsed(name: &str) -> Result<Domain, String> {
    let hint = if name.contains('*') { "; there are no wildcards: list each domain" } else { "" };
    Domain::parse(name).map_err(|error| format!("{} is no domain: {error}{hint}", exports::shown(name)))
}

fn proxy(record: &Record) -> Result<Option<HostPort>, String> {
    let Some(host) = record.text("ProxyFqdn")? else { return Ok(None) };
    HostPort::parse(host, Some(5269)).map(Some).map_err(|error| format!("ProxyFqdn: {error}"))
}

/// The table of an entry.
fn lines(entry: &Entry) -> Vec<String> {
    let Entry { partner, description, .. } = entry;
    let mut lines = Vec::new();
    if let Some(text) = description {
        lines.push(format!("# {}", super::one_line(text)));
    }
    lines.push("[[partner]]".to_owned());
    lines.push(format!("domain = {}", quoted(partner.domain.as_str())));
    if !partner.additional_domains.is_empty() {
        let domains = partner.additional_domains.iter().map(Domain::as_str);
        lines.push(format!("additional_domains = {}", list(domains)));
    }
    lines.push(format!("type = {}", quoted(partner.kind.as_str())));
    lines.push(format!("tls = {}", quoted(partner.tls.as_str())));
    lines.push(format!("sasl = {}", quoted(partner.sasl.as_str())));
    lines.push(format!("dialback = {}", partner.dialback));
    lines.push("require_tls_for_dialback = false".to_owned());
    lines.push(format!("keep_alive = {}", partner.keep_alive));
    lines.extend(partner.connections_max.map(|limit| format!("connections_max = {limit}")));
    lines.extend(partner.proxy.as_ref().map(|proxy| format!("proxy = {}", quoted(&proxy.to_string()))));
    lines
}

fn cmdlet_word(negotiation: Negotiation) -> &'static str {
    match negotiation {
        Negotiation::Required => "Required",
        Negotiation::Optional => "Optional",
        Negotiation::NotSupported => "NotSupported",
    }
}
