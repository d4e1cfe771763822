//! What both drivers keep to. Invariant: a bound that holds for one holds for the other, so that choosing a driver changes nothing but
//! what it costs.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use turnout_core::limits::STALL_SECONDS;

/// How often the outside sees new counters.
pub(crate) const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// How often a shard turns that has nothing to do, so that one that is stuck can be told from one that is idle.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// Messages taken from other threads in one turn.
pub(crate) const MAIL_PER_TURN: usize = 4096;

/// Hand-offs that may wait for room before sockets are no longer read.
pub(crate) const OVERFLOW_MAX: usize = 1024;

/// Contacts that may wait for the store before sockets are no longer read. A disk may be full for hours while messages pass, so this
/// is for a flood of ever new pairs; it is some 150 MB a shard.
pub(crate) const UNSTORED_MAX: usize = 500_000;

/// How soon what the store's full queue did not take is offered again.
pub(crate) const STORE_AGAIN: Duration = Duration::from_millis(20);

/// How long a connection that is closed in order may take to finish.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// Seconds after which the kernel gives up a peer whose machine does not answer: longer than the core waits for one that does not read,
/// which shows in more than the log.
const UNANSWERED: Duration = Duration::from_secs(STALL_SECONDS + 30);

/// Seconds of silence after which the kernel asks whether the peer's machine is there, and how often.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(15);

/// Has the kernel find out when a peer's machine is gone: what it had taken for it would otherwise count as written for a quarter of an hour,
/// and a silent connection would stay for ever.
pub(crate) fn notice_the_dead(socket: SockRef<'_>) {
    // A connection that is over already makes these fail, and reading shows it.
    #[cfg(target_os = "linux")]
    drop(socket.set_tcp_user_timeout(Some(UNANSWERED)));
    drop(socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(ASK_AFTER).with_interval(ASK_EVERY)));
}

/// Bytes that may wait for a partner on a connection he opened. There he only gets answers, and whoever asks without reading
/// them is not to fill the memory with them.
pub(crate) const ANSWERS_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// The same for every other connection: far more than the credit of a link lets stanzas take.
pub(crate) const WAITING_BYTES_MAX: u64 = 64 * 1024 * 1024;
