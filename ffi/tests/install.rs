//! What is installed is enough to build and run a program with.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{crate_directory, directory, make, run};

/// Installs into a directory of its own, as a packager does.
fn installed(name: &str) -> std::path::PathBuf {
    let root = directory(name);
    make(".", &["install", "PREFIX=/usr", &format!("DESTDIR={}", root.display())]);
    root
}

fn pkg_config(root: &Path, how: &[&str]) -> Vec<String> {
    let mut pkg_config = Command::new("pkg-config");
    pkg_config.args(how).arg("libcgf").env("PKG_CONFIG_SYSROOT_DIR", root);
    // What is below /usr is left out otherwise, as the compiler's own.
    pkg_config.env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1").env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1");
    let words = run(pkg_config.env("PKG_CONFIG_LIBDIR", root.join("usr/lib/pkgconfig")));
    words.split_whitespace().map(str::to_owned).collect()
}

fn example(root: &Path, link: &[&str], libraries: &[String]) {
    let program = root.join("runtime");
    let mut compile = Command::new("cc");
    compile.args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]).args(link);
    compile.arg(crate_directory().join("examples/runtime.c")).arg("-o").arg(&program);
    run(compile.args(libraries));
    let output = run(Command::new(&program).env("LD_LIBRARY_PATH", root.join("usr/lib")));
    for expected in ["THAWED", "FROZEN", "removed"] {
        assert!(output.contains(expected), "no {expected} in:\n{output}");
    }
}

#[test]
fn the_example_runs_on_the_installed_shared_library() {
    let root = installed("install-shared");
    assert_eq!(pkg_config(&root, &["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    example(&root, &[], &pkg_config(&root, &["--cflags", "--libs"]));
}

#[test]
fn the_example_runs_on_the_installed_archive() {
    let root = installed("install-static");
    for shared in std::fs::read_dir(root.join("usr/lib")).unwrap() {
        let path = shared.unwrap().path();
        if path.to_string_lossy().contains("libcgf.so") {
            std::fs::remove_file(path).unwrap();
        }
    }
    example(&root, &[], &pkg_config(&root, &["--static", "--cflags", "--libs"]));
}
