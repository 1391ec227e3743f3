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
        let program = root.join(name);
        let mut compile = Command::new("cc");
        compile.args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
        compile.arg(crate_directory().join("examples").join(name).with_extension("c")).arg("-o").arg(&program);
        run(compile.args(libraries));
        let output = run(Command::new(&program).env("LD_LIBRARY_PATH", root.join("usr/lib")));
        for expected in expected {
            assert!(output.contains(expected), "no {expected} in what {name} says:\n{output}");
        }
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
