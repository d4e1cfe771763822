//! Limits that peers tell each other (XEP-0478, row XS-19).

use turnout_core::backend::{Backend, Sent, SentRun};
use turnout_core::io::{LinkId, Side};
use turnout_core::policy::Negotiation::{NotSupported as No, Required};
use turnout_core::refusal::{Bounce, Condition, Retry};
use turnout_core::run::{Load, Run};

use crate::net::{certificate, partner, stanza, world};
use crate::raw::{Raw, answering, attribute, header};

const THEM: &str = "partner.example";
const OURS: &str = "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>262144</max-bytes><idle-seconds>600</idle-seconds></limits>";

/// A stream out to a peer that shows these features.
fn dial(features: &str) -> (Raw, LinkId) {
    let world = world(&["contoso.com"], vec![partner(THEM, No, No, true)], No);
    let mut raw = Raw::new(Side::Partners, world);
    let link = raw.dial("contoso.com", THEM);
    raw.tell(
        link,
        &(answering(THEM, "contoso.com", "s") + &format!("<stream:features>{features}</stream:features>")),
    );
    raw.tell(link, &format!("<db:result from='{THEM}' to='contoso.com' type='valid'/>"));
    assert_eq!(raw.ready, [link]);
    raw.said(link);
    (raw, link)
}

fn limits(inside: &str) -> String {
    format!("<limits xmlns='urn:xmpp:stream-limits:0'>{inside}</limits>")
}

/// Sends a stanza of so many bytes.
fn send(raw: &mut Raw, link: LinkId, bytes: usize) -> Sent {
    let bare = stanza(raw.now, "a@contoso.com", "b@partner.example", "").len();
    let one = stanza(raw.now, "a@contoso.com", "b@partner.example", &"x".repeat(bytes - bare));
    assert_eq!(one.len(), bytes);
    let sent = raw.backend.send(raw.now, link, one, &mut raw.out);
    raw.collect();
    sent
}

#[test]
fn xs19_what_is_too_large_for_the_peer_is_refused_and_the_stream_kept() {
    let (mut raw, link) = dial(&limits("<max-bytes>12000</max-bytes>"));
    assert!(matches!(send(&mut raw, link, 12_000), Sent::OnWrite(_)));
    let Sent::Refused(_, refusal) = send(&mut raw, link, 12_001) else { panic!("it is too large") };
    assert_eq!(
        (refusal.condition, refusal.retry, refusal.bounce),
        (Condition::PolicyViolation, Retry::Never, Bounce::Yes)
    );
    assert!(!raw.is_closed(link) && raw.unready.is_empty());
}

#[test]
fn xs19_no_peer_takes_less_than_the_standard_says() {
    for odd in ["<max-bytes>1</max-bytes>", "<max-bytes>x</max-bytes>", "<max-bytes>-5</max-bytes>", ""] {
        let (mut raw, link) = dial(&limits(odd));
        assert!(matches!(send(&mut raw, link, 10_000), Sent::OnWrite(_)), "{odd}");
    }
    let (mut raw, link) = dial("<limits xmlns='urn:example'><max-bytes>20000</max-bytes></limits>");
    assert!(matches!(send(&mut raw, link, 20_001), Sent::OnWrite(_)), "that is another's element");
}

#[test]
fn xs19_of_a_run_the_small_ones_go() {
    let (mut raw, link) = dial(&limits("<max-bytes>10000</max-bytes>"));
    let peer = raw.accept();
    raw.tell(peer, &header(THEM, "contoso.com"));
    raw.tell(peer, &format!("<db:result from='{THEM}' to='contoso.com'>k</db:result>"));
    let verify = raw.connects.last().unwrap().link;
    raw.connected(verify);
    let said = raw.tell(verify, &(answering(THEM, "contoso.com", "v") + "<stream:features/>"));
    let id = attribute(&said[said.find("<db:verify").unwrap()..], "id");
    raw.tell(verify, &format!("<db:verify from='{THEM}' to='contoso.com' id='{id}' type='valid'/>"));
    let mut run = |sizes: [usize; 2]| -> Run {
        let text: String = sizes
            .map(|size| {
                format!(
                    "<message from='b@{THEM}/r' to='a@contoso.com'><body>{}</body></message>",
                    "x".repeat(size)
                )
            })
            .concat();
        raw.tell(peer, &text);
        let Some(Load::Run(run)) = raw.out.arrivals.pop_front() else { panic!("plain stanzas are a run") };
        Run { from: run.to.clone(), to: run.from.clone(), ..run }
    };
    let (small, mixed) = (run([6000, 6000]), run([10, 10_000]));
    assert!(matches!(raw.backend.send_run(raw.now, link, small, &mut raw.out), SentRun::OnWrite(_)));
    let SentRun::Alone(mixed) = raw.backend.send_run(raw.now, link, mixed, &mut raw.out) else {
        panic!("its stanzas are judged one by one")
    };
    let sent: Vec<bool> = mixed
        .stanzas()
        .map(|mut stanza| {
            std::mem::swap(&mut stanza.from, &mut stanza.to);
            matches!(raw.backend.send(raw.now, link, stanza, &mut raw.out), Sent::OnWrite(_))
        })
        .collect();
    assert_eq!(sent, [true, false]);
}

#[test]
fn xs19_a_peer_that_waits_less_long_hears_white_space_sooner() {
    let (mut raw, link) = dial(&limits("<idle-seconds>60</idle-seconds>"));
    raw.advance(29);
    assert_eq!(raw.said(link), "");
    raw.advance(1);
    assert_eq!(raw.said(link), " ");
    raw.advance(60);
    assert_eq!(raw.said(link), "  ");
    let (mut raw, link) = dial(&limits("<idle-seconds>0</idle-seconds>"));
    raw.advance(10);
    assert_eq!(raw.said(link).len(), 10, "not all the time");
}

#[test]
fn xs19_we_say_what_we_take_once_tls_is_settled() {
    let partners = vec![partner(THEM, Required, Required, false), partner("plain.example", No, No, true)];
    let mut raw = Raw::new(Side::Partners, world(&["contoso.com"], partners, No));
    let link = raw.accept();
    assert!(raw.tell(link, &header("plain.example", "contoso.com")).contains(OURS));
    let link = raw.accept();
    let open = header(THEM, "contoso.com");
    assert!(!raw.tell(link, &open).contains("limits"), "nothing but TLS is offered where TLS is required");
    raw.tell(link, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.secure(link, Some(certificate(&[THEM])));
    assert!(raw.tell(link, &open).contains(OURS));
}
