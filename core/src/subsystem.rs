//! Subsystems: what is bound to a hierarchy and has a say in what happens there.
//!
//! The freezer and the signal are subsystems, and so is whatever a program
//! registers: a Rust type, a C structure of functions, a Python class.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::attach::Attach;
use crate::backend::BackendKind;
use crate::control_file::ControlFile;
use crate::deadline::{Deadline, Wait};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::hierarchy::Hierarchy;
use crate::subsystems::{
    beancounter::BeanCounters, cpuacct::CpuAcct, cpuset::CpuSet, freezer::Freezer, namespace::Namespace,
    numtasks::NumTasks, signal::Signal,
};

/// Something that is bound to hierarchies and called about their groups (R1.6).
///
/// Every callback but the name has a default that does nothing and agrees.
///
/// ```
/// use cgf::{Attach, ControlFile, Error, Result, Subsystem};
///
/// /// At most so many processes in a group: `members.max`.
/// struct Members;
///
/// impl Subsystem for Members {
///     fn name(&self) -> &str {
///         "members"
///     }
///
///     fn can_attach(&self, attach: &Attach<'_>) -> Result<()> {
///         let group = attach.group();
///         let most = group.attribute("members.max")?.and_then(|max| max.parse().ok());
///         match most {
///             Some(most) if group.procs()?.len() >= most => {
///                 Err(Error::new(libc::ENOSPC, format!("{group} is full with {most}")))
///             }
///             _ => Ok(()),
///         }
///     }
///
///     fn populate(&self) -> Vec<ControlFile> {
///         let max = ControlFile::new("max")
///             .read(|group| Ok(group.attribute("members.max")?.unwrap_or("max".into()) + "\n"))
///             .write(|group, text| match text.parse::<usize>() {
///                 Ok(_) => group.set_attribute("members.max", text),
///                 Err(_) => Err(Error::new(libc::EINVAL, format!("{text:?} is no number"))),
///             });
///         vec![max]
///     }
/// }
///
/// # fn main() -> Result<()> {
/// cgf::register(Members)?;
/// # let name = format!("members-{}", std::process::id());
/// # let name = name.as_str();
/// let jobs = cgf::Hierarchy::open(name, &cgf::Options::parse("freezer,signal,members")?)?;
/// let web = jobs.create("web")?;
/// web.write("members.max", "1")?;
/// let first = web.spawn(cgf::Spawn::new("sleep").arg("60"))?;
/// let second = web.spawn(cgf::Spawn::new("sleep").arg("60"));
/// assert_eq!(second.unwrap_err().errno(), libc::ENOSPC);
/// # web.kill(libc::SIGKILL)?;
/// # first.wait(std::time::Duration::from_secs(5))?;
/// # web.remove()?;
/// # jobs.unmount()
/// # }
/// ```
///
/// # When callbacks run
///
/// In the process that does something with a group, as part of it: an attach
/// calls `can_attach`, and so on, in whichever process the attach is. What only
/// the kernel sees, that a member forks or exits, is told by a
/// [`Monitor`](crate::Monitor) in the process that runs one. So state that every
/// process must agree on belongs on the group
/// ([`Group::set_attribute`]) and not in the subsystem.
///
/// A callback runs with no lock of the library held and may call back into it.
/// It may run in several threads at once, so two attaches that are each allowed
/// may together be one too many: whoever must not let that happen counts for
/// itself in `can_attach` and takes it back in `cancel_attach`.
///
/// A callback that panics is an error of the operation (ENOTRECOVERABLE) and has
/// refused, where it could refuse.
pub trait Subsystem: Send + Sync {
    /// What it is called in options and before the names of its control files:
    /// lower-case letters, digits and `_`, a letter first, 32 at most.
    fn name(&self) -> &str;

    /// The controllers of control groups that it works by (`pids`, `cpuset`). The
    /// hierarchy then spans the kernel trees that have them, where there are any;
    /// [`Group::controller_fd`] says where.
    fn controllers(&self) -> Vec<&str> {
        Vec::new()
    }

    /// The same, where it depends on who carries the hierarchy: what groups have there
    /// anyhow needs no other tree.
    fn controllers_on(&self, _backend: BackendKind) -> Vec<&str> {
        self.controllers()
    }

    /// Whether `can_attach_task`, `attach_task` or `attach` do anything; they are not
    /// called otherwise. A move that nobody follows is one step of the kernel's; else it goes through a group for a
    /// moment, so that it can be taken back with the children born meanwhile.
    fn follows_attach(&self) -> bool {
        true
    }

    /// Whether `fork` or `exit` do anything; they are not called otherwise. A monitor listens to the whole
    /// machine for them.
    fn follows_tasks(&self) -> bool {
        true
    }

    /// Its control files. Asked once for each hierarchy that is opened.
    fn populate(&self) -> Vec<ControlFile> {
        Vec::new()
    }

    /// A hierarchy that it is bound to was opened by this process. An error is
    /// the opener's.
    fn mount(&self, _hierarchy: &Hierarchy) -> Result<()> {
        Ok(())
    }

    /// A hierarchy that it is bound to was ended by this process. Its handle
    /// gives ENODEV by now.
    fn unmount(&self, _hierarchy: &Hierarchy) -> Result<()> {
        Ok(())
    }

    /// A group was made. After an error it is gone again.
    fn create(&self, _group: &Group) -> Result<()> {
        Ok(())
    }

    /// A group was removed, or its making failed later. Its handle gives ENODEV
    /// by now, but still tells its path.
    fn destroy(&self, _group: &Group) -> Result<()> {
        Ok(())
    }

    /// A group was made as a copy of its parent (R1.5). Attributes of the parent
    /// have been copied; this is for what is kept elsewhere.
    fn post_clone(&self, _group: &Group, _parent: &Group) -> Result<()> {
        Ok(())
    }

    /// A process is to come. An error refuses it. May take its time.
    fn can_attach(&self, _attach: &Attach<'_>) -> Result<()> {
        Ok(())
    }

    /// One of its threads is to come; 0 for that of a process not born yet.
    fn can_attach_task(&self, _attach: &Attach<'_>, _tid: i32) -> Result<()> {
        Ok(())
    }

    /// It does not come, though this subsystem had agreed in `can_attach`.
    fn cancel_attach(&self, _attach: &Attach<'_>) -> Result<()> {
        Ok(())
    }

    /// All have agreed; the move comes next.
    fn pre_attach(&self, _attach: &Attach<'_>) -> Result<()> {
        Ok(())
    }

    /// One of its threads has come. An error takes the whole process back.
    fn attach_task(&self, _attach: &Attach<'_>, _tid: i32) -> Result<()> {
        Ok(())
    }

    /// The process has come. An error takes it back. May take its time.
    fn attach(&self, _attach: &Attach<'_>) -> Result<()> {
        Ok(())
    }

    /// A member made a child, in the same group. From a monitor, afterwards: the
    /// child may have gone already.
    fn fork(&self, _group: &Group, _parent: i32, _child: i32) -> Result<()> {
        Ok(())
    }

    /// A member ended. From a monitor, afterwards.
    fn exit(&self, _group: &Group, _pid: i32) -> Result<()> {
        Ok(())
    }
}

impl fmt::Debug for dyn Subsystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What programs have registered. The one list in the library that a whole
/// process shares: options name subsystems, and options are text.
static REGISTERED: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

/// A subsystem by the name that it gave when it was registered: nothing of a
/// program's is called while the list is locked.
struct Registered {
    name: String,
    subsystem: Arc<dyn Subsystem>,
}

/// What every program has, in the order of names.
const BUILT_IN: [&str; 7] = ["beancounter", "cpuacct", "cpuset", "freezer", "namespace", "numtasks", "signal"];

/// What a new hierarchy is bound to if nothing is said, in the order of names.
pub(crate) const BY_DEFAULT: [&str; 2] = ["freezer", "signal"];

/// Makes a subsystem known to this process, so that hierarchies can be opened
/// with it.
///
/// # Errors
///
/// EEXIST: there is one of that name. EINVAL: not a name. ECHILD: in a child
/// forked while another thread was at it.
pub fn register(subsystem: impl Subsystem + 'static) -> Result<()> {
    let name = subsystem.name().to_owned();
    check_name(&name)?;
    let mut registered = registered()?;
    if find_in(&registered, &name).is_some() {
        return Err(Error::new(libc::EEXIST, format!("there is a subsystem {name:?} already")));
    }
    registered.push(Registered { name, subsystem: Arc::new(subsystem) });
    Ok(())
}

/// Makes a subsystem unknown again. Hierarchies that this process has opened
/// with it keep it until they are dropped; then it is dropped, too.
///
/// # Errors
///
/// ENOENT: none was registered by that name. ECHILD as [`register`].
pub fn unregister(name: &str) -> Result<()> {
    let mut registered = registered()?;
    let Some(at) = registered.iter().position(|one| one.name == name) else {
        return Err(Error::new(libc::ENOENT, format!("no subsystem {name:?} was registered")));
    };
    let gone = registered.remove(at);
    drop(registered);
    // Its drop is the program's own code: not with the list locked.
    drop(gone);
    Ok(())
}

/// The subsystem of a name. ENOENT.
pub(crate) fn find(name: &str) -> Result<Arc<dyn Subsystem>> {
    let registered = registered()?;
    find_in(&registered, name).ok_or_else(|| {
        let own = registered.iter().map(|one| one.name.as_str());
        let known: Vec<&str> = BUILT_IN.into_iter().chain(own).collect();
        Error::new(libc::ENOENT, format!("no subsystem {name:?}; there are: {}", known.join(", ")))
    })
}

/// Calls one callback; a panic is an error.
pub(crate) fn call<T>(subsystem: &dyn Subsystem, what: &str, callback: impl FnOnce() -> Result<T>) -> Result<T> {
    let name = subsystem.name();
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if BUILT_IN.contains(&name) => Err(error),
        Ok(Err(error)) => Err(error.context(format_args!("subsystem {name}, {what}"))),
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Error::new(libc::ENOTRECOVERABLE, format!("subsystem {name} panicked in {what}: {said}")))
        }
    }
}

fn find_in(registered: &[Registered], name: &str) -> Option<Arc<dyn Subsystem>> {
    let found = || registered.iter().find(|one| one.name == name).map(|one| Arc::clone(&one.subsystem));
    own(name).or_else(found)
}

/// What every program has.
pub(crate) fn built_in() -> impl Iterator<Item = (&'static str, Arc<dyn Subsystem>)> {
    BUILT_IN.into_iter().filter_map(|name| Some((name, own(name)?)))
}

fn own(name: &str) -> Option<Arc<dyn Subsystem>> {
    Some(match name {
        "beancounter" => Arc::new(BeanCounters),
        "cpuacct" => Arc::new(CpuAcct),
        "cpuset" => Arc::new(CpuSet),
        "freezer" => Arc::new(Freezer),
        "namespace" => Arc::new(Namespace),
        "numtasks" => Arc::new(NumTasks),
        "signal" => Arc::new(Signal),
        _ => return None,
    })
}

/// The list, held for a few instructions each time. In a child that was forked
/// while another thread had it, it would stay locked for ever.
fn registered() -> Result<MutexGuard<'static, Vec<Registered>>> {
    let mut wait = Wait::until(Deadline::after(Duration::from_secs(1)));
    loop {
        match REGISTERED.try_lock() {
            Ok(list) => return Ok(list),
            // Nothing of a program's runs while it is locked.
            Err(TryLockError::Poisoned(poisoned)) => return Ok(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => {}
        }
        if wait.pause(Duration::from_micros(50)).is_err() {
            let why = "the list of subsystems was in use by another thread when this process was forked";
            return Err(Error::new(libc::ECHILD, why));
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let is_word = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    // Files and attributes of the library's own begin so.
    let is_ours = ["cgroup", "cgf", "bc", "ns"].contains(&name);
    if is_word && begins && !is_ours && name.len() <= 32 {
        return Ok(());
    }
    let why =
        format!("{name:?} is no name for a subsystem: lower-case letters, digits and _, a letter first, at most 32");
    Err(Error::new(libc::EINVAL, why))
}
