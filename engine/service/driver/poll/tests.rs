use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::mail::post_office;
use crate::resolve::Resolver;
use crate::tls::TlsContext;

/// More than the kernel takes on both ends of a loopback connection, less than may wait.
const MUCH: usize = 48 * 1024 * 1024;

/// A driver, with one accepted connection whose other end the test holds.
struct Rig {
    driver: Poll,
    peer: TcpStream,
    link: LinkId,
    _runtime: Runtime,
}

impl Rig {
    fn new(side: Side) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (post, mut boxes) = post_office(1);
        let (reports, _) = tokio::sync::mpsc::channel(1);
        let tls = Arc::new(TlsContext::without_certificates());
        let resolver = Resolver::new(&[]).unwrap();
        let outside = Outside::new(runtime.handle().clone(), tls, resolver, reports, 1);
        let driver = Poll::new(0, boxes.remove(0), post.clone(), Arc::new(outside)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, address) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let permit = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
        let door = Door { side, direct_tls: false };
        post.try_send(0, Mail::Accepted(stream, door, address.to_string().into(), permit)).unwrap();
        let mut rig = Self { driver, peer, link: LinkId::NONE, _runtime: runtime };
        rig.link = rig.until(|input| match input {
            Input::Accepted { link, .. } => Some(*link),
            _ => None,
        });
        rig
    }

    fn until<T>(&mut self, mut found: impl FnMut(&Input) -> Option<T>) -> T {
        let mut inputs = Vec::new();
        let mut result = None;
        for _ in 0..200 {
            let soon = crate::clock::now() + Duration::from_millis(50);
            self.driver.wait(Some(soon), &mut inputs);
            for input in inputs.drain(..) {
                result = result.or_else(|| found(&input));
            }
            if let Some(result) = result {
                return result;
            }
        }
        panic!("it did not come");
    }

    fn submit(&mut self, output: Output) {
        let mut out = Outbox::new(0);
        out.outputs.push(output);
        self.driver.submit(&mut out);
    }
}

#[test]
fn nothing_is_written_once_the_shard_knows_that_a_connection_is_gone() {
    let mut rig = Rig::new(Side::Home(turnout_core::home::HomeId(0)));
    let link = rig.link;
    rig.submit(Output::Transmit(link, Bytes::from(vec![b'x'; MUCH])));
    // He says that he will say no more, and goes on reading.
    rig.peer.shutdown(Shutdown::Write).unwrap();
    rig.peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut peer = rig.peer.try_clone().unwrap();
    rig.until(|input| matches!(input, Input::Closed(_, Closed::Eof)).then_some(()));
    let reader = std::thread::spawn(move || std::io::copy(&mut peer, &mut std::io::sink()).unwrap());
    for _ in 0..20 {
        let soon = crate::clock::now() + Duration::from_millis(5);
        rig.driver.wait(Some(soon), &mut Vec::new());
    }
    let read = reader.join().unwrap();
    assert!(read < MUCH as u64, "the rest of what the shard now sends elsewhere was written too");
}

#[test]
fn who_asks_without_reading_the_answers_is_cut() {
    let mut rig = Rig::new(Side::Partners);
    let link = rig.link;
    rig.submit(Output::Transmit(link, Bytes::from(vec![b'x'; MUCH])));
    let why = rig.until(|input| match input {
        Input::Closed(_, Closed::Broken(why)) => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("does not read"), "{why}");
}

#[test]
fn a_handshake_that_cannot_begin_leaves_no_socket_behind() {
    let mut rig = Rig::new(Side::Partners);
    let link = rig.link;
    rig.submit(Output::StartTls(link, TlsRole::Server(Side::Partners)));
    rig.until(|input| matches!(input, Input::Closed(_, Closed::Broken(_))).then_some(()));
    rig.peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut byte = [0];
    for _ in 0..4 {
        rig.driver.wait(Some(crate::clock::now()), &mut Vec::new());
    }
    assert_eq!(rig.peer.read(&mut byte).unwrap(), 0, "the socket is closed");
}

#[test]
fn what_is_queued_leaves_before_an_orderly_end() {
    let mut rig = Rig::new(Side::Partners);
    let link = rig.link;
    rig.submit(Output::Transmit(link, Bytes::from_static(b"</stream:stream>")));
    rig.submit(Output::Close(link, Close::Flush));
    rig.peer.set_nonblocking(true).unwrap();
    let mut read = Vec::new();
    for _ in 0..100 {
        let soon = crate::clock::now() + Duration::from_millis(10);
        rig.driver.wait(Some(soon), &mut Vec::new());
        if rig.peer.read_to_end(&mut read).is_ok() {
            break;
        }
    }
    assert_eq!(read, b"</stream:stream>");
    assert_eq!(rig.peer.read(&mut [0]).unwrap(), 0, "our half is closed");
}
