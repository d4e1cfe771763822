use super::*;

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
