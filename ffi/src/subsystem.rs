//! Subsystems that a C program brings: a structure of functions.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cgf_core::{Attach, ControlFile, Group, Hierarchy, Result, Subsystem};
use libc::{c_char, c_int, pid_t};

use crate::arguments::{Versioned, bytes, null, structure, utf8};
use crate::attachment::cgf_attachment;
use crate::callback;
use crate::control_file::{ProgramFile, cgf_control_file};
use crate::error::cgf_error;
use crate::group::cgf_group;
use crate::guard::{self, Failure, guard};
use crate::hierarchy::cgf_hierarchy;

/// Something that is bound to hierarchies and called about their groups (R1.6),
/// for cgf_subsystem_register. Every function may be NULL: then it does nothing
/// and agrees. Later versions may add functions at the end:
///
///     struct cgf_subsystem members = { .size = sizeof(members), .name = "members" };
///
/// Callbacks run in the process that does something with a group, as part of it,
/// and in its thread; so what every process must agree on belongs on the group
/// (cgf_attribute_set) and not in "state". Only fork and exit, which the kernel
/// alone sees, come afterwards and from a monitor. No lock of the library is
/// held: a callback may call back into it. It may run in several threads at once,
/// so two attaches that are each allowed may together be one too many: whoever
/// must not let that happen counts for itself in can_attach and takes it back in
/// cancel_attach. Handles that a callback is given are borrowed: good until it
/// returns, and not to be freed. It must return: no exception, longjmp or
/// pthread_exit may leave it.
///
/// A callback returns 0, or -errno, which becomes the result of the operation. A
/// positive number, or one below -4095, is an error of the callback's own:
/// -EINVAL, with a message that says so.
///
/// Somebody who comes into a group is announced in these steps (R2.2), each to the
/// subsystems in the order of their names:
///
///     can_attach, then can_attach_task for each thread
///     pre_attach
///     the move
///     attach_task for each thread, then attach
///
/// An error of any of them takes all of it back, and cancel_attach goes to those
/// whose can_attach had agreed, last first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cgf_subsystem {
    /// sizeof(struct cgf_subsystem)
    pub size: usize,
    /// What it is called in options and before the names of its control files:
    /// lower-case letters, digits and '_', a letter first, 32 at most.
    pub name: *const c_char,
    /// The controllers of control groups that it works by, "pids,cpuset", or
    /// NULL: the hierarchy spans the kernel trees that have them, where there are
    /// any (cgf_controller_fd).
    pub controllers: *const c_char,
    /// What every callback gets first.
    pub state: *mut c_void,
    /// Called once, when it is not registered any more and the last handle is
    /// freed that this process has on a hierarchy bound to it.
    pub free: Option<unsafe extern "C" fn(state: *mut c_void)>,
    /// Its control files. May be NULL if "nfiles" is 0.
    pub files: *const cgf_control_file,
    /// How many "files" there are.
    pub nfiles: usize,
    /// A group was made. After an error it is gone again.
    pub create: Option<unsafe extern "C" fn(state: *mut c_void, g: *mut cgf_group) -> c_int>,
    /// A group was removed, or its making failed later: the handle gives -ENODEV,
    /// but still tells its path.
    pub destroy: Option<unsafe extern "C" fn(state: *mut c_void, g: *mut cgf_group) -> c_int>,
    /// A group was made as a copy of its parent (cgf_group_clone). Attributes
    /// have been copied; this is for what is kept elsewhere.
    pub post_clone:
        Option<unsafe extern "C" fn(state: *mut c_void, g: *mut cgf_group, parent: *mut cgf_group) -> c_int>,
    /// A process is to come. An error refuses it. May take its time.
    pub can_attach: Option<unsafe extern "C" fn(state: *mut c_void, a: *const cgf_attachment<'_>) -> c_int>,
    /// One of its threads is to come; 0 for that of a program to be started.
    pub can_attach_task:
        Option<unsafe extern "C" fn(state: *mut c_void, a: *const cgf_attachment<'_>, tid: pid_t) -> c_int>,
    /// It does not come, though can_attach had agreed. The result is ignored.
    pub cancel_attach: Option<unsafe extern "C" fn(state: *mut c_void, a: *const cgf_attachment<'_>) -> c_int>,
    /// All have agreed; the move comes next. An error still refuses it.
    pub pre_attach: Option<unsafe extern "C" fn(state: *mut c_void, a: *const cgf_attachment<'_>) -> c_int>,
    /// One of its threads has come. An error takes the whole process back.
    pub attach_task:
        Option<unsafe extern "C" fn(state: *mut c_void, a: *const cgf_attachment<'_>, tid: pid_t) -> c_int>,
    /// The process has come. An error takes it back. May take its time.
    pub attach: Option<unsafe extern "C" fn(state: *mut c_void, a: *const cgf_attachment<'_>) -> c_int>,
    /// A member made a child, in the same group. From a monitor
    /// (cgf_monitor_next, whose error it is that this gives), afterwards: the
    /// child may have gone already, and the parent, 0 then if it is not known.
    pub fork: Option<unsafe extern "C" fn(state: *mut c_void, g: *mut cgf_group, parent: pid_t, child: pid_t) -> c_int>,
    /// A member ended. From a monitor, as fork.
    pub exit: Option<unsafe extern "C" fn(state: *mut c_void, g: *mut cgf_group, pid: pid_t) -> c_int>,
    /// A hierarchy that it is bound to was opened by this process. An error is
    /// the opener's.
    pub mount: Option<unsafe extern "C" fn(state: *mut c_void, h: *mut cgf_hierarchy) -> c_int>,
    /// A hierarchy that it is bound to was ended by this process: the handle
    /// gives -ENODEV.
    pub unmount: Option<unsafe extern "C" fn(state: *mut c_void, h: *mut cgf_hierarchy) -> c_int>,
}

// SAFETY: numbers, pointers, and functions that may be NULL, all of one width
// and so without padding (`layout`), the size first.
unsafe impl Versioned for cgf_subsystem {
    // Through the name: the rest may be missing.
    const LEAST: usize = 2 * size_of::<usize>();
}

/// Makes a subsystem known to this process, so that hierarchies can be opened
/// with its name among the options. The structure and what it points to are
/// copied, "state" excepted, which the library has from now on and gives back by
/// "free". Children forked later have a copy of all of it.
///
/// Returns 0, or, with "state" still the caller's,
///
///     -EEXIST  there is one of that name
///     -EINVAL  no name for a subsystem; a list of controllers with an empty
///              name; unknown flags of a file; files of different sizes; a size
///              that no version had
///     -E2BIG   the structure, or a file, is larger than this library knows, and
///              what it does not know is not zero
///     -ECHILD  in a child that was forked while another thread was at it
///
/// The names of files are looked at when a hierarchy is opened (-EINVAL).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_subsystem_register(s: *const cgf_subsystem, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call; the
    // functions are, for as long as the subsystem is there.
    unsafe {
        guard(err, || {
            let program = Arc::new(Program::new(&structure(s, "s")?)?);
            cgf_core::register(Registered(Arc::clone(&program)))?;
            // Even if somebody has unregistered it meanwhile: this is the last
            // that holds it then.
            program.owns_state.store(true, Ordering::Relaxed);
            Ok(0)
        })
    }
}

/// Makes a subsystem unknown again. Hierarchies that this process has opened
/// with it keep it until their handles, and those of their groups, are freed.
///
/// Returns 0, or
///
///     -ENOENT  none was registered by that name
///     -EINVAL  NULL
///     -ECHILD  as cgf_subsystem_register
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_subsystem_unregister(name: *const c_char, err: *mut *mut cgf_error) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            // What is no text was not registered: with the core as any other.
            let name = String::from_utf8_lossy(bytes(name, "name")?);
            cgf_core::unregister(&name)?;
            Ok(0)
        })
    }
}

/// A subsystem's structure, with copies of what it points to.
pub(crate) struct Program {
    given: cgf_subsystem,
    name: String,
    controllers: Vec<String>,
    files: Vec<ProgramFile>,
    /// Not before it is registered: until then the state is the caller's.
    owns_state: AtomicBool,
}

// SAFETY: the header asks for functions that may be called with the state by
// any thread, and by several at once. The other pointers are not used again.
unsafe impl Send for Program {}
// SAFETY: the same.
unsafe impl Sync for Program {}

impl Program {
    /// # Safety
    ///
    /// The pointers are NULL or as the header says; the functions for as long as
    /// the value lives.
    unsafe fn new(given: &cgf_subsystem) -> guard::Result<Program> {
        // SAFETY: the same promise.
        unsafe {
            Ok(Program {
                given: *given,
                name: utf8(given.name, "s.name")?.to_owned(),
                controllers: controllers(given.controllers)?,
                files: files(given.files, given.nfiles)?,
                owns_state: AtomicBool::new(false),
            })
        }
    }

    pub(crate) fn state(&self) -> *mut c_void {
        self.given.state
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(free) = self.given.free
            && *self.owns_state.get_mut()
        {
            // SAFETY: with the state, once: whoever could call about it has gone.
            unsafe { free(self.given.state) };
        }
    }
}

/// # Safety
///
/// `files` is NULL, or points to `count` structures, each as long as its first
/// member says.
unsafe fn files(files: *const cgf_control_file, count: usize) -> guard::Result<Vec<ProgramFile>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if files.is_null() {
        return Err(null("s.files"));
    }
    // SAFETY: at least one is there, as the caller promises, with its size.
    let stride = unsafe { (&raw const (*files).size).read() };
    let mut found = Vec::new();
    for index in 0..count {
        // SAFETY: the array has `count` elements, each of them as long as the
        // first: whether that is so is looked at, before the next is.
        let file = unsafe { files.byte_add(index * stride) };
        // SAFETY: within the array, so its size is there.
        let size = unsafe { (&raw const (*file).size).read() };
        if size != stride {
            let why = format!("s.files[{index}].size is {size}, and that of the first is {stride}");
            return Err(Failure::invalid(why));
        }
        // SAFETY: as many bytes as it says, as the caller promises.
        found.push(unsafe { ProgramFile::new(&structure(file, "s.files")?) }?);
    }
    Ok(found)
}

/// The names in a list with commas. EINVAL: an empty one among them.
///
/// # Safety
///
/// `list` is NULL or a string.
unsafe fn controllers(list: *const c_char) -> guard::Result<Vec<String>> {
    if list.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: a string, as the caller promises.
    let text = unsafe { utf8(list, "s.controllers") }?;
    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err(Failure::invalid(format!("s.controllers, {text:?}, has an empty name")));
    }
    Ok(names)
}

/// What the core calls.
struct Registered(Arc<Program>);

impl Registered {
    fn state(&self) -> *mut c_void {
        self.0.state()
    }
}

/// A handle that a callback may use until it returns.
fn lent(group: &Group) -> cgf_group {
    cgf_group(group.clone())
}

impl Subsystem for Registered {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn controllers(&self) -> Vec<&str> {
        self.0.controllers.iter().map(String::as_str).collect()
    }

    fn follows_attach(&self) -> bool {
        let given = &self.0.given;
        given.can_attach_task.is_some() || given.attach_task.is_some() || given.attach.is_some()
    }

    fn follows_tasks(&self) -> bool {
        self.0.given.fork.is_some() || self.0.given.exit.is_some()
    }

    fn populate(&self) -> Vec<ControlFile> {
        self.0.files.iter().map(|file| file.bound(&self.0)).collect()
    }

    fn mount(&self, hierarchy: &Hierarchy) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.mount, |mount| unsafe {
            mount(self.state(), &mut cgf_hierarchy(hierarchy.clone()))
        })
    }

    fn unmount(&self, hierarchy: &Hierarchy) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.unmount, |unmount| unsafe {
            unmount(self.state(), &mut cgf_hierarchy(hierarchy.clone()))
        })
    }

    fn create(&self, group: &Group) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.create, |create| unsafe { create(self.state(), &mut lent(group)) })
    }

    fn destroy(&self, group: &Group) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.destroy, |destroy| unsafe { destroy(self.state(), &mut lent(group)) })
    }

    fn post_clone(&self, group: &Group, parent: &Group) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.post_clone, |post_clone| unsafe {
            post_clone(self.state(), &mut lent(group), &mut lent(parent))
        })
    }

    fn can_attach(&self, attach: &Attach<'_>) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.can_attach, |can_attach| unsafe {
            can_attach(self.state(), &cgf_attachment::new(attach))
        })
    }

    fn can_attach_task(&self, attach: &Attach<'_>, tid: i32) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.can_attach_task, |can_attach_task| unsafe {
            can_attach_task(self.state(), &cgf_attachment::new(attach), tid)
        })
    }

    fn cancel_attach(&self, attach: &Attach<'_>) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.cancel_attach, |cancel_attach| unsafe {
            cancel_attach(self.state(), &cgf_attachment::new(attach))
        })
    }

    fn pre_attach(&self, attach: &Attach<'_>) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.pre_attach, |pre_attach| unsafe {
            pre_attach(self.state(), &cgf_attachment::new(attach))
        })
    }

    fn attach_task(&self, attach: &Attach<'_>, tid: i32) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.attach_task, |attach_task| unsafe {
            attach_task(self.state(), &cgf_attachment::new(attach), tid)
        })
    }

    fn attach(&self, attach: &Attach<'_>) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.attach, |come| unsafe { come(self.state(), &cgf_attachment::new(attach)) })
    }

    fn fork(&self, group: &Group, parent: i32, child: i32) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.fork, |fork| unsafe { fork(self.state(), &mut lent(group), parent, child) })
    }

    fn exit(&self, group: &Group, pid: i32) -> Result<()> {
        // SAFETY: the program's function, with its state, and handles that are there until it returns.
        callback::call(self.0.given.exit, |exit| unsafe { exit(self.state(), &mut lent(group), pid) })
    }
}
