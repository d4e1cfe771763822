//! Which shard owns what. Invariant: a pure function of the name and the number of shards, the same on every shard, so that two
//! shards never both believe they own a session or a stream out.

use std::hash::{BuildHasher, Hasher};

/// The shard that owns what is remembered of a local user (bare JID, prepared): IM sessions, contacts, subscriptions.
pub fn owner_of_user(bare: &str, shards: u16) -> u16 {
    spread(b'u', bare, shards)
}

/// The shard that owns the stream out to a partner domain (prepared).
pub fn owner_of_domain(domain: &str, shards: u16) -> u16 {
    spread(b'd', domain, shards)
}

/// A seedless score of a pair, for rendezvous hashing: the same in every process.
pub fn score(key: &str, node: &str) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    hasher.write(key.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(node.as_bytes());
    hasher.finish()
}

fn spread(kind: u8, name: &str, shards: u16) -> u16 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    hasher.write_u8(kind);
    hasher.write(name.as_bytes());
    u16::try_from(hasher.finish() % u64::from(shards.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_over_all_shards_and_stays() {
        let mut seen = [0_u32; 4];
        for n in 0..4000 {
            let name = format!("user{n}@contoso.com");
            let owner = owner_of_user(&name, 4);
            assert_eq!(owner, owner_of_user(&name, 4));
            seen[usize::from(owner)] += 1;
        }
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
        assert_eq!(owner_of_domain("partner.example", 1), 0);
        assert_eq!(owner_of_domain("partner.example", 0), 0);
    }
}
