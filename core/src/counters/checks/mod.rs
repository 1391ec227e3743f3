//! Proofs of the counters, on real processes (R6.7, R6.8, R6.9, R6.12).
//!
//! `instructions` kills and stops at every instruction; `storms` at random; `model` compares with plain
//! arithmetic; `damage` breaks the file; `mutations` breaks the algorithm, and the proofs must see it. All run in
//! short; `make soak` runs them in full (`CGF_SOAK=1`).

mod alone;
mod board;
mod damage;
mod instructions;
mod interleavings;
mod model;
mod mutations;
mod offspring;
mod pairs;
mod picture;
mod scenarios;
mod step;
mod storms;
mod world;

/// Whether there is time for everything.
fn soak() -> bool {
    std::env::var_os("CGF_SOAK").is_some_and(|value| value != "0")
}
