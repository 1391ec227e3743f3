//! The one error of this library: an errno, a sentence, and the tasks to blame.

use std::fmt;

use crate::blocker::Blocker;
use crate::path::GroupPath;

/// What the library's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed: an errno that a program can act on, a message that
/// says what was wrong and where, and the tasks that stood in the way.
///
/// The error is one opaque pointer wide, so a `Result<()>` fits a register.
/// Every function documents the errnos it may return; [`Error::errno`] is the
/// same number that the C functions return negated and that Python puts in
/// `OSError.errno`.
pub struct Error(Box<Inner>);

struct Inner {
    errno: i32,
    message: String,
    blockers: Vec<Blocker>,
    refusal: Option<Refusal>,
}

/// Why a charge was refused (R6.3): [`Error::refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The group that had no room: the one that was charged, or one above.
    pub level: GroupPath,
    /// What the resource is called.
    pub resource: String,
    /// How much was to be charged.
    pub amount: u64,
    /// What that group held.
    pub held: u64,
    /// Its barrier or limit, whichever it was.
    pub bound: u64,
}

impl Error {
    /// The `errno` value, positive: `EBUSY`, `ENODEV`, …
    pub fn errno(&self) -> i32 {
        self.0.errno
    }

    /// One sentence without a trailing full stop: what failed, on what, and
    /// where it is known, the remedy.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The tasks that blocked a freeze, a kill or a removal (R3.7), that are outside
    /// of a group that is to be checkpointed (R4.2), or that were not still during a
    /// checkpoint (R4.4). Empty for every other failure.
    pub fn blockers(&self) -> &[Blocker] {
        &self.0.blockers
    }

    /// Which group refused a charge, and of what. `None` for every other failure.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.refusal.as_ref()
    }

    /// The symbolic name of the errno, `"EBUSY"`; `"E?"` for one that this
    /// library never produces itself.
    pub fn name(&self) -> &'static str {
        errno_name(self.0.errno)
    }

    /// An error of a subsystem's own: an errno, positive, and a sentence. What is
    /// no errno (they go from 1 to 4095) becomes EINVAL, so that no failure
    /// looks like success to a C program.
    pub fn new(errno: i32, message: impl Into<String>) -> Error {
        let errno = if (1..4096).contains(&errno) { errno } else { libc::EINVAL };
        Error(Box::new(Inner { errno, message: message.into(), blockers: Vec::new(), refusal: None }))
    }

    /// A system call's failure: what was being done, and the kernel's word.
    pub(crate) fn os(errno: impl Into<SystemErrno>, doing: impl fmt::Display) -> Error {
        let SystemErrno(errno) = errno.into();
        Error::new(errno, format!("{doing}: {}", strerror(errno)))
    }

    /// The same failure, seen from a step further out.
    pub(crate) fn context(mut self, what: impl fmt::Display) -> Error {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    pub(crate) fn with_blockers(mut self, blockers: Vec<Blocker>) -> Error {
        self.0.blockers = blockers;
        self
    }

    pub(crate) fn with_refusal(mut self, refusal: Refusal) -> Error {
        self.0.refusal = Some(refusal);
        self
    }

    pub(crate) fn is(&self, errno: i32) -> bool {
        self.0.errno == errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.0.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    /// Keeps the kind that belongs to the errno and carries the message.
    fn from(error: Error) -> std::io::Error {
        std::io::Error::new(std::io::Error::from_raw_os_error(error.0.errno).kind(), error)
    }
}

/// An errno from whichever crate reported it.
pub(crate) struct SystemErrno(i32);

impl From<rustix::io::Errno> for SystemErrno {
    fn from(errno: rustix::io::Errno) -> SystemErrno {
        SystemErrno(errno.raw_os_error())
    }
}

impl From<i32> for SystemErrno {
    fn from(errno: i32) -> SystemErrno {
        SystemErrno(errno)
    }
}

impl From<&std::io::Error> for SystemErrno {
    fn from(error: &std::io::Error) -> SystemErrno {
        SystemErrno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// The kernel's sentence for an errno, without Rust's " (os error N)".
fn strerror(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    match text.split_once(" (os error") {
        Some((sentence, _)) => sentence.to_owned(),
        None => text,
    }
}

fn errno_name(errno: i32) -> &'static str {
    match errno {
        libc::E2BIG => "E2BIG",
        libc::EACCES => "EACCES",
        libc::EAGAIN => "EAGAIN",
        libc::EBADF => "EBADF",
        libc::EBUSY => "EBUSY",
        libc::ECANCELED => "ECANCELED",
        libc::ECHILD => "ECHILD",
        libc::EDEADLK => "EDEADLK",
        libc::EEXIST => "EEXIST",
        libc::EINTR => "EINTR",
        libc::EINVAL => "EINVAL",
        libc::EIO => "EIO",
        libc::ELOOP => "ELOOP",
        libc::EMFILE => "EMFILE",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
        libc::ENODEV => "ENODEV",
        libc::ENOENT => "ENOENT",
        libc::ENOEXEC => "ENOEXEC",
        libc::ENOMEM => "ENOMEM",
        libc::ENOSPC => "ENOSPC",
        libc::ENOTDIR => "ENOTDIR",
        libc::ENOTEMPTY => "ENOTEMPTY",
        libc::ENOTRECOVERABLE => "ENOTRECOVERABLE",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EPERM => "EPERM",
        libc::EROFS => "EROFS",
        libc::ESRCH => "ESRCH",
        libc::ESTALE => "ESTALE",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::EXDEV => "EXDEV",
        _ => "E?",
    }
}
