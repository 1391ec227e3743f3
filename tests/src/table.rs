//! Reading the table: files of cases, cases of steps.

use std::fs;
use std::path::Path;

use cgf::BackendKind;

/// One behaviour.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it says, with the requirement's number.
    pub title: String,
    /// The backends it is about; empty: all.
    pub backends: Vec<String>,
    /// More options for its hierarchy: the subsystems; empty: the defaults.
    pub options: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

impl Case {
    /// The options of its hierarchy, as text.
    pub fn option(&self, backend: BackendKind) -> String {
        let comma = if self.options.is_empty() { "" } else { "," };
        format!("backend={backend},deadline=5000{comma}{}", self.options)
    }
}

/// One line of a case.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it stands, for a failure's message.
    pub place: String,
    /// The backends it is for; empty: all.
    pub backends: Vec<String>,
    /// The verb and its arguments.
    pub words: Vec<String>,
    /// What must come of it.
    pub expected: Expected,
}

/// What must come of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It succeeds.
    Success,
    /// It fails with this errno.
    Failure(String),
    /// It succeeds with this answer.
    Answer(String),
}

/// Every case of a directory's `.txt` files.
pub fn read(directory: &Path) -> Vec<Case> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    files.retain(|path: &std::path::PathBuf| path.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    files.iter().flat_map(|file| parse(file)).collect()
}

fn parse(file: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let shown = file.file_name().unwrap_or_default().display().to_string();
    let mut options = String::new();
    for (number, line) in fs::read_to_string(file).unwrap_or_default().lines().enumerate() {
        let line = line.trim();
        let place = format!("{shown}:{}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix("case ") {
            let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
            let title = format!("{place} {title}");
            cases.push(Case { title, backends: Vec::new(), options: options.clone(), steps: Vec::new() });
            continue;
        }
        let with = line.strip_prefix("with ").map(str::to_owned);
        let Some(case) = cases.last_mut() else {
            options = with.unwrap_or_default();
            continue;
        };
        match line.strip_prefix("on ") {
            Some(backends) => case.backends = backends.split_whitespace().map(str::to_owned).collect(),
            None => match with {
                Some(options) => case.options = options,
                None => case.steps.push(step(line, place)),
            },
        }
    }
    cases
}

fn step(line: &str, place: String) -> Step {
    let (line, expected) = if let Some((line, errno)) = line.rsplit_once("->") {
        (line, Expected::Failure(errno.trim().to_owned()))
    } else if let Some((line, answer)) = line.split_once(" =") {
        (line, Expected::Answer(answer.trim().to_owned()))
    } else {
        (line, Expected::Success)
    };
    let mut words: Vec<String> = line.split_whitespace().map(repeated).collect();
    let mut backends = Vec::new();
    if words.first().is_some_and(|word| word.starts_with('@')) {
        backends = words.remove(0)[1..].split(',').map(str::to_owned).collect();
    }
    Step { place, backends, words, expected }
}

/// `n^255` is a name of 255 letters.
fn repeated(word: &str) -> String {
    match word.split_once('^') {
        Some((letter, times)) => letter.repeat(times.parse().unwrap_or(1)),
        None => word.to_owned(),
    }
}
