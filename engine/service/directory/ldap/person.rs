//! From an entry to what it says of a user (attributes `msRTCSIP-*`). Invariant: an attribute that is not shown counts as `FALSE` or as
//! empty, never as permission.

use super::message::Entry;

/// `sip:user@domain`.
pub(super) const ADDRESS: &str = "msRTCSIP-PrimaryUserAddress";
/// The DN of the pool he lives on.
pub(super) const HOME: &str = "msRTCSIP-PrimaryHomeServer";
/// The DN of the pool he is being moved to.
pub(super) const TARGET: &str = "msRTCSIP-TargetHomeServer";
/// `Enabled`.
pub(super) const ENABLED: &str = "msRTCSIP-UserEnabled";
/// `EnabledForFederation`.
pub(super) const FEDERATION: &str = "msRTCSIP-FederationEnabled";
/// `HostingProvider`.
pub(super) const PROVIDER: &str = "msRTCSIP-DeploymentLocator";
/// The policies granted to him, one a value: the kind's number, `=`, the policy's number.
pub(super) const POLICIES: &str = "msRTCSIP-UserPolicies";
/// What he is known by for as long as he is there, in Active Directory.
pub(super) const GUID: &str = "objectGUID";

/// Everything that is asked for.
pub(super) const ATTRIBUTES: &[&str] =
    &[GUID, ADDRESS, HOME, TARGET, ENABLED, FEDERATION, PROVIDER, POLICIES];

/// Longest value that is kept, in bytes; one that is longer is no name of anything.
const VALUE_BYTES_MAX: usize = 2048;

/// Most policies of one user.
const POLICIES_MAX: usize = 256;

/// What users have in common with many others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Traits {
    /// The pool: its FQDN where that could be found, else its DN.
    pub pool: String,
    /// The hosting provider.
    pub provider: String,
    /// The granted policies in their order, with spaces between them.
    pub policies: String,
    /// The account is in use.
    pub enabled: bool,
    /// He may talk to the outside.
    pub federation_enabled: bool,
    /// A server is moving him.
    pub moving: bool,
}

/// A user as an entry shows him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// His GUID, or his DN in lower case where there is none.
    pub(super) id: Box<[u8]>,
    pub(super) address: Box<str>,
    /// `pool` is still the DN.
    pub(super) traits: Traits,
    /// Which of [`ATTRIBUTES`] were there, as bits.
    pub(super) seen: u32,
}

/// What the entry says; `None` if it has no address.
pub(super) fn shown(entry: &Entry<'_>) -> Option<Shown> {
    let text = |name| entry.text(name).filter(|value| value.len() <= VALUE_BYTES_MAX).unwrap_or_default();
    let yes = |name| text(name).eq_ignore_ascii_case("TRUE");
    let address = entry.text(ADDRESS).filter(|value| value.len() <= VALUE_BYTES_MAX)?;
    let mut policies: Vec<&str> = entry
        .values(POLICIES)
        .into_iter()
        .take(POLICIES_MAX)
        .filter_map(|value| std::str::from_utf8(value).ok().map(str::trim))
        .filter(|value| value.len() <= VALUE_BYTES_MAX && value.bytes().all(|byte| byte.is_ascii_graphic()))
        .collect();
    policies.sort_unstable();
    let seen = (0..).zip(ATTRIBUTES).filter(|(_, name)| entry.first(name).is_some());
    Some(Shown {
        id: id(entry),
        address: address.into(),
        traits: Traits {
            pool: text(HOME).to_owned(),
            provider: text(PROVIDER).to_owned(),
            policies: policies.join(" "),
            enabled: yes(ENABLED),
            federation_enabled: yes(FEDERATION),
            moving: !text(TARGET).is_empty(),
        },
        seen: seen.fold(0, |seen, (bit, _)| seen | 1 << bit),
    })
}

/// What the entry is known by.
pub(super) fn id(entry: &Entry<'_>) -> Box<[u8]> {
    match entry.first(GUID) {
        Some(guid) if guid.len() == 16 => guid.into(),
        _ => entry.dn.to_lowercase().as_bytes().into(),
    }
}

/// An identity as errors show it: the GUID as Windows writes it, or the DN.
pub(super) fn id_text(id: &[u8]) -> String {
    let Ok(guid) = <[u8; 16]>::try_from(id) else { return String::from_utf8_lossy(id).into_owned() };
    let [a, b, c, d, e, f, g, h, rest @ ..] = guid;
    let rest: Vec<String> = rest.iter().map(|octet| format!("{octet:02x}")).collect();
    format!(
        "<GUID={:08x}-{:04x}-{:04x}-{}-{}>",
        u32::from_le_bytes([a, b, c, d]),
        u16::from_le_bytes([e, f]),
        u16::from_le_bytes([g, h]),
        rest[..2].concat(),
        rest[2..].concat()
    )
}

/// Whether users with these policies may talk to XMPP partners. `granting` are the pairs that allow it; who has a pair of the same
/// kind and another number has a policy of his own that does not, and who has none of that kind has the global one.
pub(super) fn xmpp_enabled(policies: &str, granting: &[String], global: bool) -> bool {
    let kind = |pair: &str| pair.split_once('=').map(|(kind, _)| kind.to_owned());
    let mut has_own = false;
    for pair in policies.split(' ').filter(|pair| !pair.is_empty()) {
        if granting.iter().any(|granting| granting == pair) {
            return true;
        }
        has_own |= granting.iter().any(|granting| kind(granting) == kind(pair));
    }
    global && !has_own
}

#[cfg(test)]
mod tests {
    use super::super::message::{Answer, answer, tests::entry};
    use super::*;

    #[test]
    fn an_entry_is_a_user_and_what_is_missing_is_no_permission() {
        let read = |attributes: &[(&str, &[&[u8]])]| {
            let bytes = entry(1, "CN=Ann,DC=contoso", attributes);
            let Ok((_, Answer::Entry(entry))) = answer(&bytes) else { panic!("no entry") };
            shown(&entry)
        };
        assert_eq!(read(&[("mail", &[b"x"])]), None);
        let bare = read(&[("msrtcsip-primaryuseraddress", &[b"sip:ann@contoso.com"])]).unwrap();
        assert_eq!((&*bare.id, &*bare.address), (&b"cn=ann,dc=contoso"[..], "sip:ann@contoso.com"));
        assert_eq!((bare.traits, bare.seen), (Traits::default(), 2));
        let guid: Vec<u8> = (0..16).collect();
        let full = read(&[
            (GUID, &[&guid]),
            (ADDRESS, &[b"sip:ann@contoso.com"]),
            (HOME, &[b"CN=Lc"]),
            (TARGET, &[b"CN=Other"]),
            (ENABLED, &[b"TRUE"]),
            (FEDERATION, &[b"true"]),
            (PROVIDER, &[b"SRV:"]),
            (POLICIES, &[b"7=6", b"21=1"]),
        ])
        .unwrap();
        assert_eq!(id_text(&full.id), "<GUID=03020100-0504-0706-0809-0a0b0c0d0e0f>");
        assert_eq!(full.seen, 0xFF);
        assert_eq!(
            full.traits,
            Traits {
                pool: "CN=Lc".into(),
                provider: "SRV:".into(),
                policies: "21=1 7=6".into(),
                enabled: true,
                federation_enabled: true,
                moving: true
            }
        );
    }

    #[test]
    fn a_policy_of_ones_own_goes_before_the_global_one() {
        let granting = ["7=6".to_owned()];
        for (policies, global, expected) in [
            ("", true, true),
            ("", false, false),
            ("21=1", true, true),
            ("7=6", false, true),
            ("21=1 7=6", false, true),
            ("7=5", true, false),
            ("7=60", true, false),
            ("17=6", true, true),
        ] {
            assert_eq!(xmpp_enabled(policies, &granting, global), expected, "{policies:?}, global {global}");
        }
        assert!(xmpp_enabled("7=5", &[], true));
    }
}
