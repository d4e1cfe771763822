//! What is wrong, in one sentence each, and who has to do what. The order of [`Trouble`] is the order of causes: what stands earlier makes
//! what stands later unimportant.

use serde::{Deserialize, Serialize};

use super::Asked;

/// A diagnosis with its cure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Diagnosis {
    /// What is wrong.
    pub what: String,
    /// Who has to do what.
    pub cure: String,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    Unlisted,
    DnsFailed(String),
    NoService,
    NoAddress(String),
    NothingAnswers,
    NotXmpp,
    StreamError(String),
    Broken,
    NoTls,
    TlsDemanded,
    TlsRefused,
    Handshake,
    NoCertificate,
    WrongTime,
    Untrusted,
    WrongName,
    WrongKey,
    BrokenAfterTls,
    ExternalRefused(String),
    ExternalMissing,
    NoWay,
    SomeAddressesDead,
    Expiring(i64),
}

/// The diagnoses, the decisive first.
pub(super) fn of(mut troubles: Vec<Trouble>, asked: &Asked<'_>) -> Vec<Diagnosis> {
    troubles.sort();
    troubles.dedup();
    troubles.iter().map(|trouble| one(trouble, asked)).collect()
}

fn one(trouble: &Trouble, asked: &Asked<'_>) -> Diagnosis {
    let (them, us) = (asked.partner.as_str(), asked.from.as_str());
    let (what, cure) = network(trouble, them, us)
        .or_else(|| certificate(trouble, them))
        .unwrap_or_else(|| authentication(trouble, them, us));
    Diagnosis { what, cure }
}

type Words = (String, String);

fn words(what: impl Into<String>, cure: impl Into<String>) -> Words {
    (what.into(), cure.into())
}

/// DNS, TCP, the stream.
fn network(trouble: &Trouble, them: &str, us: &str) -> Option<Words> {
    Some(match trouble {
        Trouble::Unlisted => words(
            format!("turnout does not talk to {them}: it is in no [[partner]]"),
            "add it as a [[partner]], or to the additional_domains of one: subdomains have to be listed one by one",
        ),
        Trouble::DnsFailed(why) => words(
            format!("the DNS gives no answer: {why}"),
            "check [dns] servers, or the system's name servers, and that this machine may ask them",
        ),
        Trouble::NoService => words(
            format!("{them} says that it has no XMPP service"),
            format!(
                "ask the partner for SRV records _xmpp-server._tcp.{them}, or set proxy in his [[partner]]"
            ),
        ),
        Trouble::NoAddress(host) if host == them => words(
            format!("the DNS knows neither SRV records nor an address of {them}"),
            format!(
                "is the name right? If it is, ask the partner for SRV records _xmpp-server._tcp.{them}, or set proxy in his [[partner]]"
            ),
        ),
        Trouble::NoAddress(host) => words(
            format!("the server {host} has no address"),
            format!(
                "the SRV record is wrong or old: ask the partner to correct it (or proxy, if {host} stands there)"
            ),
        ),
        Trouble::NothingAnswers => words(
            "no address answers".to_owned(),
            "let our firewall allow TCP 5269 outwards; else the partner's server is down or his firewall closed",
        ),
        Trouble::SomeAddressesDead => words(
            "some of the addresses do not answer; the router goes round them, 250 ms later for each",
            "ask the partner to take dead servers, often an IPv6 address without a server behind it, out of his DNS",
        ),
        Trouble::NotXmpp => words(
            "something else than an XMPP server answers there",
            "check proxy, or ask the partner which port is meant for servers (5269 as a rule; 5222 is for clients)",
        ),
        Trouble::StreamError(condition) => words(
            format!("its server ends the stream with {condition}"),
            match condition.as_str() {
                "host-unknown" | "host-gone" => {
                    format!("that server does not serve {them}: the SRV record or proxy leads to a wrong one")
                }
                "policy-violation" | "not-authorized" => {
                    format!(
                        "its policy refuses us: ask the partner to allow {us}, and whether he demands TLS"
                    )
                }
                _ => "ask the partner what his log says of us".to_owned(),
            },
        ),
        Trouble::Broken => words(
            "the connection breaks before anything is agreed on",
            format!(
                "a firewall may cut it, or the partner's server refuses our address or {us}: ask him what his log says"
            ),
        ),
        _ => return None,
    })
}

/// TLS and certificates.
fn certificate(trouble: &Trouble, them: &str) -> Option<Words> {
    Some(match trouble {
        Trouble::NoTls => words(
            format!("{them} offers no TLS, and policy requires it"),
            "ask the partner to switch TLS on. If he says it is on, something on the way takes it out. Only for a network you trust: tls = \"optional\"",
        ),
        Trouble::TlsDemanded => words(
            format!("{them} demands TLS, and policy forbids it"),
            "set tls = \"optional\" or \"required\" in his [[partner]]",
        ),
        Trouble::TlsRefused => words(
            "its server offers TLS and then refuses it",
            "it has no usable certificate for this domain: theirs to repair",
        ),
        Trouble::Handshake => words(
            "the TLS handshake fails",
            "below TLS 1.2 nothing is spoken here; ask the partner for TLS 1.2 or 1.3, and what his log says of the handshake",
        ),
        Trouble::NoCertificate => words("its server shows no certificate", "theirs to repair"),
        Trouble::WrongTime => words(
            "its certificate has expired, or is not valid yet",
            "check the clock of this machine; if it is right, the partner has to renew",
        ),
        Trouble::Untrusted => words(
            "no authority we trust vouches for its certificate",
            "if it is from a private authority, put that into ca_file of his [[partner]]; if from a public one, his server does not send \
             the intermediate certificates; a self-signed one can be pinned (pins)",
        ),
        Trouble::WrongName => words(
            format!("its certificate is for other names than {them}"),
            format!(
                "the partner needs a certificate with {them} itself, or SRVName _xmpp-server.{them}: the name of his host does not count, and \
                 *.example.com stands for one label. Until then: dialback = true with sasl = \"optional\""
            ),
        ),
        Trouble::WrongKey => words(
            "its certificate has another key than those pinned",
            "ask the partner, by other means than this, whether he changed it; if so, put the new SHA-256 into pins",
        ),
        Trouble::BrokenAfterTls => words(
            "its server ends the connection after TLS",
            "often it does not like our certificate, and closes in place of saying so: see its log",
        ),
        Trouble::Expiring(days) => {
            words(format!("its certificate ends in {days} days"), "remind the partner")
        }
        _ => return None,
    })
}

/// Who believes whom.
fn authentication(trouble: &Trouble, them: &str, us: &str) -> Words {
    match trouble {
        Trouble::ExternalRefused(condition) => words(
            format!("{them} refuses our certificate ({condition})"),
            format!(
                "ours has to name {us}, to lead to an authority it trusts with all intermediates in our file (turnout check), and, for servers \
                 that insist, to have the client purpose, which public authorities no longer give: then ask the partner to allow dialback"
            ),
        ),
        Trouble::ExternalMissing => words(
            format!("{them} does not offer EXTERNAL to us"),
            format!(
                "many servers offer it only after a certificate they accept: ours has to name {us} and to lead to an authority they trust, and \
                 some ask for the client purpose. Otherwise allow dialback on both sides"
            ),
        ),
        _ => words(
            "there is no way left to prove who we are",
            "allow dialback for this partner (dialback = true, and not both tls and sasl required), or agree on certificates both trust",
        ),
    }
}
