//! Kinds of namespaces, as Python names them.

use cgf::Namespaces;
use pyo3::prelude::*;

use crate::error::OrRaise;

/// `("net", "uts")`, or as the control file has it: `"net,uts"`.
#[derive(FromPyObject)]
pub enum Kinds {
    Text(String),
    Words(Vec<String>),
}

impl Kinds {
    pub fn find(&self, py: Python<'_>) -> PyResult<Namespaces> {
        let kinds = match self {
            Kinds::Text(text) => text.parse(),
            Kinds::Words(words) => words.join(",").parse(),
        };
        kinds.or_raise(py)
    }
}
