//! From the DN of a home server to the FQDN of its pool. Invariant: a pool is looked for once a load; one that cannot be found keeps its DN
//! as its name, so that no home is guessed.

use hashbrown::HashMap;
use turnout_core::home::{Homes, PoolMeaning};

use super::fault::Fault;
use super::session::Session;

/// Most DNs that are looked up in one load.
const POOLS_MAX: usize = 4096;

/// How many containers above the home server's object are looked at: `CN=Lc Services,CN=Microsoft,CN=1:1,CN=Pools,…`, of which the third is
/// the pool.
const LEVELS: usize = 4;

/// The pools met so far.
#[derive(Debug, Default)]
pub(super) struct Pools(HashMap<String, String>);

impl Pools {
    /// What the configuration may call the pool of this home server.
    pub(super) fn name(&mut self, session: &mut Session, homes: &Homes, dn: &str) -> Result<String, Fault> {
        if dn.is_empty() || self.0.len() >= POOLS_MAX {
            return Ok(dn.to_owned());
        }
        if let Some(name) = self.0.get(dn) {
            return Ok(name.clone());
        }
        let name = match homes.meaning(dn, "") {
            // The configuration names the DN itself.
            PoolMeaning::Known(_) => dn.to_owned(),
            PoolMeaning::Unknown => look_up(session, dn)?.unwrap_or_else(|| dn.to_owned()),
        };
        self.0.insert(dn.to_owned(), name.clone());
        Ok(name)
    }
}

fn look_up(session: &mut Session, dn: &str) -> Result<Option<String>, Fault> {
    let mut dn = dn;
    for _ in 0..LEVELS {
        let found =
            session.object(dn, &["dNSHostName"], |entry| entry.text("dNSHostName").map(str::to_owned))?;
        if let Some(name) = found.flatten().filter(|name| !name.trim().is_empty()) {
            return Ok(Some(name));
        }
        match parent(dn) {
            Some(parent) => dn = parent,
            None => break,
        }
    }
    Ok(None)
}

/// The DN of the container; a comma after a backslash separates nothing.
fn parent(dn: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, c) in dn.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => return Some(dn[at + 1..].trim_start()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_of_a_dn() {
        assert_eq!(parent("CN=Lc Services,CN=Microsoft, DC=x"), Some("CN=Microsoft, DC=x"));
        assert_eq!(parent("CN=a\\,b,DC=x"), Some("DC=x"));
        assert_eq!(parent("DC=x"), None);
    }
}
