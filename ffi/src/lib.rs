//! The C interface of libcgf: `include/cgf.h` is generated from this crate.
//!
//! Each function checks its pointers, calls the core's public function of the
//! same meaning inside [`guard`](guard::guard), and turns the result into a
//! number and an error object. Nothing else happens here: no policy, no state,
//! no thread, no signal handler. What holds for every function (ownership,
//! threads, fork, NULL) stands once at the head of the header, `cbindgen.toml`.
//!
//! The documentation of public items is the header's: it speaks to a C
//! programmer, names errnos and not Rust types. Modules stand in the order in
//! which the header lists them.

#![allow(non_camel_case_types, reason = "the names are those that C programs see")]

mod arguments;
mod callback;
mod guard;
mod stream;

mod version;

mod error;

mod hierarchy;

mod group;

mod attribute;

mod reference;

mod attach;

mod spawn;

mod freezer;

mod hold;

mod checkpoint;

mod signal;

mod beancounter;

mod resource;

mod namespace;

mod control_file;

mod attachment;

mod subsystem;

mod event;

mod watch;

mod monitor;

mod doctor;

#[cfg(test)]
mod layout;

/// The header promises that every handle may be used by several threads, and
/// freed by another one than made it.
const _: () = {
    const fn may_be_shared<T: Send + Sync>() {}
    may_be_shared::<error::cgf_error>();
    may_be_shared::<group::cgf_group>();
    may_be_shared::<hierarchy::cgf_hierarchy>();
    may_be_shared::<hold::cgf_hold>();
    may_be_shared::<checkpoint::cgf_checkpoint>();
    may_be_shared::<reference::cgf_reference>();
    may_be_shared::<attachment::cgf_attachment<'_>>();
    may_be_shared::<event::cgf_event>();
    may_be_shared::<watch::cgf_watch>();
    may_be_shared::<monitor::cgf_monitor>();
};
