//! The C programs of `tests/c`, against the archive and the shared object, and
//! with the address sanitizer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod common;

use std::process::Command;
use std::sync::Mutex;

use common::{crate_directory, target_directory};

/// The programs act on live processes: one at a time.
static TURN: Mutex<()> = Mutex::new(());

fn make(target: &str) {
    let _turn = TURN.lock();
    let mut make = Command::new("make");
    make.arg("-C").arg(crate_directory().join("../tests/c")).arg(target);
    // The jobs of a make that started cargo are not ours to use.
    make.env_remove("MAKEFLAGS").env("CARGO_TARGET_DIR", target_directory());
    // To see what is skipped, and why: cargo test -- --nocapture.
    let status = make.status().unwrap();
    assert!(status.success(), "make -C tests/c {target}: {status}");
}

#[test]
fn programs() {
    make("check");
}

#[test]
fn programs_with_sanitizers() {
    make("check-asan");
}
