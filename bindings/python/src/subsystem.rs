//! Subsystems that are Python objects: `cgf.register`.

use cgf::ControlFile;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::attach::Attach;
use crate::callback::Function;
use crate::group::Group;
use crate::hierarchy::Hierarchy;
use crate::{callback, engine, facade};

/// Make a subsystem known to this process, so that hierarchies can be opened with
/// it. Its name, its controllers, its files and which callbacks its class overrides
/// are looked at now and never again.
///
/// Raises `GroupExists` (a FileExistsError): there is one of that name. `CgfError`
/// with EINVAL: not a name. TypeError: no `Subsystem`, or one of a name or of
/// files that are none.
#[pyfunction]
pub fn register(py: Python<'_>, subsystem: &Bound<'_, PyAny>) -> PyResult<()> {
    let subsystem = PythonSubsystem::from_object(subsystem)?;
    engine::call(py, || cgf::register(subsystem))
}

/// Make a subsystem unknown again. Hierarchies that this process has opened with
/// it keep it until their handles are gone.
///
/// Raises `NotFound`: none was registered by that name.
#[pyfunction]
pub fn unregister(py: Python<'_>, name: &str) -> PyResult<()> {
    engine::call(py, || cgf::unregister(name))
}

/// A `cgf.Subsystem`, as the engine calls it.
struct PythonSubsystem {
    object: Py<PyAny>,
    name: String,
    controllers: Vec<String>,
    files: Vec<File>,
    /// The callbacks that its class has of its own: nothing else is called, for
    /// each call takes the interpreter.
    callbacks: Vec<&'static str>,
}

/// A `cgf.ControlFile`.
#[derive(FromPyObject)]
struct File {
    name: String,
    read: Option<Function>,
    write: Option<Function>,
    root: bool,
}

const CALLBACKS: [&str; 13] = [
    "create",
    "destroy",
    "post_clone",
    "can_attach",
    "can_attach_task",
    "cancel_attach",
    "pre_attach",
    "attach_task",
    "attach",
    "fork",
    "exit",
    "mount",
    "unmount",
];

impl PythonSubsystem {
    fn from_object(object: &Bound<'_, PyAny>) -> PyResult<PythonSubsystem> {
        let base = facade::subsystem_class(object.py())?;
        if !object.is_instance(base)? {
            return Err(PyTypeError::new_err(format!("{} is no cgf.Subsystem", object.repr()?)));
        }
        let class = object.get_type();
        let mut callbacks = Vec::new();
        for name in CALLBACKS {
            if !class.getattr(name)?.is(base.getattr(name)?) {
                callbacks.push(name);
            }
        }
        let files: Vec<File> =
            object.call_method0("files")?.try_iter()?.map(|file| file?.extract()).collect::<PyResult<_>>()?;
        Ok(PythonSubsystem {
            object: object.clone().unbind(),
            name: object.getattr("name")?.extract()?,
            controllers: object.getattr("controllers")?.extract()?,
            files,
            callbacks,
        })
    }

    fn has(&self, callback: &str) -> bool {
        self.callbacks.contains(&callback)
    }

    /// Calls a method, if there is one. It agrees by returning nothing: what
    /// returns False has not understood how to refuse.
    fn call<A>(&self, callback: &str, arguments: impl FnOnce(Python<'_>) -> PyResult<A>) -> cgf::Result<()>
    where
        A: for<'py> IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
    {
        if !self.has(callback) {
            return Ok(());
        }
        callback::run(|py| {
            let returned = callback::call(py, &self.object.bind(py).getattr(callback)?, arguments(py)?)?;
            match returned.is_none() {
                true => Ok(()),
                false => {
                    let why = format!("returned {}, not None; to refuse, raise OSError", returned.repr()?);
                    Err(PyTypeError::new_err(why))
                }
            }
        })
    }
}

impl File {
    fn control_file(&self) -> ControlFile {
        let mut made = ControlFile::new(&self.name);
        if let Some(read) = self.read.clone() {
            made = made.read(move |group| {
                callback::run(|py| callback::call(py, read.bind(py), (Group::of(py, group)?,))?.extract::<String>())
            });
        }
        if let Some(write) = self.write.clone() {
            made = made.write(move |group, text| {
                callback::run(|py| callback::call(py, write.bind(py), (Group::of(py, group)?, text)).map(drop))
            });
        }
        if self.root { made.only_at_root() } else { made }
    }
}

impl cgf::Subsystem for PythonSubsystem {
    fn name(&self) -> &str {
        &self.name
    }

    fn controllers(&self) -> Vec<&str> {
        self.controllers.iter().map(String::as_str).collect()
    }

    fn follows_attach(&self) -> bool {
        ["can_attach_task", "attach_task", "attach"].into_iter().any(|callback| self.has(callback))
    }

    fn follows_tasks(&self) -> bool {
        ["fork", "exit"].into_iter().any(|callback| self.has(callback))
    }

    fn populate(&self) -> Vec<ControlFile> {
        self.files.iter().map(File::control_file).collect()
    }

    fn mount(&self, hierarchy: &cgf::Hierarchy) -> cgf::Result<()> {
        self.call("mount", |_| Ok((Hierarchy::from(hierarchy.clone()),)))
    }

    fn unmount(&self, hierarchy: &cgf::Hierarchy) -> cgf::Result<()> {
        self.call("unmount", |_| Ok((Hierarchy::from(hierarchy.clone()),)))
    }

    fn create(&self, group: &cgf::Group) -> cgf::Result<()> {
        self.call("create", |py| Ok((Group::of(py, group)?,)))
    }

    fn destroy(&self, group: &cgf::Group) -> cgf::Result<()> {
        self.call("destroy", |py| Ok((Group::of(py, group)?,)))
    }

    fn post_clone(&self, group: &cgf::Group, parent: &cgf::Group) -> cgf::Result<()> {
        self.call("post_clone", |py| Ok((Group::of(py, group)?, Group::of(py, parent)?)))
    }

    fn can_attach(&self, attach: &cgf::Attach<'_>) -> cgf::Result<()> {
        self.call("can_attach", |py| Ok((Attach::of(py, attach)?,)))
    }

    fn can_attach_task(&self, attach: &cgf::Attach<'_>, tid: i32) -> cgf::Result<()> {
        self.call("can_attach_task", |py| Ok((Attach::of(py, attach)?, tid)))
    }

    fn cancel_attach(&self, attach: &cgf::Attach<'_>) -> cgf::Result<()> {
        self.call("cancel_attach", |py| Ok((Attach::of(py, attach)?,)))
    }

    fn pre_attach(&self, attach: &cgf::Attach<'_>) -> cgf::Result<()> {
        self.call("pre_attach", |py| Ok((Attach::of(py, attach)?,)))
    }

    fn attach_task(&self, attach: &cgf::Attach<'_>, tid: i32) -> cgf::Result<()> {
        self.call("attach_task", |py| Ok((Attach::of(py, attach)?, tid)))
    }

    fn attach(&self, attach: &cgf::Attach<'_>) -> cgf::Result<()> {
        self.call("attach", |py| Ok((Attach::of(py, attach)?,)))
    }

    fn fork(&self, group: &cgf::Group, parent: i32, child: i32) -> cgf::Result<()> {
        self.call("fork", |py| Ok((Group::of(py, group)?, parent, child)))
    }

    fn exit(&self, group: &cgf::Group, pid: i32) -> cgf::Result<()> {
        self.call("exit", |py| Ok((Group::of(py, group)?, pid)))
    }
}
