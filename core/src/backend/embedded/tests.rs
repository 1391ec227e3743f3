//! Real processes in real groups.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::*;

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

/// R3.2, R3.8
#[test]
fn a_group_freezes_and_thaws() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let pids = [bench.sleeper(&group), bench.sleeper(&group)];
    assert_eq!(bench.backend.state(&group).unwrap(), State::Thawed);
    let attempt = bench.backend.freeze(&group, &mut within(5000), false).unwrap();
    assert_eq!((attempt.was_asked, attempt.outcome), (false, Outcome::Done));
    assert!(pids.iter().all(|&pid| letter(pid) == 'T'));
    assert_eq!(bench.backend.state(&group).unwrap(), State::Frozen);
    assert!(bench.backend.is_asked(&group).unwrap());
    assert!(bench.backend.freeze(&group, &mut within(0), false).unwrap().was_asked);
    bench.thaw(&group);
    assert!(pids.iter().all(|&pid| letter(pid) != 'T'));
    assert_eq!(bench.backend.state(&group).unwrap(), State::Thawed);
}

/// R1.2: by descent, also when the parent has gone.
#[test]
fn children_are_members_and_orphans_stay() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let shell = bench.run(&group, Admission::Attached, &["sh", "-c", "sleep 1000 & sleep 1001 & wait"]);
    until("two children", || children_of(shell).len() == 2);
    let children = children_of(shell);
    assert_eq!(bench.procs(&group).len(), 3);
    assert_eq!(bench.place(children[0]).as_deref(), Some("/web"));
    Process::open(shell).unwrap().signal(libc::SIGKILL).unwrap();
    until("the shell's end", || !Stat::of(shell).is_ok_and(|stat| stat.is_alive()));
    assert_eq!(bench.procs(&group), children);
    assert_eq!(bench.freeze(&group), Outcome::Done);
    assert!(children.iter().all(|&pid| letter(pid) == 'T'));
}

/// R1.2: a spawned process's orphans are known by its session, though nobody
/// looked while their parents lived; a stranger is not.
#[test]
fn the_session_finds_who_was_never_seen() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let mut stranger = Command::new("setsid").args(["sleep", "1003"]).spawn().unwrap();
    let script = "(sleep 1002 & echo $! > \"$0\"); exec sleep 1000";
    let note = bench.path.join("cgroup.note");
    let leader = bench.run(&group, Admission::Spawned, &["setsid", "sh", "-c", script, note.to_str().unwrap()]);
    let orphan = || std::fs::read_to_string(&note).ok()?.trim().parse::<i32>().ok();
    until("the orphan", || orphan().is_some_and(|pid| Stat::of(pid).is_ok_and(|stat| stat.parent != leader)));
    until("the leader's program", || Stat::of(leader).is_ok_and(|stat| stat.command == "sleep"));
    let orphan = orphan().unwrap();
    let mut both = vec![leader, orphan];
    both.sort_unstable();
    assert_eq!(bench.place(orphan).as_deref(), Some("/web"));
    assert_eq!(bench.procs(&group), both);
    // Seen once, it is recorded, and is the evidence when the leader has gone.
    bench.backend.signal(&group, &Process::open(leader).unwrap(), libc::SIGKILL).unwrap();
    bench.children[0].wait().unwrap();
    assert_eq!(bench.procs(&group), [orphan]);
    let stranger_is_out = bench.place(stranger.id().try_into().unwrap()).is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(stranger_is_out);
    assert_eq!(bench.backend.kill(&group, &mut within(5000)).unwrap(), Outcome::Done);
    until("the orphan's end", || !Stat::of(orphan).is_ok_and(|stat| stat.is_alive()));
}

/// R3.4
#[test]
fn who_was_stopped_before_is_stopped_after() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let (stopped, running) = (bench.sleeper(&group), bench.sleeper(&group));
    Process::open(stopped).unwrap().signal(libc::SIGSTOP).unwrap();
    until("the stop", || letter(stopped) == 'T');
    assert_eq!(bench.freeze(&group), Outcome::Done);
    bench.thaw(&group);
    assert_eq!((letter(stopped), letter(running)), ('T', '-'));
    // A continue while frozen takes effect with the thaw, and so does a stop.
    assert_eq!(bench.freeze(&group), Outcome::Done);
    bench.backend.signal(&group, &Process::open(stopped).unwrap(), libc::SIGCONT).unwrap();
    bench.backend.signal(&group, &Process::open(running).unwrap(), libc::SIGSTOP).unwrap();
    assert_eq!(bench.backend.state(&group).unwrap(), State::Frozen);
    assert_eq!(letter(stopped), 'T');
    bench.thaw(&group);
    until("the continue", || letter(stopped) == '-');
    assert_eq!(letter(running), 'T');
}

/// R3.3: whoever looks sees to it.
#[test]
fn somebody_elses_continue_does_not_last() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let pid = bench.sleeper(&group);
    assert_eq!(bench.freeze(&group), Outcome::Done);
    Process::open(pid).unwrap().signal(libc::SIGCONT).unwrap();
    until("the stop", || bench.backend.state(&group).unwrap() == State::Frozen);
    assert_eq!(letter(pid), 'T');
    bench.thaw(&group);
    assert_eq!(letter(pid), '-');
}

/// R3.4: of a vfork parent, its child counts.
#[test]
fn a_vfork_parent_counts_as_still() {
    let stat = |state| Stat { pid: 1, command: String::new(), state, parent: 0, session: 0, threads: 1, start_time: 0 };
    assert_eq!(still::of_thread(1, &stat(b'T')), Stillness::Stopped);
    assert_eq!(still::of_thread(1, &stat(b't')), Stillness::Traced);
    assert_eq!(still::of_thread(1, &stat(b'S')), Stillness::Moving);
    assert_eq!(still::of_thread(1, &stat(b'D')), Stillness::Moving);
    assert!(Stillness::Moving > Stillness::InVfork && Stillness::InVfork > Stillness::Stopped);
}

/// R3.6
#[test]
fn freezing_nests() {
    let mut bench = Bench::new();
    let (above, below) = (bench.group("a"), bench.group("a/b"));
    let (upper, lower) = (bench.sleeper(&above), bench.sleeper(&below));
    assert_eq!(bench.freeze(&above), Outcome::Done);
    assert_eq!((letter(upper), letter(lower)), ('T', 'T'));
    assert_eq!(bench.backend.state(&below).unwrap(), State::Frozen);
    assert!(bench.backend.is_asked_above(&below).unwrap() && !bench.backend.is_asked(&below).unwrap());
    bench.thaw(&below);
    assert_eq!(letter(lower), 'T');
    assert_eq!(bench.freeze(&below), Outcome::Done);
    bench.thaw(&above);
    assert_eq!((letter(upper), letter(lower)), ('-', 'T'));
    bench.thaw(&below);
    assert_eq!(letter(lower), '-');
}

/// R1.2, R2.4: a process moves alone, and obeys its new group.
#[test]
fn a_move_takes_the_process_and_leaves_its_children() {
    let mut bench = Bench::new();
    let (from, to) = (bench.group("from"), bench.group("to"));
    let shell = bench.run(&from, Admission::Attached, &["sh", "-c", "sleep 1000 & wait"]);
    until("the child", || children_of(shell).len() == 1);
    let child = children_of(shell)[0];
    bench.backend.admit(&to, &Process::open(shell).unwrap(), Admission::Attached).unwrap();
    assert_eq!((bench.procs(&from), bench.procs(&to)), (vec![child], vec![shell]));
    assert_eq!(bench.freeze(&to), Outcome::Done);
    assert_eq!((letter(shell), letter(child)), ('T', '-'));
    // Into the frozen group: it stops. Out of it: it runs.
    bench.backend.admit(&to, &Process::open(child).unwrap(), Admission::Attached).unwrap();
    until("the stop", || letter(child) == 'T');
    bench.backend.admit(&from, &Process::open(child).unwrap(), Admission::Attached).unwrap();
    until("the continue", || letter(child) == '-');
    bench.thaw(&to);
    assert_eq!(letter(shell), '-');
}

/// R1.3
#[test]
fn a_group_with_somebody_in_it_is_not_removed() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let root = bench.root();
    bench.sleeper(&group);
    assert_eq!(bench.backend.remove(&root, &group), Err(Errno::BUSY));
    assert!(bench.backend.is_populated(&group).unwrap());
    assert_eq!(bench.backend.kill(&group, &mut within(5000)).unwrap(), Outcome::Done);
    assert!(!bench.backend.is_populated(&group).unwrap());
    let inner = bench.group("web/inner");
    assert_eq!(bench.backend.remove(&root, &group), Err(Errno::BUSY));
    assert_eq!(bench.backend.create(&root, OsStr::new("web")), Err(Errno::EXIST));
    bench.backend.remove(&group, &inner).unwrap();
    bench.backend.rename(&root, &group, OsStr::new("shop")).unwrap();
    bench.backend.remove(&root, &bench.open("shop")).unwrap();
    assert_eq!(bench.backend.procs(&group).unwrap_err().errno(), libc::ENODEV);
    assert_eq!(bench.backend.is_asked(&group).unwrap_err().errno(), libc::ENODEV);
}

/// R3.8: what a killed freezer leaves, anybody can thaw.
#[test]
fn a_freezer_that_dies_leaves_a_group_that_thaws() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let pids: Vec<i32> = (0..20).map(|_| bench.sleeper(&group)).collect();
    for round in 0..10 {
        let freezer = sys::helper::start(|| match bench.backend.freeze(&group, &mut within(5000), false) {
            Ok(_) => 0,
            Err(_) => 1,
        });
        std::thread::sleep(Duration::from_micros(200 * round));
        freezer.unwrap().kill();
        bench.thaw(&group);
        assert!(pids.iter().all(|&pid| letter(pid) == '-'), "round {round}");
    }
}

/// R3.5: the caller stops with the others, and goes on when it is thawed.
#[test]
fn a_caller_may_stop_itself() {
    let bench = Bench::new();
    let group = bench.group("web");
    let member = sys::helper::start(|| {
        let admitted = bench.backend.admit(&group, &Process::open(0).unwrap(), Admission::Attached);
        let refused = bench.backend.freeze(&group, &mut within(5000), false).map(drop).unwrap_err().errno();
        let outcome = bench.backend.freeze(&group, &mut within(5000), true).map(|attempt| attempt.outcome);
        match (admitted, refused, outcome) {
            // Cancelled: the thaw came before the last of the three quiet passes.
            (Ok(()), libc::EDEADLK, Ok(Outcome::Done | Outcome::Cancelled)) => 42,
            _ => 1,
        }
    });
    let member = member.unwrap();
    let pid = member.pid();
    until("the stop", || letter(pid) == 'T');
    until("the state", || bench.backend.state(&group).unwrap() == State::Frozen);
    bench.thaw(&group);
    until("the end", || letter(pid) == 'Z');
    assert_eq!(member.result(), Some(42));
}

/// R2.4: into a group that an ancestor freezes, too, without asking it itself.
#[test]
fn a_caller_that_comes_into_a_frozen_group_stops() {
    let bench = Bench::new();
    let (above, below) = (bench.group("a"), bench.group("a/b"));
    assert_eq!(bench.freeze(&above), Outcome::Done);
    let member = sys::helper::start(|| {
        let admitted = bench.backend.admit(&below, &Process::open(0).unwrap(), Admission::Attached);
        if admitted.is_ok() { 42 } else { 1 }
    });
    let member = member.unwrap();
    let pid = member.pid();
    until("the stop", || letter(pid) == 'T');
    until("the state", || bench.backend.state(&above).unwrap() == State::Frozen);
    assert!(!bench.backend.is_asked(&below).unwrap());
    bench.thaw(&above);
    until("the end", || letter(pid) == 'Z');
    assert_eq!(member.result(), Some(42));
}

/// R5.1, R3.4: a fork bomb is held and ended.
#[test]
fn a_fork_bomb_is_frozen_and_killed() {
    let mut bench = Bench::new();
    let group = bench.group("bomb");
    // Each of 300 shells keeps on starting others.
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (while :; do (:); done) & done; wait";
    bench.run(&group, Admission::Spawned, &["setsid", "sh", "-c", script]);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(bench.freeze(&group), Outcome::Done);
    let before = bench.procs(&group);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(bench.procs(&group), before);
    assert!(before.iter().all(|&pid| letter(pid) == 'T'));
    bench.thaw(&group);
    assert_eq!(bench.backend.kill(&group, &mut within(5000)).unwrap(), Outcome::Done);
    assert!(bench.procs(&group).is_empty());
}

/// R3.7
#[test]
fn a_freeze_that_meets_a_thaw_is_cancelled() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    bench.sleeper(&group);
    std::thread::scope(|scope| {
        let thawer = scope.spawn(|| {
            for _ in 0..200 {
                bench.thaw(&group);
            }
        });
        while !thawer.is_finished() {
            let outcome = bench.freeze(&group);
            assert!(matches!(outcome, Outcome::Done | Outcome::Cancelled));
        }
    });
    bench.thaw(&group);
    assert_eq!(bench.backend.state(&group).unwrap(), State::Thawed);
}

/// Figures for the notes; `cargo test -- --ignored --nocapture figures`.
#[test]
#[ignore = "a measurement"]
fn figures() {
    for count in [1, 100, 1000] {
        let mut bench = Bench::new();
        let group = bench.group("web");
        let script = format!("for i in $(seq {}); do sleep 1000 & done; exec sleep 1000", count - 1);
        bench.run(&group, Admission::Spawned, &["setsid", "sh", "-c", &script]);
        until("all of them", || bench.procs(&group).len() >= count);
        std::thread::sleep(Duration::from_millis(300));
        let procs = bench.procs(&group);
        for _ in 0..4 {
            let start = Instant::now();
            bare_freeze(&procs);
            let bare = start.elapsed();
            procs.iter().for_each(|&pid| Process::open(pid).unwrap().signal(libc::SIGCONT).unwrap());
            std::thread::sleep(Duration::from_millis(50));
            let start = Instant::now();
            assert_eq!(bench.freeze(&group), Outcome::Done);
            let frozen = start.elapsed();
            let start = Instant::now();
            bench.backend.state(&group).unwrap();
            let looked = start.elapsed();
            let start = Instant::now();
            bench.thaw(&group);
            println!("{count}: bare {bare:?}, frozen {frozen:?}, state {looked:?}, thawed {:?}", start.elapsed());
        }
        let start = Instant::now();
        bench.backend.kill(&group, &mut within(10000)).unwrap();
        println!("{count}: killed {:?}", start.elapsed());
    }
}

/// R3.4, R3.8: a helper holds the tasks, against SIGCONT too, until the thaw.
#[test]
fn a_helper_traces_a_group() {
    let mut bench = Bench::stopping_by(StopMethod::Ptrace);
    let group = bench.group("web");
    let (stopped, running) = (bench.sleeper(&group), bench.sleeper(&group));
    Process::open(stopped).unwrap().signal(libc::SIGSTOP).unwrap();
    until("the stop", || letter(stopped) == 'T');
    for _ in 0..3 {
        assert_eq!(bench.freeze(&group), Outcome::Done);
        assert_eq!((letter(stopped), letter(running)), ('t', 't'));
        assert_eq!(bench.backend.state(&group).unwrap(), State::Frozen);
        Process::open(running).unwrap().signal(libc::SIGCONT).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(letter(running), 't');
        bench.thaw(&group);
        until("the thaw", || (letter(stopped), letter(running)) == ('T', '-'));
        assert_eq!(bench.backend.state(&group).unwrap(), State::Thawed);
    }
    assert_eq!(bench.freeze(&group), Outcome::Done);
    let newcomer = bench.sleeper(&group);
    until("the newcomer's stop", || letter(newcomer) == 't');
    assert_eq!(bench.backend.kill(&group, &mut within(5000)).unwrap(), Outcome::Done);
}

/// R3.8: with the helper's end the tasks run on, and the group says so.
#[test]
fn a_dead_helper_holds_nobody() {
    let mut bench = Bench::stopping_by(StopMethod::Ptrace);
    let (above, below) = (bench.group("a"), bench.group("a/b"));
    let pids = [bench.sleeper(&above), bench.sleeper(&below)];
    assert_eq!(bench.freeze(&above), Outcome::Done);
    assert!(pids.iter().all(|&pid| letter(pid) == 't'));
    let status = std::fs::read_to_string(format!("/proc/{}/status", pids[0])).unwrap();
    let helper = status.lines().find_map(|line| line.strip_prefix("TracerPid:\t")).unwrap().parse().unwrap();
    assert_eq!(Stat::of(helper).unwrap().command, "cgf-freeze");
    Process::open(helper).unwrap().signal(libc::SIGKILL).unwrap();
    until("the end of the freeze", || bench.backend.state(&above).unwrap() == State::Thawed);
    until("running", || pids.iter().all(|&pid| letter(pid) == '-'));
    assert_eq!(bench.freeze(&above), Outcome::Done);
    bench.thaw(&above);
    assert!(pids.iter().all(|&pid| letter(pid) == '-'));
}

/// R3.6
#[test]
fn traced_groups_nest() {
    let mut bench = Bench::stopping_by(StopMethod::Ptrace);
    let (above, below) = (bench.group("a"), bench.group("a/b"));
    let (upper, lower) = (bench.sleeper(&above), bench.sleeper(&below));
    for (first, second) in [(&above, &below), (&below, &above)] {
        assert_eq!(bench.freeze(first), Outcome::Done);
        assert_eq!(bench.freeze(second), Outcome::Done);
        assert_eq!((letter(upper), letter(lower)), ('t', 't'));
        bench.thaw(&above);
        assert_eq!((letter(upper), letter(lower)), ('-', 't'));
        bench.thaw(&below);
        assert_eq!((letter(upper), letter(lower)), ('-', '-'));
    }
}

/// Threads are held one by one, and those that are made meanwhile too.
#[test]
fn every_thread_is_traced() {
    let mut bench = Bench::stopping_by(StopMethod::Ptrace);
    let group = bench.group("web");
    let script = "import threading,time\nwhile True:\n t=[threading.Thread(target=time.sleep,args=(.001,)) for _ in range(8)]\n [x.start() for x in t]\n [x.join() for x in t]";
    let pid = bench.run(&group, Admission::Attached, &["python3", "-c", script]);
    until("the program", || process::threads(pid).unwrap().len() > 2);
    for _ in 0..20 {
        assert_eq!(bench.freeze(&group), Outcome::Done);
        let letters =
            || process::threads(pid).unwrap().iter().all(|&tid| Stat::of_task(pid, tid).unwrap().state == b't');
        assert!(letters());
        bench.thaw(&group);
    }
}

/// A process that stops just when it has taken the lock keeps nobody out.
#[test]
fn a_stopped_holder_of_the_lock_is_let_finish() {
    let bench = Bench::new();
    let group = bench.group("web");
    let member = sys::helper::start(|| {
        let _held = bench.backend.lock().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        0
    });
    let member = member.unwrap();
    let process = Process::open(member.pid()).unwrap();
    until("the lock", || lock::holds(&bench.backend.root, member.pid()));
    let stat = Stat::of(member.pid()).unwrap();
    stopped::append(&group.dir, &[(key_of(&stat), true)]).unwrap();
    process.signal(libc::SIGSTOP).unwrap();
    until("the stop", || letter(member.pid()) == 'T');
    std::thread::sleep(Duration::from_millis(300));
    bench.thaw(&group);
    assert_eq!(member.result(), Some(0));
}

/// The record does not grow with every process that ever was.
#[test]
fn the_dead_are_forgotten() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    bench.sleeper(&group);
    let gone: Vec<Record> =
        (0..200).map(|number| Record { key: (1, 1 << 40 | number), session: 0, forks: 0 }).collect();
    let mut roll = Roll::read(&bench.backend.root).unwrap();
    let page = roll.find(&group).unwrap();
    roll.add(&bench.backend.root, page, &gone).unwrap();
    assert_eq!(bench.procs(&group).len(), 1);
    assert_eq!(Roll::read(&bench.backend.root).unwrap().pages[page].records.len(), 1);
}

/// After a reboot a number says nothing.
#[test]
fn another_boot_forgets_everybody() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let pid = bench.sleeper(&group);
    assert_eq!(bench.freeze(&group), Outcome::Done);
    let lock = bench.path.join("cgroup.lock");
    let text = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, text.replace(text.split(' ').next().unwrap(), "another-boot")).unwrap();
    assert_eq!(bench.procs(&group), []);
    assert!(!bench.backend.is_asked(&group).unwrap());
    assert_eq!(bench.place(pid), None);
    Process::open(pid).unwrap().signal(libc::SIGCONT).unwrap();
}

/// R3.4: held by vfork, traced by others, its first thread gone.
#[test]
fn odd_processes_freeze() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let script = "import threading,time,ctypes\nthreading.Thread(target=time.sleep,args=(1000,)).start()\nctypes.CDLL(None).pthread_exit(None)";
    let headless = bench.run(&group, Admission::Attached, &["python3", "-c", script]);
    until("the first thread's end", || letter(headless) == 'Z');
    assert_eq!(bench.procs(&group), [headless]);
    // Its child waits for a writer of the pipe before it executes the program.
    let vfork = "import os,sys\nos.mkfifo(sys.argv[1])\nos.posix_spawn('/bin/true',['true'],{},file_actions=[(os.POSIX_SPAWN_OPEN,0,sys.argv[1],os.O_RDONLY,0)])";
    let pipe = bench.path.join("cgroup.pipe");
    let parent = bench.run(&group, Admission::Attached, &["python3", "-c", vfork, pipe.to_str().unwrap()]);
    until("the vfork", || still::of(&Stat::of(parent).unwrap()) == Ok(Stillness::InVfork));
    for _ in 0..5 {
        assert_eq!(bench.freeze(&group), Outcome::Done);
        let other = process::threads(headless).unwrap().into_iter().find(|&tid| tid != headless).unwrap();
        assert_eq!(Stat::of_task(headless, other).unwrap().state, b'T');
        bench.thaw(&group);
    }
    assert_eq!(bench.backend.kill(&group, &mut within(5000)).unwrap(), Outcome::Done);
}

/// R3.7
#[test]
fn a_blocker_is_named() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let pid = bench.sleeper(&group);
    let blockers = bench.backend.blockers(&group, Effort::Glance).unwrap();
    assert_eq!((blockers.len(), blockers[0].pid, blockers[0].tid), (1, pid, pid));
    assert_eq!(bench.freeze(&group), Outcome::Done);
    assert!(bench.backend.blockers(&group, Effort::Glance).unwrap().is_empty());
}

/// What it costs at least: record, stop and look three times, knowing everybody.
fn bare_freeze(procs: &[i32]) {
    let stats: Vec<Stat> = procs.iter().map(|&pid| Stat::of(pid).unwrap()).collect();
    for stat in &stats {
        pass::signal(key_of(stat), libc::SIGSTOP).unwrap();
        members::children(stat).unwrap();
    }
    for _ in 0..3 {
        while !procs.iter().all(|&pid| Stat::of(pid).unwrap().state == b'T') {}
    }
}

/// R1.2: a spawned leader that was waited for before anybody looked.
#[test]
fn orphans_outlive_a_leader_that_was_reaped() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let note = bench.path.join("cgroup.note");
    // A spawned program starts when it has been admitted; this one waits a bit.
    let script = "sleep 0.2; sleep 1000 & echo $! > \"$0\"; exit 5";
    bench.run(&group, Admission::Spawned, &["setsid", "sh", "-c", script, note.to_str().unwrap()]);
    bench.children[0].wait().unwrap();
    let orphan: i32 = std::fs::read_to_string(&note).unwrap().trim().parse().unwrap();
    assert_eq!(bench.place(orphan).as_deref(), Some("/web"));
    assert!(bench.backend.is_populated(&group).unwrap());
    assert_eq!(bench.backend.kill(&group, &mut within(5000)).unwrap(), Outcome::Done);
    until("the orphan's end", || !Stat::of(orphan).is_ok_and(|stat| stat.is_alive()));
    assert!(!bench.backend.is_populated(&group).unwrap());
    bench.backend.remove(&bench.root(), &group).unwrap();
}

/// A hierarchy may be opened at any group of another: one record, one lock.
#[test]
fn a_group_is_a_hierarchy_of_its_own() {
    let mut bench = Bench::new();
    let (above, below) = (bench.group("a"), bench.group("a/b"));
    let (upper, lower) = (bench.sleeper(&above), bench.sleeper(&below));
    let other = bench.group("other");
    let stranger = bench.sleeper(&other);
    let inner = Embedded::new(&above.dir, StopMethod::Signal).unwrap();
    let place = |pid| inner.locate(pid).unwrap().map(|path| path.to_string());
    assert_eq!((place(upper), place(lower), place(stranger)), (Some("/".into()), Some("/b".into()), None));
    let top = Node { dir: above.dir.open_dir(".").unwrap(), path: GroupPath::root() };
    assert_eq!(bench.freeze(&bench.root()), Outcome::Done);
    assert!(inner.is_asked_above(&top).unwrap());
    assert_eq!(inner.state(&top).unwrap(), State::Frozen);
    bench.thaw(&bench.root());
    assert_eq!(inner.freeze(&top, &mut within(5000), false).unwrap().outcome, Outcome::Done);
    assert_eq!((letter(lower), letter(stranger)), ('T', '-'));
    assert!(!bench.path.join("a/cgroup.lock").exists());
    bench.thaw(&above);
    assert_eq!(letter(lower), '-');
}
