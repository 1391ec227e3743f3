//! The proc connector: the kernel's own word of every fork and exit on the
//! machine (netlink, NETLINK_CONNECTOR, CN_IDX_PROC; since Linux 6.6 also for
//! who is not root).

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::{Errno, Result, last_errno, spawn};
use crate::deadline::Deadline;

/// What the kernel says of processes. Times are of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A process was made. (A new thread is no news.)
    Fork { parent: i32, child: i32, time: Duration },
    /// A thread ended; the process's first where the two numbers are one.
    Exit { tid: i32, pid: i32, status: i32, time: Duration },
    /// There was more than we were told.
    Lost,
}

/// A socket that listens to the whole machine.
#[derive(Debug)]
pub(crate) struct Connector {
    socket: OwnedFd,
    /// The number that each CPU's next message will have.
    next: HashMap<u32, u32>,
}

impl Connector {
    /// Listens from now on, with a receive buffer of so many bytes where that
    /// is allowed.
    ///
    /// EPERM: not permitted, or not in the first pid and user namespace, where
    /// the kernel does not even answer.
    pub(crate) fn open(buffer: usize) -> Result<Connector> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes integers, returns a new descriptor or -1.
        let socket = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_CONNECTOR) };
        if socket == -1 {
            return Err(last_errno());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else
        // knows its number.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        set_buffer(&socket, buffer)?;
        let mut address = address();
        address.nl_groups = CN_IDX_PROC;
        // SAFETY: `address` is a sockaddr_nl of the size that is given.
        let bound = unsafe {
            libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_nl>() as u32)
        };
        if bound == -1 {
            return Err(last_errno());
        }
        let connector = Connector { socket, next: HashMap::new() };
        connector.subscribe()?;
        connector.await_answer()?;
        Ok(connector)
    }

    /// The next message; `None` if there is none now.
    pub(crate) fn read(&mut self) -> Result<Option<News>> {
        loop {
            let mut bytes = [0_u8; 512];
            let length = match receive(&self.socket, &mut bytes) {
                Ok(Some(length)) => length,
                Ok(None) => continue,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                // The buffer was full. What is in it now came before.
                Err(Errno::NOBUFS) => {
                    self.next.clear();
                    return Ok(Some(News::Lost));
                }
                Err(errno) => return Err(errno),
            };
            let Some(message) = bytes.get(..length).and_then(Message::parse) else { continue };
            // The answer to somebody's wish to listen, who may be another than we.
            // It is numbered like the rest, since Linux 6.6; before, it has no CPU.
            if message.cpu == u32::MAX {
                continue;
            }
            let next = message.number.wrapping_add(1);
            match self.next.insert(message.cpu, next) {
                // A gap: this message is dropped too, as what follows a loss is
                // found out by looking and not by being told.
                Some(expected) if expected != message.number => return Ok(Some(News::Lost)),
                _ => {}
            }
            if let Some(news) = message.news() {
                return Ok(Some(news));
            }
        }
    }

    fn subscribe(&self) -> Result<()> {
        let mut request = Vec::with_capacity(40);
        for word in [40_u32, u32::from(NLMSG_DONE), 0, 0] {
            request.extend(word.to_ne_bytes());
        }
        for word in [CN_IDX_PROC, CN_VAL_PROC, 0, 0, 4, PROC_CN_MCAST_LISTEN] {
            request.extend(word.to_ne_bytes());
        }
        // SAFETY: the bytes outlive the call; no address means the kernel.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent == -1 { Err(last_errno()) } else { Ok(()) }
    }

    /// The kernel answers whoever may listen, within the call that asked; so
    /// that nobody waits here, and silence is a refusal.
    fn await_answer(&self) -> Result<()> {
        let deadline = Deadline::after(Duration::from_millis(200));
        while spawn::wait_readable(self.as_fd(), deadline)? {
            let mut bytes = [0_u8; 512];
            match receive(&self.socket, &mut bytes) {
                Ok(Some(length)) => match bytes.get(..length).and_then(Message::parse) {
                    Some(message) if message.what == PROC_EVENT_NONE => {
                        let refused = message.word(0).unwrap_or_default();
                        return if refused == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(refused as i32)) };
                    }
                    // Of a moment in which nothing was known yet: whoever opens
                    // this lists all processes afterwards.
                    _ => {}
                },
                // A small buffer on a busy machine. The answer may be what was
                // lost, but there would be no messages without the right to them.
                Err(Errno::NOBUFS) => return Ok(()),
                Ok(None) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::PERM)
    }
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One message: a netlink header of 16 bytes, a connector's of 20, the event's
/// of 16 (`what`, `cpu`, a time in nanoseconds), then up to 24 bytes of data.
struct Message<'a> {
    number: u32,
    what: u32,
    cpu: u32,
    time: Duration,
    data: &'a [u8],
}

impl Message<'_> {
    fn parse(bytes: &[u8]) -> Option<Message<'_>> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if (word(16)?, word(20)?) != (CN_IDX_PROC, CN_VAL_PROC) {
            return None;
        }
        let nanoseconds = u64::from_ne_bytes(bytes.get(44..52)?.try_into().ok()?);
        Some(Message {
            number: word(24)?,
            what: word(36)?,
            cpu: word(40)?,
            time: Duration::from_nanos(nanoseconds),
            data: bytes.get(52..)?,
        })
    }

    fn word(&self, index: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.data.get(4 * index..4 * index + 4)?.try_into().ok()?))
    }

    fn news(&self) -> Option<News> {
        let number = |index| self.word(index).map(|word| word as i32);
        match self.what {
            // Thread and process that forked, thread and process that was made.
            PROC_EVENT_FORK if number(2)? == number(3)? => {
                Some(News::Fork { parent: number(1)?, child: number(3)?, time: self.time })
            }
            PROC_EVENT_EXIT => {
                Some(News::Exit { tid: number(0)?, pid: number(1)?, status: number(2)?, time: self.time })
            }
            _ => None,
        }
    }
}

/// One message of the kernel's; `None` for a stranger's, who may send to any
/// netlink socket.
fn receive(socket: &OwnedFd, bytes: &mut [u8; 512]) -> Result<Option<usize>> {
    let mut sender = address();
    let mut size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: at most `bytes.len()` bytes are written to `bytes`, and at most
    // `size` to `sender`, which has that size.
    let length = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
            (&raw mut sender).cast(),
            &raw mut size,
        )
    };
    match usize::try_from(length) {
        Ok(length) => Ok((sender.nl_pid == 0).then_some(length)),
        Err(_) => Err(last_errno()),
    }
}

/// Beyond the machine's limit where we may (CAP_NET_ADMIN), else up to it.
fn set_buffer(socket: &OwnedFd, bytes: usize) -> Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let set = |option| {
        // SAFETY: the option's value is an int, which outlives the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result == -1 { Err(last_errno()) } else { Ok(()) }
    };
    set(libc::SO_RCVBUFFORCE).or_else(|_| set(libc::SO_RCVBUF))
}

fn address() -> libc::sockaddr_nl {
    // SAFETY: all-zero is a valid sockaddr_nl: the kernel, and no group.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address
}

// include/uapi/linux/connector.h and cn_proc.h.
const NLMSG_DONE: u16 = 3;
const CN_IDX_PROC: u32 = 1;
const CN_VAL_PROC: u32 = 1;
const PROC_CN_MCAST_LISTEN: u32 = 1;
const PROC_EVENT_NONE: u32 = 0;
const PROC_EVENT_FORK: u32 = 1;
const PROC_EVENT_EXIT: u32 = 0x8000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    /// R1.12: the messages are understood, and a gap in their numbers is a loss.
    #[test]
    fn a_message_is_read_as_the_kernel_wrote_it() {
        let mut bytes = vec![0; 16];
        for word in [1_u32, 1, 7, 0, 40, PROC_EVENT_FORK, 3] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(5_u64.to_ne_bytes());
        for word in [10_u32, 10, 11, 11] {
            bytes.extend(word.to_ne_bytes());
        }
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.number, message.cpu), (7, 3));
        let fork = News::Fork { parent: 10, child: 11, time: Duration::from_nanos(5) };
        assert_eq!(message.news(), Some(fork));
        assert!(Message::parse(&bytes[..40]).is_none());
        assert!(Message::parse(&[]).is_none());
    }
}
