//! Freeze, guard, move, count and end groups of Linux processes.

mod attach;
mod attribute;
mod backend;
mod blocker;
mod control_file;
mod deadline;
mod doctor;
mod error;
mod frozen_time;
mod group;
mod hierarchy;
mod hold;
mod options;
mod path;
mod place;
mod process;
mod spawn;
mod subsystems;
mod sys;
mod system;

pub use attach::AttachOptions;
pub use backend::BackendKind;
pub use backend::embedded::StopMethod;
pub use blocker::{Blocker, Evidence};
pub use deadline::{Deadline, Meanwhile};
pub use doctor::{Finding, doctor};
pub use error::{Error, Result};
pub use group::{Group, RemoveOptions};
pub use hierarchy::Hierarchy;
pub use hold::Hold;
pub use options::Options;
pub use path::GroupPath;
pub use place::place;
pub use spawn::{Child, Spawn};
pub use subsystems::freezer::{FreezeOptions, State};
