//! The examples of the documents, as somebody types them at a shell.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use cgf::{BackendKind, Hierarchy, Options};
use cgf_tests::backends;
use cgf_tests::stage;

/// What the pages of `docs/` show in a block ```sh prints what the block ```text right after it
/// says, on every backend.
#[test]
fn examples_run_word_for_word() {
    let Some(command) = std::env::var_os("CGF_COMMAND").map(PathBuf::from) else {
        assert!(std::env::var_os("CGF_DEMAND").is_none(), "CGF_COMMAND does not name the cgf command");
        return;
    };
    let mut path = command.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let ran = std::cell::Cell::new(0);
    for page in pages() {
        let name = page.file_name().unwrap().display().to_string();
        for example in examples(&std::fs::read_to_string(&page).unwrap()) {
            backends::on_each(|backend| {
                example.run(&name, backend, &path).unwrap();
                ran.set(ran.get() + 1);
            });
        }
    }
    assert!(ran.get() > 0, "no page has an example");
}

struct Example {
    script: String,
    printed: String,
}

impl Example {
    /// On a backend, with a hierarchy of another name: `jobs` may be somebody's.
    fn run(&self, page: &str, backend: BackendKind, path: &OsStr) -> Result<(), String> {
        let state = std::env::temp_dir().join(stage::unique("examples"));
        let here = format!("backend={backend},state={}", state.display());
        let jobs = stage::unique("jobs");
        let mut script = self.script.replace("jobs:", &format!("{jobs}:"));
        for option in ["CGF_OPTIONS=", "-o "] {
            script = script.replace(option, &format!("{option}{here},"));
        }
        let mut shell = Command::new("timeout");
        let shell = shell.args(["60", "sh", "-eu", "-c", &script]).env("PATH", path).env("CGF_OPTIONS", &here);
        let output = shell.output().map_err(|error| format!("starting a shell: {error}"))?;
        let options = Options::parse(&here).map_err(|error| error.to_string())?;
        let left = Hierarchy::open_existing(&jobs, &options).map(backends::Own).is_ok();
        let _ = std::fs::remove_dir_all(&state);
        let printed = String::from_utf8_lossy(&output.stdout).replace(&jobs, "jobs");
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || printed != self.printed || left {
            let left = if left { ", and leaves its hierarchy behind" } else { "" };
            let wanted = &self.printed;
            return Err(format!("{page} on {backend}: {}{left}: prints\n{printed}not\n{wanted}{said}", output.status));
        }
        Ok(())
    }
}

/// The blocks ```sh that a block ```text follows.
fn examples(page: &str) -> Vec<Example> {
    let mut found = Vec::new();
    for part in page.split("```sh\n").skip(1) {
        let Some((script, rest)) = part.split_once("```\n") else { continue };
        let Some(printed) = rest.trim_start().strip_prefix("```text\n") else { continue };
        let Some((printed, _)) = printed.split_once("```") else { continue };
        found.push(Example { script: script.to_owned(), printed: printed.to_owned() });
    }
    found
}

fn pages() -> Vec<PathBuf> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let entries = std::fs::read_dir(docs).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut pages: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    pages.sort();
    pages
}
