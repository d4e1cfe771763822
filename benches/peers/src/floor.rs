//! What the machine can do: bytes in memory, bytes over loopback. Invariant: one thread moves, as one shard would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::report::Json;
use crate::wire::Wire;
use crate::{Outcome, sys};

/// Copies blocks for so many seconds; bytes a second.
#[must_use]
pub fn memory(block: usize, seconds: f64) -> f64 {
    let from = vec![7_u8; block];
    let mut to = vec![0_u8; block];
    let start = sys::now();
    let mut copied = 0_u64;
    loop {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        copied += block as u64;
        let spent = (sys::now() - start) as f64 / 1e9;
        if spent >= seconds {
            return copied as f64 / spent;
        }
    }
}

/// One thread writes, one reads; bytes a second and CPU seconds a gigabyte, for both together.
///
/// # Errors
/// When there is no loopback.
pub fn loopback(block: usize, seconds: f64) -> Outcome<(f64, f64)> {
    let wrong = |error: std::io::Error| format!("loopback: {error}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(wrong)?;
    let mut out = TcpStream::connect(listener.local_addr().map_err(wrong)?).map_err(wrong)?;
    let (mut back, _) = listener.accept().map_err(wrong)?;
    let (stop, bytes) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let chunk = vec![7_u8; block];
            loop {
                if stop.load(Ordering::Relaxed) || out.write_all(&chunk).is_err() {
                    break;
                }
            }
            // The reader ends when it sees this.
            drop(out.shutdown(std::net::Shutdown::Both));
        });
        scope.spawn(|| {
            let mut chunk = vec![0_u8; 256 * 1024];
            while let Ok(count) = back.read(&mut chunk) {
                if count == 0 {
                    break;
                }
                bytes.fetch_add(count as u64, Ordering::Relaxed);
            }
        });
        let own = [std::process::id()];
        sys::sleep_until(sys::now() + 200_000_000);
        let (start, from, cpu) = (sys::now(), bytes.load(Ordering::Relaxed), sys::cpu_seconds(&own));
        sys::sleep_until(start + std::time::Duration::from_secs_f64(seconds).as_nanos() as u64);
        let moved = (bytes.load(Ordering::Relaxed) - from) as f64;
        let (spent, cpu) = ((sys::now() - start) as f64 / 1e9, sys::cpu_seconds(&own) - cpu);
        stop.store(true, Ordering::Relaxed);
        Ok((moved / spent, cpu * 1e9 / moved))
    })
}

/// Passes bytes on from who connects to `listen` to who listens at `to`, and back, in this thread, for ever: epoll, and nothing
/// else. Gives the reason why it ended.
#[must_use]
pub fn byte_relay(listen: SocketAddr, to: SocketAddr) -> String {
    match relay_for_ever(listen, to) {
        Ok(never) => match never {},
        Err(why) => why,
    }
}

fn relay_for_ever(listen: SocketAddr, to: SocketAddr) -> Outcome<std::convert::Infallible> {
    let wrong = |error: std::io::Error| format!("the byte relay: {error}");
    let listener = TcpListener::bind(listen).map_err(wrong)?;
    let mut epoll = sys::Epoll::new().map_err(wrong)?;
    epoll.add(&listener, u64::MAX).map_err(wrong)?;
    listener.set_nonblocking(true).map_err(wrong)?;
    // The other end of connection n is n ^ 1.
    let mut wires: Vec<Wire> = Vec::new();
    let (mut keys, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        epoll.wait(-1, &mut keys);
        for key in &keys {
            let Some(at) = usize::try_from(*key).ok().filter(|at| *at < wires.len()) else {
                while let Ok((socket, _)) = listener.accept() {
                    // Whoever comes before the other end is there is sent away.
                    let (Ok(front), Ok(back)) = (Wire::new(socket), Wire::dial(to)) else { continue };
                    for wire in [front, back] {
                        epoll.add(&wire, wires.len() as u64).map_err(wrong)?;
                        wires.push(wire);
                    }
                }
                continue;
            };
            while let Ok(got) = wires[at].receive(&mut buffer) {
                if got.end {
                    wires[at ^ 1].shut();
                }
                if got.bytes == 0 || wires[at ^ 1].send(&buffer[..got.bytes]).is_err() || !got.more {
                    break;
                }
            }
        }
    }
}

/// All floors, each so many times.
///
/// # Errors
/// When there is no loopback.
pub fn run(spans: usize, seconds: f64) -> Outcome<Json> {
    let large: Vec<f64> = (0..spans).map(|_| memory(256 << 20, seconds) / 1e9).collect();
    let small: Vec<f64> = (0..spans).map(|_| memory(1 << 20, seconds) / 1e9).collect();
    let mut tcp = (Vec::new(), Vec::new());
    for _ in 0..spans {
        let (rate, cpu) = loopback(64 * 1024, seconds)?;
        tcp.0.push(rate / 1e9);
        tcp.1.push(cpu);
    }
    Ok(Json::default()
        .numbers("memcpy_256mib_gb_per_second", &large)
        .numbers("memcpy_1mib_gb_per_second", &small)
        .numbers("loopback_64k_gb_per_second", &tcp.0)
        .numbers("loopback_64k_cpu_s_per_gb", &tcp.1))
}
