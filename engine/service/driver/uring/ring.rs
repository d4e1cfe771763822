//! The ring itself: the one room where the kernel is given memory. Invariant: whatever an operation points at – receive buffers,
//! messages, the word an event is read into – belongs to the [`Ring`] from the moment the operation is queued until its last
//! completion has been drained, whatever becomes of its connection; a ring that cannot get its operations back keeps their memory for ever.
#![expect(unsafe_code, reason = "an operation is given to the kernel as addresses")]

pub(super) mod buffers;
pub(super) mod message;

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};

use buffers::{Buffers, Filled};
use message::Message;

/// Operations that may be queued before the kernel is called. What does not fit waits in `backlog`.
const SUBMISSIONS: u32 = 1024;

/// Completions that may wait to be drained: multishot operations bring more than were submitted. What does not fit the kernel keeps.
const COMPLETIONS: u32 = 4 * SUBMISSIONS;

/// How often the end of a ring asks for what is still under way, and how long it waits each time.
const FAREWELLS: u32 = 50;
const FAREWELL: Duration = Duration::from_millis(20);

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Receives on a connection until it is cancelled or buffers run out.
    Receive = 1,
    /// Writes a message to a connection.
    Send = 2,
    /// Ends every operation of a connection.
    Cancel = 3,
    /// Waits for a thread without a ring to wake this one.
    Event = 4,
    /// Woke another shard's ring; only failures come back. The slot is the other shard.
    Wake = 5,
    /// Was woken by another shard's ring.
    Woken = 6,
    /// Does nothing.
    Nothing = 7,
}

/// Names an operation: what it is, whose, and which life of that slot it belongs to, as a slot is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// What.
    pub(super) operation: Operation,
    /// Whose: an index.
    pub(super) slot: u32,
    /// Which user of the slot.
    pub(super) generation: u32,
}

impl Token {
    /// Slots there can be.
    pub(super) const SLOTS_MAX: usize = 1 << 24;

    /// An operation without a connection.
    pub(super) const fn alone(operation: Operation) -> Self {
        Self { operation, slot: 0, generation: 0 }
    }

    fn pack(self) -> u64 {
        let slot = u64::from(self.slot) & (Self::SLOTS_MAX as u64 - 1);
        (self.operation as u64) << 56 | slot << 32 | u64::from(self.generation)
    }

    fn unpack(data: u64) -> Option<Self> {
        let operation = match data >> 56 {
            1 => Operation::Receive,
            2 => Operation::Send,
            3 => Operation::Cancel,
            4 => Operation::Event,
            5 => Operation::Wake,
            6 => Operation::Woken,
            7 => Operation::Nothing,
            _ => return None,
        };
        let slot = (data >> 32) as u32 & (Self::SLOTS_MAX as u32 - 1);
        Some(Self { operation, slot, generation: data as u32 })
    }
}

/// What the kernel says of an operation.
#[derive(Debug)]
pub(super) struct Completion {
    /// Which.
    pub(super) token: Token,
    /// Bytes, a descriptor, or a negative error number.
    pub(super) result: i32,
    /// More will be said of it. Without this the operation is over, whatever the result.
    pub(super) more: bool,
    /// The receive buffer it filled.
    pub(super) filled: Option<Filled>,
}

/// A ring with its memory. Made on the thread that uses it, as the kernel insists.
pub(super) struct Ring {
    io: ManuallyDrop<IoUring>,
    /// Receive buffers.
    pub(super) buffers: ManuallyDrop<Buffers>,
    /// Messages under way, by the slot of their connection: a connection has one.
    messages: ManuallyDrop<Vec<Option<Box<Message>>>>,
    #[expect(clippy::vec_box, reason = "the kernel has its address: what goes round is the box")]
    idle: Vec<Box<Message>>,
    word: ManuallyDrop<Box<u64>>,
    backlog: VecDeque<squeue::Entry>,
    /// Operations queued whose last completion has not been drained.
    under_way: usize,
}

impl Ring {
    /// A ring as every shard uses it: set up with the flags we rely on, with a ring of receive buffers registered.
    ///
    /// # Errors
    /// The kernel's, as it gave it.
    pub(super) fn new() -> io::Result<Self> {
        let io: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let buffers = Buffers::register(&io.submitter())?;
        Ok(Self {
            io: ManuallyDrop::new(io),
            buffers: ManuallyDrop::new(buffers),
            messages: ManuallyDrop::default(),
            idle: Vec::new(),
            word: ManuallyDrop::default(),
            backlog: VecDeque::new(),
            under_way: 0,
        })
    }

    /// The first operation we need and this kernel does not have.
    ///
    /// # Errors
    /// The kernel does not even answer that.
    pub(super) fn missing(&self) -> io::Result<Option<&'static str>> {
        let mut probe = Probe::new();
        self.io.submitter().register_probe(&mut probe)?;
        let needed = [
            (opcode::Nop::CODE, "no-op"),
            (opcode::RecvMulti::CODE, "receive"),
            (opcode::SendMsg::CODE, "send message"),
            (opcode::AsyncCancel2::CODE, "cancel"),
            (opcode::MsgRingData::CODE, "message to a ring"),
            (opcode::Read::CODE, "read"),
        ];
        Ok(needed.into_iter().find(|(code, _)| !probe.is_supported(*code)).map(|(_, name)| name))
    }

    /// The ring's descriptor, for other rings.
    pub(super) fn descriptor(&self) -> RawFd {
        self.io.as_raw_fd()
    }

    /// Receives on a socket until cancelled.
    pub(super) fn receive(&mut self, socket: RawFd, token: Token) {
        let entry = opcode::RecvMulti::new(Fd(socket), buffers::GROUP).build();
        self.queue(entry.user_data(token.pack()));
    }

    /// Receives on a socket once, so many bytes at most.
    pub(super) fn receive_once(&mut self, socket: RawFd, token: Token, bytes_max: u32) {
        let entry = opcode::Recv::new(Fd(socket), std::ptr::null_mut(), bytes_max).buf_group(buffers::GROUP);
        self.queue(entry.build().flags(squeue::Flags::BUFFER_SELECT).user_data(token.pack()));
    }

    /// An empty message, to be filled and sent.
    pub(super) fn message(&mut self) -> Box<Message> {
        self.idle.pop().unwrap_or_default()
    }

    /// A message that is no longer needed.
    pub(super) fn put_back(&mut self, message: Box<Message>) {
        if message.is_empty() && self.idle.len() < message::IDLE_MAX {
            self.idle.push(message);
        }
    }

    /// Writes a message to a socket, whole unless the connection breaks or is cancelled. False, and nothing is done, when one is under
    /// way for this slot.
    pub(super) fn send(&mut self, socket: RawFd, token: Token, mut message: Box<Message>) -> bool {
        let slot = token.slot as usize;
        if self.messages.len() <= slot {
            self.messages.resize_with(slot + 1, || None);
        }
        if self.messages[slot].is_some() {
            return false;
        }
        let header = message.address();
        self.messages[slot] = Some(message);
        let flags = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32;
        let entry = opcode::SendMsg::new(Fd(socket), header).flags(flags).build();
        self.queue(entry.user_data(token.pack()));
        true
    }

    /// The message of a slot, when the kernel has done with it.
    pub(super) fn sent(&mut self, slot: u32) -> Option<Box<Message>> {
        let place = self.messages.get_mut(slot as usize)?;
        if place.as_ref().is_some_and(|message| message.is_over()) { place.take() } else { None }
    }

    /// Ends every operation on a socket, which stays open until this has been done.
    pub(super) fn cancel(&mut self, socket: RawFd, token: Token) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::fd(Fd(socket)).all()).build();
        self.queue(entry.user_data(token.pack()));
    }

    /// Ends the one operation of this name, if it is under way: its own completion says so.
    pub(super) fn stop(&mut self, token: Token) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(token.pack())).build();
        self.queue(entry.user_data(Token::alone(Operation::Nothing).pack()));
    }

    /// Completes when somebody writes to this event file.
    pub(super) fn await_event(&mut self, event: RawFd) {
        let word: *mut u64 = &raw mut **self.word;
        let entry = opcode::Read::new(Fd(event), word.cast(), size_of::<u64>() as u32).build();
        self.queue(entry.user_data(Token::alone(Operation::Event).pack()));
    }

    /// Wakes another shard's ring; only a failure comes back.
    pub(super) fn wake(&mut self, shard: u16, ring: RawFd) {
        let told = Token::alone(Operation::Woken).pack();
        let entry = opcode::MsgRingData::new(Fd(ring), 0, told, None).build();
        let token = Token { operation: Operation::Wake, slot: u32::from(shard), generation: 0 };
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(token.pack()));
    }

    /// Does nothing, and says so.
    pub(super) fn nothing(&mut self) {
        let entry = opcode::Nop::new().build();
        self.queue(entry.user_data(Token::alone(Operation::Nothing).pack()));
    }

    fn queue(&mut self, entry: squeue::Entry) {
        self.under_way += 1;
        self.push(entry);
    }

    fn push(&mut self, entry: squeue::Entry) {
        self.backlog.push_back(entry);
        if self.backlog.len() == 1 {
            self.unload();
        }
    }

    /// Moves what waits into the submission queue, as far as it fits.
    fn unload(&mut self) {
        let mut submission = self.io.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: entries are made by the functions above only, which point at memory of this ring alone: registered buffers, a
            // message in `messages`, `word`. None of it is freed, moved or written before the completion has been drained.
            if unsafe { submission.push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
    }

    /// Hands over what is queued and waits for the first completion, so long at most; not at all without a time. The completions are
    /// then there to be drained.
    ///
    /// # Errors
    /// The kernel refuses in a way that will not pass.
    pub(super) fn enter(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.buffers.publish();
        while !self.backlog.is_empty() {
            let before = self.backlog.len();
            self.unload();
            if self.backlog.is_empty() {
                break;
            }
            tolerate(self.io.submit())?;
            self.unload();
            if self.backlog.len() == before {
                // The kernel takes no more before its completions are drained.
                return Ok(());
            }
        }
        let submitter = self.io.submitter();
        match patience {
            Some(patience) => {
                let time = Timespec::from(patience);
                tolerate(submitter.submit_with_args(1, &SubmitArgs::new().timespec(&time)))
            }
            None => {
                // SAFETY: the queue is shared with no one else while this is called.
                let queued = unsafe { self.io.submission_shared() }.len() as u32;
                // Completions are made by an enter that asks for events only, as task work is deferred.
                let flags = EnterFlags::GETEVENTS.bits();
                // SAFETY: no argument is given, and the count is that of the queue.
                tolerate(unsafe { submitter.enter::<libc::sigset_t>(queued, 0, flags, None) })
            }
        }
    }

    /// Appends every completion there is.
    pub(super) fn drain(&mut self, completions: &mut Vec<Completion>) {
        for entry in self.io.completion() {
            let Some(token) = Token::unpack(entry.user_data()) else { continue };
            let more = cqueue::more(entry.flags());
            let result = entry.result();
            if !more && !matches!(token.operation, Operation::Wake | Operation::Woken) {
                self.under_way = self.under_way.saturating_sub(1);
            }
            if token.operation == Operation::Send
                && let Some(Some(message)) = self.messages.get_mut(token.slot as usize)
            {
                message.finish();
            }
            let length = usize::try_from(result).unwrap_or(0);
            let filled = cqueue::buffer_select(entry.flags()).and_then(|id| self.buffers.filled(id, length));
            completions.push(Completion { token, result, more, filled });
        }
    }

    /// Operations that are not over.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Ends everything and waits for it. False when something does not come back.
    fn quiesce(&mut self) -> bool {
        let all = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.queue(all.user_data(Token::alone(Operation::Cancel).pack()));
        let mut completions = Vec::new();
        for _ in 0..FAREWELLS {
            if self.enter(Some(FAREWELL)).is_err() {
                return false;
            }
            self.drain(&mut completions);
            completions.clear();
            if self.under_way == 0 {
                return true;
            }
        }
        false
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let quiet = self.quiesce();
        // SAFETY: nothing uses the field after this, as the ring is being dropped. Closed first, so that the buffers are no longer the
        // kernel's when they are freed.
        unsafe { ManuallyDrop::drop(&mut self.io) };
        if quiet {
            // SAFETY: as above; no operation is under way that points at any of it.
            unsafe {
                ManuallyDrop::drop(&mut self.buffers);
                ManuallyDrop::drop(&mut self.messages);
                ManuallyDrop::drop(&mut self.word);
            }
        }
        // Else the kernel may still write there: it stays.
    }
}

/// A file that counts what is written to it, for threads that have no ring to wake one.
///
/// # Errors
/// Those of the kernel.
pub(super) fn event_file() -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Errors that mean no more than: nothing happened in time, or completions must be drained first.
fn tolerate(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}
