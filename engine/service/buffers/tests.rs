use std::io::Write;
use std::net::{TcpListener, TcpStream};

use super::*;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

#[test]
fn what_was_read_is_lent_and_its_memory_used_again_when_all_is_given_back() {
    let (mut near, far) = pair();
    let mut buffers = Buffers::new();
    let mut first = None;
    for round in 0..1000_u32 {
        near.write_all(&round.to_be_bytes()).unwrap();
        buffers.rewind();
        assert_eq!(buffers.receive(&SockRef::from(&far), 64 * 1024).unwrap(), 4);
        let slice = buffers.take();
        assert_eq!(slice, &round.to_be_bytes()[..]);
        assert_eq!(*first.get_or_insert(slice.as_ptr()), slice.as_ptr());
    }
    drop(near);
    assert_eq!(buffers.receive(&SockRef::from(&far), 10).unwrap(), 0);
    assert!(buffers.is_empty());
}

#[test]
fn what_is_still_held_is_never_written_over() {
    let mut buffers = Buffers::new();
    let mut held = Vec::new();
    for round in 0..400_u32 {
        buffers.rewind();
        let bytes = [round.to_be_bytes(); 1000].concat();
        buffers.put(&bytes);
        let slice = buffers.take();
        // One of three stays, the others are given back at once.
        if round % 3 == 0 {
            held.push((bytes, slice));
        }
    }
    assert!(held.iter().all(|(bytes, slice)| bytes == slice));
    assert!(!buffers.lent.is_empty());
    drop(held);
    let chunks = buffers.lent.len();
    for _ in 0..400 {
        buffers.put(&[1; 4000]);
        drop(buffers.take());
    }
    assert_eq!(buffers.lent.len(), chunks, "the memory that is there suffices");
}

#[test]
fn small_reads_share_a_chunk() {
    let mut buffers = Buffers::new();
    let held: Vec<Bytes> = (0..1000)
        .map(|_| {
            buffers.put(&[7; 250]);
            buffers.take()
        })
        .collect();
    assert_eq!(held.len(), 1000);
    assert!(buffers.lent.iter().filter(|chunk| chunk.capacity() > 0).count() <= 1);
}

#[test]
fn more_than_was_reserved_stays_in_one_piece() {
    let mut buffers = Buffers::new();
    buffers.put(&[1; 10]);
    drop(buffers.take());
    buffers.put(&[2; CHUNK_BYTES - 20]);
    buffers.put(&[3; 100_000]);
    let slice = buffers.take();
    assert_eq!(slice.len(), CHUNK_BYTES + 99_980);
    assert!(slice[CHUNK_BYTES - 20..].iter().all(|byte| *byte == 3));
}

#[test]
fn chunks_nobody_needs_go_back() {
    let mut buffers = Buffers::new();
    let held: Vec<Bytes> = (0..100)
        .map(|_| {
            buffers.put(&[7; CHUNK_BYTES]);
            buffers.take()
        })
        .collect();
    assert!(buffers.lent.len() <= CHUNKS_MAX);
    drop(held);
    for _ in 0..8 {
        buffers.trim();
    }
    assert!(buffers.lent.is_empty());
}
