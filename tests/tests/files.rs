//! `docs/files.md`: every control file, from the library's own table.

use std::path::{Path, PathBuf};

use cgf::{FileInfo, Hierarchy, Options};
use cgf_tests::stage;

/// R1.8: the page says what the code says. `CGF_UPDATE=1` writes it anew.
#[test]
fn the_page_is_fresh() {
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/files.md");
    if std::env::var_os("CGF_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).find(|(written, fresh)| written != fresh);
    assert!(written == page, "docs/files.md is stale, CGF_UPDATE=1 makes it anew: {differs:?}");
}

/// R1.8: every file is described, in full.
#[test]
fn nothing_is_left_unsaid() {
    for file in cgf::files() {
        let name = &file.name;
        assert!(!file.meaning.is_empty() && !file.meaning.ends_with('.'), "{name}: its meaning");
        assert!(!file.format.is_empty(), "{name}: its format");
        assert!(file.readable || file.writable, "{name} can be neither read nor written");
        assert_eq!(file.writable, !file.writers.is_empty(), "{name}: who writes it");
        for (errno, when) in file.errors {
            assert!(errno.starts_with('E') && !when.is_empty(), "{name}: {errno} {when}");
        }
    }
}

/// R1.8: a group has the files that are described, and no others.
#[test]
fn groups_have_what_is_described() {
    let described = cgf::files();
    let mut subsystems: Vec<&str> = described.iter().filter_map(|file| file.subsystem).collect();
    subsystems.dedup();
    let options = format!("{},backend=embedded,state={}", subsystems.join(","), scratch().display());
    let hierarchy = Hierarchy::open("files", &Options::parse(&options).unwrap()).unwrap();
    let group = hierarchy.create("a").unwrap();
    let resources: Vec<String> = hierarchy.resources().unwrap().into_iter().map(|resource| resource.name).collect();
    let expected = |at_root: bool| {
        let here = described.iter().filter(|file| at_root || !file.only_at_root);
        let mut names: Vec<String> = here.flat_map(|file| expand(&file.name, &resources)).collect();
        names.sort();
        names
    };
    // What `/proc` does not tell of a resource is not there.
    let is_there = |name: &String| name != "bc.kmemsize.sampled";
    for (group, at_root) in [(hierarchy.root(), true), (group.clone(), false)] {
        let wanted: Vec<String> = expected(at_root).into_iter().filter(is_there).collect();
        assert_eq!(group.control_files().unwrap(), wanted);
    }
    group.remove().unwrap();
    hierarchy.unmount().unwrap();
    std::fs::remove_dir_all(scratch()).unwrap();
}

fn expand(name: &str, resources: &[String]) -> Vec<String> {
    if name.contains("RESOURCE") {
        resources.iter().map(|resource| name.replace("RESOURCE", resource)).collect()
    } else {
        vec![name.to_owned()]
    }
}

fn scratch() -> PathBuf {
    static NAME: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    NAME.get_or_init(|| std::env::temp_dir().join(stage::unique("files"))).clone()
}

const HEAD: &str = "\
# Control files

Every group has files: text that is read and written by name, the same from every language
and on every backend.

| from | read | write |
|---|---|---|
| the shell | `cgf get jobs:web freezer.state` | `cgf set jobs:web freezer.state FROZEN` |
| C | `cgf_read(group, \"freezer.state\", …)` | `cgf_write(group, \"freezer.state\", \"FROZEN\", …)` |
| Python | `group[\"freezer.state\"]` | `group[\"freezer.state\"] = \"FROZEN\"` |
| Rust | `group.read(\"freezer.state\")` | `group.write(\"freezer.state\", \"FROZEN\")` |

A read is one consistent answer, however it is taken apart afterwards. A write may end with
a newline, and after an error nothing of it is done. `cgf files` prints this list, and
`cgf files jobs:web` those\nof one group.

Whoever may change a group may write its files: root, and the owner of a group's directory
that was delegated. What any file may give, besides what is said of each:

| error | when |
|---|---|
| `ENOENT` | there is no such file, or its subsystem is not bound to the hierarchy |
| `EACCES` | it can only be read, or only be written; or the caller may not change the group |
| `EINVAL` | the text is not of the format |
| `E2BIG` | the text has more than 4096 bytes |
| `ENODEV` | the group was removed |
| `ECHILD` | the handle was made before a fork |

This page is made of the library's own table.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut subsystem = Some("");
    for file in cgf::files() {
        if file.subsystem != subsystem {
            subsystem = file.subsystem;
            let title = subsystem.map_or("Every group".to_owned(), |name| format!("Subsystem `{name}`"));
            page += &format!("\n## {title}\n");
        }
        page += &entry(&file);
    }
    page
}

fn entry(file: &FileInfo) -> String {
    let access = match (file.readable, file.writable) {
        (true, true) => "read, write",
        (true, false) => "read",
        _ => "write",
    };
    let place = if file.only_at_root { ", only in the root group" } else { "" };
    let mut entry = format!("\n### `{}` ({access}{place})\n\n{}.\n\n", file.name, file.meaning);
    let mut line = |what: &str, text: &str| {
        if !text.is_empty() {
            entry += &format!("* {what}: {text}.\n");
        }
    };
    line("Format", file.format);
    line("Unit", file.unit);
    line("Written by", file.writers);
    let errors: Vec<String> = file.errors.iter().map(|(errno, when)| format!("`{errno}`, {when}")).collect();
    line("Errors", &errors.join("; "));
    line("Backends", file.backends);
    entry
}
