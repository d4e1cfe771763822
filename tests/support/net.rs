//! A fake network. Invariant: bytes leave a pipe in the order they entered it; what the peer has read is always at least what the
//! shard was told is written, unless the peer acknowledges: then the system takes all at once, and it dies with the connection; after `Closed` the shard hears nothing more of a connection.

use std::collections::VecDeque;

use turnout_core::io::LinkId;

/// A connection between a shard and a peer.
#[derive(Debug)]
pub struct Conn {
    /// Its number.
    pub number: u64,
    /// Its name in the shard.
    pub link: LinkId,
    /// Which peer.
    pub peer: usize,
    /// Bytes on their way to the peer.
    pub to_peer: VecDeque<u8>,
    /// Bytes on their way to the shard.
    pub to_shard: VecDeque<u8>,
    /// Bytes the peer has read.
    pub read: u64,
    /// Bytes the shard was told are written.
    pub told: u64,
    /// The peer closes when everything it sent has been delivered.
    pub peer_closing: bool,
    /// The shard closes when everything it sent has been read.
    pub flushing: bool,
    /// The system takes what the shard writes before the peer reads it.
    pub eager: bool,
    /// The shard does not read.
    pub paused: bool,
    /// The peer does not read for now.
    pub deaf: bool,
    /// Numbers of stanzas the peer read, each with the count of bytes read by then.
    pub carried: Vec<(u64, usize)>,
}

impl Conn {
    /// A quiet connection.
    pub fn new(number: u64, link: LinkId, peer: usize) -> Self {
        Self {
            number,
            link,
            peer,
            to_peer: VecDeque::new(),
            to_shard: VecDeque::new(),
            read: 0,
            told: 0,
            peer_closing: false,
            flushing: false,
            eager: false,
            paused: false,
            deaf: false,
            carried: Vec::new(),
        }
    }

    /// Bytes of the shard's that the system has taken.
    pub fn taken(&self) -> u64 {
        self.read + if self.eager { self.to_peer.len() as u64 } else { 0 }
    }

    /// Whether nothing is under way that moves by itself.
    pub fn is_quiet(&self) -> bool {
        (self.to_peer.is_empty() || self.deaf)
            && (self.to_shard.is_empty() || self.paused)
            && self.taken() <= self.told
            && !(self.peer_closing && self.to_shard.is_empty())
            && !(self.flushing && self.to_peer.is_empty())
    }
}
