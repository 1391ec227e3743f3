//! Whoever sees to what a hierarchy's groups ask for when they are emptied, and
//! tells the subsystems of forks and exits.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, epoll};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::attribute;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind};
use crate::group::Group;
use crate::hierarchy::Hierarchy;
use crate::path::GroupPath;
use crate::release::{self, Release};
use crate::sys::{Errno, spawn::wait_readable};
use crate::watch::{Watch, WatchOptions};

/// A watch that acts (R1.11): it starts the release agent for a group that has
/// been emptied and notifies, removes one with `auto_delete`, and calls the
/// subsystems' `fork` and `exit`.
///
/// Any number may run for a hierarchy, in any processes, and be killed at any
/// moment: every emptying is reported once. What was empty before the first one
/// came is reported when it comes. A group that is entered again before its
/// emptiness was reported has not been empty.
///
/// It runs where [`next`](Monitor::next) or [`run`](Monitor::run) is called, and
/// starts no thread. The agent is a child of the caller's, in a session of its
/// own, with the group's path (`/web/1`) as its argument, HOME and PATH as its
/// environment, and `/dev/null` as its input and output. The monitor waits for it
/// when it has ended; one that is running when the monitor is dropped is left to
/// the caller.
///
/// In a forked child it gives ECHILD.
///
/// A subsystem that writes down every fork and exit:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
/// use cgf::{EventKind, Group, Hierarchy, Options, Result, Spawn, Subsystem};
///
/// struct Log(Arc<Mutex<Vec<String>>>);
///
/// impl Subsystem for Log {
///     fn name(&self) -> &str {
///         "log"
///     }
///
///     fn fork(&self, group: &Group, parent: i32, child: i32) -> Result<()> {
///         self.0.lock().unwrap().push(format!("{parent} made {child} in {group}"));
///         Ok(())
///     }
///
///     fn exit(&self, group: &Group, pid: i32) -> Result<()> {
///         self.0.lock().unwrap().push(format!("{pid} ended in {group}"));
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<()> {
/// # let name = format!("log-{}", std::process::id());
/// # let name = name.as_str();
/// let lines = Arc::new(Mutex::new(Vec::new()));
/// cgf::register(Log(Arc::clone(&lines)))?;
/// let jobs = Hierarchy::open(name, &Options::parse("freezer,signal,log")?)?;
/// let web = jobs.create("web")?;
/// let mut monitor = jobs.monitor()?;
/// let child = web.spawn(Spawn::new("sh").args(["-c", "sleep 0 & wait"]))?;
/// while let Some(event) = monitor.next(Duration::from_secs(10))? {
///     if event.kind == EventKind::Exit && event.pid == Some(child.pid()) {
///         break;
///     }
/// }
/// let written = lines.lock().unwrap().join("; ");
/// assert!(written.contains(&format!("{} made", child.pid())), "{written}");
/// assert!(written.contains(&format!("{} ended in group /web", child.pid())), "{written}");
/// # child.wait(Duration::from_secs(5))?;
/// # web.remove()?;
/// # jobs.unmount()
/// # }
/// ```
#[derive(Debug)]
pub struct Monitor {
    watch: Watch,
    epoll: OwnedFd,
    /// Makes `epoll` readable while `events` has something.
    ready: OwnedFd,
    /// Rings when it is time to look at `due` again.
    timer: OwnedFd,
    events: VecDeque<Event>,
    /// Groups that may have to be released.
    due: BTreeSet<GroupPath>,
    /// Not before this.
    not_before: Option<Instant>,
    /// How long to wait for somebody who enters a group, reports it, or holds it
    /// alive.
    again: Duration,
    agents: Vec<OwnedFd>,
}

/// At most so many agents run at a time.
const AGENTS: usize = 32;

/// The first wait for a group that somebody else is at; longer each time, up to
/// a tenth of a second.
const AGAIN: Duration = Duration::from_millis(2);

impl Hierarchy {
    /// Begins to monitor the hierarchy, with the events of forks and exits if a
    /// subsystem that is bound to it follows them.
    ///
    /// # Errors
    ///
    /// As [`watch`](Hierarchy::watch).
    pub fn monitor(&self) -> Result<Monitor> {
        self.monitor_with(WatchOptions::default())
    }

    /// The same, with more to say about the events.
    ///
    /// # Errors
    ///
    /// As [`watch`](Hierarchy::watch).
    pub fn monitor_with(&self, options: WatchOptions) -> Result<Monitor> {
        let options = if follows_tasks(self) { options.tasks(true) } else { options };
        Monitor::begin(self.watch(options)?)
    }
}

impl Monitor {
    fn begin(mut watch: Watch) -> Result<Monitor> {
        watch.take_touched();
        let failed = |errno| Error::os(errno, format_args!("beginning to monitor hierarchy {}", watch.hierarchy()));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let ready = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).map_err(failed)?;
        for source in [watch.as_fd(), ready.as_fd(), timer.as_fd()] {
            add(&epoll, source).map_err(failed)?;
        }
        // Whatever is empty already, and was not reported.
        let due = watch.groups().into_iter().collect();
        let mut monitor = Monitor {
            watch,
            epoll,
            ready,
            timer,
            events: VecDeque::new(),
            due,
            not_before: None,
            again: AGAIN,
            agents: Vec::new(),
        };
        monitor.set_timer()?;
        Ok(monitor)
    }

    /// The next event, after what it calls for was done; `None`: there was none
    /// by the deadline.
    ///
    /// # Errors
    ///
    /// As [`Watch::next`]; a subsystem's own, with the event lost. Whatever goes
    /// wrong with a release is an event ([`EventKind::ReleaseFailed`]).
    pub fn next(&mut self, deadline: impl Into<Deadline>) -> Result<Option<Event>> {
        let deadline = deadline.into();
        let mut looked = false;
        loop {
            self.watch.hierarchy().backend()?;
            if let Some(event) = self.events.pop_front() {
                self.set_timer()?;
                tell_subsystems(self.watch.hierarchy(), &event)?;
                return Ok(Some(event));
            }
            self.reap();
            self.settle()?;
            self.take_in()?;
            self.set_timer()?;
            if self.events.is_empty() {
                // As for the watch: others may keep it busy.
                if looked && deadline.passed() {
                    return Ok(None);
                }
                looked = true;
                let ready = wait_readable(self.epoll.as_fd(), deadline).map_err(|errno| self.failed(errno))?;
                if !ready {
                    return Ok(None);
                }
            }
        }
    }

    /// Monitors until `stop` says so, which is asked at least every 100 ms.
    ///
    /// # Errors
    ///
    /// As [`next`](Monitor::next), the end of the hierarchy (ENODEV) left out:
    /// that is a good end.
    pub fn run(&mut self, mut stop: impl FnMut() -> bool) -> Result<()> {
        while !stop() {
            match self.next(Duration::from_millis(100)) {
                // A subsystem's own ENODEV is none of this.
                Err(error) if error.is(libc::ENODEV) && self.has_ended() => return Ok(()),
                other => drop(other?),
            }
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        attribute::must_be_there(self.watch.hierarchy().root_node()).is_err_and(|error| error.is(libc::ENODEV))
    }

    /// The watch beneath.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Everything that the watch has to tell now.
    fn take_in(&mut self) -> Result<()> {
        while self.events.len() < 1024 {
            match self.watch.next(Duration::ZERO) {
                Ok(Some(event)) => {
                    self.note(&event);
                    self.events.push_back(event);
                }
                Ok(None) => break,
                // Told after the events that came before.
                Err(_) if !self.events.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        // A look at a group that somebody has just entered and left finds no
        // change, and yet there is something to report.
        self.due.extend(self.watch.take_touched());
        Ok(())
    }

    /// Which groups an event makes worth a look. A group that came to have tasks
    /// or groups is looked at too: it has to be reported again one day.
    fn note(&mut self, event: &Event) {
        match event.kind {
            EventKind::Empty | EventKind::Populated => {
                self.due.insert(event.group.clone());
            }
            EventKind::Created | EventKind::Removed => {
                self.due.extend(event.group.parent());
            }
            EventKind::Lost => self.due.extend(self.watch.groups()),
            _ => {}
        }
    }

    fn settle(&mut self) -> Result<()> {
        if self.not_before.is_some_and(|time| time > Instant::now()) {
            return Ok(());
        }
        self.not_before = None;
        for path in std::mem::take(&mut self.due) {
            if self.agents.len() >= AGENTS {
                self.due.insert(path);
                continue;
            }
            let event = |kind| Event::new(kind, &path, self.watch.group_id(&path));
            match release::settle(self.watch.hierarchy(), &path) {
                Ok(Release::Nothing) => {}
                Ok(Release::Later) => {
                    self.due.insert(path);
                    self.not_before = Some(Instant::now() + self.again);
                }
                Err(error) if release::is_of_the_moment(&error) => {
                    self.due.insert(path);
                    self.not_before = Some(Instant::now() + self.again);
                }
                Ok(Release::Notified(pid, pidfd)) => {
                    self.events.push_back(event(EventKind::Notified).of_process(pid));
                    // One whose end wakes nobody is waited for when something else does:
                    // no reason to give up the groups that are still due.
                    let _ = add(&self.epoll, pidfd.as_fd());
                    self.agents.push(pidfd);
                }
                Ok(Release::Removed(figures)) => {
                    let mut released = event(EventKind::Released);
                    released.figures = figures;
                    self.events.push_back(released);
                }
                // Somebody has removed it meanwhile.
                Err(error) if error.is(libc::ENODEV) => {}
                Ok(Release::Failed(error)) | Err(error) => {
                    self.events.push_back(event(EventKind::ReleaseFailed).saying(error.message()));
                }
            }
        }
        self.again = match self.not_before {
            Some(_) => (2 * self.again).min(Duration::from_millis(100)),
            None => AGAIN,
        };
        Ok(())
    }

    /// Waits for those agents that have ended.
    fn reap(&mut self) {
        let epoll = &self.epoll;
        self.agents.retain(|pidfd| {
            let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // An error: the host waits for all its children itself.
            let runs = matches!(rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), how), Ok(None));
            if !runs {
                // Closing would not do: a forked child's copy would keep it, and
                // the monitor's descriptor readable, for ever.
                let _ = epoll::delete(epoll, pidfd);
            }
            runs
        });
    }

    /// Readable when there are events, and when there is something to do.
    fn set_timer(&mut self) -> Result<()> {
        let result = match self.events.is_empty() {
            false => rustix::io::write(&self.ready, &1_u64.to_ne_bytes()).map(drop),
            true => rustix::io::read(&self.ready, &mut [0_u8; 8]).map(drop),
        };
        match result {
            Ok(()) | Err(Errno::AGAIN) => {}
            Err(errno) => return Err(self.failed(errno)),
        }
        let at_once = Duration::from_micros(1);
        let wait = match self.not_before {
            Some(time) => time.saturating_duration_since(Instant::now()).max(at_once),
            // The end of an agent makes room for another.
            None if self.due.is_empty() || self.agents.len() >= AGENTS => Duration::ZERO,
            None => at_once,
        };
        let timespec = |time: Duration| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(wait) };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
            .map(drop)
            .map_err(|errno| self.failed(errno))
    }

    fn failed(&self, errno: Errno) -> Error {
        Error::os(errno, format_args!("monitoring hierarchy {}", self.watch.hierarchy()))
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if self.watch.hierarchy().backend().is_ok() {
            self.reap();
        }
    }
}

fn add(epoll: &OwnedFd, source: BorrowedFd<'_>) -> crate::sys::Result<()> {
    epoll::add(epoll, source, epoll::EventData::new_u64(0), epoll::EventFlags::IN)
}

/// Whether a subsystem that is bound to the hierarchy follows forks and exits.
fn follows_tasks(hierarchy: &Hierarchy) -> bool {
    hierarchy.known_subsystems().iter().any(|subsystem| subsystem.follows_tasks())
}

/// Calls the subsystems' `fork` and `exit`.
fn tell_subsystems(hierarchy: &Hierarchy, event: &Event) -> Result<()> {
    let (EventKind::Fork | EventKind::Exit, Some(pid)) = (event.kind, event.pid) else { return Ok(()) };
    if !follows_tasks(hierarchy) {
        return Ok(());
    }
    let group = match Group::open(hierarchy, &event.group) {
        // Removed since: nobody has anything to note about it.
        Err(error) if error.is(libc::ENOENT) => return Ok(()),
        other => other?,
    };
    hierarchy.tell_all(event.kind.name(), |subsystem| match event.kind {
        _ if !subsystem.follows_tasks() => Ok(()),
        EventKind::Fork => subsystem.fork(&group, event.parent.unwrap_or_default(), pid),
        _ => subsystem.exit(&group, pid),
    })
}
