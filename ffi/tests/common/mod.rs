//! What the tests of the built library share.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where this crate lies.
pub fn crate_directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command to its end and returns what it wrote; a failure is the test's.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed, {}:\n{text}{errors}", output.status);
    text
}

/// A directory for one test, below cargo's for all of them.
pub fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// The profile of this test program, for everything that it builds.
pub const PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// The archive, up to date: an integration test is not linked with a static
/// library, so cargo need not have built it.
pub fn built_archive() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--package", "cgf-ffi"]).current_dir(crate_directory());
            cargo.args((PROFILE == "release").then_some("--release")).env("CARGO_TARGET_DIR", target_directory());
            run(&mut cargo);
            target_directory().join(PROFILE).join("libcgf.a")
        })
        .clone()
}

/// Runs make in a directory of this repository.
pub fn make(directory: &str, arguments: &[&str]) {
    let mut make = Command::new("make");
    make.args(["-s", "-C"]).arg(crate_directory().join(directory)).args(arguments);
    make.arg(format!("PROFILE={PROFILE}")).env("CARGO_TARGET_DIR", target_directory());
    // The jobs of a make that started cargo are not ours to use.
    let status = make.env_remove("MAKEFLAGS").status().unwrap_or_else(|error| panic!("{make:?}: {error}"));
    assert!(status.success(), "{make:?}: {status}");
}

/// The directory that cargo builds in.
pub fn target_directory() -> PathBuf {
    // CARGO_TARGET_TMPDIR is `tmp` in it.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

/// A directory with the shared object and its links, linked anew.
pub fn linked(name: &str) -> PathBuf {
    let directory = directory(name);
    run(Command::new(crate_directory().join("link-shared.sh")).arg(built_archive()).arg(&directory));
    directory
}
