//! What groups hold: charges, limits, snapshots.

use cgf::{BeanCounter, Resource, Severity};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyString};

use crate::callback::Function;
use crate::group::Group;
use crate::{callback, facade};

/// A resource as Python names it: by its name, or by its number.
pub enum Named {
    Name(String),
    Number(u32),
}

impl FromPyObject<'_, '_> for Named {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Named> {
        if let Ok(name) = given.cast::<PyString>() {
            return Ok(Named::Name(name.to_str()?.to_owned()));
        }
        if is_number(&given) {
            // No resource has a number that is none of u32, and none has the last.
            return Ok(Named::Number(given.extract().unwrap_or(u32::MAX)));
        }
        Err(PyTypeError::new_err(format!("a resource is a name or a number, not {}", given.repr()?)))
    }
}

impl Named {
    pub fn find(&self, hierarchy: &cgf::Hierarchy) -> cgf::Result<Resource> {
        match self {
            Named::Name(name) => hierarchy.resource(name),
            Named::Number(number) => Ok(Resource::from_number(*number)),
        }
    }
}

/// So much of a resource. What no counter can hold goes to the engine, which says so.
#[derive(Clone, Copy)]
pub struct Amount(pub u64);

impl FromPyObject<'_, '_> for Amount {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Amount> {
        if !is_number(&given) {
            return Err(PyTypeError::new_err(format!("an amount is an int, not {}", given.repr()?)));
        }
        if given.lt(0)? {
            return Err(PyValueError::new_err(format!("{} is no amount: it is negative", given.repr()?)));
        }
        Ok(Amount(given.extract().unwrap_or(u64::MAX)))
    }
}

/// True is an int to Python, and a mistake as a number.
fn is_number(given: &Borrowed<'_, '_, PyAny>) -> bool {
    given.is_instance_of::<PyInt>() && !given.is_instance_of::<PyBool>()
}

/// A member of `cgf.Severity`.
#[derive(Clone, Copy)]
pub struct Insistence(pub Severity);

/// What charges have where nothing is said.
pub const LIMIT: Insistence = Insistence(Severity::Limit);

impl FromPyObject<'_, '_> for Insistence {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Insistence> {
        if !is_number(&given) {
            return Err(PyTypeError::new_err(format!("severity is a cgf.Severity, not {}", given.repr()?)));
        }
        match given.extract() {
            Ok(0) => Ok(Insistence(Severity::Barrier)),
            Ok(1) => Ok(Insistence(Severity::Limit)),
            Ok(2) => Ok(Insistence(Severity::Force)),
            _ => Err(PyValueError::new_err(format!("{} is no cgf.Severity", given.repr()?))),
        }
    }
}

/// Several resources: a mapping of names or numbers to amounts.
pub struct Amounts(Vec<(Named, Amount)>);

impl FromPyObject<'_, '_> for Amounts {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Amounts> {
        let items = given.call_method0("items")?;
        items.try_iter()?.map(|item| item?.extract()).collect::<PyResult<_>>().map(Amounts)
    }
}

impl Amounts {
    pub fn find(&self, hierarchy: &cgf::Hierarchy) -> cgf::Result<Vec<(Resource, u64)>> {
        self.0.iter().map(|(named, amount)| Ok((named.find(hierarchy)?, amount.0))).collect()
    }
}

/// Holds a charge inside of a `with` statement. Made by `Group.charged`.
#[pyclass(frozen, module = "cgf")]
pub struct Charged {
    group: Py<Group>,
    named: Named,
    amount: Amount,
    severity: Insistence,
}

impl Charged {
    pub fn new(group: Py<Group>, named: Named, amount: Amount, severity: Insistence) -> Charged {
        Charged { group, named, amount, severity }
    }
}

#[pymethods]
impl Charged {
    /// Make the charge. Returns the group.
    fn __enter__(&self, py: Python<'_>) -> PyResult<Py<Group>> {
        self.group.get().charge_named(py, &self.named, self.amount, self.severity)?;
        Ok(self.group.clone_ref(py))
    }

    /// Take it back.
    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(
        &self,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (exc_type, traceback);
        let py = exc_value.py();
        let given_back = self.group.get().uncharge_named(py, &self.named, self.amount);
        if let Err(failed) = &given_back
            && !exc_value.is_none()
        {
            // As if raised by a statement: the first failure is not forgotten.
            failed.set_context(py, Some(PyErr::from_value(exc_value.clone())));
        }
        given_back
    }
}

/// A `cgf.Snapshot`.
pub fn snapshot<'py>(py: Python<'py>, found: &cgf::Snapshot) -> PyResult<Bound<'py, PyAny>> {
    let class = facade::beancounter_class(py, "Figures")?;
    let counters = PyDict::new(py);
    for counter in &found.counters {
        let BeanCounter { resource, name, unit, by_kernel, held, maxheld, minheld, barrier, limit, failcnt, .. } =
            counter;
        let figures = (name, resource.number(), unit, held, maxheld, minheld, barrier, limit, failcnt, by_kernel);
        counters.set_item(name, class.call1(figures)?)?;
    }
    facade::beancounter_class(py, "Snapshot")?.call1((counters, found.underflow))
}

/// What is called when a charge of this process crosses a barrier. What it raises goes to
/// `sys.unraisablehook`: the charge has been made.
pub fn barrier_hit(function: Function) -> impl Fn(&cgf::Group, Resource, u64) + Send + Sync + 'static {
    move |group, _, amount| {
        let _ = callback::run(|py| callback::call(py, function.bind(py), (Group::of(py, group)?, amount)).map(drop));
    }
}

/// What is called before a charge of this process is refused. If it raises, it has freed nothing.
pub fn limit_hit(function: Function) -> impl Fn(&cgf::Group, Resource, u64) -> bool + Send + Sync + 'static {
    move |group, _, amount| {
        let freed =
            callback::run(|py| callback::call(py, function.bind(py), (Group::of(py, group)?, amount))?.is_truthy());
        freed.unwrap_or(false)
    }
}
