//! The C programs of `tests/c`, against the archive and the shared object.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod common;

/// What is skipped, and why: `cargo test -p cgf-ffi --test c -- --nocapture`.
#[test]
fn programs() {
    common::make("../tests/c", &["check"]);
}
