//! Real processes in real groups.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

mod freezing;
mod members;
mod tracing;
mod trust;

/// A hierarchy in a directory of its own, which goes with everything in it.
struct Bench {
    path: PathBuf,
    backend: Embedded,
    children: Vec<Child>,
}

impl Bench {
    fn new() -> Bench {
        Bench::stopping_by(StopMethod::Signal)
    }

    fn stopping_by(stop: StopMethod) -> Bench {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cgf-embedded-{}-{count}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let backend = Embedded::new(&Dir::open(&path).unwrap(), stop).unwrap();
        Bench { path, backend, children: Vec::new() }
    }

    fn root(&self) -> Node {
        Node { dir: self.backend.own.dir.open_dir(".").unwrap(), path: GroupPath::root() }
    }

    fn open(&self, path: &str) -> Node {
        let path = GroupPath::parse(path).unwrap();
        Node { dir: self.backend.own.dir.open_dir(path.as_path()).unwrap(), path }
    }

    fn group(&self, path: &str) -> Node {
        let path = GroupPath::parse(path).unwrap();
        let above = path.parent().unwrap();
        let above = if above.is_root() { self.root() } else { self.open(&above.to_string()) };
        self.backend.create(&above, path.name()).unwrap();
        self.open(&path.to_string())
    }

    /// A process in the group, born there or attached.
    fn run(&mut self, group: &Node, how: Admission, command: &[&str]) -> i32 {
        let mut words = Command::new(command[0]);
        let child =
            words.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        self.children.push(child);
        self.backend.admit(group, &Process::open(pid).unwrap(), how).unwrap();
        pid
    }

    fn sleeper(&mut self, group: &Node) -> i32 {
        self.run(group, Admission::Attached, &["sleep", "1000"])
    }

    fn freeze(&self, group: &Node) -> Outcome {
        self.backend.freeze(group, &mut within(5000), false).unwrap().outcome
    }

    fn thaw(&self, group: &Node) {
        assert_eq!(self.backend.thaw(group, &mut within(5000)).unwrap(), Outcome::Done);
    }

    fn procs(&self, group: &Node) -> Vec<i32> {
        let mut procs = self.backend.procs(group).unwrap();
        procs.sort_unstable();
        procs
    }

    fn place(&self, pid: i32) -> Option<String> {
        self.backend.locate(pid).unwrap().map(|path| path.to_string())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.backend.kill(&self.root(), &mut within(5000));
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn within(ms: u64) -> Wait<'static> {
    Wait::until(Deadline::after(Duration::from_millis(ms)))
}

/// `T` or `t`: stopped; whatever the others mean, the process may run: `-`.
fn letter(pid: i32) -> char {
    match Stat::of(pid).unwrap().state {
        state @ (b'T' | b't' | b'Z') => char::from(state),
        _ => '-',
    }
}

/// Waits until something is so, for five seconds.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Deadline::after(Duration::from_secs(5));
    while !is_so() {
        assert!(!deadline.passed(), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn children_of(pid: i32) -> Vec<i32> {
    process::children(pid).unwrap()
}
