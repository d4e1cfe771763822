//! Keeping up with a directory: everything at first, then what has changed, from one server for as long as it can be had.
//!
//! Invariant: where the next question begins is moved on only when everything up to there has been taken in, so a broken poll is
//! asked again and nothing is missed. A place in the changes belongs to one database of one server (its invocation id); with any other, all is
//! read anew. What is read twice changes nothing.

use std::collections::BTreeSet;
use std::time::Instant;

use turnout_core::home::{Homes, HostPort};

use super::fault::{Fault, code};
use super::filter::Filter;
use super::people::{People, USERS_MAX};
use super::person::{self, ATTRIBUTES};
use super::pools::Pools;
use super::search::{OBJECT_SECURITY, Paged};
use super::session::Session;
use crate::config::{LdapConfig, LdapMode};

/// Users asked for by their identity in one search.
const CHUNK: usize = 100;

/// More changed objects than this are not asked for one by one: all is read anew.
const CHANGES_MAX: usize = 20_000;

/// What one look at the directory came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// The users are others than before, or others than were given out.
    pub changed: bool,
    /// Everything was read anew.
    pub full: bool,
    /// The server that answered.
    pub server: String,
}

/// The users of a directory and how far its changes have been followed.
#[derive(Debug, Default)]
pub struct Follower {
    people: People,
    pin: Option<Pin>,
    /// When everything was read last.
    full_at: Option<Instant>,
    /// The users have changed since that was said.
    has_changed: bool,
    notes: Vec<String>,
}

/// A place in the changes of one server.
#[derive(Debug)]
struct Pin {
    server: HostPort,
    /// The invocation id of its database, where it has one.
    identity: Vec<u8>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Nothing is followed.
    Nowhere,
    /// Everything up to this uSNChanged.
    Usn(u64),
    /// Everything up to this cookie.
    Dirsync { root: String, flags: u32, cookie: Vec<u8> },
}

/// What a server says of itself.
#[derive(Debug, Default)]
struct About {
    identity: Vec<u8>,
    usn: Option<u64>,
    contexts: Vec<String>,
    default_context: String,
}

/// Told how many entries have been read.
pub type Told<'a> = dyn FnMut(u64) + 'a;

impl Follower {
    /// Goes on from users that were kept.
    pub fn new(people: People) -> Self {
        Self { people, ..Self::default() }
    }

    /// The users.
    pub fn people(&self) -> &People {
        &self.people
    }

    /// Lets another address stand for the server that is followed.
    #[cfg(test)]
    pub(super) fn forget_server(&mut self, old: &HostPort, new: &HostPort) {
        if let Some(pin) = self.pin.as_mut().filter(|pin| pin.server == *old) {
            pin.server = new.clone();
        }
    }

    /// What an administrator should know of the last full load.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Reads everything, from the first server that lets us.
    ///
    /// # Errors
    /// What is wrong with each server; the users are then as they were.
    pub fn load(
        &mut self,
        config: &LdapConfig,
        homes: &Homes,
        now: Instant,
        told: &mut Told<'_>,
    ) -> Result<Polled, Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        for server in &config.servers {
            let loaded = Session::open(config, server)
                .and_then(|mut session| self.load_from(&mut session, server, config, homes, told));
            match loaded {
                Ok(changed) => {
                    self.full_at = Some(now);
                    return Ok(Polled { changed, full: true, server: server.to_string() });
                }
                Err(fault) => {
                    let elsewhere = fault.elsewhere;
                    faults.push(fault);
                    // A wrong password is no better elsewhere, and a few tries lock the account.
                    if !elsewhere {
                        break;
                    }
                }
            }
        }
        Err(together(faults))
    }

    /// Asks what has changed; reads everything where that cannot be said, or it is time to.
    ///
    /// # Errors
    /// As [`Follower::load`].
    pub fn poll(
        &mut self,
        config: &LdapConfig,
        homes: &Homes,
        now: Instant,
        told: &mut Told<'_>,
    ) -> Result<Polled, Fault> {
        let is_due = self.full_at.is_none_or(|at| now.saturating_duration_since(at) >= config.full_reload);
        if !is_due && let Some(server) = self.pin.as_ref().map(|pin| pin.server.clone()) {
            match self.follow(&server, config, homes) {
                Ok(Some(changed)) => return Ok(Polled { changed, full: false, server: server.to_string() }),
                Ok(None) => {}
                Err(fault) if !fault.elsewhere => return Err(fault),
                Err(fault) => {
                    tracing::warn!(
                        "directory: {}; asking for everything anew",
                        crate::log::escape(&fault.to_string())
                    );
                }
            }
        }
        self.load(config, homes, now, told)
    }

    fn load_from(
        &mut self,
        session: &mut Session,
        server: &HostPort,
        config: &LdapConfig,
        homes: &Homes,
        told: &mut Told<'_>,
    ) -> Result<bool, Fault> {
        let about = about(session)?;
        let mut notes = Vec::new();
        // First the place, then the users: what changes in between is asked for again.
        let place = begin(session, config, &about, &mut notes)?;
        let mut people = People::default();
        let seen = Reader { session, config, homes, pools: Pools::default() }.read(
            &config.filter,
            told,
            &mut people,
        )?;
        check_rights(session.server(), config, people.len(), seen, &mut notes)?;
        // A poll that broke off may have taken something in already.
        self.has_changed |= people != self.people;
        self.people = people;
        self.pin = Some(Pin { server: server.clone(), identity: about.identity, place });
        self.notes = notes;
        Ok(std::mem::take(&mut self.has_changed))
    }

    /// Takes in what has changed; `None` where that cannot be said.
    fn follow(
        &mut self,
        server: &HostPort,
        config: &LdapConfig,
        homes: &Homes,
    ) -> Result<Option<bool>, Fault> {
        let Some(pin) = &mut self.pin else { return Ok(None) };
        if matches!(pin.place, Place::Nowhere) {
            return Ok(None);
        }
        let mut session = Session::open(config, server)?;
        let about = about(&mut session)?;
        if about.identity != pin.identity {
            let name = session.server();
            tracing::warn!("directory: {name} has another database than before: asking for everything anew");
            return Ok(None);
        }
        let session = &mut session;
        let mut touched = BTreeSet::new();
        let mut note = |entry: super::message::Entry<'_>| {
            if touched.len() <= CHANGES_MAX {
                touched.insert(person::id(&entry));
            }
            Ok(())
        };
        let next = match &mut pin.place {
            Place::Nowhere => return Ok(None),
            Place::Usn(usn) => {
                // A database that was set back has a lower number.
                let Some(newest) = about.usn.filter(|newest| newest >= usn) else { return Ok(None) };
                if newest == *usn {
                    return Ok(Some(false));
                }
                let since = Filter::at_least("uSNChanged", usn.saturating_add(1));
                let search = Paged {
                    base: &config.base,
                    filter: &since,
                    attributes: &[person::GUID],
                    page_size: config.page_size,
                    deleted: false,
                };
                session.paged(&search, &mut note)?;
                let gone = Filter::all(&[&Filter::equal("isDeleted", b"TRUE"), &since]);
                let search = Paged { base: &about.default_context, filter: &gone, deleted: true, ..search };
                // Most accounts may not see deleted objects, and servers say so in different ways; the next full load sees what is gone.
                match session.paged(&search, &mut note) {
                    Err(fault) if fault.code.is_none() => return Err(fault),
                    _ => {}
                }
                Place::Usn(newest)
            }
            Place::Dirsync { root, flags, cookie } => {
                let mut newest = cookie.clone();
                session.dirsync(root, &follows(), (*flags, &mut newest), &mut note)?;
                Place::Dirsync { root: std::mem::take(root), flags: *flags, cookie: newest }
            }
        };
        if touched.len() > CHANGES_MAX {
            return Ok(None);
        }
        fetch(&mut self.people, &mut self.has_changed, session, config, homes, &touched)?;
        pin.place = next;
        Ok(Some(std::mem::take(&mut self.has_changed)))
    }
}

/// Reads the users of these identities anew; `changed` says at once when one is another.
fn fetch(
    people: &mut People,
    changed: &mut bool,
    session: &mut Session,
    config: &LdapConfig,
    homes: &Homes,
    touched: &BTreeSet<Box<[u8]>>,
) -> Result<(), Fault> {
    let mut reader = Reader { session, config, homes, pools: Pools::default() };
    let ids: Vec<&Box<[u8]>> = touched.iter().collect();
    for chunk in ids.chunks(CHUNK) {
        let each: Vec<Filter> = chunk.iter().map(|id| Filter::equal(person::GUID, id)).collect();
        let any = Filter::any(&each.iter().collect::<Vec<_>>());
        let mut found = People::default();
        reader.read(&Filter::all(&[&config.filter, &any]), &mut |_| (), &mut found)?;
        for (id, address, traits) in found.iter() {
            *changed |= people.set(id, address, traits.clone());
        }
        for id in chunk.iter().filter(|id| !found.has(id)) {
            *changed |= people.remove(id);
        }
    }
    Ok(())
}

/// Reads users.
struct Reader<'a> {
    session: &'a mut Session,
    config: &'a LdapConfig,
    homes: &'a Homes,
    pools: Pools,
}

impl Reader<'_> {
    /// Adds the users of a filter, and says which attributes were there.
    fn read(&mut self, filter: &Filter, told: &mut Told<'_>, people: &mut People) -> Result<u32, Fault> {
        let Self { session, config, homes, pools } = self;
        let search = Paged {
            base: &config.base,
            filter,
            attributes: ATTRIBUTES,
            page_size: config.page_size,
            deleted: false,
        };
        let (mut seen, mut count) = (0, 0_u64);
        session.paged(&search, &mut |entry| {
            count += 1;
            told(count);
            if let Some(shown) = person::shown(&entry) {
                seen |= shown.seen;
                people.set(&shown.id, &shown.address, shown.traits);
            }
            if people.len() > USERS_MAX {
                return Err(Fault::configured(
                    format!("there are more users than the {USERS_MAX} allowed"),
                    "narrow directory.ldap.base or directory.ldap.filter",
                ));
            }
            Ok(())
        })?;
        let dns = people.pools();
        for dn in dns {
            let name = pools.name(session, homes, &dn)?;
            people.call_pool(&dn, &name);
        }
        Ok(seen)
    }
}

/// What DirSync is asked about: deleted objects keep no more than their class.
fn follows() -> Filter {
    Filter::any(&[&Filter::equal("objectClass", b"user"), &Filter::equal("objectClass", b"contact")])
}

/// The place that following will begin at.
fn begin(
    session: &mut Session,
    config: &LdapConfig,
    about: &About,
    notes: &mut Vec<String>,
) -> Result<Place, Fault> {
    match config.mode {
        LdapMode::Full => Ok(Place::Nowhere),
        LdapMode::Usn => about.usn.map(Place::Usn).ok_or_else(|| {
            Fault::configured(
                format!("{} does not number its changes (highestCommittedUSN)", session.server()),
                "set directory.ldap.mode to \"full\" where it is no Active Directory",
            )
        }),
        LdapMode::Dirsync => {
            let root = naming_context(about, &config.base);
            let mut cookie = Vec::new();
            match session.dirsync(&root, &follows(), (0, &mut cookie), &mut |_| Ok(())) {
                Ok(()) => Ok(Place::Dirsync { root, flags: 0, cookie }),
                Err(fault) if fault.code == Some(code::RIGHTS) => {
                    cookie.clear();
                    session.dirsync(&root, &follows(), (OBJECT_SECURITY, &mut cookie), &mut |_| Ok(()))?;
                    notes.push(format!(
                        "the account has no right \"Replicating Directory Changes\" on {root}: deleted users are seen at the next full \
                         load only (directory.ldap.full_reload_seconds)"
                    ));
                    Ok(Place::Dirsync { root, flags: OBJECT_SECURITY, cookie })
                }
                Err(fault) => Err(fault),
            }
        }
    }
}

/// The naming context that holds the base.
fn naming_context(about: &About, base: &str) -> String {
    let base = base.to_lowercase();
    let holds = |context: &&String| {
        let context = context.to_lowercase();
        base == context || base.ends_with(&format!(",{context}"))
    };
    about
        .contexts
        .iter()
        .filter(holds)
        .max_by_key(|context| context.len())
        .cloned()
        .unwrap_or_else(|| about.default_context.clone())
}

fn about(session: &mut Session) -> Result<About, Fault> {
    let names =
        ["highestCommittedUSN", "dsServiceName", "namingContexts", "defaultNamingContext", "isSynchronized"];
    let read = session.object("", &names, |entry| {
        let text = |name| entry.text(name).map(str::to_owned);
        let contexts = entry.values("namingContexts");
        let contexts =
            contexts.into_iter().filter_map(|value| String::from_utf8(value.to_vec()).ok()).collect();
        let made = About {
            identity: Vec::new(),
            usn: entry.text("highestCommittedUSN").and_then(|usn| usn.parse().ok()),
            contexts,
            default_context: text("defaultNamingContext").unwrap_or_default(),
        };
        (made, text("dsServiceName"), text("isSynchronized"))
    })?;
    let Some((mut about, service, synchronized)) = read else { return Ok(About::default()) };
    if synchronized.is_some_and(|text| text.eq_ignore_ascii_case("FALSE")) {
        return Err(Fault::server(
            format!("{} has not taken in its first replication yet", session.server()),
            "it is tried again; another server in directory.ldap.servers helps meanwhile",
        ));
    }
    if let Some(service) = service {
        let id = session
            .object(&service, &["invocationId"], |entry| entry.first("invocationId").map(<[u8]>::to_vec))?;
        // Who may not see the id sees at least which server it is.
        about.identity = id.flatten().unwrap_or_else(|| service.into_bytes());
    }
    Ok(about)
}

/// Attributes an account may not read are simply not there. When nobody has one, that is why.
fn check_rights(
    server: &str,
    config: &LdapConfig,
    users: usize,
    seen: u32,
    notes: &mut Vec<String>,
) -> Result<(), Fault> {
    let lacks = |name: &str| {
        ATTRIBUTES.iter().position(|attribute| *attribute == name).is_some_and(|bit| seen & 1 << bit == 0)
    };
    if users == 0 {
        notes.push(format!(
            "{server} shows no user below {:?}: correct directory.ldap.base or filter, or let the account read there",
            config.base
        ));
        return Ok(());
    }
    let cure = format!(
        "let {} read the attributes msRTCSIP-* of users (property set or single attributes)",
        config.bind_dn
    );
    for name in [person::ENABLED, person::HOME] {
        if lacks(name) {
            return Err(Fault::configured(format!("none of {users} users on {server} shows {name}"), cure));
        }
    }
    if config.mode != LdapMode::Full && lacks(person::GUID) {
        return Err(Fault::configured(
            format!("none of {users} users on {server} shows objectGUID, by which changes are followed"),
            "set directory.ldap.mode to \"full\" where it is no Active Directory",
        ));
    }
    if lacks(person::FEDERATION) {
        notes.push(format!(
            "none of {users} users shows {}: nobody may talk to partners; {cure}",
            person::FEDERATION
        ));
    }
    Ok(())
}

/// What is wrong with all servers, as one.
fn together(mut faults: Vec<Fault>) -> Fault {
    if faults.len() == 1
        && let Some(fault) = faults.pop()
    {
        return fault;
    }
    let what: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Fault::server(format!("no directory server can be read: {}", what.join(". ")), "one of them is enough")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_lies_in_one_naming_context() {
        let about = About {
            contexts: ["DC=contoso,DC=com", "CN=Configuration,DC=contoso,DC=com", "DC=eu,DC=contoso,DC=com"]
                .map(str::to_owned)
                .to_vec(),
            default_context: "DC=contoso,DC=com".to_owned(),
            ..About::default()
        };
        assert_eq!(naming_context(&about, "OU=x,dc=Contoso,dc=com"), "DC=contoso,DC=com");
        assert_eq!(naming_context(&about, "OU=x,DC=eu,DC=contoso,DC=com"), "DC=eu,DC=contoso,DC=com");
        assert_eq!(naming_context(&about, "DC=eu,DC=contoso,DC=com"), "DC=eu,DC=contoso,DC=com");
        assert_eq!(naming_context(&about, "DC=other"), "DC=contoso,DC=com");
    }

    #[test]
    fn all_servers_are_told_of() {
        let fault = |what: &str| Fault::server(what, "cure it");
        assert_eq!(together(vec![fault("a")]).to_string(), "a; cure it");
        assert_eq!(
            together(vec![fault("a"), fault("b")]).to_string(),
            "no directory server can be read: a; cure it. b; cure it; one of them is enough"
        );
    }
}
