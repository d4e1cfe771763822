//! Servers that do not behave. Each is a script: what it sends for the first message it gets, for the second, and so on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use turnout_core::home::{Homes, HostPort};

use super::ber::{self, Reader, put, put_number, put_octets};
use super::fault::Fault;
use super::message::tests::{entry, result};
use super::search::{DIRSYNC, PAGED, Paged};
use super::session::Session;
use super::sync::Follower;
use crate::clock;
use crate::config::{LdapConfig, LdapMode, LdapTls};

const BOUND: u8 = 0x61;
const DONE: u8 = 0x65;
const EXTENDED: u8 = 0x78;

/// What a server does with one message: it gets the number of the message and how many came before.
type Reply = Box<dyn FnMut(i64, usize) -> Vec<u8> + Send>;

/// Starts a server that does this.
fn server(reply: Reply) -> SocketAddr {
    paced(reply, None)
}

/// The same with a pause after each octet.
fn paced(mut reply: Reply, pause: Option<Duration>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut arrived, mut chunk, mut count) = (Vec::new(), [0; 4096], 0);
            while let Ok(read @ 1..) = stream.read(&mut chunk) {
                arrived.extend_from_slice(&chunk[..read]);
                while let Ok(Some((_, head, length))) = ber::header(&arrived)
                    && arrived.len() >= head + length
                {
                    let id = Reader::new(&arrived[head..]).number(ber::INTEGER).unwrap();
                    arrived.drain(..head + length);
                    let answer = reply(id, count);
                    let pieces = if pause.is_some() { 1 } else { answer.len().max(1) };
                    for piece in answer.chunks(pieces) {
                        // A client that has hung up wants nothing more.
                        if stream.write_all(piece).is_err() {
                            return;
                        }
                        pause.inspect(|pause| std::thread::sleep(*pause));
                    }
                    count += 1;
                }
            }
        }
    });
    address
}

fn plain(address: SocketAddr) -> LdapConfig {
    // Any short file will do.
    let password_file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/rustfmt.toml"));
    LdapConfig {
        servers: vec![HostPort { host: address.ip().to_string(), port: address.port() }],
        bind_dn: "cn=reader".to_owned(),
        password_file,
        base: "DC=contoso".to_owned(),
        filter: "(objectClass=user)".parse().unwrap(),
        tls: LdapTls::None,
        ca_file: Some(PathBuf::from("/nowhere")),
        page_size: 3,
        poll: Duration::from_secs(60),
        full_reload: Duration::from_secs(3600),
        timeout: Duration::from_millis(300),
        mode: LdapMode::Full,
        last_good: None,
    }
}

fn let_in(id: i64) -> Vec<u8> {
    result(id, BOUND, 0, "", &[])
}

fn page(id: i64, cookie: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    put(&mut value, ber::SEQUENCE, |out| {
        put_number(out, ber::INTEGER, 0);
        put_octets(out, ber::OCTETS, cookie);
    });
    result(id, DONE, 0, "", &[(PAGED, &value)])
}

/// What a search comes to on a server that lets us in and answers the search so.
fn searched(mut answer: impl FnMut(i64, usize) -> Vec<u8> + Send + 'static) -> Result<usize, Fault> {
    let config =
        plain(server(Box::new(move |id, count| if count == 0 { let_in(id) } else { answer(id, count - 1) })));
    let mut session = Session::open(&config, &config.servers[0])?;
    let search = Paged {
        base: &config.base,
        filter: &config.filter,
        attributes: &["mail"],
        page_size: config.page_size,
        deleted: false,
    };
    let mut entries = 0;
    session.paged(&search, &mut |_| {
        entries += 1;
        Ok(())
    })?;
    Ok(entries)
}

fn refused(part: &str, answer: impl FnMut(i64, usize) -> Vec<u8> + Send + 'static) {
    let fault = searched(answer).unwrap_err();
    assert!(fault.to_string().contains(part), "{part:?} not in {fault}");
    assert!(fault.elsewhere, "{fault}");
}

fn user(id: i64) -> Vec<u8> {
    entry(id, "CN=a", &[("mail", &[b"a"])])
}

#[test]
fn a_good_server_is_read_page_by_page() {
    let pages = |id, count| match count {
        0 => [user(id), user(id), user(id), page(id, b"more")].concat(),
        // An empty page is not the end.
        1 => page(id, b"more"),
        _ => [user(id), page(id, b"")].concat(),
    };
    assert_eq!(searched(pages), Ok(4));
    // One that does not page at all gives everything at once.
    assert_eq!(searched(|id, _| [user(id), result(id, DONE, 0, "", &[])].concat()), Ok(1));
}

#[test]
fn what_is_no_answer_ends_the_session() {
    refused("is not LDAP", |_, _| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    refused("is not LDAP", |_, _| b"\x30\x80\0\0".to_vec());
    // Four gigabytes are announced; nobody waits for them, let alone makes room.
    refused("is not LDAP", |_, _| b"\x30\x84\xFF\xFF\xFF\xFF".to_vec());
    refused("is not LDAP", |id, _| user(id + 1));
    refused("is not LDAP", |id, _| result(id, BOUND, 0, "", &[]));
    refused("is not LDAP", |id, _| result(id, DONE, 0, "", &[(PAGED, b"\x30\x03\x02\x01\0")]));
    refused("LDAP result 2", |id, _| result(id, DONE, 2, "", &[]));
    refused("unavailable", |_, _| result(0, EXTENDED, 52, "unavailable", &[]));
}

#[test]
fn a_server_that_is_silent_or_slow_has_its_time() {
    refused("did not answer within", |_, _| Vec::new());
    refused("did not answer within", |id, _| {
        let whole = user(id);
        whole[..whole.len() - 1].to_vec()
    });
    // Each octet comes in good time, and all of them together do not.
    let config = plain(paced(Box::new(|id, _| let_in(id)), Some(Duration::from_millis(40))));
    let Err(fault) = Session::open(&config, &config.servers[0]) else { panic!("it was let in") };
    assert!(fault.what.contains("did not answer within"), "{fault}");
}

#[test]
fn a_server_that_never_ends_is_ended() {
    refused("more than the 3 entries", |id, _| user(id).repeat(4));
    refused("always says that there is more", |id, _| page(id, b"more"));
    refused("always says that there is more", |id, _| page(id, &[7; 1024 * 1024 + 1]));
}

#[test]
fn words_in_the_clear_behind_starttls_are_not_heard() {
    let address = server(Box::new(|id, _| [result(id, EXTENDED, 0, "", &[]), let_in(id + 1)].concat()));
    let config = LdapConfig { tls: LdapTls::StartTls, ..plain(address) };
    let Err(fault) = Session::open(&config, &config.servers[0]) else { panic!("it was let in") };
    assert!(fault.what.contains("sent more in the clear"), "{fault}");
    // And without them the handshake follows, which this server does not do.
    let address = server(Box::new(|id, _| result(id, EXTENDED, 0, "", &[])));
    let config = LdapConfig { tls: LdapTls::StartTls, ..plain(address) };
    let Err(fault) = Session::open(&config, &config.servers[0]) else { panic!("it was let in") };
    assert!(fault.what.contains("/nowhere"), "{fault}");
}

/// A database with a name and a number of changes, and one user on it, who has a name of his own in each database.
fn domain_controller(identity: &'static [u8], usn: impl Fn(usize) -> u64 + Send + 'static) -> SocketAddr {
    let mut binds = 0;
    server(Box::new(move |id, count| match count {
        0 => {
            binds += 1;
            let_in(id)
        }
        1 => {
            let usn = usn(binds).to_string();
            let about: &[(&str, &[&[u8]])] = &[
                ("highestCommittedUSN", &[usn.as_bytes()]),
                ("dsServiceName", &[b"CN=NTDS"]),
                ("defaultNamingContext", &[b"DC=contoso"]),
            ];
            [entry(id, "", about), result(id, DONE, 0, "", &[])].concat()
        }
        2 => [entry(id, "CN=NTDS", &[("invocationId", &[identity])]), result(id, DONE, 0, "", &[])].concat(),
        _ => {
            let address = [b"sip:", identity, b"@contoso.com"].concat();
            let user: &[(&str, &[&[u8]])] = &[
                ("objectGUID", &[&[7; 16]]),
                ("msRTCSIP-PrimaryUserAddress", &[&address]),
                ("msRTCSIP-PrimaryHomeServer", &[b""]),
                ("msRTCSIP-UserEnabled", &[b"TRUE"]),
            ];
            [entry(id, "CN=u", user), page(id, b"")].concat()
        }
    }))
}

/// Polls once, and tells whether everything was read and who is there.
fn polled(follower: &mut Follower, config: &LdapConfig) -> (bool, String) {
    let polled = follower.poll(config, &Homes::default(), clock::now(), &mut |_| ()).unwrap();
    let address = follower.people().iter().map(|(_, address, _)| address.to_owned()).collect();
    (polled.full, address)
}

#[test]
fn a_place_in_the_changes_belongs_to_one_database() {
    let one = domain_controller(b"one", |binds| if binds < 3 { 100 } else { 50 });
    let two = domain_controller(b"two", |_| 1000);
    let mut config = LdapConfig { mode: LdapMode::Usn, ..plain(one) };
    let one_at = config.servers[0].clone();
    let mut follower = Follower::default();
    assert_eq!(polled(&mut follower, &config), (true, "sip:one@contoso.com".to_owned()));
    // Nothing has changed there, and nothing more is asked.
    assert_eq!(polled(&mut follower, &config), (false, "sip:one@contoso.com".to_owned()));
    // Its number is lower than before: it was set back.
    assert_eq!(polled(&mut follower, &config), (true, "sip:one@contoso.com".to_owned()));
    // It is away, and another one answers: with numbers of its own.
    let dead = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    config.servers = [dead, two].map(|at| HostPort { host: at.ip().to_string(), port: at.port() }).to_vec();
    follower.forget_server(&one_at, &config.servers[0]);
    assert_eq!(polled(&mut follower, &config), (true, "sip:two@contoso.com".to_owned()));
    assert_eq!(polled(&mut follower, &config), (false, "sip:two@contoso.com".to_owned()));
}

#[test]
fn a_wrong_password_is_tried_once() {
    let refuse = || server(Box::new(|id, _| result(id, BOUND, 49, "data 52e,", &[])));
    let good = domain_controller(b"good", |_| 1);
    let mut config = plain(refuse());
    config.servers.push(HostPort { host: good.ip().to_string(), port: good.port() });
    let fault = Follower::default().load(&config, &Homes::default(), clock::now(), &mut |_| ()).unwrap_err();
    assert!(fault.what.contains("wrong name or password"), "{fault}");
}

#[test]
fn dirsync_goes_on_while_the_flag_says_so() {
    let value = |more: i64, cookie: &[u8]| {
        let mut value = Vec::new();
        put(&mut value, ber::SEQUENCE, |out| {
            put_number(out, ber::INTEGER, more);
            put_number(out, ber::INTEGER, 0);
            put_octets(out, ber::OCTETS, cookie);
        });
        value
    };
    let address = server(Box::new(move |id, count| match count {
        0 => let_in(id),
        // More, with nothing at all in this answer; then the rest.
        1 => result(id, DONE, 0, "", &[(DIRSYNC, &value(1, b"half"))]),
        2 => [user(id), result(id, DONE, 0, "", &[(DIRSYNC, &value(0, b"end"))])].concat(),
        _ => result(id, DONE, 0, "", &[]),
    }));
    let config = plain(address);
    let mut session = Session::open(&config, &config.servers[0]).unwrap();
    let (mut cookie, mut entries) = (Vec::new(), 0);
    let mut visit = |_: super::message::Entry<'_>| {
        entries += 1;
        Ok(())
    };
    session.dirsync("DC=contoso", &config.filter, (0, &mut cookie), &mut visit).unwrap();
    assert_eq!(cookie, b"end");
    // An answer without a cookie leaves the old one: nothing after it would be asked for again.
    assert!(session.dirsync("DC=contoso", &config.filter, (0, &mut cookie), &mut visit).is_err());
    assert_eq!((cookie.as_slice(), entries), (&b"end"[..], 1));
}
