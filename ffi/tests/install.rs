//! What is installed is enough to build and run a program with.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{crate_directory, directory, make, run};

/// Installs into a directory of its own, as a packager does.
fn installed(name: &str) -> PathBuf {
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

/// The programs of `examples`, and what each of them says.
const EXAMPLES: [(&str, &[&str]); 5] = [
    ("runtime", &["THAWED", "FROZEN", "removed"]),
    ("checkpoint", &["kept out", "nothing ran"]),
    ("members", &["the first is in", "the second is refused: subsystem members"]),
    ("charge", &["killed; held: 0", "over the barrier", "closing 2 idle ones", "held: 8", "one more is refused"]),
    ("log", &["/web: ", " made ", " ended", "the group is empty"]),
];

fn examples(root: &Path, libraries: &[String]) {
    for (name, expected) in EXAMPLES {
        let program = build(root, name, libraries);
        let output = run(Command::new(&program).env("LD_LIBRARY_PATH", root.join("usr/lib")));
        says(name, &output, expected);
    }
}

fn build(root: &Path, name: &str, options: &[String]) -> PathBuf {
    let program = root.join(name);
    let mut compile = Command::new("cc");
    compile.args(["-std=c11", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    compile.arg(crate_directory().join("examples").join(name).with_extension("c")).arg("-o").arg(&program);
    run(compile.args(options));
    program
}

fn says(name: &str, output: &str, expected: &[&str]) {
    for expected in expected {
        assert!(output.contains(expected), "no {expected} in what {name} says:\n{output}");
    }
}

#[test]
fn the_examples_run_on_the_installed_shared_library() {
    let root = installed("install-shared");
    assert_eq!(pkg_config(&root, &["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    examples(&root, &pkg_config(&root, &["--cflags", "--libs"]));
}

#[test]
fn the_examples_run_on_the_installed_archive() {
    let root = installed("install-static");
    for shared in std::fs::read_dir(root.join("usr/lib")).unwrap() {
        let path = shared.unwrap().path();
        if path.to_string_lossy().contains("libcgf.so") {
            std::fs::remove_file(path).unwrap();
        }
    }
    examples(&root, &pkg_config(&root, &["--static", "--cflags", "--libs"]));
}

/// Those that work here; all, where they are demanded.
fn backends() -> Vec<&'static str> {
    let demanded = std::env::var_os("CGF_DEMAND").is_some();
    let findings = cgf_core::doctor().into_iter();
    findings.filter(|found| demanded || found.trial.is_ok()).map(|found| found.backend.name()).collect()
}

/// Nothing lost, nothing read that was not written, on any backend. `charge` is left out:
/// a leak check reads all of the 265 MiB of the counters, which takes minutes.
#[test]
fn the_examples_are_clean_under_valgrind() {
    let valgrind = std::env::var_os("CGF_VALGRIND").map(PathBuf::from).filter(|program| program.exists());
    let Some(valgrind) = valgrind else {
        assert!(std::env::var_os("CGF_DEMAND").is_none(), "a valgrind is demanded");
        eprintln!("skipped: CGF_VALGRIND names none");
        return;
    };
    let root = installed("install-valgrind");
    let libraries = pkg_config(&root, &["--cflags", "--libs"]);
    for (name, expected) in EXAMPLES.into_iter().filter(|(name, _)| *name != "charge") {
        let program = build(&root, name, &libraries);
        for backend in backends() {
            let mut under = Command::new("timeout");
            under.arg("100").arg(&valgrind).args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
            // Possibly lost is what a pointer leads only into the middle of: Rust's own
            // thread data, once for each thread.
            under.args(["--errors-for-leak-kinds=definite,indirect", "--show-leak-kinds=definite,indirect"]);
            // A forked child has copies of what its parent will free.
            under.arg("--child-silent-after-fork=yes").arg(&program);
            under.env("LD_LIBRARY_PATH", root.join("usr/lib")).env("CGF_OPTIONS", format!("backend={backend}"));
            says(name, &run(&mut under), expected);
        }
    }
}

#[test]
fn the_examples_are_clean_under_gccs_sanitizers() {
    let root = installed("install-sanitizers");
    let mut options = pkg_config(&root, &["--cflags", "--libs"]);
    options.extend(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"].map(str::to_owned));
    for (name, expected) in EXAMPLES {
        let program = build(&root, name, &options);
        for backend in backends() {
            let mut sanitized = Command::new(&program);
            sanitized.env("LD_LIBRARY_PATH", root.join("usr/lib")).env("ASAN_OPTIONS", "detect_leaks=1");
            says(name, &run(sanitized.env("CGF_OPTIONS", format!("backend={backend}"))), expected);
        }
    }
}
