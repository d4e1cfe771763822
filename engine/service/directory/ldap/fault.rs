//! What keeps a directory server from being read, in words for whoever has to do something about it.

use std::fmt;

use super::message::Outcome;

/// What is wrong, and the cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, with the server it is wrong with.
    pub what: String,
    /// What to do.
    pub cure: String,
    /// Another server may do better.
    pub elsewhere: bool,
    /// The result code, where the server gave one.
    pub code: Option<i64>,
}

impl Fault {
    /// The server cannot be used, and another may.
    pub(super) fn server(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.into(), cure: cure.into(), elsewhere: true, code: None }
    }

    /// What is configured cannot work, whichever server is asked.
    pub(super) fn configured(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.into(), cure: cure.into(), elsewhere: false, code: None }
    }

    /// The server sent what is no LDAP.
    pub(super) fn malformed(server: &str) -> Self {
        Self::server(
            format!("{server} sent something that is not LDAP"),
            "is there a directory server on that port, and does `tls` say what it expects?",
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.cure)
    }
}

impl std::error::Error for Fault {}

/// What was being done when the server refused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doing<'a> {
    Bind(&'a str),
    StartTls,
    Search(&'a str),
    Dirsync(&'a str),
}

/// The result codes that are told apart (RFC 4511 appendix A).
pub(super) mod code {
    pub(in crate::directory::ldap) const SUCCESS: i64 = 0;
    pub(in crate::directory::ldap) const TIME_LIMIT: i64 = 3;
    pub(in crate::directory::ldap) const SIZE_LIMIT: i64 = 4;
    pub(in crate::directory::ldap) const STRONGER: i64 = 8;
    pub(in crate::directory::ldap) const REFERRAL: i64 = 10;
    pub(in crate::directory::ldap) const ADMIN_LIMIT: i64 = 11;
    pub(in crate::directory::ldap) const CRITICAL: i64 = 12;
    pub(in crate::directory::ldap) const CONFIDENTIALITY: i64 = 13;
    pub(in crate::directory::ldap) const NO_OBJECT: i64 = 32;
    pub(in crate::directory::ldap) const BAD_DN: i64 = 34;
    pub(in crate::directory::ldap) const CREDENTIALS: i64 = 49;
    pub(in crate::directory::ldap) const RIGHTS: i64 = 50;
    pub(in crate::directory::ldap) const BUSY: i64 = 51;
    pub(in crate::directory::ldap) const UNAVAILABLE: i64 = 52;
}

/// What a result code means for what was being done.
pub(super) fn refused(server: &str, doing: Doing<'_>, outcome: &Outcome) -> Fault {
    let Outcome { code: number, text } = outcome;
    let said = if text.is_empty() {
        String::new()
    } else {
        format!(" (the server says: {})", crate::log::escape(text))
    };
    let (what, cure, elsewhere) = match (doing, *number) {
        (Doing::Bind(dn), code::CREDENTIALS) => {
            let (why, cure) = credentials(text);
            (format!("{server} refuses to let {dn} in: {why}"), cure, false)
        }
        (Doing::Bind(dn), code::NO_OBJECT | code::BAD_DN) => (
            format!("{server} does not know {dn}"),
            "correct directory.ldap.bind_dn: a DN, or user@domain",
            false,
        ),
        (_, code::STRONGER | code::CONFIDENTIALITY) => (
            format!("{server} does not take a password in the clear"),
            "set directory.ldap.tls to \"ldaps\" or \"starttls\"",
            false,
        ),
        (Doing::StartTls, _) => (
            format!("{server} does not do StartTLS"),
            "give the server a certificate, or set directory.ldap.tls to \"ldaps\" if it has that",
            true,
        ),
        (Doing::Search(base) | Doing::Dirsync(base), code::NO_OBJECT | code::BAD_DN) => (
            format!("there is no {base:?} on {server}, or the account may not see it"),
            "correct directory.ldap.base, or let the account read there",
            false,
        ),
        (Doing::Search(base) | Doing::Dirsync(base), code::REFERRAL) => (
            format!("{server} does not hold {base:?} and names another server, where turnout does not go"),
            "name a server of that domain in directory.ldap.servers, or correct directory.ldap.base",
            false,
        ),
        (Doing::Dirsync(base), code::RIGHTS) => (
            format!("the account may not follow the changes of {base:?} on {server}"),
            "grant it \"Replicating Directory Changes\" there, or set directory.ldap.mode to \"usn\"",
            false,
        ),
        (Doing::Search(base), code::RIGHTS) => {
            (format!("the account may not read {base:?} on {server}"), "let it read there", false)
        }
        (Doing::Dirsync(_), code::CRITICAL) => (
            format!("{server} cannot tell what has changed (DirSync)"),
            "set directory.ldap.mode to \"usn\", or to \"full\" where it is no Active Directory",
            false,
        ),
        (_, code::CRITICAL) => {
            (format!("{server} cannot do paged searches"), "take a server that can (RFC 2696)", true)
        }
        (_, code::SIZE_LIMIT | code::TIME_LIMIT | code::ADMIN_LIMIT) => (
            format!("a limit of {server} ends the search early"),
            "make directory.ldap.page_size smaller, or raise the server's limits for the account",
            true,
        ),
        (_, code::BUSY | code::UNAVAILABLE) => (format!("{server} is busy"), "it is tried again", true),
        _ => (format!("{server} refuses with LDAP result {number}"), "look at the server's log", true),
    };
    Fault { what: format!("{what}{said}"), cure: cure.to_owned(), elsewhere, code: Some(*number) }
}

/// Why credentials are not taken. Active Directory says it in a code of Windows, as "data 52e".
fn credentials(text: &str) -> (&'static str, &'static str) {
    let data = text
        .split("data ")
        .nth(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or(""));
    match data {
        Some("525") => ("there is no such account", "correct directory.ldap.bind_dn: a DN, or user@domain"),
        Some("530" | "531") => (
            "it may not sign in now or from here",
            "allow the account to sign in at any time and from this machine",
        ),
        Some("532" | "773") => (
            "its password has expired",
            "set a new one that does not expire, and write it to directory.ldap.password_file",
        ),
        Some("533") => ("the account is disabled", "enable it"),
        Some("701") => ("the account has expired", "prolong it"),
        Some("775") => (
            "the account is locked",
            "unlock it, and correct the password in directory.ldap.password_file first",
        ),
        _ => (
            "wrong name or password",
            "correct directory.ldap.bind_dn or the content of directory.ldap.password_file",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_says_why_in_a_code() {
        let why = |data: &str| {
            let text = format!(
                "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data {data}, v2580"
            );
            refused("dc1", Doing::Bind("cn=x"), &Outcome { code: 49, text }).what
        };
        assert!(
            why("52e")
                .starts_with("dc1 refuses to let cn=x in: wrong name or password (the server says: 80090308")
        );
        assert!(why("533").contains("the account is disabled"));
        assert!(why("775").contains("locked"));
        let plain = refused("dc1", Doing::Bind("cn=x"), &Outcome { code: 49, text: String::new() });
        assert_eq!(plain.what, "dc1 refuses to let cn=x in: wrong name or password");
        assert!(!plain.elsewhere, "another server would count it as one more wrong attempt");
    }
}
