//! Who vouched for partners so far (B-32). Invariant: one note a change, and memory bounded whoever comes.
//!
//! A certificate that is trusted and names the right domain can still be one that somebody else talked an authority into. Nothing in it
//! tells; that it is suddenly another authority's does, to an operator who knows whether the partner changed. Whoever wants to be
//! sure and not only told pins the partner's key or gives it roots of its own.

use std::sync::Arc;

use hashbrown::HashMap;
use turnout_core::jid::Domain;

/// Most partners remembered; those beyond are not told of.
const PARTNERS_MAX: usize = 16_384;

/// The issuer seen last, by partner.
#[derive(Debug, Default)]
pub(crate) struct Issuers {
    known: HashMap<Domain, Arc<str>>,
}

impl Issuers {
    /// Remembers who vouches for a domain; gives the issuer before it where that was another authority.
    pub(crate) fn seen(&mut self, domain: &Domain, issuer: &Arc<str>) -> Option<Arc<str>> {
        if let Some(known) = self.known.get_mut(domain) {
            let before = std::mem::replace(known, Arc::clone(issuer));
            return (authority(&before) != authority(issuer)).then_some(before);
        }
        if self.known.len() < PARTNERS_MAX {
            self.known.insert(domain.clone(), Arc::clone(issuer));
        }
        None
    }
}

/// An issuer without its common name, where that is not all there is: authorities take turns with their intermediates (`R10`, `R11`),
/// and that is no change.
fn authority(issuer: &str) -> Vec<&str> {
    let named = issuer.split(", ").filter(|part| !part.starts_with("CN=")).collect::<Vec<_>>();
    if named.is_empty() { vec![issuer] } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_authority_is_told_once_and_another_intermediate_is_not() {
        let domain = Domain::parse("partner.example").unwrap();
        let mut issuers = Issuers::default();
        let mut seen = |issuer: &str| issuers.seen(&domain, &issuer.into()).map(|before| before.to_string());
        assert_eq!(seen("C=US, O=Good, CN=R10"), None);
        assert_eq!(seen("C=US, O=Good, CN=R11"), None);
        assert_eq!(seen("C=US, O=Evil, CN=R11").as_deref(), Some("C=US, O=Good, CN=R11"));
        assert_eq!(seen("C=US, O=Evil, CN=R11"), None);
        assert_eq!(seen("CN=Root A").as_deref(), Some("C=US, O=Evil, CN=R11"));
        assert_eq!(seen("CN=Root B").as_deref(), Some("CN=Root A"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut issuers = Issuers::default();
        for n in 0..PARTNERS_MAX + 10 {
            issuers.seen(&Domain::parse(&format!("p{n}.example")).unwrap(), &"O=A".into());
        }
        assert_eq!(issuers.known.len(), PARTNERS_MAX);
        let first = Domain::parse("p0.example").unwrap();
        assert!(issuers.seen(&first, &"O=B".into()).is_some());
    }
}
