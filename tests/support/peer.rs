//! The other end of a connection. Invariant: a peer acts only when it is called; what it wants done stands in `PeerOut`.

use turnout_core::io::PeerCertificate;
use turnout_core::random::Random;

use super::ledger::Ledger;

/// What a peer wants done.
#[derive(Debug)]
pub enum PeerAct {
    /// Write.
    Send(u64, Vec<u8>),
    /// Close after what was sent.
    Close(u64),
    /// Connect to the router; the connection has this number.
    Open(u64),
    /// A stanza with this number was read.
    Read(u64, usize),
    /// An error about the stanza with this number was read: its sender's server knows.
    Told(usize),
}

/// Collects acts.
#[derive(Debug)]
pub struct PeerOut<'a> {
    /// What is wanted, in order.
    pub acts: Vec<PeerAct>,
    /// Chance.
    pub random: &'a mut Random,
    /// Numbers of connections.
    pub count: &'a mut u64,
    /// Misbehaviour is over: answer everything now.
    pub calm: bool,
    /// The router goes away: nothing new is said to it.
    pub over: bool,
    /// What was said.
    pub ledger: Ledger,
}

impl PeerOut<'_> {
    /// Connects to the router.
    pub fn open(&mut self) -> u64 {
        *self.count += 1;
        self.acts.push(PeerAct::Open(*self.count));
        *self.count
    }

    /// Writes.
    pub fn send(&mut self, conn: u64, bytes: impl Into<Vec<u8>>) {
        self.acts.push(PeerAct::Send(conn, bytes.into()));
    }

    /// Whether something happens that happens once in so many times; never in the calm.
    pub fn rarely(&mut self, once_in: u64) -> bool {
        !self.calm && self.random.below(once_in) == 0
    }
}

/// What a play has a server say.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Domain or user it comes from.
    pub from: String,
    /// Domain or user it goes to.
    pub to: String,
    /// A stanza, or the text of a message.
    pub text: String,
}

/// How a play has a pool answer the next request of a method.
#[derive(Clone, Debug)]
pub struct Reply {
    /// `INVITE`, `MESSAGE`.
    pub method: String,
    /// Code and reason.
    pub status: String,
    /// Header lines, each with its end.
    pub headers: String,
}

/// What a play has a pool do.
#[derive(Clone, Debug)]
pub struct Deed {
    /// What it is.
    pub act: Act,
    /// The local user.
    pub local: String,
    /// The partner's user.
    pub partner: String,
    /// Header lines, each with its end.
    pub headers: String,
    /// The body.
    pub body: String,
}

/// A request of a pool.
#[derive(Clone, Debug)]
pub enum Act {
    /// SUBSCRIBE: its user wants to see the partner's.
    Subscribe,
    /// The same in the dialog of the last one.
    Refresh,
    /// NOTIFY in the last dialog in which the partner's user watches the local one: what Subscription-State says.
    Notify(String),
    /// A request of this method in their session, or of its own where the pool has no sessions.
    Send(String),
}

/// A fake server.
pub trait Peer {
    /// Says something a play has it say.
    fn speak(&mut self, _words: Words, _out: &mut PeerOut<'_>) {}
    /// Does what a play has it do; whether that is this server's.
    fn act(&mut self, _deed: &Deed, _out: &mut PeerOut<'_>) -> bool {
        false
    }
    /// Answers the next such request so.
    fn prepare(&mut self, _reply: Reply) {}
    /// What it heard since this was asked last, for a play.
    fn heard(&mut self) -> Vec<String> {
        Vec::new()
    }
    /// A connection is up; `ours`: it is one that was wanted by `PeerOut::open`.
    fn opened(&mut self, conn: u64, ours: bool, out: &mut PeerOut<'_>);
    /// Bytes from the router.
    fn receive(&mut self, conn: u64, bytes: &[u8], out: &mut PeerOut<'_>);
    /// The router and this peer have TLS now.
    fn secured(&mut self, _conn: u64, _out: &mut PeerOut<'_>) {}
    /// The certificate this peer shows.
    fn certificate(&self) -> Option<PeerCertificate> {
        None
    }
    /// TLS comes first on every connection.
    fn direct_tls(&self) -> bool {
        false
    }
    /// What it read is done when the router has heard its answer, not when the bytes are written.
    fn keeps(&self) -> bool {
        false
    }
    /// It acknowledges what it reads, so that nothing is lost of what the system took and it never read.
    fn acknowledges(&self) -> bool {
        false
    }
    /// The connection is gone.
    fn closed(&mut self, conn: u64, out: &mut PeerOut<'_>);
    /// Say this stanza, connecting first where needed.
    fn say(&mut self, number: usize, out: &mut PeerOut<'_>);
    /// A chance to do what it put off, or something odd.
    fn whim(&mut self, out: &mut PeerOut<'_>);
    /// Stanzas and answers put off.
    fn waiting(&self) -> usize;
}
