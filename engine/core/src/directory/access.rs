//! External access policies: which of them let a user talk to XMPP partners.

use hashbrown::HashMap;

/// `EnableXmppAccess` by policy name. An export names the policy of a user, not what is in it, so the
/// configuration has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPolicies {
    global: bool,
    named: HashMap<String, bool>,
}

impl AccessPolicies {
    /// Starts with the global policy alone. The legacy default for it is `false`.
    pub fn new(global: bool) -> Self {
        Self { global, named: HashMap::new() }
    }

    /// Says what a policy allows; the names `Global` and the empty one mean the global policy. Returns what was
    /// said about it before.
    pub fn set(&mut self, name: &str, xmpp_enabled: bool) -> Option<bool> {
        match key(name) {
            key if key.is_empty() => Some(std::mem::replace(&mut self.global, xmpp_enabled)),
            key => self.named.insert(key, xmpp_enabled),
        }
    }

    /// Whether users with this policy may talk to XMPP partners. A policy nobody described allows nothing, as
    /// `EnableXmppAccess` is `False` unless an administrator sets it.
    pub fn xmpp_enabled(&self, name: &str) -> bool {
        match key(name) {
            key if key.is_empty() => self.global,
            key => self.named.get(&key).copied().unwrap_or(false),
        }
    }
}

impl Default for AccessPolicies {
    fn default() -> Self {
        Self::new(false)
    }
}

/// Names as PowerShell compares them: without regard to case; `Tag:` is how identities of policies begin. The
/// global policy has the empty key.
fn key(name: &str) -> String {
    let lower = name.trim().to_lowercase();
    let key = lower.strip_prefix("tag:").unwrap_or(&lower);
    if key == "global" { String::new() } else { key.to_owned() }
}
