use super::*;
use crate::random::Random;

#[test]
fn a_branch_knows_its_shard() {
    let token = Random::new([1; 32]).token();
    for shard in [0, 7, 255, u16::MAX] {
        let branch = format!("{}{}", branch_start(shard), &*token.hex());
        assert_eq!(read_branch(&branch), Some((shard, token)));
        for cut in 0..branch.len() {
            assert_eq!(read_branch(&branch[..cut]), None, "{}", &branch[..cut]);
        }
        assert_eq!(read_branch(&format!("{branch}0")), None);
    }
    let token = token.hex();
    for other in ["z9hG4bKxyzw", "z9hG4bK+001", "z9hG4bK00FF", "Z9hG4bK0001", "z9hG4bK\u{fc}\u{fc}"] {
        assert_eq!(read_branch(&format!("{other}{}", &*token)), None, "{other}");
    }
}

/// A request by what makes its transaction.
fn request(method: &str, via: &str, call_id: &str, cseq: &str, tag: &str) -> Message {
    let text = format!(
        "{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS {via}\r\nFrom: <sip:c@d>;tag={tag}\r\nTo: <sip:a@b>\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq}\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text)).unwrap()
}

#[test]
fn transactions_are_told_apart_as_the_rfc_says() {
    let first = request("INVITE", "Host.example:5061;branch=z9hG4bKa", "c1", "1 INVITE", "t1");
    let mut servers = Servers::default();
    let key = servers.begin(&Identity::of(&first).unwrap(), first.clone(), LinkId::NONE, Tag::Foreign);
    let find = |servers: &Servers, method: &str, via: &str, call_id: &str, cseq: &str, tag: &str| {
        let other = request(method, via, call_id, cseq, tag);
        let identity = Identity::of(&other).unwrap();
        (servers.find(&identity, b"INVITE").is_some(), servers.is_merged(&identity))
    };
    let via = "host.EXAMPLE:5061;branch=z9hG4bKa";
    assert_eq!(find(&servers, "INVITE", via, "c1", "1 INVITE", "t1"), (true, true));
    // With the cookie nothing but the topmost Via counts, and case of the host does not.
    assert_eq!(find(&servers, "CANCEL", via, "c2", "1 CANCEL", "t2"), (true, false));
    assert_eq!(find(&servers, "ACK", "other;branch=z9hG4bKb", "c1", "1 ACK", "t1"), (false, true));
    for (other, call_id, cseq, tag) in [
        ("host.example:5061;branch=z9hG4bKA", "c1", "2 INVITE", "t1"),
        ("host.example:5060;branch=z9hG4bKa", "c1", "1 INVITE", "t2"),
        ("host.example;branch=z9hG4bKa", "C1", "1 INVITE", "t1"),
        ("host2.example:5061;branch=z9hG4bKa", "c1", "1 MESSAGE", "t1"),
    ] {
        assert_eq!(find(&servers, "INVITE", other, call_id, cseq, tag), (false, false), "{other}");
    }
    let server = servers.end(key).unwrap();
    assert_eq!(server.request.call_id(), Ok("c1"));
    assert_eq!(find(&servers, "INVITE", via, "c1", "1 INVITE", "t1"), (false, false));
    assert!(servers.end(key).is_none());
}

#[test]
fn without_the_cookie_the_whole_request_counts() {
    let first = request("INVITE", "h;branch=1", "c1", "1 INVITE", "t1");
    let mut servers = Servers::default();
    servers.begin(&Identity::of(&first).unwrap(), first.clone(), LinkId::NONE, Tag::Foreign);
    let find = |via: &str, call_id: &str, tag: &str| {
        let other = request("INVITE", via, call_id, "1 INVITE", tag);
        servers.find(&Identity::of(&other).unwrap(), b"INVITE").is_some()
    };
    assert!(find("h;branch=1", "c1", "t1"));
    assert!(!find("h;branch=2", "c1", "t1"));
    assert!(!find("h;branch=1", "c2", "t1"));
    assert!(!find("h;branch=1", "c1", "t2"));
}

#[test]
fn a_ticket_is_good_once() {
    let request = request("MESSAGE", "h;branch=z9hG4bKa", "c1", "1 MESSAGE", "t1");
    let mut servers = Servers::default();
    let identity = Identity::of(&request).unwrap();
    let key = servers.begin(&identity, request.clone(), LinkId::NONE, Tag::Foreign);
    assert_eq!(servers.redeem(key.number()), None);
    let ticket = servers.ticket(key);
    assert_ne!(ticket, 0);
    assert_eq!((servers.redeem(ticket), servers.redeem(ticket)), (Some(key), None));
    servers.ticket(key);
    servers.end(key);
    assert_eq!(servers.redeem(ticket), None);
    let again = servers.begin(&identity, request.clone(), LinkId::NONE, Tag::Foreign);
    servers.ticket(again);
    assert_eq!(servers.redeem(ticket), None);
}
