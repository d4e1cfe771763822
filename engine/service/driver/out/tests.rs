use turnout_core::io::{ClientTls, Identity, Side, TrustId};

use super::*;
use crate::config::Config;
use crate::tls::TlsContext;

/// A socket that takes so many bytes and is then full.
#[derive(Default)]
struct Pipe {
    room: usize,
    taken: Vec<u8>,
    calls: usize,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(self.room);
        self.room -= count;
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.write(&all)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn plain_bytes_leave_in_order_and_are_counted_as_they_leave() {
    let mut out = Out::default();
    for slice in ["abc", "", "de", "f"] {
        out.queue(Bytes::from_static(slice.as_bytes()));
    }
    assert_eq!(out.waiting(), 6);
    let mut pipe = Pipe { room: 4, ..Pipe::default() };
    let mut written = None;
    assert!(out.push(&mut pipe, &mut written).unwrap());
    assert_eq!((written, out.waiting()), (Some(4), 2));
    pipe.room = 100;
    assert!(!out.push(&mut pipe, &mut written).unwrap());
    assert_eq!((written, out.waiting()), (Some(6), 0));
    assert_eq!(pipe.taken, b"abcdef");
    assert!(out.wire_is_empty());
    let calls = pipe.calls;
    assert!(!out.push(&mut pipe, &mut written).unwrap());
    assert_eq!(pipe.calls, calls, "nothing to write, nothing asked of the kernel");
}

#[test]
fn thousands_of_slices_are_few_writes() {
    let mut out = Out::default();
    for _ in 0..3000 {
        out.queue(Bytes::from_static(b"0123456789"));
    }
    let mut pipe = Pipe { room: usize::MAX, ..Pipe::default() };
    assert!(!out.push(&mut pipe, &mut None).unwrap());
    assert_eq!((pipe.calls, pipe.taken.len()), (3, 30_000));
}

#[test]
fn a_mark_covers_what_was_queued_before_tls() {
    let mut out = Out::default();
    out.queue(Bytes::from_static(b"<proceed/>"));
    out.begin_tls();
    out.queue(Bytes::from_static(b"secret"));
    let mut pipe = Pipe { room: 9, ..Pipe::default() };
    let mut written = None;
    assert!(out.push(&mut pipe, &mut written).unwrap());
    assert_eq!(written, None, "the whole of it counts with TLS");
    pipe.room = 100;
    assert!(!out.push(&mut pipe, &mut written).unwrap());
    assert_eq!((written, out.waiting()), (Some(10), 6), "what is to be encrypted waits");
    assert_eq!(pipe.taken, b"<proceed/>");
}

#[test]
fn a_rest_keeps_no_room_for_a_burst() {
    let mut out = Out::default();
    for _ in 0..3000 {
        out.queue(Bytes::from_static(b"0123456789"));
    }
    out.rest();
    assert_eq!(out.waiting(), 30_000);
    assert_eq!(out.advance(30_000), Some(30_000));
    out.rest();
    assert!(out.wire.capacity() <= KEPT_SLICES);
}

/// A session of ours as a client with one as a server, past their handshake.
fn sessions(name: &str) -> (TlsSession, TlsSession) {
    let folder = std::env::temp_dir().join(format!("turnout-out-{name}-{}", std::process::id()));
    crate::dev_certs::write(&folder, &[], crate::clock::system_time()).unwrap();
    let context = TlsContext::load(&Config::embedded(&folder).unwrap()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let client = ClientTls {
        server_name: "contoso.com".into(),
        trust: TrustId(0),
        identity: Identity::Anonymous,
        alpn_xmpp: false,
    };
    let (mut near, mut far) = (context.connect(&client).unwrap(), context.accept(Side::Partners).unwrap());
    for _ in 0..4 {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        near.take_ciphertext(&mut there);
        far.feed(&there, &mut Buffers::new()).unwrap();
        far.take_ciphertext(&mut back);
        near.feed(&back, &mut Buffers::new()).unwrap();
    }
    assert!(near.handshake_done() && far.handshake_done());
    (near, far)
}

#[test]
fn small_pieces_weigh_what_it_costs_to_keep_them() {
    // B-63: a million answers of two bytes are not two megabytes.
    let mut out = Out::default();
    for _ in 0..1000 {
        out.queue(Bytes::from_static(b"\r\n"));
    }
    assert_eq!(out.waiting(), 2000);
    assert!(out.weight() >= 1000 * (2 + size_of::<Bytes>() as u64));
    assert!(SLICE_COST >= size_of::<Bytes>() as u64);
    out.advance(2000);
    assert_eq!(out.weight(), 0);
    let mut one = Out::default();
    one.queue(Bytes::from(vec![0; 100_000]));
    assert!(one.weight() < 101_000);
}

/// Queues stanzas of many sizes, lets the socket take `step` bytes at a time in one of the two ways, and reads at the other end.
fn sealed_and_read(by_wire: bool, step: usize) {
    let (mut near, mut far) = sessions(&format!("{by_wire}-{step}"));
    let (mut out, mut pipe, mut buffers) = (Out::default(), Pipe::default(), Buffers::new());
    out.begin_tls();
    let mut all = Vec::new();
    for length in [1, 250, 4096, 4097, 70_000, 3, 300_000, 250] {
        let slice: Vec<u8> = (0..length).map(|at| ((at + length) % 251) as u8).collect();
        all.extend_from_slice(&slice);
        out.queue(Bytes::from(slice));
    }
    let (mut plain, mut read, mut fed) = (Buffers::new(), Vec::new(), 0);
    let mut turns = 0;
    while out.waiting() > 0 || !far.wants_close() {
        turns += 1;
        assert!(turns < 100_000, "it does not end: {} wait", out.waiting());
        pipe.room = step;
        let mut written = None;
        if by_wire {
            if out.wire_is_empty() {
                out.seal(&mut near, true, &mut buffers).unwrap();
            }
            out.push(&mut pipe, &mut written).unwrap();
        } else {
            out.push_sealed(&mut near, true, &mut pipe, &mut written).unwrap();
        }
        far.feed(&pipe.taken[fed..], &mut plain).unwrap();
        fed = pipe.taken.len();
        read.extend_from_slice(&plain.take());
        let told = all.len() as u64 - out.waiting();
        assert!(written.is_none_or(|written| written == told));
        assert!(told <= read.len() as u64, "{told} told as written, {} came", read.len());
    }
    assert!(read == all, "what came is not what was queued");
}

#[test]
fn both_ways_out_of_a_session_tell_no_more_than_left_and_end_in_order() {
    for by_wire in [false, true] {
        for step in [977, 20_000, 1_000_000] {
            sealed_and_read(by_wire, step);
        }
    }
}
