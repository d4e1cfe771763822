//! Looking at a node of a pool without a session: one OPTIONS and its answer. For an operator who wants to know why a pool does not work.
//!
//! Invariant: it judges a certificate by the same rule as the links that carry messages ([`vouch`] is what those use), and sends nothing
//! that makes a dialog.

use std::sync::Arc;

use bytes::Bytes;
use turnout_core::io::Secured;
use turnout_core::world::SipHome;

use crate::frame::{Frame, Framer, Limits};
use crate::link::is_named;
use crate::parse::{HeaderName, Message, Start};
use crate::write::{Builder, WriteError};

/// Whether a node's certificate is one of the pool's.
///
/// # Errors
/// Why not.
pub fn vouch(secured: &Secured, settings: &SipHome, names: &[Arc<str>]) -> Result<(), String> {
    is_named(secured, settings, names)
}

/// What a node answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status code.
    pub code: u16,
    /// Its words, made fit for a line.
    pub reason: String,
    /// The value of `Date`, where it has one (RFC 3261 §20.17).
    pub date: Option<String>,
}

/// One connection to a node.
#[derive(Debug)]
pub struct Probe {
    framer: Framer,
    branch: String,
}

impl Probe {
    /// `token` is unique: it becomes branch, tag and Call-ID.
    pub fn new(token: &str) -> Self {
        Self { framer: Framer::new(Limits::default()), branch: format!("z9hG4bK{token}") }
    }

    /// OPTIONS to a host (RFC 3261 §11.1), from the name the pool knows us by.
    ///
    /// # Errors
    /// A name does not fit into a message.
    pub fn options(&self, settings: &SipHome, host: &str) -> Result<Bytes, WriteError> {
        let SipHome { our_name, our_port, tls, .. } = settings;
        let (transport, branch) = (if *tls { "TLS" } else { "TCP" }, &self.branch);
        let builder = Builder::request("OPTIONS", &format!("sip:{host}"))?
            .header(HeaderName::Via, &format!("SIP/2.0/{transport} {our_name}:{our_port};branch={branch}"))?
            .header(HeaderName::MaxForwards, "70")?
            .header(HeaderName::From, &format!("<sip:{our_name}>;tag={branch}"))?
            .header(HeaderName::To, &format!("<sip:{host}>"))?
            .header(HeaderName::CallId, &format!("{branch}@{our_name}"))?
            .header(HeaderName::CSeq, "1 OPTIONS")?
            .header(
                HeaderName::Contact,
                &format!("<sip:{our_name}:{our_port};transport={}>", transport.to_lowercase()),
            )?;
        Ok(builder.finish())
    }

    /// Takes what the node sent; its final answer, when that is there.
    ///
    /// # Errors
    /// It is no SIP, and why.
    pub fn receive(&mut self, bytes: Bytes) -> Result<Option<Answered>, String> {
        self.framer.feed(bytes);
        while let Some(frame) = self.framer.next().map_err(|error| format!("{error:?}"))? {
            let Frame::Message(bytes) = frame else { continue };
            let message = Message::parse(bytes).map_err(|_| "its first line is none of SIP".to_owned())?;
            let Start::Status { code: code @ 200.., reason } = message.start() else { continue };
            let ours = message.header(HeaderName::Via).is_some_and(|via| {
                let via = String::from_utf8_lossy(via);
                via.contains(&self.branch)
            });
            if !ours {
                continue;
            }
            let fit = |text: &[u8]| -> String {
                String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(80).collect()
            };
            let date = message.header(HeaderName::Date).map(fit);
            return Ok(Some(Answered { code, reason: fit(reason), date }));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use turnout_core::io::TrustId;

    use super::*;

    fn settings() -> SipHome {
        SipHome {
            our_name: "turnout.contoso.com".into(),
            our_port: 5061,
            tls: true,
            trusted_names: Vec::new(),
            trust: TrustId::FEDERATION,
            idle: std::time::Duration::from_secs(600),
            message_bytes_max: 65_536,
            first_message_in_invite: false,
            xhtml_im: false,
            calendar: None,
        }
    }

    #[test]
    fn the_answer_to_our_question_is_found_among_others() {
        let mut probe = Probe::new("abc");
        let sent = probe.options(&settings(), "pool2019.contoso.com").unwrap();
        let request = Message::parse(sent).unwrap();
        assert_eq!(request.method(), Some(&b"OPTIONS"[..]));
        assert!(crate::parse::check(&request, &crate::parse::Capabilities::default()).is_ok());
        let answer = |start: &str, branch: &str, more: &str| {
            let text = format!(
                "{start}\r\nVia: SIP/2.0/TLS turnout.contoso.com:5061;branch=z9hG4bK{branch}\r\nCSeq: 1 OPTIONS\r\n{more}Content-Length: 0\r\n\r\n"
            );
            Bytes::from(text)
        };
        assert_eq!(probe.receive(answer("SIP/2.0 100 Trying", "abc", "")), Ok(None));
        assert_eq!(probe.receive(answer("SIP/2.0 200 OK", "other", "")), Ok(None));
        assert_eq!(probe.receive(answer("OPTIONS sip:x SIP/2.0", "abc", "")), Ok(None));
        let date = "Date: Sat, 13 Nov 2010 23:29:00 GMT\r\n";
        let found = probe.receive(answer("SIP/2.0 405 Method Not Allowed", "abc", date)).unwrap().unwrap();
        assert_eq!((found.code, found.reason.as_str()), (405, "Method Not Allowed"));
        assert_eq!(found.date.as_deref(), Some("Sat, 13 Nov 2010 23:29:00 GMT"));
        assert!(probe.receive(Bytes::from_static(b"<?xml version='1.0'?>\r\n\r\n")).is_err());
    }
}
