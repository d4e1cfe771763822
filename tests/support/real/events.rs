//! Event dialogs of a node of a pool (RFC 6665): what the router watches there, and what users of the pool watch. Invariant: a
//! play says every NOTIFY; nothing is notified by itself.

use super::pool::{address, answer, between, header};

/// One dialog.
#[derive(Debug)]
struct Usage {
    conn: u64,
    call: String,
    /// Bare addresses: local user, partner's user.
    pair: (String, String),
    /// Our end and the router's, as they stand in From and To.
    ours: String,
    theirs: String,
    target: String,
    cseq: u32,
}

/// All of a node.
#[derive(Debug, Default)]
pub struct Events {
    /// Of the router's SUBSCRIBEs.
    watched: Vec<Usage>,
    /// Of ours.
    watching: Vec<Usage>,
    count: u64,
}

impl Events {
    /// Answers a SUBSCRIBE of the router, which begins a dialog or is of one.
    pub fn subscribed(&mut self, conn: u64, text: &str, name: &str) -> String {
        let call = header(text, "Call-ID");
        let mut granted =
            format!("Contact: <sip:{name}:5061;transport=tls>\r\nExpires: {}\r\n", header(text, "Expires"));
        if header(text, "To").contains(";tag=") {
            return match self.watched.iter_mut().find(|usage| usage.call == call) {
                Some(usage) => {
                    usage.conn = conn;
                    answer(text, 200, "OK", &granted, "")
                }
                None => answer(text, 481, "Subscription Does Not Exist", "", ""),
            };
        }
        granted.push_str("Supported: ms-benotify\r\n");
        self.count += 1;
        let ok = answer(text, 200, "OK", &granted, "").replacen(
            ";tag=refused",
            &format!(";tag=w{}", self.count),
            1,
        );
        let (ours, theirs) = (header(&ok, "To"), header(text, "From"));
        self.watched.push(Usage {
            conn,
            call,
            pair: (address(&ours), address(&theirs)),
            ours,
            theirs,
            target: between(&header(text, "Contact"), '<', '>'),
            cseq: 0,
        });
        ok
    }

    /// A NOTIFY in the last dialog in which this partner's user watches this local user, and the connection it is of.
    pub fn notify(
        &mut self,
        pair: &(String, String),
        state: &str,
        body: &str,
        name: &str,
    ) -> Option<(u64, String)> {
        let usage = self.watched.iter_mut().rev().find(|usage| usage.pair == *pair)?;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/pidf+xml\r\n" };
        let extra = format!(
            "Contact: <sip:{};gruu>\r\nEvent: presence\r\nSubscription-State: {state}\r\n{kind}",
            pair.0
        );
        Some((usage.conn, usage.request("NOTIFY", &extra, body, name)))
    }

    /// A SUBSCRIBE that begins a dialog.
    pub fn subscribe(&mut self, conn: u64, pair: (String, String), headers: &str, name: &str) -> String {
        self.count += 1;
        let mut usage = Usage {
            conn,
            call: format!("s{}@{name}", self.count),
            ours: format!("<sip:{}>;tag=s{};epid=01", pair.0, self.count),
            theirs: format!("<sip:{}>", pair.1),
            target: format!("sip:{}", pair.1),
            pair,
            cseq: 0,
        };
        let text = usage.subscribe(headers, name);
        self.watching.push(usage);
        text
    }

    /// A SUBSCRIBE in the last dialog of a pair, and the connection it is of.
    pub fn refresh(&mut self, pair: &(String, String), headers: &str, name: &str) -> Option<(u64, String)> {
        let usage = self.watching.iter_mut().rev().find(|usage| usage.pair == *pair)?;
        Some((usage.conn, usage.subscribe(headers, name)))
    }

    /// The router answers a SUBSCRIBE of ours.
    pub fn answered(&mut self, text: &str) {
        let call = header(text, "Call-ID");
        if text.starts_with("SIP/2.0 200")
            && let Some(usage) = self.watching.iter_mut().find(|usage| usage.call == call)
        {
            usage.theirs = header(text, "To");
            usage.target = between(&header(text, "Contact"), '<', '>');
        }
    }
}

impl Usage {
    /// The headers of a play, and of the usual ones those it does not have.
    fn subscribe(&mut self, headers: &str, name: &str) -> String {
        let usual = [
            ("Contact", format!("<sip:{};opaque=user:epid:a;gruu>", self.pair.0)),
            ("Event", "presence".to_owned()),
            ("Accept", "application/pidf+xml".to_owned()),
        ];
        let mut extra = headers.to_owned();
        for (name, value) in usual {
            if !headers.lines().any(|line| line.starts_with(&format!("{name}:"))) {
                extra.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        self.request("SUBSCRIBE", &extra, "", name)
    }

    fn request(&mut self, method: &str, extra: &str, body: &str, name: &str) -> String {
        self.cseq += 1;
        let Self { call, ours, theirs, target, cseq, .. } = self;
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/TLS {name}:5061;branch=z9hG4bKe{call}x{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: {ours}\r\nTo: {theirs}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n\
             {extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}
