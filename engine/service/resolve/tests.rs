use std::collections::HashMap;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use turnout_core::limits::CONNECT_SECONDS;

use super::*;

fn service(priority: u16, weight: u16, host: &str) -> Service {
    Service { priority, weight, host: host.to_owned(), port: 5269 }
}

/// A small generator with a seed: the same numbers in every run.
fn seeded(mut state: u64) -> impl FnMut(u64) -> u64 + Send {
    move |max| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % (max + 1)
    }
}

fn hosts(found: Result<Vec<Candidate>, Failure>) -> Result<Vec<String>, Unreachable> {
    let name = |candidate: Candidate| {
        format!("{}:{}{}", candidate.host, candidate.port, if candidate.direct_tls { "/tls" } else { "" })
    };
    found.map(|list| list.into_iter().map(name).collect()).map_err(|(why, _)| why)
}

#[test]
fn priority_orders_and_weight_draws() {
    let mut random = seeded(1);
    let (mut first, mut runs) = (HashMap::<String, u32>::new(), 0);
    for _ in 0..2000 {
        let records = vec![
            (service(20, 0, "last"), false),
            (service(10, 60, "a"), false),
            (service(10, 30, "b"), true),
            (service(10, 10, "c"), false),
            (service(10, 0, "zero"), false),
        ];
        let ordered = order(records, &mut random);
        assert_eq!(ordered.len(), 5);
        assert_eq!(ordered[4].0.host, "last");
        *first.entry(ordered[0].0.host.clone()).or_default() += 1;
        runs += 1;
    }
    assert_eq!(runs, 2000);
    let share = |host: &str| first.get(host).copied().unwrap_or(0);
    assert!((1100..1300).contains(&share("a")), "{first:?}");
    assert!((530..670).contains(&share("b")), "{first:?}");
    assert!((140..260).contains(&share("c")), "{first:?}");
    assert!(share("zero") < 60, "{first:?}");
}

#[test]
fn a_random_source_out_of_bounds_loses_nobody() {
    let records =
        vec![(service(1, 1, "a"), false), (service(1, 65_535, "b"), false), (service(1, 0, "c"), true)];
    assert_eq!(order(records.clone(), &mut |_| u64::MAX).len(), 3);
    assert_eq!(order(records, &mut |_| 0)[0].0.host, "c");
    assert!(order(Vec::new(), &mut |_| 0).is_empty());
}

#[test]
fn the_two_services_are_merged_and_denials_believed() {
    use Answer::{Denied, Empty, Failed};
    let check = |plain: Answer, direct: Answer, expected: Result<&[&str], Unreachable>| {
        let found = hosts(select("a.example", plain.clone(), direct.clone(), &mut |_| 0));
        let expected = expected.map(|list| list.iter().map(|&host| host.to_owned()).collect());
        assert_eq!(found, expected, "{plain:?} {direct:?}");
    };
    let plain = || Answer::of(vec![service(10, 0, "x"), service(30, 0, "z")]);
    let direct = || Answer::of(vec![Service { port: 5270, ..service(20, 0, "y") }]);
    let failed = || Failed("timeout".to_owned());
    check(plain(), direct(), Ok(&["x:5269", "y:5270/tls", "z:5269"]));
    check(plain(), Empty, Ok(&["x:5269", "z:5269"]));
    check(plain(), Denied, Ok(&["x:5269", "z:5269"]));
    check(plain(), failed(), Ok(&["x:5269", "z:5269"]));
    check(Denied, direct(), Ok(&["y:5270/tls"]));
    check(Empty, direct(), Ok(&["y:5270/tls"]));
    check(failed(), direct(), Ok(&["y:5270/tls"]));
    check(Empty, Empty, Ok(&["a.example:5269"]));
    check(Empty, Denied, Ok(&["a.example:5269"]));
    check(Empty, failed(), Ok(&["a.example:5269"]));
    check(Denied, Empty, Err(Unreachable::NotFound));
    check(Denied, Denied, Err(Unreachable::NotFound));
    check(failed(), Empty, Err(Unreachable::Unresolved));
    assert_eq!(Answer::of(vec![service(0, 0, "")]), Denied);
    assert_eq!(Answer::of(vec![service(0, 0, ""), service(0, 0, "x")]), Answer::of(vec![service(0, 0, "x")]));
}

#[test]
fn addresses_of_both_families_take_turns() {
    let six: Vec<IpAddr> = vec!["::1".parse().unwrap(), "::2".parse().unwrap(), "::3".parse().unwrap()];
    let four: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap()];
    let merged: Vec<String> = take_turns(six, four).iter().map(ToString::to_string).collect();
    assert_eq!(merged, ["::1", "10.0.0.1", "::2", "::3"]);
    assert!(take_turns(vec![Ipv4Addr::LOCALHOST.into(); 100], Vec::new()).len() <= ADDRESSES_MAX);
}

#[test]
fn random_numbers_stay_within_bounds() {
    let mut random = system_random();
    assert!((0..1000).all(|_| random(3) <= 3));
    assert_eq!(random(0), 0);
    random(u64::MAX);
}

/// A name server on loopback that knows a few records, by hand.
async fn name_server_with(records: &'static [(&'static str, u16, &'static [&'static [u8]])]) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0_u8; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let (name, end) = question(&buffer[..length]);
            let kind = u16::from_be_bytes([buffer[end], buffer[end + 1]]);
            let found = records.iter().find(|(known, of, _)| *known == name && *of == kind);
            let known = records.iter().any(|(known, ..)| *known == name);
            let answers = found.map_or(&[][..], |(_, _, answers)| answers);
            let mut reply = buffer[..2].to_vec();
            reply.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1]);
            reply.extend(u16::try_from(answers.len()).unwrap().to_be_bytes());
            reply.extend([0, 0, 0, 0]);
            reply.extend(&buffer[12..end + 4]);
            for answer in answers {
                reply.extend([0xc0, 12]);
                reply.extend(kind.to_be_bytes());
                reply.extend([0, 1, 0, 0, 0, 60]);
                reply.extend(u16::try_from(answer.len()).unwrap().to_be_bytes());
                reply.extend(*answer);
            }
            socket.send_to(&reply, from).await.unwrap();
        }
    });
    address
}

/// The name asked for, and where its type stands.
fn question(message: &[u8]) -> (String, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while message[at] != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..at + 1 + length]).to_lowercase());
        at += 1 + length;
    }
    (labels.join("."), at + 1)
}

const SRV: u16 = 33;
const A: u16 = 1;

#[tokio::test]
async fn a_real_name_server_is_asked() {
    let server = name_server_with(&[
        ("_xmpp-server._tcp.a.example", SRV, &[b"\x00\x0a\x00\x00\x14\x95\x01x\x07example\x00"]),
        ("_xmpps-server._tcp.a.example", SRV, &[b"\x00\x05\x00\x00\x14\x96\x01y\x07example\x00"]),
        ("_xmpp-server._tcp.none.example", SRV, &[b"\x00\x00\x00\x00\x00\x00\x00"]),
        ("y.example", A, &[&[127, 0, 0, 1]]),
    ])
    .await;
    let resolver = Resolver::new(&[server]).unwrap();
    let ask = async |domain: &str| {
        let target = Target::XmppService(Domain::parse(domain).unwrap());
        hosts(resolver.candidates(&target, false, &mut |_| 0).await)
    };
    assert_eq!(ask("a.example").await.unwrap(), ["y.example:5270/tls", "x.example:5269"]);
    assert_eq!(ask("none.example").await, Err(Unreachable::NotFound));
    assert_eq!(ask("b.example").await.unwrap(), ["b.example:5269"]);
    assert_eq!(resolver.addresses("y.example").await.unwrap(), [IpAddr::from([127, 0, 0, 1])]);
    assert_eq!(resolver.addresses("x.example").await.unwrap_err().0, Unreachable::NotFound);
    assert_eq!(resolver.addresses("127.0.0.9").await.unwrap(), [IpAddr::from([127, 0, 0, 9])]);
    assert!(resolver.addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
}

#[tokio::test]
async fn the_next_host_is_tried_when_one_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let resolver = Resolver::new(&["127.0.0.1:9".parse().unwrap()]).unwrap();
    let host = |port| HostPort { host: "127.0.0.1".to_owned(), port };
    let target = Target::Hosts(vec![host(closed), host(port)]);
    let reached = connect(&resolver, &target, true, &mut |_| 0).await.unwrap();
    assert!(reached.direct_tls);
    assert_eq!(&*reached.peer, format!("127.0.0.1:{port}"));
    let target = Target::Hosts(vec![host(closed)]);
    let (why, text) = connect(&resolver, &target, false, &mut |_| 0).await.unwrap_err();
    assert_eq!(why, Unreachable::NoAnswer);
    assert!(text.contains(&closed.to_string()), "{text}");
    let (why, _) = connect(&resolver, &Target::Hosts(Vec::new()), false, &mut |_| 0).await.unwrap_err();
    assert_eq!(why, Unreachable::NotFound);
}

/// A listener whose queue is full: whoever connects hears nothing, as from a machine that is down.
fn silent() -> (socket2::Socket, Vec<std::net::TcpStream>, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fill = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        fill.push(stream);
        assert!(fill.len() < 100, "the queue has no end");
    }
    (socket, fill, address.port())
}

#[tokio::test]
async fn hosts_that_are_down_cost_their_head_start_only() {
    let resolver = Resolver::new(&["127.0.0.1:9".parse().unwrap()]).unwrap();
    let there = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = there.local_addr().unwrap().port();
    // One after the other they would take longer to be given up than an attempt may last.
    let count = CONNECT_SECONDS.div_ceil(8);
    let down: Vec<_> = (0..count).map(|_| silent()).collect();
    let ports = down.iter().map(|(_, _, port)| *port).chain([port]);
    let hosts = ports.map(|port| HostPort { host: "127.0.0.1".to_owned(), port }).collect();
    let reached = connect(&resolver, &Target::Hosts(hosts), false, &mut |_| 0).await.unwrap();
    assert_eq!(reached.stream.peer_addr().unwrap().port(), port);
}
