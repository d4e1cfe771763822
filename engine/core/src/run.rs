//! Stanzas that came in one piece, one behind the other, between the same two domains. Invariant: `bytes` are the accepted
//! bytes, in full and unchanged, and `heads` says of each stanza where it lies in them; a run costs one count of references
//! however many stanzas it holds, which is what makes passing them on cheap.

use std::ops::Range;

use crate::stanza::{Kind, Payload};

/// Where an address lies in a run, in octets from the start of the run: `local@domain/resource`.
///
/// Its text is plain: ASCII, written without references, and preparing it changes nothing provided that its domain is a prepared
/// one. That the domain is one of those proven on the stream is for whoever makes the run to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// First octet of the local part.
    pub start: u32,
    /// The `@`.
    pub at: u32,
    /// The `/`, or the end where there is no resource.
    pub slash: u32,
    /// One past the last octet.
    pub end: u32,
}

impl Address {
    /// The local part.
    pub fn local(self) -> Range<usize> {
        self.start as usize..self.at as usize
    }

    /// The domain.
    pub fn domain(self) -> Range<usize> {
        self.at as usize + 1..self.slash as usize
    }

    /// `local@domain`.
    pub fn bare(self) -> Range<usize> {
        self.start as usize..self.slash as usize
    }

    /// All of it.
    pub fn whole(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One stanza of a run: what routing needs of it, in octets from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// First octet, the `<`.
    pub start: u32,
    /// One past the last octet.
    pub end: u32,
    /// Right behind the element's name, where attributes may be inserted.
    pub insert_at: u32,
    /// First octet of the raw value of `id`; equal to `id_end` where there is none.
    pub id_start: u32,
    /// One past its last octet.
    pub id_end: u32,
    /// Sender, with a local part.
    pub from: Address,
    /// Recipient, with a local part.
    pub to: Address,
    /// Element and type.
    pub kind: Kind,
    /// What an iq asks.
    pub payload: Payload,
    /// The stanza has an `xml:lang` of its own.
    pub has_lang: bool,
}

impl Head {
    /// The stanza within the run.
    pub fn whole(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}
