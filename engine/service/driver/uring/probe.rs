//! Whether this kernel can do what the `uring` driver needs. Invariant: everything the driver relies on is tried here once, with the
//! same flags, before the first shard starts.

use std::fmt;
use std::io::{Error, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::ring::{Completion, Operation, Ring, Token};

/// How often the ring is asked for what must come at once, and how long each time.
const TRIES: u32 = 20;
const TRY: Duration = Duration::from_millis(50);

/// Why io_uring cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The kernel is too old, or somebody has forbidden it: another driver can do the work.
    Unsupported(String),
    /// A limit of the system that another driver would meet as well, sooner or later.
    Limit(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(text) | Self::Limit(text) => f.write_str(text),
        }
    }
}

/// Sets up a ring as a shard does, and receives through it. On a thread of its own: when a ring ends, the kernel interrupts the
/// thread that used it, and calls that wait with a time limit then fail.
///
/// # Errors
/// What does not work, and whose fault it is.
pub fn probe() -> Result<(), Refused> {
    let thread = std::thread::Builder::new().name("probe".to_owned()).spawn(try_out);
    let thread = thread
        .map_err(|error| Refused::Limit(format!("no thread: {error}; raise the limit of processes")))?;
    thread.join().unwrap_or_else(|_| Err(Refused::Unsupported("the attempt panicked".to_owned())))
}

fn try_out() -> Result<(), Refused> {
    let mut ring = Ring::new().map_err(|error| judge("it cannot be set up", &error))?;
    let missing = ring.missing().map_err(|error| judge("it does not say what it can do", &error))?;
    if let Some(operation) = missing {
        return Err(Refused::Unsupported(format!("this kernel lacks the operation {operation:?}")));
    }
    let (mut here, there) = UnixStream::pair().map_err(|error| judge("no pair of sockets", &error))?;
    ring.nothing();
    ring.receive(there.as_raw_fd(), Token::alone(Operation::Receive));
    here.write_all(b"x").map_err(|error| judge("no byte fits a socket", &error))?;
    let (mut completions, mut nothing, mut received) = (Vec::new(), false, false);
    for _ in 0..TRIES {
        ring.enter(Some(TRY)).map_err(|error| judge("it does not run", &error))?;
        ring.drain(&mut completions);
        for completion in completions.drain(..) {
            match completion.token.operation {
                Operation::Nothing => nothing = true,
                Operation::Receive => received = byte(&mut ring, completion)?,
                _ => (),
            }
        }
        if nothing && received {
            return Ok(());
        }
    }
    Err(Refused::Unsupported("operations do not complete".to_owned()))
}

/// Whether a receive brought the byte, and goes on.
fn byte(ring: &mut Ring, completion: Completion) -> Result<bool, Refused> {
    if completion.result < 0 {
        return Err(judge("multishot receive", &Error::from_raw_os_error(-completion.result)));
    }
    let good = completion.filled.is_some_and(|filled| ring.buffers.look(filled, |bytes| bytes == b"x"));
    if good && completion.more {
        Ok(true)
    } else {
        Err(Refused::Unsupported("multishot receive ends with the first byte".to_owned()))
    }
}

/// What an error of the kernel means.
pub(crate) fn judge(what: &str, error: &Error) -> Refused {
    match error.raw_os_error() {
        Some(libc::EMFILE) => Refused::Limit(format!(
            "{what}: {error}; raise the limit of open files of this process (ulimit -n, LimitNOFILE)"
        )),
        Some(libc::ENFILE) => Refused::Limit(format!(
            "{what}: {error}; raise the limit of open files of the system (fs.file-max)"
        )),
        Some(libc::ENOMEM) => Refused::Limit(format!(
            "{what}: {error}; raise the limit of locked memory (ulimit -l, LimitMEMLOCK) or of the memory control group"
        )),
        Some(libc::ENOSYS) => Refused::Unsupported(format!("{what}: this kernel has no io_uring ({error})")),
        Some(libc::EPERM | libc::EACCES) => Refused::Unsupported(format!(
            "{what}: forbidden here ({error}), by the kernel.io_uring_disabled setting or by the container's seccomp profile"
        )),
        Some(libc::EINVAL | libc::EOPNOTSUPP) => {
            Refused::Unsupported(format!("{what}: this kernel is older than 6.1 ({error})"))
        }
        _ => Refused::Unsupported(format!("{what}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(number: i32) -> Refused {
        judge("x", &Error::from_raw_os_error(number))
    }

    #[test]
    fn what_another_driver_can_do_falls_back_and_limits_do_not() {
        for number in [libc::ENOSYS, libc::EPERM, libc::EACCES, libc::EINVAL, libc::EOPNOTSUPP] {
            assert!(matches!(kind(number), Refused::Unsupported(_)), "{number}");
        }
        for (number, limit) in
            [(libc::EMFILE, "LimitNOFILE"), (libc::ENFILE, "file-max"), (libc::ENOMEM, "LimitMEMLOCK")]
        {
            assert!(matches!(kind(number), Refused::Limit(text) if text.contains(limit)), "{number}");
        }
    }
}
