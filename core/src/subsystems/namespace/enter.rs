//! Coming into some of a group's namespaces (R10.2).

use std::os::fd::{AsFd, OwnedFd};

use super::NAME;
use super::first;
use super::kinds::Namespaces;
use super::members::Members;
use super::seen::{Seen, Shown};
use crate::backend;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::process::{self, Process};
use crate::sys::spawn::Entry;
use crate::sys::{self, Errno, namespace};

/// What the kernel lets only a process with one thread change.
const OF_ONE_THREAD: Namespaces = Namespaces::MNT.and(Namespaces::USER);
/// What a process cannot change of itself, but for its children.
const OF_CHILDREN: Namespaces = Namespaces::PID.and(Namespaces::TIME);

impl Group {
    /// Brings the calling thread into the group's namespaces of these kinds, and into no
    /// others (R10.2). What group it is in stays as it is.
    ///
    /// `mnt` takes the root and working directory along: the thread is at the root of what
    /// the members see, and relative paths mean what they mean there; what is open stays open.
    /// `user` takes the capabilities along. Both want a process of one thread. `pid` and `time` hold for children
    /// that the thread makes afterwards.
    ///
    /// # Errors
    ///
    /// * EINVAL: the group is not bound to one of the kinds, or no kind is given; `mnt` or
    ///   `user`, and the process has several threads.
    /// * ESRCH: nobody is in the group, or nobody is any longer in those namespaces of it.
    /// * EPERM: we may not see the members' namespaces; or the kernel wants CAP_SYS_ADMIN
    ///   in the user namespace that a namespace belongs to, and in our own.
    /// * EUSERS: `time`, and the process has several threads.
    /// * EOPNOTSUPP: the hierarchy is not bound to `namespace`. ENODEV: the group was
    ///   removed. ECHILD: in a forked child.
    ///
    /// After an error the thread is where it was, unless the message says otherwise.
    pub fn enter(&self, kinds: Namespaces) -> Result<()> {
        must_be_bound(self, kinds)?;
        let ours = Ours::open(kinds)?;
        let way = Way::find(self, kinds)?;
        let wanted = ours.missing(&way.note)?;
        if wanted.meets(OF_ONE_THREAD) && has_threads() {
            let why = format!("entering {wanted} of {self}: mnt and user take a process with one thread");
            return Err(Error::new(libc::EINVAL, why));
        }
        match way.follow(wanted, &ours) {
            Ok(()) => {}
            Err(errno) => return Err(self.not_entered(wanted, errno)),
        }
        // What the member changed after it was looked at: the namespaces that were meant
        // are open all the time.
        let missing = ours.missing(&way.note)?;
        way.one_by_one(missing).map_err(|errno| {
            self.not_entered(missing, errno).context("a member changed its namespaces meanwhile, and we are half-way")
        })
    }

    fn not_entered(&self, kinds: Namespaces, errno: Errno) -> Error {
        let doing = format!("entering {kinds} of {self}");
        match errno {
            Errno::PERM => {
                let why = "the kernel wants CAP_SYS_ADMIN in the user namespace that each belongs to, and in our own";
                Error::new(libc::EPERM, format!("{doing}: {why}"))
            }
            Errno::INVAL => {
                let why = "mnt and user take a process with one thread, pid one below or the same as ours";
                Error::new(libc::EINVAL, format!("{doing}: {why}"))
            }
            Errno::USERS => Error::new(libc::EUSERS, format!("{doing}: time takes a process with one thread")),
            errno => Error::os(errno, doing),
        }
    }
}

/// What a child that is to be born in a group does about its namespaces before its program
/// starts: the group's of these kinds, or new ones if nobody is in it.
///
/// EINVAL: the group is not bound to them; pid and time. EPERM: somebody is in the group, but
/// not in them.
pub(crate) fn for_birth(group: &Group, kinds: Namespaces) -> Result<Option<Entry>> {
    if kinds.is_empty() {
        return Ok(None);
    }
    must_be_bound(group, kinds)?;
    if let Some(kind) = kinds.each().find(|kind| OF_CHILDREN.contains(*kind)) {
        let why = format!("a process cannot change its own {kind} namespace, only that of its children");
        return Err(Error::new(libc::EINVAL, why));
    }
    if first::is_empty(group)? {
        return Ok(Some(Entry::New(kinds.bits())));
    }
    let way = Way::find(group, kinds).map_err(|error| match error.errno() {
        libc::ESRCH => Error::new(libc::EPERM, error.message()),
        _ => error,
    })?;
    let missing = Ours::open(kinds)?.missing(&way.note)?;
    let fds = in_order(way.fds).filter(|(kind, _)| missing.contains(*kind));
    let fds = fds.map(|(_, fd)| fd).collect();
    Ok(Some(Entry::Join { fds, user: missing.contains(Namespaces::USER) }))
}

fn has_threads() -> bool {
    process::threads(process::this_process()).is_ok_and(|threads| threads.len() > 1)
}

fn must_be_bound(group: &Group, kinds: Namespaces) -> Result<()> {
    group.backend()?;
    group.hierarchy().needs(NAME)?;
    if kinds.is_empty() {
        return Err(Error::new(libc::EINVAL, "no kind of namespaces is given"));
    }
    let types = first::types(group)?;
    let others = kinds.without(types);
    if others.is_empty() {
        return Ok(());
    }
    let bound = if types.is_empty() { "nothing".to_owned() } else { types.to_string() };
    Err(Error::new(libc::EINVAL, format!("{group} is bound to {bound}, and not to {others}")))
}

/// The calling thread's own namespaces, as they are and as they were.
struct Ours {
    shown: Shown,
    kinds: Namespaces,
    /// To go back to.
    fds: Opened,
}

impl Ours {
    fn open(kinds: Namespaces) -> Result<Ours> {
        let shown = Shown::of_caller()?;
        let back = kinds.each().filter_map(|kind| shown.descriptor(of_ours(kind)).ok().map(|(fd, _)| (kind, fd)));
        let fds = back.collect();
        Ok(Ours { shown, kinds, fds })
    }

    /// In which of these we are not.
    fn missing(&self, wanted: &Seen) -> Result<Namespaces> {
        let mut missing = Namespaces::NONE;
        for kind in self.kinds.each() {
            match self.shown.identity(of_ours(kind)) {
                Ok(ours) if Some(ours) == wanted.get(kind) => {}
                // pid_for_children is empty until a first child was made there.
                Ok(_) | Err(Errno::NOENT) => missing = missing | kind,
                Err(errno) => return Err(Error::os(errno, "looking at our own namespaces")),
            }
        }
        Ok(missing)
    }
}

/// What of ours is meant by a kind: our children's, where we cannot change our own.
fn of_ours(kind: Namespaces) -> &'static str {
    match kind {
        Namespaces::PID => "pid_for_children",
        Namespaces::TIME => "time_for_children",
        kind => kind.name(),
    }
}

/// A member that is in the namespaces that are wanted, and these held open.
struct Way {
    /// Its first thread is the one that is in them.
    member: Option<Process>,
    note: Seen,
    fds: Opened,
}

impl Way {
    /// ESRCH: nobody is in them. EPERM: we may not see who is.
    fn find(group: &Group, kinds: Namespaces) -> Result<Way> {
        let backend = group.backend()?;
        let Some(note) = first::note(group, first::types(group)?)?.map(|note| note.only(kinds)) else {
            return Err(Error::new(libc::ESRCH, format!("nobody has joined {group} yet")));
        };
        let mut unseen = None;
        let members = Members::of(group)?;
        for &pid in &members.processes {
            let Ok(member) = Process::open(pid) else { continue };
            let (tid, fds) = match open_if_there(pid, &members.threads(pid), &note) {
                Ok(Some(found)) => found,
                Err(errno @ (Errno::ACCESS | Errno::PERM)) if member.is_there() => {
                    unseen = Some(errno);
                    continue;
                }
                Ok(None) | Err(_) => continue,
            };
            // Last, so that the number was the member's all the time.
            if matches!(backend::is_member(backend, group.node(), pid), Ok(true)) && member.is_there() {
                return Ok(Way { member: (tid == pid).then_some(member), note, fds });
            }
        }
        Err(match unseen {
            Some(errno) => Error::new(libc::EPERM, format!("we may not see the namespaces of {group}: {errno}")),
            None => Error::new(libc::ESRCH, format!("nobody of {group} is in its {kinds} namespaces any more")),
        })
    }

    /// Goes there: into all or none.
    fn follow(&self, wanted: Namespaces, ours: &Ours) -> sys::Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        match self.member.as_ref().map(|member| namespace::join(member.as_fd(), wanted.bits())) {
            // Before Linux 5.8 a pidfd is no such thing. Who has just ended is not there to
            // be followed, but what it was in is open. A pidfd is of the first thread.
            Some(Err(Errno::INVAL | Errno::SRCH)) | None => {}
            Some(other) => return other,
        }
        self.one_by_one(wanted).inspect_err(|_| {
            let back = in_order(ours.fds.iter().map(|(kind, fd)| (*kind, fd)));
            for (kind, fd) in back.rev().filter(|(kind, _)| wanted.contains(*kind)) {
                // Where we still are, this changes nothing. There is no way back to a user
                // namespace, and without it none to what belongs to it.
                let _ = namespace::join(fd, kind.bits());
            }
        })
    }

    fn one_by_one(&self, wanted: Namespaces) -> sys::Result<()> {
        in_order(self.fds.iter().map(|(kind, fd)| (*kind, fd)))
            .filter(|(kind, _)| wanted.contains(*kind))
            .try_for_each(|(kind, fd)| namespace::join(fd, kind.bits()))
    }
}

/// First the user namespace, whose capabilities the others take, and last that of mounts.
fn in_order<T>(fds: impl IntoIterator<Item = (Namespaces, T)>) -> impl DoubleEndedIterator<Item = (Namespaces, T)> {
    let mut sorted: Vec<_> = fds.into_iter().collect();
    sorted.sort_by_key(|(kind, _)| match *kind {
        Namespaces::USER => 0,
        Namespaces::MNT => 2,
        _ => 1,
    });
    sorted.into_iter()
}

/// The namespaces that are noted, open, and which of some threads of a process is in them: its first
/// one, or another where that has ended or is none of these.
fn open_if_there(pid: i32, threads: &[i32], note: &Seen) -> sys::Result<Option<(i32, Opened)>> {
    let open = |tid: i32| open_each(pid, tid, note).map(|fds| fds.map(|fds| (tid, fds)));
    if threads.contains(&pid)
        && let first @ (Ok(Some(_)) | Err(Errno::ACCESS | Errno::PERM)) = open(pid)
    {
        return first;
    }
    Ok(threads.iter().find_map(|&tid| open(tid).ok().flatten()))
}

type Opened = Vec<(Namespaces, OwnedFd)>;

fn open_each(pid: i32, tid: i32, note: &Seen) -> sys::Result<Option<Opened>> {
    let shown = Shown::of_task(pid, tid)?;
    let mut fds = Vec::new();
    for kind in note.kinds().each() {
        let (fd, identity) = shown.descriptor(kind.name())?;
        if note.get(kind) != Some(identity) {
            return Ok(None);
        }
        fds.push((kind, fd));
    }
    Ok(Some(fds))
}
