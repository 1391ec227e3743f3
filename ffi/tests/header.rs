//! The header is what the source says, and a C program can use it as it is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use common::{crate_directory, linked, make, run};

const HEADER: &str = "../include/cgf.h";

/// The header as it should be.
fn generated() -> String {
    let directory = crate_directory();
    let mut config = cbindgen::Config::from_file(directory.join("cbindgen.toml")).unwrap();
    config.after_includes = Some(versions());
    let mut text = Vec::new();
    cbindgen::generate_with_config(directory, config).unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

/// The version that a program is compiled for, from the one place that has it.
fn versions() -> String {
    let text = env!("CARGO_PKG_VERSION");
    let number = text.split('.').fold(0, |number, part| number << 8 | part.parse::<u32>().unwrap());
    let mut defines = String::new();
    writeln!(defines, "\n/** The version of this header; cgf_version has the library's. */").unwrap();
    writeln!(defines, "#define CGF_VERSION \"{text}\"").unwrap();
    writeln!(defines, "/** The same for comparing; cgf_version_number has the library's. */").unwrap();
    write!(defines, "#define CGF_VERSION_NUMBER {number:#08x}").unwrap();
    defines
}

#[test]
fn the_header_is_fresh() {
    let path = crate_directory().join(HEADER);
    let generated = generated();
    if std::env::var_os("CGF_UPDATE").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let first_difference = generated.lines().zip(committed.lines()).find(|(new, old)| new != old);
    assert!(
        generated == committed,
        "include/cgf.h is not what the source says (first difference: {first_difference:?}). \
         To write it anew: CGF_UPDATE=1 cargo test -p cgf-ffi --test header"
    );
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(crate_directory().join(HEADER)).unwrap();
    let code: String = without_comments(&header);
    code.match_indices('(').filter_map(|(at, _)| name_before(&code[..at])).map(str::to_owned).collect()
}

fn name_before(code: &str) -> Option<&str> {
    let start = code.rfind(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').map_or(0, |at| at + 1);
    code[start..].starts_with("cgf_").then_some(&code[start..])
}

fn without_comments(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        code.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    code + rest
}

/// The names that the version script lets out.
fn mapped() -> BTreeSet<String> {
    let map = std::fs::read_to_string(crate_directory().join("libcgf.map")).unwrap();
    let code = without_comments(&map);
    code.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|name| name.starts_with("cgf_"))
        .map(str::to_owned)
        .collect()
}

/// What the shared object exports, each with the version that it has.
fn exported() -> BTreeSet<String> {
    let library = linked("symbols");
    let listed = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library.join("libcgf.so")));
    let name = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
    listed.lines().filter_map(name).filter(|name| !name.starts_with("CGF_")).collect()
}

#[test]
fn header_map_and_library_have_the_same_functions() {
    let declared = declared();
    assert!(declared.contains("cgf_hierarchy_open"), "the header was not understood: {declared:?}");
    assert_eq!(declared, mapped(), "include/cgf.h (left) and ffi/libcgf.map (right)");
    let versioned: BTreeSet<String> = declared.iter().map(|name| format!("{name}@@CGF_0.1")).collect();
    assert_eq!(versioned, exported(), "include/cgf.h (left) and libcgf.so (right)");
}

#[test]
fn the_soname_is_the_published_one() {
    let library = linked("soname");
    let dynamic = run(Command::new("readelf").arg("-d").arg(library.join("libcgf.so")));
    assert!(dynamic.contains("Library soname: [libcgf.so.0]"), "{dynamic}");
}

/// The tool may be missing, then `abi-check` says so and succeeds.
#[test]
fn the_abi_is_the_recorded_one() {
    make(".", &["abi-check"]);
}

/// Alone, and twice: in each language that a caller may have.
#[test]
fn the_header_compiles_by_itself() {
    let languages = [("cc", "c", "c99"), ("cc", "c", "c11"), ("c++", "c++", "c++17")];
    let program = "#include <cgf.h>\n#include <cgf.h>\nint main(void) { return cgf_version_number() == 0; }\n";
    for (compiler, language, standard) in languages {
        let mut compile = Command::new(compiler);
        compile.args(["-x", language, &format!("-std={standard}"), "-fsyntax-only"]);
        compile.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]).arg(crate_directory().join("../include"));
        let mut child = compile.arg("-").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{standard}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
