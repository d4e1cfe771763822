//! What a peer's stream header has to be. Invariant: the domains of a header are set here and nowhere else, and once set they never
//! change (RFC 6120 §4.3.3, XS-12).

use turnout_core::io::Level;
use turnout_core::jid::Domain;
use turnout_core::limits::STREAM_DECLARED_BYTES_MAX as DECLARED_BYTES_MAX;
use turnout_core::limits::STREAM_LANG_BYTES_MAX as LANG_BYTES_MAX;

use super::{Inbound, Refused, too_many};
use crate::error::StreamCondition;
use crate::frame::{Namespace, StreamHeader};
use crate::terms::{self, Terms};
use crate::turn::Turn;

impl Inbound {
    /// Holds a header against the rules (XS-08 to XS-12) and the policy.
    pub(super) fn judge(&mut self, header: &StreamHeader, turn: &mut Turn<'_>) -> Result<(), Refused> {
        if !matches!(header.content_namespace(), None | Some(Namespace::Server)) {
            let text = "this port is for servers: the content namespace has to be jabber:server";
            return Err((StreamCondition::InvalidNamespace, text.to_owned()));
        }
        light(header)?;
        self.judge_to(header.to().as_deref(), turn)?;
        self.judge_from(header.from().as_deref(), turn)?;
        if !header.version().has_features() && !self.terms.as_ref().is_some_and(Terms::plain_allowed) {
            let text = "a server of before XMPP 1.0 cannot use TLS, which is required here";
            return Err((StreamCondition::UnsupportedVersion, text.to_owned()));
        }
        if let (Some(terms), Some(secured), Some(theirs), false) =
            (&self.terms, &self.secured, &self.theirs, self.authenticated)
            && !terms.dialback_allowed(Some(secured), theirs)
            && let Err(why) = terms.vouches(secured, theirs)
        {
            // Why is the operator's business; whoever stands outside learns that it is so.
            turn.note(Level::Warn, theirs, why);
            let text = format!("the certificate shown does not prove that you are {theirs}");
            return Err((StreamCondition::NotAuthorized, text));
        }
        Ok(())
    }

    fn judge_to(&mut self, to: Option<&str>, turn: &Turn<'_>) -> Result<(), Refused> {
        let Some(Ok(to)) = to.map(Domain::parse) else {
            let text = "the stream header needs 'to', the domain this stream is for";
            return Err((StreamCondition::ImproperAddressing, text.to_owned()));
        };
        if self.ours.as_ref().is_some_and(|ours| *ours != to) {
            let text = "'to' may not change when the stream is opened anew";
            return Err((StreamCondition::ImproperAddressing, text.to_owned()));
        }
        if !terms::is_ours(turn.world, turn.side, &to) {
            return Err((StreamCondition::HostUnknown, "that domain is not served here".to_owned()));
        }
        self.ours = Some(to);
        Ok(())
    }

    fn judge_from(&mut self, from: Option<&str>, turn: &mut Turn<'_>) -> Result<(), Refused> {
        // Before TLS a peer may leave out who it is (RFC 6120 §4.7.1); each dialback element says so itself.
        let Some(from) = from else { return Ok(()) };
        let Ok(from) = Domain::parse(from) else {
            return Err((
                StreamCondition::InvalidFrom,
                "'from' of the stream header is no domain".to_owned(),
            ));
        };
        match &self.theirs {
            Some(theirs) if *theirs != from => {
                let text = "'from' may not change when the stream is opened anew";
                return Err((StreamCondition::InvalidFrom, text.to_owned()));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        let Some(terms) = Terms::of(turn.world, turn.side, &from) else {
            turn.note(
                Level::Warn,
                &from,
                format!("{} wants to speak for {from}, which is no partner here; add a [[partner]] if it should be", self.peer),
            );
            return Err((
                StreamCondition::PolicyViolation,
                "this domain is not allowed to federate with us".to_owned(),
            ));
        };
        let count = turn.accounts.get(&terms.account).copied().unwrap_or(0);
        if count >= terms.connections_max {
            return Err(too_many(count));
        }
        self.terms = Some(terms);
        self.theirs = Some(from);
        Ok(())
    }
}

/// What stanzas inherit from the header is small.
fn light(header: &StreamHeader) -> Result<(), Refused> {
    let declared: usize = header.bindings().map(|(prefix, name)| prefix.len() + name.len()).sum();
    if declared > DECLARED_BYTES_MAX {
        let text = format!(
            "a stream header may declare {DECLARED_BYTES_MAX} bytes of namespaces; declare the others on the stanzas"
        );
        return Err((StreamCondition::PolicyViolation, text));
    }
    if header.lang().is_some_and(|lang| lang.len() > LANG_BYTES_MAX) {
        let text = format!("xml:lang of a stream header may have {LANG_BYTES_MAX} bytes");
        return Err((StreamCondition::PolicyViolation, text));
    }
    Ok(())
}
