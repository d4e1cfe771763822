//! Which servers of a domain to try, in which order: pure, with the random numbers as an argument.

use turnout_core::io::Unreachable;

use super::{Failure, XMPP_PORT};

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower goes first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// Target without final dot; empty for the root, which says that there is no such service.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What the DNS says of one service name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has these servers, one at least.
    Servers(Vec<Service>),
    /// The service is declared not to be there: its only target is `.`.
    Denied,
    /// There are no such records.
    Empty,
    /// No answer; why.
    Failed(String),
}

impl Answer {
    /// What a set of records says.
    pub(super) fn of(mut records: Vec<Service>) -> Self {
        if records.is_empty() {
            return Self::Empty;
        }
        records.retain(|record| !record.host.is_empty());
        if records.is_empty() { Self::Denied } else { Self::Servers(records) }
    }
}

/// A host to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS comes first.
    pub direct_tls: bool,
}

/// Merges the two services of a domain into one list by priority and weight (XEP-0368 §5).
///
/// # Errors
/// [`Unreachable::NotFound`] when the domain says it has no such service, [`Unreachable::Unresolved`] when the DNS does not answer.
pub fn select(
    domain: &str,
    plain: Answer,
    direct: Answer,
    random: &mut (dyn FnMut(u64) -> u64 + Send),
) -> Result<Vec<Candidate>, Failure> {
    let fallback = || vec![Candidate { host: domain.to_owned(), port: XMPP_PORT, direct_tls: false }];
    let (plain, direct) = match (plain, direct) {
        (Answer::Servers(plain), Answer::Servers(direct)) => (plain, direct),
        (Answer::Servers(plain), _) => (plain, Vec::new()),
        (_, Answer::Servers(direct)) => (Vec::new(), direct),
        (Answer::Failed(why), _) => return Err((Unreachable::Unresolved, why)),
        (Answer::Denied, _) => {
            return Err((Unreachable::NotFound, format!("{domain} declares that it has no XMPP service")));
        }
        // Direct TLS denied or unknown says nothing of the common service, which has no records: addresses of the domain.
        (Answer::Empty, _) => return Ok(fallback()),
    };
    let tagged = plain.into_iter().map(|service| (service, false));
    let tagged = tagged.chain(direct.into_iter().map(|service| (service, true))).collect();
    Ok(order(tagged, random)
        .into_iter()
        .map(|(Service { host, port, .. }, direct_tls)| Candidate { host, port, direct_tls })
        .collect())
}

/// Orders records by priority, and within one by the weighted draw of RFC 2782. `random` gives a number from 0 to its argument.
pub fn order(
    mut records: Vec<(Service, bool)>,
    random: &mut (dyn FnMut(u64) -> u64 + Send),
) -> Vec<(Service, bool)> {
    // Weight 0 first, as the RFC has it: such a record is drawn only when the number is 0.
    records.sort_by_key(|(record, _)| (record.priority, record.weight != 0));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|(record, _)| record.priority) {
        let same = records.iter().take_while(|(record, _)| record.priority == priority);
        let sum: u64 = same.map(|(record, _)| u64::from(record.weight)).sum();
        let drawn = random(sum).min(sum);
        let mut running = 0;
        let chosen = records.iter().position(|(record, _)| {
            running += u64::from(record.weight);
            running >= drawn
        });
        ordered.push(records.remove(chosen.unwrap_or(0)));
    }
    ordered
}
