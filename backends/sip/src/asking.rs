//! The asking half of the transaction layer (RFC 3261 §17.1, RFC 6026 §7.2). Invariant: every request we send ends in one call
//! to what waits for it: a final response, silence (as 408, RFC 3261 §8.1.3.1), or a lost link.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use turnout_core::io::{LinkId, Outbox};
use turnout_core::notice::Notice;
use turnout_core::refusal::{Blame, Bounce, Refusal, Retry};

use crate::backend::{SipBackend, Timer};
use crate::dialog::Dialog;
use crate::error::{Remedy, XmppError, condition_of};
use crate::parse::{HeaderName, Message};
use crate::presence::WatchRefusal;
use crate::random::Token;
use crate::slab::Key;
use crate::transaction::{Client, Purpose, RING_MILLIS, Stage, TIMEOUT_MILLIS, Verb, branch_start};
use crate::write::{Builder, WriteError};

/// A final answer of 300 and above, or the lack of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) diagnostics: Option<u32>,
    pub(crate) warning: Option<u16>,
}

impl Failure {
    /// No answer came.
    pub(crate) const SILENCE: Self = Self { code: 408, diagnostics: None, warning: None };

    fn of(response: &Message) -> Self {
        let code = response.status().unwrap_or(500);
        Self { code, diagnostics: response.diagnostics(), warning: response.warning() }
    }

    fn error(self) -> XmppError {
        condition_of(self.code, self.diagnostics, self.warning)
    }

    /// Whether it says that the dialog it was given in is dead (requirement 18).
    pub(crate) fn ends_dialog(self) -> bool {
        matches!(self.code, 408 | 480 | 481) || self.error().remedy == Remedy::Reopen
    }

    /// What the sender of the stanza is told.
    pub(crate) fn refusal(self) -> Refusal {
        let error = self.error();
        let blame = if matches!(self.code, 408 | 500..600) { Blame::NextHop } else { Blame::Recipient };
        let retry = if error.remedy == Remedy::RefreshHome { Retry::Elsewhere } else { Retry::Never };
        let diagnostics = self.diagnostics.map(|code| format!(", ms-diagnostics {code}")).unwrap_or_default();
        Refusal::new(error.condition, blame, retry, Bounce::Yes, error.text)
            .with_type(error.kind)
            .with_detail(format!("the pool answered {}{diagnostics}", self.code))
    }
}

impl SipBackend {
    /// Whether there is room for one more request of ours.
    pub(crate) fn may_ask(&self) -> bool {
        self.clients.len() < self.world.flow.room.sip_transactions
    }

    /// What every Via of ours starts with, up to the token of its branch: our name, never an address (requirement 15).
    pub(crate) fn via_start(&mut self, out: &Outbox) -> Arc<str> {
        if let Some(start) = &self.via_start {
            return Arc::clone(start);
        }
        let via = rsip::typed::Via {
            version: rsip::Version::V2,
            transport: if self.settings.tls { rsip::Transport::Tls } else { rsip::Transport::Tcp },
            uri: rsip::Uri {
                host_with_port: rsip::HostWithPort {
                    host: rsip::Host::Domain(self.settings.our_name.to_string().into()),
                    port: Some(self.settings.our_port.into()),
                },
                ..rsip::Uri::default()
            },
            params: vec![rsip::Param::Branch(branch_start(out.shard()).into())],
        };
        Arc::clone(self.via_start.insert(via.to_string().into()))
    }

    /// The token of a new branch, and the Via that holds it.
    pub(crate) fn via(&mut self, out: &Outbox) -> (Token, String) {
        let token = self.random.token();
        (token, [&*self.via_start(out), &*token.hex()].concat())
    }

    /// Sends a request and waits for its answer. Gives the key of the transaction.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        link: LinkId,
        branch: (Token, Verb),
        bytes: Bytes,
        purpose: Purpose,
        out: &mut Outbox,
    ) -> Key {
        let invite = if branch.1 == Verb::Invite { bytes.clone() } else { Bytes::new() };
        let client = Client { purpose, link, stage: Stage::Calling, timer: None, invite, branch };
        let key = self.clients.begin(client);
        self.restart_client(now, key, TIMEOUT_MILLIS);
        out.transmit(link, bytes);
        key
    }

    /// A response to something this shard sent.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        link: LinkId,
        token: Token,
        (response, verb): (&Message, Verb),
        out: &mut Outbox,
    ) {
        let Some(code) = response.status() else { return };
        let Some(key) = self.clients.find(token, verb) else { return };
        let Some(client) = self.clients.get(key) else { return };
        if let Purpose::Invite(id) = client.purpose {
            return self.invite_answered(now, link, key, id, response, out);
        }
        if code < 200 {
            return;
        }
        if let Purpose::Watch(id) = client.purpose {
            return self.subscribe_answered(now, link, (key, id), response, out);
        }
        let outcome = if code < 300 { Ok(()) } else { Err(Failure::of(response)) };
        self.tell_operator(link, outcome, out);
        self.ended(now, key, outcome, out);
    }

    /// A final response to a SUBSCRIBE: more than its code counts.
    fn subscribe_answered(
        &mut self,
        now: Instant,
        link: LinkId,
        (key, id): (Key, Key),
        response: &Message,
        out: &mut Outbox,
    ) {
        self.end_client(key);
        if response.status().is_some_and(|code| code < 300) {
            return self.watch_answered(now, (id, key), link, response, out);
        }
        self.tell_operator(link, Err(Failure::of(response)), out);
        self.watch_refused(now, (id, key), WatchRefusal::of(response), out);
    }

    fn invite_answered(
        &mut self,
        now: Instant,
        link: LinkId,
        key: Key,
        id: Key,
        response: &Message,
        out: &mut Outbox,
    ) {
        let Some(client) = self.clients.get(key) else { return };
        let code = response.status().unwrap_or(0);
        let accepted = match &client.stage {
            Stage::Accepted(ack) => Some(ack.clone()),
            Stage::Calling | Stage::Proceeding | Stage::Cancelled => None,
        };
        match (code, accepted) {
            (100..200, None) if client.stage == Stage::Calling => {
                client.stage = Stage::Proceeding;
                self.restart_client(now, key, RING_MILLIS);
            }
            (200..300, None) => {
                let (invite, way) = (client.invite.clone(), client.link);
                if belongs(&invite, response) {
                    self.accepted(now, key, id, way, response, out);
                }
            }
            // A copy of the 2xx: its ACK again (RFC 6026 §7.2). Another fork is left to its own timer.
            (200..300, Some(ack)) => {
                let same = Message::parse(ack.clone()).is_ok_and(|ack| same_to(&ack, response));
                if same {
                    out.transmit(link, ack);
                }
            }
            (300.., None) => {
                let way = client.link;
                if let Ok(ack) = acknowledge(&client.invite, response) {
                    out.transmit(way, ack);
                }
                let failure = Failure::of(response);
                self.tell_operator(link, Err(failure), out);
                self.ended(now, key, Err(failure), out);
            }
            _ => {}
        }
    }

    /// A 2xx to our INVITE: the dialog is there, and its ACK goes out.
    fn accepted(
        &mut self,
        now: Instant,
        key: Key,
        id: Key,
        link: LinkId,
        response: &Message,
        out: &mut Outbox,
    ) {
        let dialog = Dialog::established(id, response, link, now);
        let (_, via) = self.via(out);
        let ack = dialog.and_then(|mut dialog| {
            let ack = dialog.request("ACK", &via).ok()?.finish();
            Some((dialog, ack))
        });
        let Some((dialog, ack)) = ack else {
            // RFC 3261 §12.1.1: a 2xx without a usable Contact makes no dialog.
            self.note(Notice::PoolBadAnswer, link, "pool", "a 2xx to INVITE has no usable Contact", out);
            let failure = Failure { code: 502, ..Failure::SILENCE };
            return self.ended(now, key, Err(failure), out);
        };
        out.transmit(link, ack.clone());
        if let Some(client) = self.clients.get(key) {
            client.stage = Stage::Accepted(ack);
        }
        self.restart_client(now, key, TIMEOUT_MILLIS);
        self.session_opened(
            now,
            key,
            id,
            dialog,
            response.lists(HeaderName::Supported, "ms-text-format"),
            out,
        );
    }

    /// Timers B, F and M, and an INVITE that rings too long.
    pub(crate) fn client_due(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(client) = self.clients.get(key) else { return };
        client.timer = None;
        match &client.stage {
            Stage::Accepted(_) => {
                self.clients.end(key);
            }
            Stage::Calling | Stage::Cancelled => self.ended(now, key, Err(Failure::SILENCE), out),
            Stage::Proceeding => {
                client.stage = Stage::Cancelled;
                let (link, invite, purpose) = (client.link, client.invite.clone(), client.purpose);
                let (branch, _) = client.branch;
                self.restart_client(now, key, TIMEOUT_MILLIS);
                if let Ok(cancel) = cancel(&invite) {
                    self.ask(now, link, (branch, Verb::Cancel), cancel, Purpose::Farewell, out);
                }
                // The session stops waiting; a 2xx that crosses is answered with BYE.
                if let Purpose::Invite(id) = purpose {
                    self.invite_failed(now, key, id, Failure { code: 480, ..Failure::SILENCE }, out);
                }
            }
        }
    }

    /// A transaction of ours is over.
    fn ended(&mut self, now: Instant, key: Key, outcome: Result<(), Failure>, out: &mut Outbox) {
        let Some(client) = self.end_client(key) else { return };
        match (client.purpose, outcome) {
            (Purpose::Invite(id), Err(failure)) => self.invite_failed(now, key, id, failure, out),
            (Purpose::Text(id), outcome) => self.text_ended(now, id, outcome, out),
            (Purpose::Page(id), outcome) => self.page_ended(now, id, outcome, out),
            (Purpose::Watch(id), Err(failure)) => {
                self.watch_refused(now, (id, key), WatchRefusal::bare(failure.code), out);
            }
            (Purpose::Notify(id), outcome) => self.notify_ended(now, (id, key), outcome, out),
            (Purpose::Invite(_) | Purpose::Watch(_), Ok(())) | (Purpose::Farewell, _) => {}
            (Purpose::Typing(id), outcome) => self.typing_answered(now, id, outcome, out),
        }
    }

    /// A link is gone: what was asked on it will not be answered, and who asked on it will not hear.
    pub(crate) fn link_lost(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        for key in self.clients.on(link) {
            let Some(client) = self.end_client(key) else { continue };
            match client.purpose {
                Purpose::Invite(id) => self.way_lost(now, id, Some(key), out),
                Purpose::Text(id) | Purpose::Page(id) => self.way_lost(now, id, None, out),
                Purpose::Watch(id) => self.watch_refused(now, (id, key), WatchRefusal::bare(503), out),
                Purpose::Notify(id) => self.notify_lost(now, (id, key), out),
                Purpose::Typing(id) => self.typing_unanswered(id),
                Purpose::Farewell => {}
            }
        }
        self.forget_requests(link);
    }

    fn end_client(&mut self, key: Key) -> Option<Client> {
        let mut client = self.clients.end(key)?;
        if let Some(timer) = client.timer.take() {
            self.timers.cancel(timer);
        }
        Some(client)
    }

    fn restart_client(&mut self, now: Instant, key: Key, millis: u64) {
        let timer = self.after(now, millis, Timer::Client(key));
        let old = self.clients.get(key).and_then(|client| client.timer.replace(timer));
        if let Some(old) = old {
            self.timers.cancel(old);
        }
    }

    fn tell_operator(&mut self, link: LinkId, outcome: Result<(), Failure>, out: &mut Outbox) {
        let Err(failure) = outcome else { return };
        if failure.error().remedy == Remedy::TellOperator {
            let text = format!(
                "the pool cannot route to us or does not trust us: {} with ms-diagnostics {}; see its static route, the \
                 trusted application and our certificate",
                failure.code,
                failure.diagnostics.unwrap_or(0)
            );
            self.note(Notice::PoolDistrusts, link, "pool", text, out);
        }
    }
}

/// Whether a 2xx speaks of the dialog we asked for: a tag of ours that is not ours would name somebody else's dialog.
fn belongs(invite: &Bytes, response: &Message) -> bool {
    let Ok(invite) = Message::parse(invite.clone()) else { return false };
    let tag = |message: &Message| message.from().ok().and_then(|from| from.tag().map(|tag| tag.into_owned()));
    invite.call_id() == response.call_id() && tag(&invite) == tag(response)
}

fn same_to(one: &Message, other: &Message) -> bool {
    let tag = |message: &Message| message.to().ok().and_then(|to| to.tag().map(|tag| tag.into_owned()));
    tag(one) == tag(other)
}

/// The ACK for a refusal (RFC 3261 §17.1.1.3): branch and addresses of the INVITE, To of the response.
fn acknowledge(invite: &Bytes, response: &Message) -> Result<Bytes, WriteError> {
    echo(invite, "ACK", response.lines(HeaderName::To).next())
}

/// The CANCEL for an INVITE (RFC 3261 §9.1).
fn cancel(invite: &Bytes) -> Result<Bytes, WriteError> {
    echo(invite, "CANCEL", None)
}

fn echo(invite: &Bytes, method: &str, to: Option<&[u8]>) -> Result<Bytes, WriteError> {
    let broken = || WriteError::NotToken("INVITE".to_owned());
    let invite = Message::parse(invite.clone()).map_err(|_| broken())?;
    let crate::parse::Start::Request { uri, .. } = invite.start() else { return Err(broken()) };
    let uri = std::str::from_utf8(uri).map_err(|_| broken())?;
    let to = to.or_else(|| invite.lines(HeaderName::To).next()).unwrap_or_default();
    let number = invite.cseq().map_err(WriteError::Address)?.number;
    let lines = |name: HeaderName| invite.lines(name).take(1).collect::<Vec<_>>();
    let builder = Builder::request(method, uri)?
        .raw(HeaderName::Via, &lines(HeaderName::Via))?
        .header(HeaderName::MaxForwards, "70")?
        .raw(HeaderName::From, &lines(HeaderName::From))?
        .raw(HeaderName::To, &[to])?
        .raw(HeaderName::CallId, &lines(HeaderName::CallId))?
        .header(HeaderName::CSeq, &format!("{number} {method}"))?;
    Ok(builder.finish())
}
