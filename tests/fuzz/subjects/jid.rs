//! Addresses: what is prepared is prepared, within its bounds, and comes back from SIP as it was.

use turnout_core::jid::{Domain, Jid};
use turnout_core::limits::JID_PART_BYTES_MAX;

pub fn jid(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(jid) = Jid::parse(text) {
        assert_eq!(Jid::parse(jid.as_str()).unwrap(), jid);
        for part in [jid.local(), Some(jid.domain()), jid.resource()].into_iter().flatten() {
            assert!(!part.is_empty() && part.len() <= JID_PART_BYTES_MAX);
        }
        assert!(
            !jid.domain().contains(['@', '/'])
                && !jid.local().is_some_and(|local| local.contains(['@', '/']))
        );
        if let Some(local) = jid.local()
            && let Ok(uri) = turnout_sip::address::uri_of(local, jid.domain())
        {
            let (back, domain, _) = turnout_sip::address::jid_of(&uri).unwrap();
            assert_eq!(Jid::parse(&format!("{back}@{domain}")).unwrap(), jid.bare(), "{uri}");
        }
    }
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(domain.as_str()).unwrap(), domain);
        if let Some(ascii) = domain.to_ascii() {
            assert!(ascii.is_ascii());
            assert_eq!(Domain::parse(&ascii).unwrap(), domain);
        }
    }
    if let Ok((local, domain, _)) = turnout_sip::address::jid_of(text)
        && let Ok(jid) = Jid::parse(&format!("{local}@{domain}"))
    {
        assert_eq!(jid.domain(), Domain::parse(&domain).unwrap().as_str());
    }
}
