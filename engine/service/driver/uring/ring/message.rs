//! A gathered write. Invariant: the bytes it points at are its own, and neither they nor the list of them change between
//! [`Message::address`] and [`Message::finish`].

use std::ptr;

use bytes::{Buf, Bytes};

/// Slices a new message has room for; most are short.
const SLICES_FEW: usize = 16;

/// Bytes in one message, about: a message is told of when it is written whole, and what it carries counts as waiting until then.
pub(in super::super) const BYTES_MAX: usize = 256 * 1024;

/// Messages kept for use again.
pub(super) const IDLE_MAX: usize = 256;

/// One message.
#[derive(Debug)]
pub(in super::super) struct Message {
    header: libc::msghdr,
    list: Vec<libc::iovec>,
    held: Vec<Bytes>,
    under_way: bool,
}

impl Default for Message {
    fn default() -> Self {
        let header = libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        let (list, held) = (Vec::with_capacity(SLICES_FEW), Vec::with_capacity(SLICES_FEW));
        Self { header, list, held, under_way: false }
    }
}

impl Message {
    /// Adds bytes behind the others. While the kernel has the message it is with the ring, and nobody can.
    pub(in super::super) fn add(&mut self, bytes: Bytes) {
        self.held.push(bytes);
    }

    /// Nothing is in it.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Where the kernel finds it, from now until it has finished.
    pub(super) fn address(&mut self) -> *const libc::msghdr {
        self.list.clear();
        self.list.extend(
            self.held.iter().map(|bytes| libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            }),
        );
        self.header.msg_iov = self.list.as_mut_ptr();
        self.header.msg_iovlen = self.list.len() as _;
        self.under_way = true;
        &raw const self.header
    }

    /// The kernel has done with it.
    pub(super) fn finish(&mut self) {
        self.under_way = false;
    }

    /// Whether the kernel has done with it.
    pub(super) fn is_over(&self) -> bool {
        !self.under_way
    }

    /// Empties it; what lies behind the first `count` bytes goes to `rest`, the last slice first.
    pub(in super::super) fn empty(&mut self, count: usize, mut rest: impl FnMut(Bytes)) {
        let mut unwritten = self.held.iter().map(Bytes::len).sum::<usize>().saturating_sub(count);
        while unwritten > 0 {
            let Some(mut bytes) = self.held.pop() else { break };
            bytes.advance(bytes.len().saturating_sub(unwritten));
            unwritten -= bytes.len();
            rest(bytes);
        }
        self.held.clear();
    }
}
