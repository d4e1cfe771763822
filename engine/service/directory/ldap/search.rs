//! Searches of more than one answer: paged results (RFC 2696) and what has changed since a cookie (DirSync, MS-ADTS §3.1.1.3.4.1.3).
//! Invariant: it goes on while the server says that there is more, however few entries an answer has, and no longer than is bearable.

use super::ber::{self, Malformed, Reader, put, put_number, put_octets};
use super::fault::Fault;
use super::filter::Filter;
use super::message::{Control, Entry, Scope, Search};
use super::person;
use super::session::Session;

/// `LDAP_PAGED_RESULT_OID_STRING`.
pub(super) const PAGED: &str = "1.2.840.113556.1.4.319";
/// `LDAP_SERVER_DIRSYNC_OID`.
pub(super) const DIRSYNC: &str = "1.2.840.113556.1.4.841";
/// `LDAP_SERVER_SHOW_DELETED_OID`.
pub(super) const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";

/// DirSync within what the account may read: needs no right of its own, and shows no deletions the account may not see.
pub(super) const OBJECT_SECURITY: u32 = 1;

/// Most answers one search may have, and most of those that bring nothing.
const PAGES_MAX: usize = 10_000_000;
const EMPTY_PAGES_MAX: usize = 1000;

/// Octets that DirSync may put in one answer, near enough, and entries that fit in there.
const DIRSYNC_BYTES: i64 = 1024 * 1024;
const DIRSYNC_ENTRIES_MAX: usize = 100_000;

/// Attributes whose changes are followed; a server is silent about changes of others. A new name or place is one of `name`.
const FOLLOWED: &[&str] = &[
    person::GUID,
    person::ADDRESS,
    person::HOME,
    person::TARGET,
    person::ENABLED,
    person::FEDERATION,
    person::PROVIDER,
    person::POLICIES,
    "isDeleted",
    "name",
    "objectClass",
];

/// Largest cookie that is sent back, in bytes.
const COOKIE_BYTES_MAX: usize = 1024 * 1024;

/// What to look for, page by page.
#[derive(Debug, Clone)]
pub(super) struct Paged<'a> {
    pub(super) base: &'a str,
    pub(super) filter: &'a Filter,
    pub(super) attributes: &'a [&'a str],
    pub(super) page_size: u32,
    /// Deleted objects as well.
    pub(super) deleted: bool,
}

impl Session {
    /// Gives `visit` every entry.
    pub(super) fn paged(
        &mut self,
        what: &Paged<'_>,
        visit: &mut dyn FnMut(Entry<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut cookie = Vec::new();
        let mut empty = 0;
        for _ in 0..PAGES_MAX {
            let mut value = Vec::new();
            put(&mut value, ber::SEQUENCE, |out| {
                put_number(out, ber::INTEGER, i64::from(what.page_size));
                put_octets(out, ber::OCTETS, &cookie);
            });
            let mut controls = vec![Control { oid: PAGED, critical: true, value: Some(value) }];
            if what.deleted {
                controls.push(Control { oid: SHOW_DELETED, critical: true, value: None });
            }
            let search = Search {
                base: what.base,
                scope: Scope::Subtree,
                filter: what.filter,
                attributes: what.attributes,
                seconds: self.seconds(),
                controls: &controls,
            };
            let mut entries = 0;
            let ended = self.search(&search, what.page_size as usize, &[PAGED], &mut |entry| {
                entries += 1;
                visit(entry)
            })?;
            // A server that does not page has given all there is.
            let Some(Some(value)) = ended.controls.into_iter().next() else { return Ok(()) };
            cookie = page_cookie(&value).map_err(|_| Fault::malformed(self.server()))?;
            empty = if entries == 0 { empty + 1 } else { 0 };
            if cookie.is_empty() {
                return Ok(());
            }
            if cookie.len() > COOKIE_BYTES_MAX || empty > EMPTY_PAGES_MAX {
                break;
            }
        }
        Err(endless(self.server()))
    }

    /// Gives `visit` every object below `root` that has changed since the cookie, then replaces the cookie. `root` is that of a
    /// naming context; nothing else is allowed.
    pub(super) fn dirsync(
        &mut self,
        root: &str,
        filter: &Filter,
        (flags, cookie): (u32, &mut Vec<u8>),
        visit: &mut dyn FnMut(Entry<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut newest = cookie.clone();
        let mut empty = 0;
        for _ in 0..PAGES_MAX {
            let mut value = Vec::new();
            put(&mut value, ber::SEQUENCE, |out| {
                put_number(out, ber::INTEGER, i64::from(flags.cast_signed()));
                put_number(out, ber::INTEGER, DIRSYNC_BYTES);
                put_octets(out, ber::OCTETS, &newest);
            });
            let controls = [Control { oid: DIRSYNC, critical: true, value: Some(value) }];
            let search = Search {
                base: root,
                scope: Scope::Subtree,
                filter,
                attributes: FOLLOWED,
                seconds: self.seconds(),
                controls: &controls,
            };
            let mut entries = 0;
            let ended = self.search(&search, DIRSYNC_ENTRIES_MAX, &[DIRSYNC], &mut |entry| {
                entries += 1;
                visit(entry)
            })?;
            let Some(Some(value)) = ended.controls.into_iter().next() else {
                return Err(Fault::malformed(self.server()));
            };
            let (more, next) = dirsync_value(&value).map_err(|_| Fault::malformed(self.server()))?;
            empty = if entries == 0 { empty + 1 } else { 0 };
            if next.len() > COOKIE_BYTES_MAX || empty > EMPTY_PAGES_MAX {
                break;
            }
            newest = next;
            if !more {
                *cookie = newest;
                return Ok(());
            }
        }
        Err(endless(self.server()))
    }

    /// The attributes of one object; `None` if it is not there or may not be seen.
    pub(super) fn object<T>(
        &mut self,
        dn: &str,
        attributes: &[&str],
        read: impl FnOnce(Entry<'_>) -> T,
    ) -> Result<Option<T>, Fault> {
        let filter = Filter::present("objectClass");
        let search = Search {
            base: dn,
            scope: Scope::Base,
            filter: &filter,
            attributes,
            seconds: self.seconds(),
            controls: &[],
        };
        let (mut read, mut made) = (Some(read), None);
        let ended = self.search(&search, 1, &[], &mut |entry| {
            made = read.take().map(|read| read(entry));
            Ok(())
        });
        match ended {
            Ok(_) => Ok(made),
            Err(fault) if fault.code.is_some_and(|code| OUT_OF_SIGHT.contains(&code)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// Results that mean that an object is not to be seen here.
const OUT_OF_SIGHT: [i64; 4] = {
    use super::fault::code;
    [code::NO_OBJECT, code::RIGHTS, code::REFERRAL, code::BAD_DN]
};

fn endless(server: &str) -> Fault {
    Fault::server(
        format!("{server} always says that there is more"),
        "look at the server: its paging is broken",
    )
}

fn page_cookie(value: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut value = Reader::new(value).enter(ber::SEQUENCE)?;
    value.number(ber::INTEGER)?;
    value.take(ber::OCTETS).map(<[u8]>::to_vec)
}

fn dirsync_value(value: &[u8]) -> Result<(bool, Vec<u8>), Malformed> {
    let mut value = Reader::new(value).enter(ber::SEQUENCE)?;
    let more = value.number(ber::INTEGER)? != 0;
    value.number(ber::INTEGER)?;
    Ok((more, value.take(ber::OCTETS)?.to_vec()))
}
