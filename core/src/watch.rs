//! What happens in a hierarchy, as a stream of events with one descriptor to
//! wait on.
//!
//! The kernel tells of some things (inotify on the groups' directories and, on
//! cgroup v2, on `cgroup.events`; the proc connector), and of others nothing: a
//! timer looks for those. All of it only says where to look. What is told is the
//! difference between a look and what was told before, except for forks and
//! exits, which the kernel tells one by one.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, epoll};

use crate::attribute;
use crate::backend::{BackendKind, Node};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind};
use crate::hierarchy::Hierarchy;
use crate::path::GroupPath;
use crate::process;
use crate::sys::{Errno, connector::Connector, spawn::wait_readable};

use members::Members;
use notices::{Notice, Notices};
use picture::Picture;
use pulse::Pulse;

mod members;
mod notices;
mod picture;
mod pulse;
mod strangers;

/// What a [`Watch`] is to tell.
///
/// ```
/// let options = cgf::WatchOptions::default().tasks(true);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct WatchOptions {
    tasks: bool,
    listing: bool,
    buffer: usize,
}

impl Default for WatchOptions {
    fn default() -> WatchOptions {
        // What 20,000 forks a second did not overflow; the usual limit is 416 KiB.
        WatchOptions { tasks: false, listing: false, buffer: 8 << 20 }
    }
}

impl WatchOptions {
    /// Also who is born, ends, comes and goes. Needs the proc connector, which
    /// tells of every fork on the machine; where that cannot be had, the groups
    /// are listed again and again, and a process that lives for less than the
    /// time between two listings is not told of ([`Watch::lists_tasks`]).
    pub fn tasks(mut self, tasks: bool) -> WatchOptions {
        self.tasks = tasks;
        self
    }

    /// Finds who is born and ends by listing even where the proc connector could
    /// be had: for who does not want to be woken by every fork of the machine.
    pub fn listing(mut self, listing: bool) -> WatchOptions {
        self.listing = listing;
        self
    }

    /// How many bytes of the proc connector's messages the kernel keeps for us,
    /// 8 MiB by default; without CAP_NET_ADMIN at most `net.core.rmem_max`. When
    /// it is full, what comes is lost ([`EventKind::Lost`]).
    pub fn buffer(mut self, bytes: usize) -> WatchOptions {
        self.buffer = bytes;
        self
    }
}

/// The events of a hierarchy, from the moment it was made (R1.12).
///
/// It has a descriptor ([`AsFd`]) that can be read from when there may be an
/// event, for poll(2) and the like; then [`next`](Watch::next) gives it. It is
/// for one thread at a time, and may be sent to another. It starts no thread:
/// while nobody calls `next` the kernel keeps what happens, and when it has kept
/// too much, that is told as [`Lost`](EventKind::Lost).
///
/// What came and went between two looks (a group frozen for a moment) may not be
/// told at all. On cgroup v1 and embedded the kernel gives no notice of most
/// things: they are looked for every 10 to 80 ms, or more rarely where a look
/// takes more than a twentieth of that.
///
/// Memory is bounded by the number of groups and, with
/// [`tasks`](WatchOptions::tasks), of processes in them. In a forked child it
/// gives ECHILD.
#[derive(Debug)]
pub struct Watch {
    hierarchy: Hierarchy,
    boot_id: String,
    epoll: OwnedFd,
    /// Makes `epoll` readable while `events` has something.
    ready: OwnedFd,
    notices: Notices,
    pulse: Pulse,
    picture: Picture,
    members: Option<Members>,
    events: VecDeque<Event>,
    /// For who acts on more than events.
    touched: Option<BTreeSet<GroupPath>>,
    /// Groups are looked at without notice: their backend gives none, or there
    /// were not enough watches.
    polls: bool,
    /// When the members of all groups were last listed, and how long it took.
    listed: Instant,
    listing_took: Duration,
    /// Why everything has to be looked at, and not before when.
    lost: Option<String>,
    not_before: Instant,
    ended: bool,
}

/// How often the members are listed although the kernel tells of forks and
/// exits: nobody tells of a process that was moved out of the hierarchy. More rarely
/// where that takes long.
const AUDIT: Duration = Duration::from_millis(500);

/// How soon after a look that failed everything is looked at.
const RETRY: Duration = Duration::from_millis(100);

impl Hierarchy {
    /// Begins to watch the hierarchy. What is there already is not told.
    ///
    /// # Errors
    ///
    /// EMFILE: no descriptor left, or no inotify instance
    /// (`fs.inotify.max_user_instances`). ENODEV: the hierarchy has ended.
    /// EACCES: a group cannot be read. ECHILD: in a forked child.
    pub fn watch(&self, options: WatchOptions) -> Result<Watch> {
        Watch::begin(self, options)
    }
}

impl Watch {
    fn begin(hierarchy: &Hierarchy, options: WatchOptions) -> Result<Watch> {
        let failed = |errno| Error::os(errno, format_args!("beginning to watch hierarchy {hierarchy}"));
        let backend = hierarchy.backend()?;
        attribute::must_be_there(hierarchy.root_node())?;
        let boot_id = process::read("/proc/sys/kernel/random/boot_id").map_err(failed)?;
        // Listened to before the first listing: nobody falls between the two.
        let connector = || if options.listing { None } else { Connector::open(options.buffer).ok() };
        let members = options.tasks.then(|| Members::new(connector()));
        let mut watch = Watch {
            hierarchy: hierarchy.clone(),
            boot_id: String::from_utf8_lossy(boot_id.trim_ascii()).into_owned(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?,
            ready: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?,
            notices: Notices::new().map_err(failed)?,
            pulse: Pulse::new().map_err(failed)?,
            picture: Picture::default(),
            members,
            events: VecDeque::new(),
            touched: None,
            polls: backend.kind() != BackendKind::Cgroup2,
            listed: Instant::now(),
            listing_took: Duration::ZERO,
            lost: None,
            not_before: Instant::now(),
            ended: false,
        };
        let connector = watch.members.as_ref().and_then(Members::connector);
        let sources = [Some(watch.ready.as_fd()), Some(watch.notices.as_fd()), Some(watch.pulse.as_fd())];
        for source in sources.into_iter().chain([connector.map(AsFd::as_fd)]).flatten() {
            epoll::add(&watch.epoll, source, epoll::EventData::new_u64(0), epoll::EventFlags::IN).map_err(failed)?;
        }
        watch.notices.watch_root(hierarchy.directory());
        let root = hierarchy.root_node().dir.open_dir(".");
        let root = root.map_err(|errno| hierarchy.root_node().failed(errno, "opening the directory"))?;
        watch.add_tree(&Node { dir: root, path: GroupPath::root() }, true)?;
        watch.look_at_all(true)?;
        watch.events.clear();
        watch.set_timer()?;
        Ok(watch)
    }

    /// The next event, in the order in which they were noticed; `None`: there was
    /// none by the deadline.
    ///
    /// # Errors
    ///
    /// ENODEV: the hierarchy has ended, and everything was told. EACCES: a group
    /// cannot be read any more. EMFILE: no descriptor left. ECHILD: in a forked
    /// child. After the middle two it goes on: looks are taken again until one
    /// succeeds, and that there was a loss is told then.
    pub fn next(&mut self, deadline: impl Into<Deadline>) -> Result<Option<Event>> {
        let deadline = deadline.into();
        loop {
            self.hierarchy.backend()?;
            if let Some(event) = self.events.pop_front() {
                self.show_ready()?;
                return Ok(Some(event));
            }
            if self.ended {
                return Err(self.hierarchy.root_node().vanished());
            }
            if !wait_readable(self.epoll.as_fd(), deadline).map_err(|errno| self.failed(errno))? {
                return Ok(None);
            }
            self.take_in()?;
            // Strangers' forks alone may keep the descriptor readable for ever.
            if self.events.is_empty() && !self.ended && deadline.passed() {
                return Ok(None);
            }
        }
    }

    /// This machine since it was booted: with [`Event::group_id`] it names a
    /// group among all of all machines.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Whether forks and exits are found by listing, because the proc connector
    /// cannot be had here: not all of them then.
    pub fn lists_tasks(&self) -> bool {
        self.members.as_ref().is_some_and(|members| members.connector().is_none())
    }

    /// The processes that are in a group according to the events, those still to
    /// be given by [`next`](Watch::next) included, and to what was there in the
    /// beginning; sorted. Empty without [`WatchOptions::tasks`].
    pub fn procs(&self, group: &GroupPath) -> Vec<i32> {
        self.members.as_ref().map(|members| members.of(group)).unwrap_or_default()
    }

    /// The group that a process is in, as for [`procs`](Watch::procs).
    pub fn group_of(&self, pid: i32) -> Option<&GroupPath> {
        self.members.as_ref()?.group_of(pid)
    }

    /// The hierarchy that is watched.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// The groups that were told of and are there, as far as is known.
    pub(crate) fn groups(&self) -> Vec<GroupPath> {
        self.picture.paths()
    }

    /// The groups about which there was a notice since this was asked last,
    /// whether that led to an event or not; from the first call on.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<GroupPath> {
        std::mem::take(self.touched.get_or_insert_default())
    }

    /// What names the group's directory, 0 if that is not known any more.
    pub(crate) fn group_id(&self, path: &GroupPath) -> u64 {
        self.picture.id(path)
    }

    /// Hears every source once, and looks where they point.
    fn take_in(&mut self) -> Result<()> {
        let result = self.take_in_all();
        // Somebody ends the hierarchy while we look at it.
        let result = match result {
            Err(error) if error.is(libc::ENODEV) && self.is_root_gone() => self.end(),
            other => other,
        };
        if let Err(error) = &result {
            // The kernel does not repeat the notices that were read.
            self.lost.get_or_insert_with(|| format!("a look that failed: {error}"));
            self.not_before = Instant::now() + RETRY;
        }
        result.and(self.set_timer()).and(self.show_ready())
    }

    fn take_in_all(&mut self) -> Result<()> {
        let mut members = BTreeSet::new();
        let mut states = BTreeSet::new();
        let mut entered = BTreeSet::new();
        let notices = self.notices.read().map_err(|errno| self.failed(errno))?;
        if !notices.is_empty() {
            self.pulse.quicken();
        }
        for notice in notices {
            match notice {
                Notice::Gone(path) if path.is_root() => return self.end(),
                // All is looked at anyway.
                _ if self.lost.is_some() => {}
                Notice::Made(path) => self.made(&path)?,
                Notice::Gone(path) => self.gone(&path)?,
                Notice::Entered(path) => {
                    members.insert(path.clone());
                    states.insert(path.clone());
                    entered.insert(path);
                }
                Notice::State(path) => {
                    states.insert(path);
                }
                Notice::Lost => {
                    let why = "more file events than the kernel keeps (fs.inotify.max_queued_events)";
                    self.lost = Some(why.to_owned());
                }
            }
        }
        self.hear()?;
        if self.has_lost() {
            return self.make_good();
        }
        if let Some(touched) = &mut self.touched {
            touched.extend(states.iter().cloned());
        }
        let began = Instant::now();
        let before = self.events.len();
        let is_due = self.pulse.is_due();
        if self.polls && is_due {
            states.extend(self.picture.paths());
            if self.is_root_gone() {
                return self.end();
            }
        } else {
            states.extend(self.picture.suspects().0);
        }
        let lists = if self.lists_tasks() { is_due } else { Instant::now() >= self.next_audit() };
        let lists = lists && self.members.is_some();
        if lists {
            members.extend(self.picture.paths());
        }
        members.iter().try_for_each(|path| self.look_at_members(path, false))?;
        if lists {
            self.look_for_strays()?;
            self.listing_took = began.elapsed();
            self.listed = Instant::now();
        }
        states.iter().try_for_each(|path| self.look_at(path, entered.contains(path), false))?;
        if is_due {
            self.pulse.looked(began, self.events.len() > before);
        }
        if self.has_lost() { self.make_good() } else { Ok(()) }
    }

    /// Whether something was lost, now or before.
    fn has_lost(&mut self) -> bool {
        if self.members.as_mut().is_some_and(Members::take_loss) {
            self.lost = Some("more forks and exits than the proc connector's buffer holds".to_owned());
        }
        self.lost.is_some()
    }

    /// Looks at everything, and once that has succeeded says that there was a
    /// loss: not again and again while it fails.
    fn make_good(&mut self) -> Result<()> {
        if Instant::now() < self.not_before {
            return Ok(());
        }
        let root = GroupPath::root();
        let (before, id) = (self.events.len(), self.picture.id(&root));
        self.resync()?;
        if let Some(why) = self.lost.take() {
            self.events.insert(before, Event::new(EventKind::Lost, &root, id).saying(why));
        }
        Ok(())
    }

    /// Puts what was told right by looking at everything.
    fn resync(&mut self) -> Result<()> {
        if self.is_root_gone() {
            return self.end();
        }
        for path in self.picture.paths() {
            let now = self.open(&path)?.and_then(|node| node.dir.identity().ok());
            if now.is_none() || now != self.picture.get(&path).map(|known| known.identity) {
                self.gone(&path)?;
            }
        }
        if let Some(root) = self.open(&GroupPath::root())? {
            self.add_tree(&root, false)?;
        }
        self.look_at_all(false)
    }

    /// A group was made: it and those below it are watched from now on. Watched
    /// first and listed then, so that none is missed.
    fn made(&mut self, path: &GroupPath) -> Result<()> {
        let Some(node) = self.open(path)? else {
            // Removed again already, of which a notice is on its way.
            if self.picture.get(path).is_none() {
                self.picture.add(path, (0, 0), None);
                self.events.push_back(Event::new(EventKind::Created, path, 0));
            }
            return Ok(());
        };
        if self.is_known(&node) {
            return Ok(());
        }
        self.gone(path)?;
        self.add_tree(&node, false)?;
        let within: Vec<GroupPath> = self.picture.paths().into_iter().filter(|known| known.is_within(path)).collect();
        for path in within {
            self.look_at_members(&path, false)?;
            self.look_at(&path, false, false)?;
        }
        Ok(())
    }

    fn is_known(&self, node: &Node) -> bool {
        let identity = node.dir.identity().ok();
        identity.is_some() && self.picture.get(&node.path).map(|known| known.identity) == identity
    }

    fn add_tree(&mut self, node: &Node, quiet: bool) -> Result<()> {
        if !self.is_known(node) {
            let watched = match self.notices.watch(node) {
                Ok(watched) => Some(watched),
                Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
                // Not enough watches, or none allowed: then it is looked at.
                Err(_) => None,
            };
            self.polls |= watched.is_none();
            let identity = node.dir.identity().map_err(|errno| node.failed(errno, "looking at the directory"))?;
            self.picture.add(&node.path, identity, watched);
            if !quiet {
                self.events.push_back(Event::new(EventKind::Created, &node.path, identity.1));
            }
        }
        let children = match node.children() {
            Err(error) if error.is(libc::ENODEV) => return Ok(()),
            other => other?,
        };
        for child in children {
            self.add_tree(&child?, quiet)?;
        }
        Ok(())
    }

    fn gone(&mut self, path: &GroupPath) -> Result<()> {
        let backend = self.hierarchy.backend()?;
        let removed = self.picture.remove(path);
        if removed.is_empty() {
            return Ok(());
        }
        // They are out of the picture: an error must not keep them from being told.
        let mut result = Ok(());
        for (path, known) in &removed {
            if let Some(watched) = &known.watched {
                self.notices.forget(watched);
            }
            let mut events = Vec::new();
            if let Some(members) = &mut self.members {
                let looked = members.look_for(backend, path, &self.picture, &mut events);
                result = result.and(looked);
            }
            self.events.extend(events);
            self.events.extend(known.last_words(path));
        }
        let emptied = path.parent().and_then(|parent| self.picture.lost_child(&parent));
        self.events.extend(emptied);
        result
    }

    fn is_root_gone(&self) -> bool {
        attribute::must_be_there(self.hierarchy.root_node()).is_err_and(|error| error.is(libc::ENODEV))
    }

    /// The hierarchy's root directory was removed.
    fn end(&mut self) -> Result<()> {
        self.ended = true;
        for (path, known) in self.picture.remove(&GroupPath::root()) {
            self.events.extend(known.last_words(&path));
        }
        Ok(())
    }

    fn look_at_all(&mut self, quiet: bool) -> Result<()> {
        let began = Instant::now();
        for path in self.picture.paths() {
            self.look_at_members(&path, quiet)?;
            self.look_at(&path, false, quiet)?;
        }
        self.look_for_strays()?;
        self.listed = Instant::now();
        self.pulse.looked(began, true);
        Ok(())
    }

    fn look_at(&mut self, path: &GroupPath, entered: bool, quiet: bool) -> Result<()> {
        let Some(node) = self.open(path)? else { return Ok(()) };
        match self.picture.look(self.hierarchy.backend()?, &node, entered, quiet) {
            Ok(events) => self.events.extend(events),
            // Its removal is told when the notice of it comes.
            Err(error) if error.is(libc::ENODEV) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn look_at_members(&mut self, path: &GroupPath, quiet: bool) -> Result<()> {
        let Some(node) = self.open(path)? else { return Ok(()) };
        let Some(members) = &mut self.members else { return Ok(()) };
        let mut events = Vec::new();
        let looked = members.look(self.hierarchy.backend()?, &node, &self.picture, quiet, &mut events);
        self.events.extend(events);
        match looked {
            Err(error) if error.is(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    fn look_for_strays(&mut self) -> Result<()> {
        let Some(members) = &mut self.members else { return Ok(()) };
        let mut events = Vec::new();
        members.look_for_strays(self.hierarchy.backend()?, &self.picture, &mut events);
        self.events.extend(events);
        Ok(())
    }

    fn hear(&mut self) -> Result<()> {
        let Some(members) = &mut self.members else { return Ok(()) };
        let mut events = Vec::new();
        let heard = members.hear(self.hierarchy.backend()?, &self.picture, &mut events);
        self.events.extend(events);
        heard
    }

    /// A group's directory as it is now, `None` if there is none. It is not kept
    /// open: there may be more groups than descriptors.
    fn open(&self, path: &GroupPath) -> Result<Option<Node>> {
        let root = self.hierarchy.root_node();
        let dir = if path.is_root() { root.dir.open_dir(".") } else { root.dir.open_dir(path.as_path()) };
        match dir {
            Ok(dir) => Ok(Some(Node { dir, path: path.clone() })),
            Err(Errno::NOENT | Errno::NODEV | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(Error::os(errno, format_args!("opening group {path} of hierarchy {}", self.hierarchy))),
        }
    }

    /// The embedded backend reads the whole hierarchy's record for each group:
    /// the more there are, the more rarely all are listed.
    fn next_audit(&self) -> Instant {
        self.listed + AUDIT.max(pulse::SHARE * self.listing_took)
    }

    fn set_timer(&self) -> Result<()> {
        if self.lost.is_some() {
            return self.pulse.set(false, Some(self.not_before)).map_err(|errno| self.failed(errno));
        }
        let audit = (self.members.is_some() && !self.lists_tasks()).then(|| self.next_audit());
        let also = self.picture.suspects().1.into_iter().chain(audit).min();
        let looks = !self.ended && (self.polls || self.lists_tasks());
        self.pulse.set(looks, also).map_err(|errno| self.failed(errno))
    }

    fn show_ready(&self) -> Result<()> {
        let has_some = !self.events.is_empty() || self.ended;
        let result = match has_some {
            true => rustix::io::write(&self.ready, &1_u64.to_ne_bytes()).map(drop),
            false => rustix::io::read(&self.ready, &mut [0_u8; 8]).map(drop),
        };
        match result {
            // As full, or as empty, as it is to be.
            Ok(()) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(self.failed(errno)),
        }
    }

    fn failed(&self, errno: Errno) -> Error {
        Error::os(errno, format_args!("watching hierarchy {}", self.hierarchy))
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
