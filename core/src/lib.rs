//! Freeze, guard, move, count and end groups of Linux processes.
//!
//! libcgf groups real processes into hierarchies of containers and stops,
//! signals, moves and ends them as one: on cgroup v2, on cgroup v1, and where
//! there are no control groups at all. Nothing waits without a deadline, and
//! what fails names the task that is to blame.
//!
//! # A group, frozen and thawed
//!
//! ```
//! use std::time::Duration;
//! use cgf::{Hierarchy, Options, RemoveOptions, Spawn, State};
//!
//! # fn main() -> cgf::Result<()> {
//! # let name = format!("doc-{}", std::process::id());
//! # let name = name.as_str();
//! // The first backend that works here; the same name is the same hierarchy.
//! let jobs = Hierarchy::open(name, &Options::default())?;
//! let web = jobs.create("web/1")?;
//! let child = web.spawn(Spawn::new("sleep").arg("60"))?;
//!
//! web.freeze(Duration::from_secs(5))?;
//! assert_eq!(web.state()?, State::Frozen);
//! web.thaw()?;
//!
//! web.kill(libc::SIGKILL)?;
//! child.wait(Duration::from_secs(5))?;
//! jobs.open_group("web")?.remove_with(RemoveOptions { kill: true, recursive: true })?;
//! jobs.unmount()
//! # }
//! ```
//!
//! # A freeze that does not succeed says why
//!
//! A task that sleeps where no signal reaches (a file server that does not
//! answer, a broken disk) cannot be frozen. The deadline passes, the error
//! names it, and the group is as before, for the caller asked for that:
//!
//! ```no_run
//! use std::time::Duration;
//! use cgf::FreezeOptions;
//!
//! # fn freeze(web: &cgf::Group) -> cgf::Result<()> {
//! match web.freeze_with(FreezeOptions::within(Duration::from_millis(500)).rollback(true)) {
//!     Err(error) if error.errno() == libc::EBUSY => {
//!         for task in error.blockers() {
//!             // 4242 (cat) D in request_wait_answer
//!             eprintln!("{task}");
//!         }
//!     }
//!     other => other?,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Somebody else's container
//!
//! A directory that runc, crun, LXC or systemd made is opened in place:
//!
//! ```no_run
//! use std::time::Duration;
//! use cgf::{Hierarchy, Options};
//!
//! # fn main() -> cgf::Result<()> {
//! let container = Hierarchy::adopt_group_of(4242, &Options::default())?;
//! let held = container.root().hold(Duration::from_secs(5))?;
//! // … frozen here, whoever else holds it too; the last one out thaws …
//! held.give_back()
//! # }
//! ```
//!
//! # An image of a group that stands still
//!
//! ```no_run
//! use std::time::Duration;
//!
//! # fn take_the_image(pid: i32) {}
//! # fn image(web: &cgf::Group, pid: i32) -> cgf::Result<()> {
//! web.freeze(Duration::from_secs(5))?;
//! // Whoever thaws, moves or kills now through this library gets EBUSY.
//! let checkpoint = web.checkpoint(Some(pid))?;
//! take_the_image(pid);
//! // ESTALE: a task could run meanwhile, and which; the image is no good.
//! checkpoint.end()?;
//! web.thaw()
//! # }
//! ```
//!
//! # What happens, as it happens
//!
//! ```
//! use std::time::Duration;
//! use cgf::{EventKind, Hierarchy, Options, WatchOptions};
//!
//! # fn main() -> cgf::Result<()> {
//! # let name = format!("doc-events-{}", std::process::id());
//! # let name = name.as_str();
//! let jobs = Hierarchy::open(name, &Options::default())?;
//! // Its descriptor can be polled; a Monitor also runs the release agent.
//! let mut watch = jobs.watch(WatchOptions::default())?;
//! jobs.create("web")?;
//! let event = watch.next(Duration::from_secs(5))?;
//! assert_eq!(event.map(|event| event.kind), Some(EventKind::Created));
//! # jobs.open_group("web")?.remove()?;
//! # jobs.unmount()
//! # }
//! ```
//!
//! # What a group may hold
//!
//! ```
//! use cgf::{Hierarchy, Options, Resource, Severity};
//!
//! # fn main() -> cgf::Result<()> {
//! # let name = format!("doc-counters-{}", std::process::id());
//! # let name = name.as_str();
//! let jobs = Hierarchy::open(name, &Options::parse("freezer,signal,beancounter")?)?;
//! let web = jobs.create("web/1")?;
//! web.set_limits(Resource::NUMFILES, Some(90), Some(100))?;
//! // Held by this process, and given back however it ends.
//! web.charge(Resource::NUMFILES, 64, Severity::Barrier)?;
//! let refused = web.charge(Resource::NUMFILES, 64, Severity::Limit).unwrap_err();
//! assert_eq!(refused.errno(), libc::EMFILE);
//! // group /web/1 holds 64 of numfiles, and 64 more would pass its limit of 100
//! let connections = jobs.register_resource("connections", "count")?;
//! {
//!     let _held = web.charged(connections, 8, Severity::Limit)?;
//! }
//! print!("{}", web.read("bc.stat")?);
//! web.uncharge(Resource::NUMFILES, 64)?;
//! # web.remove()?;
//! # jobs.open_group("web")?.remove()?;
//! # jobs.unmount()
//! # }
//! ```
//!
//! # Processors, shares of tasks, CPU time
//!
//! Subsystems are combined as they are needed; what each has to say is in its control
//! files ([`files`]).
//!
//! ```
//! use std::time::Duration;
//! use cgf::{Hierarchy, Options, Spawn};
//!
//! # fn main() -> cgf::Result<()> {
//! # let name = format!("doc-controllers-{}", std::process::id());
//! # let name = name.as_str();
//! let options = Options::parse("freezer,signal,cpuacct,cpuset,numtasks")?;
//! let jobs = Hierarchy::open(name, &options)?;
//! let web = jobs.create("web")?;
//! web.write("cpuset.cpus", "0")?;
//! jobs.root().write("numtasks.total_numtasks", "400")?;
//! web.write("numtasks.shares", "max_shares=5")?;
//! assert_eq!(web.read("numtasks.limit")?, "20\n");
//!
//! web.spawn(Spawn::new("true"))?.wait(Duration::from_secs(5))?;
//! assert!(web.cpu_time()?.usage > Duration::ZERO);
//! # web.remove()?;
//! # jobs.unmount()
//! # }
//! ```
//!
//! # What to know
//!
//! * **Errors** ([`Error`]) have an errno, which each function lists, and a
//!   sentence. After an error nothing is half-done unless the function says so.
//! * **Deadlines** ([`Deadline`]): `freeze` takes one; `remove`, `kill`, `spawn`,
//!   `attach` and `thaw` are bounded by the hierarchy's ([`Options::deadline`]).
//! * **Threads**: every handle may be used from several threads at once.
//! * **fork**: in a forked child the parent's handles give ECHILD; dropping them
//!   closes their descriptors and does nothing else. All descriptors are
//!   close-on-exec.
//! * **The process is left alone**: no signal handler, no thread, no logger.
//!   `spawn`, the trial of `backend=auto`, naming who blocks on cgroup v2, and the
//!   release agents of a [`Monitor`], and [`criu`], make child processes of the caller.
//! * **Backends** differ where the kernel does. `docs/backends.md` says what
//!   each promises.
//!
//! R3.2 and the like, here and in the tests, number the requirements.

mod about;
mod attach;
mod attribute;
mod backend;
mod blocker;
mod bound;
mod checkpoint;
mod control_file;
mod counters;
mod cpu_time;
pub mod criu;
mod deadline;
mod doctor;
mod era;
mod error;
mod event;
mod frozen_time;
mod group;
mod hierarchy;
mod hold;
mod holder;
mod monitor;
mod newcomers;
mod options;
mod outer;
mod path;
mod place;
mod process;
mod proof;
mod reference;
mod release;
mod remembered;
mod spawn;
mod state;
mod stray;
mod subsystem;
mod subsystems;
mod sys;
mod system;
mod task_limit;
mod turn;
mod watch;

pub use about::{FileInfo, files};
pub use attach::{Attach, AttachOptions};
pub use backend::BackendKind;
pub use backend::embedded::StopMethod;
pub use blocker::{Blocker, Evidence};
pub use checkpoint::{Checkpoint, CheckpointOptions};
pub use control_file::ControlFile;
pub use cpu_time::CpuTime;
pub use deadline::{Deadline, Meanwhile};
pub use doctor::{Finding, doctor};
pub use error::{Error, Refusal, Result};
pub use event::{Event, EventKind};
pub use group::{Group, RemoveOptions};
pub use hierarchy::Hierarchy;
pub use hold::Hold;
pub use monitor::Monitor;
pub use options::Options;
pub use path::GroupPath;
pub use place::place;
pub use proof::Stillness;
pub use reference::Reference;
pub use spawn::{Child, Spawn};
pub use state::State;
pub use subsystem::{Subsystem, register, unregister};
pub use subsystems::beancounter::resource::{Resource, ResourceInfo};
pub use subsystems::beancounter::snapshot::{BeanCounter, Snapshot};
pub use subsystems::beancounter::{Charged, Severity};
pub use subsystems::freezer::FreezeOptions;
pub use subsystems::namespace::kinds::Namespaces;
pub use watch::{Watch, WatchOptions};
