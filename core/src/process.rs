//! Processes and threads as `/proc` shows them, and a hold on a process that
//! its successor under the same number does not inherit.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::error::{Error, Result};
use crate::sys::{self, Errno, pidfd};

/// A process that stays the same process: its number may be given to another
/// one day, the descriptor never (pidfd_open(2)).
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// The process `pid`; 0 is the caller.
    ///
    /// ESRCH: there is none. EINVAL: negative.
    pub(crate) fn open(pid: i32) -> Result<Process> {
        if pid < 0 {
            return Err(Error::new(libc::EINVAL, format!("{pid} is no process number")));
        }
        let pid = if pid == 0 { this_process() } else { pid };
        match pidfd::open(pid) {
            Ok(pidfd) => Ok(Process { pid, pidfd }),
            // A thread's number: EINVAL, since Linux 6.9 ENOENT.
            Err(errno @ (Errno::INVAL | Errno::NOENT)) if Stat::of(pid).is_ok() => {
                let why = format!("{pid} is a thread, not a process; attach_task moves one thread");
                Err(Error::new(libc::ESRCH, format!("{why} ({errno})")))
            }
            Err(Errno::INVAL | Errno::NOENT | Errno::SRCH) => Err(no_such_process(pid)),
            Err(errno) => Err(Error::os(errno, format_args!("opening process {pid}"))),
        }
    }

    /// The process that a descriptor of the caller's stands for.
    ///
    /// EBADF: it is no pidfd. ESRCH: the process has gone, or cannot be seen
    /// from our pid namespace.
    pub(crate) fn from_pidfd(pidfd: BorrowedFd<'_>) -> Result<Process> {
        let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
        let info = read(&path).unwrap_or_default();
        let Some(pid) = field(&info, "Pid:").and_then(|pid| pid.parse::<i32>().ok()) else {
            return Err(Error::new(libc::EBADF, "the descriptor is no pidfd"));
        };
        if pid <= 0 {
            return Err(Error::new(libc::ESRCH, "the pidfd's process has gone, or is not in our pid namespace"));
        }
        let pidfd = pidfd.try_clone_to_owned();
        let pidfd = pidfd.map_err(|error| Error::os(&error, "duplicating the pidfd"))?;
        Ok(Process { pid, pidfd })
    }

    /// A process whose descriptor came with its birth.
    pub(crate) fn born(pid: i32, pidfd: BorrowedFd<'_>) -> Result<Process> {
        let pidfd = pidfd.try_clone_to_owned();
        let pidfd = pidfd.map_err(|error| Error::os(&error, "duplicating a pidfd"))?;
        Ok(Process { pid, pidfd })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it has not been reaped; a zombie is still there.
    pub(crate) fn is_there(&self) -> bool {
        // EPERM: somebody else's, and there.
        !matches!(pidfd::send_signal(&self.pidfd, 0), Err(Errno::SRCH))
    }

    pub(crate) fn signal(&self, signal: i32) -> sys::Result<()> {
        pidfd::send_signal(&self.pidfd, signal)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

pub(crate) fn no_such_process(pid: i32) -> Error {
    Error::new(libc::ESRCH, format!("no process {pid}"))
}

/// The caller's process.
pub(crate) fn this_process() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The parts of `/proc/PID/stat` that this library reads (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub pid: i32,
    pub command: String,
    pub state: u8,
    pub parent: i32,
    pub session: i32,
    /// A process whose first thread has ended (`Z`) lives while this is above 1.
    pub threads: u32,
    /// Clock ticks after boot; with the pid it names a process for good.
    pub start_time: u64,
    /// What the process has used, all its threads, those that have ended too.
    pub used: Ticks,
    /// What its children had used whom it has waited for, and theirs.
    pub waited_for: Ticks,
}

/// CPU time as the kernel shows it: in whole clock ticks, `_SC_CLK_TCK` a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    pub user: u64,
    pub system: u64,
}

impl Stat {
    pub(crate) fn of(pid: i32) -> sys::Result<Stat> {
        read_stat(&format!("/proc/{pid}/stat"))
    }

    pub(crate) fn of_task(pid: i32, tid: i32) -> sys::Result<Stat> {
        read_stat(&format!("/proc/{pid}/task/{tid}/stat"))
    }

    /// Dead, though perhaps not yet waited for.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Whether the process, whose first thread this is, can still do something.
    pub(crate) fn is_alive(&self) -> bool {
        !self.is_dead() || (self.state == b'Z' && self.threads > 1)
    }
}

/// One read(2), which the kernel answers with the whole line: this file is read
/// a thousand times over.
fn read_stat(path: &str) -> sys::Result<Stat> {
    use rustix::fs::{Mode, OFlags};
    let gone = |errno| if errno == Errno::NOENT { Errno::SRCH } else { errno };
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(gone)?;
    let mut line = [0; 1024];
    let length = rustix::io::read(&file, &mut line)?;
    parse_stat(&line[..length]).ok_or(Errno::IO)
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The command is in brackets and may hold brackets and spaces itself; the
    // last closing one ends it.
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    // The third field of the man page's numbering and those after it.
    let mut fields = text.get(close + 1..)?.trim_ascii_start().split(|&byte| byte == b' ');
    let state = *fields.next()?.first()?;
    Some(Stat {
        pid: number(text.get(..open)?.trim_ascii())?,
        command: String::from_utf8_lossy(text.get(open + 1..close)?).into_owned(),
        state,
        parent: number(fields.next()?)?,
        session: number(fields.nth(1)?)?,
        used: Ticks { user: number(fields.nth(7)?)?, system: number(fields.next()?)? },
        waited_for: Ticks { user: number(fields.next()?)?, system: number(fields.next()?)? },
        threads: number(fields.nth(2)?)?,
        start_time: number(fields.nth(1)?.trim_ascii())?,
    })
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The kernel function a thread sleeps in; empty where it runs or where we may
/// not look.
pub(crate) fn waits_in(pid: i32, tid: i32) -> String {
    let name = read(&format!("/proc/{pid}/task/{tid}/wchan")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    if name == "0" { String::new() } else { name }
}

/// The threads of a process, sorted.
pub(crate) fn threads(pid: i32) -> sys::Result<Vec<i32>> {
    numbers_in(&format!("/proc/{pid}/task"))
}

/// The process that a thread belongs to. ESRCH: there is no such thread.
pub(crate) fn process_of(tid: i32) -> sys::Result<i32> {
    let status = read(&format!("/proc/{tid}/status"))?;
    field(&status, "Tgid:").and_then(|pid| pid.parse().ok()).ok_or(Errno::IO)
}

/// Whether every other pid namespace lies below ours, as below the first one
/// (PROC_PID_INIT_INO of include/linux/proc_ns.h).
pub(crate) fn sees_all_namespaces() -> bool {
    rustix::fs::stat("/proc/self/ns/pid").is_ok_and(|stat| stat.st_ino == 0xEFFF_FFFC)
}

/// The numbers of a task in its own pid namespace and in those above up to ours, or none if
/// it has gone.
pub(crate) fn numbers_of(tid: i32) -> Vec<i32> {
    let status = read(&format!("/proc/{tid}/status")).unwrap_or_default();
    ["NSpid:", "NStgid:"]
        .iter()
        .filter_map(|name| field(&status, name))
        .flat_map(|text| numbers(text.as_bytes()))
        .collect()
}

/// The children of a process, by whichever of its threads (CONFIG_PROC_CHILDREN).
pub(crate) fn children(pid: i32) -> sys::Result<Vec<i32>> {
    let mut found = Vec::new();
    for tid in threads(pid)? {
        match read(&format!("/proc/{pid}/task/{tid}/children")) {
            Ok(text) => found.extend(numbers(&text)),
            // The thread ended; its children are another thread's now.
            Err(Errno::NOENT | Errno::SRCH) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

/// Real, effective and saved user id of a process.
pub(crate) fn users(pid: i32) -> sys::Result<[u32; 3]> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let line = field(&status, "Uid:").ok_or(Errno::IO)?;
    let mut ids = line.split_ascii_whitespace().map(str::parse);
    match (ids.next(), ids.next(), ids.next()) {
        (Some(Ok(real)), Some(Ok(effective)), Some(Ok(saved))) => Ok([real, effective, saved]),
        _ => Err(Errno::IO),
    }
}

/// Whether a process has locked something of these bytes of a file, as far as we may see.
pub(crate) fn has_locked(pid: i32, file: impl AsFd, bytes: &Range<u64>) -> bool {
    let Ok(ours) = rustix::fs::fstat(file) else { return false };
    // By the descriptor's own file: the lock's line in fdinfo has the number of a
    // device that stat(2) shows otherwise on some file systems (btrfs).
    let is_it = |descriptor: &str| {
        let theirs = rustix::fs::stat(format!("/proc/{pid}/fd/{descriptor}"));
        theirs.is_ok_and(|theirs| (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino))
            && read(&format!("/proc/{pid}/fdinfo/{descriptor}"))
                .is_ok_and(|info| info.split(|&byte| byte == b'\n').any(|line| is_lock_of(line, bytes)))
    };
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_it))
}

/// `lock: 1: OFDLCK ADVISORY READ -1 00:1b:42 FIRST LAST`, or `EOF` for the last of all.
fn is_lock_of(line: &[u8], bytes: &Range<u64>) -> bool {
    let Some(lock) = line.strip_prefix(b"lock:").and_then(|lock| std::str::from_utf8(lock).ok()) else { return false };
    let mut words = lock.split_whitespace().rev();
    let last = words.next().map(|word| word.parse().unwrap_or(u64::MAX));
    let first = words.next().and_then(|word| word.parse::<u64>().ok());
    matches!((first, last), (Some(first), Some(last)) if first < bytes.end && last >= bytes.start)
}

/// How often a thread has been given a CPU: the third field of its `schedstat`.
/// ESRCH: it has ended.
pub(crate) fn runs(tid: i32) -> sys::Result<u64> {
    use rustix::fs::{Mode, OFlags};
    let gone = |errno| if errno == Errno::NOENT { Errno::SRCH } else { errno };
    let path = format!("/proc/{tid}/schedstat");
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(gone)?;
    let mut line = [0; 128];
    let length = rustix::io::read(&file, &mut line)?;
    line[..length].split(u8::is_ascii_whitespace).nth(2).and_then(number).ok_or(Errno::IO)
}

/// Numbers separated by white space, as control files list tasks.
pub(crate) fn numbers(text: &[u8]) -> Vec<i32> {
    text.split(u8::is_ascii_whitespace).filter_map(number).collect()
}

/// A small file of `/proc`, whole. ESRCH where the process has gone.
pub(crate) fn read(path: &str) -> sys::Result<Vec<u8>> {
    use rustix::fs::{Mode, OFlags};
    let gone = |errno| if errno == Errno::NOENT { Errno::SRCH } else { errno };
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(gone)?;
    sys::dir::read_all(&file.into())
}

fn numbers_in(directory: &str) -> sys::Result<Vec<i32>> {
    let gone = |error: std::io::Error| match Errno::from_io_error(&error) {
        Some(Errno::NOENT) | None => Errno::SRCH,
        Some(errno) => errno,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(gone)? {
        let name = entry.map_err(gone)?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// The number in a line `name number`, as the kernel's statistics have them.
pub(crate) fn value_of(text: &[u8], name: &str) -> Option<u64> {
    let lines = std::str::from_utf8(text).ok()?.lines();
    lines.filter_map(|line| line.split_once(' ')).find(|(found, _)| *found == name)?.1.trim().parse().ok()
}

/// The value of a `Name:   value` line.
pub(crate) fn field<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    std::str::from_utf8(text).ok()?.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_look_like_the_rest_of_its_line() {
        let line = b"42 (a) R 1 (b c) S 7 8 9 0 -1 0 0 0 0 0 3 4 5 6 20 0 1 0 12345 0 0\n";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.command.as_str(), stat.state), ("a) R 1 (b c", b'S'));
        assert_eq!((stat.parent, stat.session, stat.start_time), (7, 9, 12345));
        assert_eq!((stat.used, stat.waited_for), (Ticks { user: 3, system: 4 }, Ticks { user: 5, system: 6 }));
        assert_eq!(stat.threads, 1);
        assert_eq!(parse_stat(b"42 (a) R"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn this_process_is_its_own() {
        let stat = Stat::of(this_process()).unwrap();
        assert_eq!(stat.pid, this_process());
        assert!(threads(stat.pid).unwrap().contains(&stat.pid));
        assert_eq!(process_of(stat.pid), Ok(stat.pid));
        assert!(Process::open(0).unwrap().is_there());
    }

    /// R8.1
    #[test]
    fn a_figure_is_found_by_its_whole_name() {
        let text = b"usage_usec 500629\nuser_usec 264271\nsystem_usec 236358\nnr_periods x\n";
        assert_eq!(value_of(text, "usage_usec"), Some(500_629));
        assert_eq!(value_of(text, "system_usec"), Some(236_358));
        assert_eq!(value_of(text, "usec"), None);
        assert_eq!(value_of(text, "nr_periods"), None);
        assert_eq!(value_of(b"\xff", "usage_usec"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_statistics_are_read(text in ".*", lines in proptest::collection::vec(("[a-c]{1,2}", 0..9u64), 0..9)) {
            let _ = value_of(text.as_bytes(), "a");
            let text: String = lines.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
            let first = lines.iter().find(|(name, _)| name == "a").map(|(_, value)| *value);
            proptest::prop_assert_eq!(value_of(text.as_bytes(), "a"), first);
        }

        #[test]
        fn any_line_is_a_process_or_none(text in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse_stat(&text);
        }
    }

    /// R2.3
    #[test]
    fn a_pidfd_whose_process_has_gone_is_nobody() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pidfd = pidfd::open(child.id().try_into().unwrap()).unwrap();
        child.wait().unwrap();
        assert_eq!(Process::from_pidfd(pidfd.as_fd()).unwrap_err().errno(), libc::ESRCH);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Process::from_pidfd(file.as_fd()).unwrap_err().errno(), libc::EBADF);
    }
}
