//! The kernel's services that the standard library has no words for: a clock in nanoseconds, exact sleep, epoll, limits, and what
//! /proc knows of other processes. Invariant: all `unsafe` of this crate is here, one call a block.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Outcome;

/// Nanoseconds of the monotonic clock.
#[must_use]
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Sleeps until the clock shows so many nanoseconds.
pub fn sleep_until(at: u64) {
    let time = libc::timespec {
        tv_sec: i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(at % 1_000_000_000).unwrap_or(0),
    };
    // SAFETY: the pointer is to a timespec of ours, and no remainder is asked for.
    unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_MONOTONIC,
            libc::TIMER_ABSTIME,
            &raw const time,
            std::ptr::null_mut(),
        )
    };
}

/// Lets this thread's sleeps end on time instead of within 50 us of it.
pub fn exact_sleep() {
    // SAFETY: takes numbers only. Without it sleep is coarser, no more.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}

/// The cores this thread may run on.
#[must_use]
pub fn cores() -> Vec<usize> {
    // SAFETY: a set of zeros is an empty one, and the pointer is to it.
    let (set, failed) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let failed = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        (set, failed)
    };
    if failed != 0 {
        return Vec::new();
    }
    let most = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: the numbers are below the size of the set.
    (0..most).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Keeps a process and all threads it has to a core; those it makes later follow. 0 is this thread.
///
/// # Errors
/// When the kernel refuses, or there is no such process.
pub fn pin(pid: u32, core: usize) -> Outcome<()> {
    for thread in threads_of(pid)? {
        // SAFETY: the set is ours, and the core is below its size or nothing is written.
        let failed = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut set);
            libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set)
        };
        if failed != 0 {
            return Err(io::Error::last_os_error().to_string());
        }
    }
    Ok(())
}

static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: libc::c_int) {
    STOPPED.store(true, Ordering::Relaxed);
}

/// From now on who interrupts or ends this process has [`stopped`] say so, once: for what has to be put back as it was. The second time it ends.
pub fn stop_in_order() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the action is whole, and its handler does nothing but store a flag.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = stop as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Whether this process is to end.
pub fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// A core from which everybody who may be moved is kept away, threads of the kernel, too, until this is dropped. A process that does this
/// has to [`stop_in_order`], or whoever interrupts it leaves a machine without that core.
#[derive(Debug)]
pub struct Cleared {
    core: usize,
    moved: Vec<i32>,
}

impl Cleared {
    /// Moves all threads there are away from a core; those that may not be moved stay. Threads that are pinned to it later are not touched.
    pub fn of(core: usize) -> Self {
        let mut moved = Vec::new();
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            // A process that has ended meanwhile has no threads.
            moved.extend(
                threads_of(pid).unwrap_or_default().into_iter().filter(|thread| change(*thread, core, false)),
            );
        }
        Self { core, moved }
    }
}

impl Drop for Cleared {
    fn drop(&mut self) {
        for thread in &self.moved {
            // It may have ended.
            change(*thread, self.core, true);
        }
    }
}

/// Takes a core out of those a thread may run on, or adds it. False where that changes nothing or is not allowed.
fn change(thread: i32, core: usize, add: bool) -> bool {
    // SAFETY: the set is ours, and the kernel writes no more than its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(thread, size_of::<libc::cpu_set_t>(), &raw mut set) != 0
            || libc::CPU_ISSET(core, &set) == add
            || (!add && libc::CPU_COUNT(&set) < 2)
        {
            return false;
        }
        if add {
            libc::CPU_SET(core, &mut set);
        } else {
            libc::CPU_CLR(core, &mut set);
        }
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set) == 0
    }
}

/// Lets all threads a process has go before others that share a core with them, as far as that is allowed.
///
/// # Errors
/// When there is no such process.
pub fn favour(pid: u32) -> Outcome<()> {
    for thread in threads_of(pid)? {
        // SAFETY: takes numbers only. Where it fails the thread is as others are.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, thread.unsigned_abs(), -20) };
    }
    Ok(())
}

fn threads_of(pid: u32) -> Outcome<Vec<i32>> {
    if pid == 0 {
        return Ok(vec![0]);
    }
    let listed = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
    Ok(listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// Lets every other thread go before this one, also if it was started by one that has stepped forward.
pub fn step_back() {
    order(libc::SCHED_OTHER, 0);
    // SAFETY: takes numbers only. Where it fails this thread is as others are.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

/// Lets this thread go before every other one that has not asked for it. False where that is not allowed.
pub fn step_forward() -> bool {
    order(libc::SCHED_FIFO, 10)
}

/// Takes [`step_forward`] back: what this thread starts from now on is as others are.
pub fn step_aside() {
    order(libc::SCHED_OTHER, 0);
}

/// Lets this thread run only while no other one wants its core. False where that is not allowed.
pub fn stand_aside() -> bool {
    order(libc::SCHED_IDLE, 0)
}

fn order(policy: libc::c_int, priority: libc::c_int) -> bool {
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: the pointer is to a parameter of ours.
    unsafe { libc::sched_setscheduler(0, policy, &raw const param) == 0 }
}

/// Raises the number of files this process may have open, as far as it may.
pub fn raise_files(wanted: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to an rlimit of ours.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let more = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
    // SAFETY: as above. Only root may go past the hard limit; others get all that is allowed.
    if limit.rlim_cur < wanted && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const more) } != 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: as above.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// An epoll instance. All is edge triggered: reading and writing, until the kernel has no more or takes no more.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// A new one.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes a number only.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    /// Watches a descriptor until it is closed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add(&self, what: &impl AsRawFd, key: u64) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET).cast_unsigned();
        let mut event = libc::epoll_event { events, u64: key };
        // SAFETY: both descriptors are open, and the pointer is to an event of ours.
        let failed = unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, what.as_raw_fd(), &raw mut event)
        };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits, and puts the keys of those with news in `keys`.
    pub fn wait(&mut self, milliseconds: i32, keys: &mut Vec<u64>) {
        keys.clear();
        let room = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `room` events, and so many are there.
        let count =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), room, milliseconds) };
        // An interruption is as good as a time-out.
        keys.extend(self.events.iter().take(usize::try_from(count).unwrap_or(0)).map(|event| event.u64));
    }
}

/// Gives a listener the longest queue there may be.
pub fn deepen(listener: &impl AsRawFd) {
    // SAFETY: the descriptor is open; listening again only changes the length.
    unsafe { libc::listen(listener.as_raw_fd(), 4096) };
}

/// Waits until a descriptor can be read or written; false when the time is up.
pub fn poll(what: &impl AsRawFd, events: i16, milliseconds: i32) -> bool {
    let mut wanted = libc::pollfd { fd: what.as_raw_fd(), events, revents: 0 };
    // SAFETY: the pointer is to one pollfd of ours.
    unsafe { libc::poll(&raw mut wanted, 1, milliseconds) > 0 }
}

/// User and system time of these processes with all their threads, in seconds.
#[must_use]
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| threads_seconds(*pid)).sum()
}

/// Exact to the nanosecond, which `stat` is not.
fn threads_seconds(pid: u32) -> f64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let ran = |task: std::fs::DirEntry| -> Option<f64> {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    tasks.filter_map(Result::ok).filter_map(ran).sum::<f64>() / 1e9
}

/// Time that all cores of the machine have worked, and that its host kept from them, in seconds.
#[must_use]
pub fn machine_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal; in hundredths of a second on every Linux.
    let worked = ticks.take(8).enumerate().filter(|(at, _)| *at != 3 && *at != 4);
    worked.filter_map(|(_, ticks)| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Memory of a set of processes, in KiB: pages in core, and the same with shared pages divided among those that share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident set.
    pub rss_kib: u64,
    /// Proportional set.
    pub pss_kib: u64,
}

/// The memory of these processes together.
///
/// # Errors
/// When one of them is gone.
pub fn memory(pids: &[u32]) -> Outcome<Memory> {
    let mut sum = Memory::default();
    for pid in pids {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .map_err(|error| format!("memory of process {pid}: {error}"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        sum.rss_kib += field("Rss:");
        sum.pss_kib += field("Pss:");
    }
    Ok(sum)
}
