//! The programs of the README, as a newcomer copies them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cgf_tests::stage;

#[test]
fn the_c_program_runs() {
    let Some(library) = std::env::var_os("CGF_LIBRARIES").map(PathBuf::from) else {
        assert!(std::env::var_os("CGF_DEMAND").is_none(), "CGF_LIBRARIES does not say where libcgf.so is");
        return;
    };
    let directory = scratch();
    let (source, program) = (directory.join("readme.c"), directory.join("readme"));
    std::fs::write(&source, block("c", "\"readme\"")).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(root().join("include")).arg(&source);
    compile.arg("-o").arg(&program).arg("-L").arg(&library).arg("-l:libcgf.so.0");
    compile.arg(format!("-Wl,-rpath,{}", library.display()));
    succeed(compile.output().unwrap());
    let said = succeed(Command::new(&program).output().unwrap());
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(said.contains("is frozen: 1"), "{said}");
}

#[test]
fn the_python_program_runs() {
    let Some(python) = std::env::var_os("CGF_PYTHON") else {
        assert!(std::env::var_os("CGF_DEMAND").is_none(), "CGF_PYTHON names no interpreter");
        return;
    };
    let said = succeed(Command::new(&python).arg("-c").arg(block("python", "\"readme\"")).output().unwrap());
    assert!(said.contains("FROZEN"), "{said}");
    let said = succeed(Command::new(&python).arg("-c").arg(block("python", "\"readme-members\"")).output().unwrap());
    assert!(said.contains("two are enough") && said.contains("/web"), "{said}");
    let said = succeed(Command::new(&python).arg("-c").arg(block("python", "\"readme-counters\"")).output().unwrap());
    assert_eq!(said, "/web connections 64 100\n36\n100\n");
}

/// The block of this language that opens this hierarchy, with one of the test's
/// own in its place.
fn block(language: &str, hierarchy: &str) -> String {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap_or_default();
    let start = format!("```{language}\n");
    let mut blocks = text.split(&start).skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.contains(hierarchy)).unwrap_or_default();
    assert!(!block.is_empty(), "no {language} program in README.md opens {hierarchy}");
    block.replace(hierarchy, &format!("{:?}", stage::unique("readme")))
}

fn succeed(output: Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn scratch() -> PathBuf {
    let directory = std::env::temp_dir().join(stage::unique("readme"));
    assert!(std::fs::create_dir(&directory).is_ok(), "{}", directory.display());
    directory
}
