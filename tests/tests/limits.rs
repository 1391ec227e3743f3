//! Limits: many tasks, deadlines that pass, processes out of sight, no
//! descriptors left, no space left.
#![allow(clippy::unwrap_used, reason = "in a test's own function, as in the test")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cgf::{BackendKind, Hierarchy, Options, RemoveOptions, State};
use cgf_tests::backends::{Own, on, on_each, start};
use cgf_tests::driver::{Driver, Failure, Surface};
use cgf_tests::stage::{self, SilentServer, wait_for};

const KILL: RemoveOptions = RemoveOptions { kill: true, recursive: true };

/// R1.9: ten thousand tasks are listed, each once and in order, and while
/// somebody lists them, others work on the group: whoever lists has no lock.
#[test]
fn ten_thousand_tasks_are_listed_and_nobody_waits_for_the_list() {
    const PROCESSES: usize = 10;
    const THREADS: usize = 1000;
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let staging = own.0.create("staging").unwrap();
        let group = own.0.create("many").unwrap();
        let pids: Vec<i32> = (0..PROCESSES).map(|_| start(&staging, &["sleepers", &THREADS.to_string()])).collect();
        // The last one comes first, so that the kernel's order is not the numbers'.
        pids.iter().rev().for_each(|&pid| group.attach(pid).unwrap());
        let all: Vec<i32> = pids.iter().flat_map(|&pid| threads(pid)).collect::<BTreeSet<i32>>().into_iter().collect();
        assert_eq!(all.len(), PROCESSES * THREADS);
        assert!(group.tasks().unwrap() == all, "tasks() gives others on {backend}");
        let lines: String = all.iter().map(|tid| format!("{tid}\n")).collect();
        assert!(group.read("tasks").unwrap() == lines, "the file gives others on {backend}");
        assert_eq!(group.procs().unwrap(), sorted(pids), "{backend}");

        let mut lister = Driver::start(Surface::Rust.command().unwrap()).unwrap();
        lister.ask(&["hierarchy", own.0.name().to_str().unwrap(), &format!("backend={backend}")]).unwrap();
        lister.ask(&["open", "many"]).unwrap();
        let listed = std::thread::scope(|scope| {
            let stopped = Stopped { pid: lister.pid() };
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let asking = scope.spawn(move || {
                let mut answer = lister.ask(&["tasks", "many"]);
                while answer.is_ok() && ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    answer = lister.ask(&["tasks", "many"]);
                }
                lister.end();
                answer
            });
            wait_for("the lister to be stopped while it lists, without a lock", || {
                stopped.stop();
                let found = stopped.is_listing() && !stopped.has_lock();
                if !found {
                    stopped.go_on();
                }
                found.then_some(())
            })
            .unwrap();
            let newcomer = start(&staging, &["sleep"]);
            group.attach(newcomer).unwrap();
            group.freeze(Duration::from_secs(10)).unwrap();
            assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
            group.thaw().unwrap();
            assert_eq!(group.tasks().unwrap().len(), PROCESSES * THREADS + 1, "{backend}");
            staging.attach(newcomer).unwrap();
            drop(stopped);
            drop(end);
            asking.join().unwrap()
        });
        let listed: Vec<i32> = listed.unwrap().split(' ').map(|tid| tid.parse().unwrap()).collect();
        // The newcomer may or may not be in what was asked for at that time.
        assert!(all.iter().all(|tid| listed.binary_search(tid).is_ok()), "the lister missed some on {backend}");
        group.kill(libc::SIGKILL).unwrap();
        assert_eq!(group.tasks().unwrap(), [], "{backend}");
    });
}

/// A process of ours, stopped from time to time; it runs when this is dropped.
struct Stopped {
    pid: i32,
}

impl Stopped {
    fn stop(&self) {
        // SAFETY: our own child, which nobody waits for before it is let go.
        unsafe { libc::kill(self.pid, libc::SIGSTOP) };
        wait_for("the lister to stop", || (stage::state_letter(self.pid) == Some('T')).then_some(())).unwrap();
    }

    fn go_on(&self) {
        // SAFETY: as above.
        unsafe { libc::kill(self.pid, libc::SIGCONT) };
    }

    /// Whether a list of tasks is open.
    fn is_listing(&self) -> bool {
        let is_list = |file: &Path| {
            let in_proc = file.starts_with("/proc") && file.ends_with("task");
            in_proc || file.ends_with("many/tasks") || file.ends_with("many/cgroup.threads")
        };
        self.descriptors().iter().any(|number| {
            std::fs::read_link(format!("/proc/{}/fd/{number}", self.pid)).is_ok_and(|file| is_list(&file))
        })
    }

    fn has_lock(&self) -> bool {
        self.descriptors().iter().any(|number| {
            let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{number}", self.pid)).unwrap_or_default();
            info.lines().any(|line| line.starts_with("lock:"))
        })
    }

    fn descriptors(&self) -> Vec<String> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        entries.flatten().map(|entry| entry.file_name().display().to_string()).collect()
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.go_on();
    }
}

fn threads(pid: i32) -> Vec<i32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn sorted(mut ids: Vec<i32>) -> Vec<i32> {
    ids.sort_unstable();
    ids
}

/// R1.9: whom the reader's pid namespace does not show is left out, and counted
/// where the kernel tells of it. The records of embedded are another namespace's.
#[test]
fn a_pid_namespace_shows_its_own() {
    if !is_root() {
        eprintln!("skipped: only root makes a pid namespace");
        return;
    }
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("both").unwrap();
        let outside = sorted((0..3).map(|_| start(&group, &["sleep"])).collect());
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
        command.arg(Surface::Rust.command().unwrap().get_program());
        let mut driver = Driver::start(command).unwrap();
        let hierarchy = ["hierarchy", own.0.name().to_str().unwrap(), &format!("backend={backend}")];
        driver.ask(&hierarchy).unwrap();
        if backend == BackendKind::Embedded {
            assert_eq!(errno(driver.ask(&["procs", "both"])), libc::EXDEV);
            driver.end();
            return;
        }
        assert_eq!(driver.ask(&["procs", "both"]).unwrap(), "", "{backend}");
        assert_eq!(driver.ask(&["tasks", "both"]).unwrap(), "", "{backend}");
        let actor = stage::actor().unwrap().display().to_string();
        let inside = driver.ask(&["spawn", "both", &actor, "sleep"]).unwrap();
        assert_eq!(driver.ask(&["procs", "both"]).unwrap(), inside, "{backend}");
        assert_eq!(driver.ask(&["tasks", "both"]).unwrap(), inside, "{backend}");
        // Version 1 of the kernel's does not list them at all.
        let unseen = if backend == BackendKind::Cgroup1 { "0" } else { "3" };
        assert_eq!(driver.ask(&["unseen", "both"]).unwrap(), unseen, "{backend}");
        assert_eq!(group.procs().unwrap().len(), outside.len() + 1, "{backend}");
        assert_eq!(group.unseen_procs().unwrap(), 0, "{backend}");
        driver.end();
        let rest = || (group.procs().unwrap() == outside).then_some(());
        wait_for("the namespace's own process to go with it", rest).unwrap();
    });
}

/// R1.4: a removal that may kill waits for who does not die, not longer than the
/// hierarchy's deadline, and names them; when they are gone it succeeds.
#[test]
fn a_removal_names_who_does_not_die() {
    const DEADLINE: Duration = Duration::from_millis(600);
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let Some(server) = silent_server() else { return };
        own.0.create("stuck").unwrap();
        let options = Options::default().backend(backend).deadline(DEADLINE);
        let impatient = Hierarchy::open(own.0.name(), &options).unwrap();
        let group = impatient.open_group("stuck").unwrap();
        let file = server.file();
        let stuck = start(&group, &["ask", file.to_str().unwrap()]);
        let other = start(&group, &["sleep"]);
        server.wait_until_stuck(stuck).unwrap();

        let began = Instant::now();
        let error = group.remove_with(KILL).unwrap_err();
        let waited = began.elapsed();
        assert_eq!(error.errno(), libc::EBUSY, "{backend}: {error:?}");
        assert!(waited >= DEADLINE, "gave up after {waited:?} on {backend}");
        assert!(waited < DEADLINE + stage::PATIENCE, "{waited:?} on {backend}");
        let blockers: Vec<i32> = error.blockers().iter().map(|blocker| blocker.pid).collect();
        assert_eq!(blockers, [stuck], "{backend}: {error:?}");
        assert!(stage::has_ended(other), "{backend}");
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
        assert_eq!(group.procs().unwrap(), [stuck], "{backend}");

        drop(server);
        own.0.open_group("stuck").unwrap().remove_with(KILL).unwrap();
        assert!(stage::has_ended(stuck), "{backend}");
        assert_eq!(impatient.open_group("stuck").unwrap_err().errno(), libc::ENOENT, "{backend}");
        assert_eq!(group.state().unwrap_err().errno(), libc::ENODEV, "{backend}");
    });
}

/// R3.2, R3.8: a freeze that fails for lack of descriptors, however far it came,
/// leaves the group as it was: THAWED, and its tasks run.
#[test]
fn a_freeze_without_descriptors_stops_nobody() {
    on_each(|backend| {
        fails_whole(backend, "signal");
        if backend == BackendKind::Embedded {
            fails_whole(backend, "ptrace");
        }
    });
}

fn fails_whole(backend: BackendKind, stop: &str) {
    /// More than any freeze needs.
    const PLENTY: u64 = 60;
    let own = Own::new(backend).unwrap();
    let group = own.0.create("g").unwrap();
    let below = own.0.create("g/below/deep").unwrap();
    let members = [start(&group, &["spin"]), start(&group, &["tree", "3"]), start(&below, &["threads", "2"])];
    let mut driver = Driver::start(Surface::Rust.command().unwrap()).unwrap();
    let options = format!("backend={backend},stop={stop},deadline=10000");
    driver.ask(&["hierarchy", own.0.name().to_str().unwrap(), &options]).unwrap();
    driver.ask(&["open", "g"]).unwrap();
    let mut failed = 0;
    for rollback in ["", "rollback"] {
        for descriptors in 3..=PLENTY {
            limit_descriptors(driver.pid(), descriptors);
            let answer = driver.ask(&["freeze", "g", "10000", rollback]);
            let case = format!("with {descriptors} descriptors on {backend}, stop={stop}: {answer:?}");
            match answer {
                Ok(_) => {
                    assert_eq!(group.state().unwrap(), State::Frozen, "{case}");
                    // Who could freeze can thaw, though perhaps not write down when.
                    let thawed = driver.ask(&["thaw", "g"]);
                    assert!([0, libc::EMFILE].contains(&errno(thawed)), "{case}");
                    assert_eq!(group.state().unwrap(), State::Thawed, "{case}");
                    group.thaw().unwrap();
                }
                Err(failure) => {
                    assert_eq!(failure.errno, libc::EMFILE, "{case}");
                    assert!(descriptors < PLENTY, "{case}");
                    failed += 1;
                }
            }
            assert_eq!(group.state().unwrap(), State::Thawed, "{case}");
            assert!(!group.is_self_freezing().unwrap(), "{case}");
            for pid in members {
                runs(pid, &case);
            }
        }
    }
    assert!(failed > 2, "no freeze failed on {backend}");
    driver.end();
}

/// R3.2, R3.7: a freeze that misses its deadline, and has no descriptors to look
/// for who blocks it, still gives the group its former state back.
#[test]
fn a_rollback_without_descriptors_is_a_rollback() {
    const PLENTY: u64 = 40;
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let Some(server) = silent_server() else { return };
        let group = own.0.create("g").unwrap();
        // Looking for them takes a descriptor for each level.
        let below = own.0.create("g/1/2/3/4/5/6").unwrap();
        let stuck = start(&group, &["ask", server.file().to_str().unwrap()]);
        let spinner = start(&below, &["spin"]);
        server.wait_until_stuck(stuck).unwrap();
        let mut driver = Driver::start(Surface::Rust.command().unwrap()).unwrap();
        let options = format!("backend={backend},deadline=10000");
        driver.ask(&["hierarchy", own.0.name().to_str().unwrap(), &options]).unwrap();
        driver.ask(&["open", "g"]).unwrap();
        let mut nameless = 0;
        for descriptors in 3..=PLENTY {
            limit_descriptors(driver.pid(), descriptors);
            let failure = driver.ask(&["freeze", "g", "1", "rollback"]).unwrap_err();
            let case = format!("with {descriptors} descriptors on {backend}: {failure:?}");
            assert!([libc::EMFILE, libc::EBUSY].contains(&failure.errno), "{case}");
            if descriptors == PLENTY {
                assert_eq!((failure.errno, failure.blockers[0].0), (libc::EBUSY, stuck), "{case}");
            }
            nameless += usize::from(failure.errno == libc::EMFILE);
            assert_eq!(group.state().unwrap(), State::Thawed, "{case}");
            assert!(!group.is_self_freezing().unwrap(), "{case}");
            runs(spinner, &case);
        }
        assert!(nameless > 2, "every freeze had descriptors enough on {backend}");
        driver.end();
    });
}

/// `None`, and why: there can be none here.
fn silent_server() -> Option<SilentServer> {
    match SilentServer::start() {
        Ok(server) => Some(server),
        Err(why) => {
            assert!(std::env::var_os("CGF_DEMAND").is_none(), "a silent file server is demanded: {why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

/// Nobody's thread is stopped; who spins gets on.
fn runs(pid: i32, case: &str) {
    let awake =
        || threads(pid).iter().all(|&tid| stage::state_letter(tid).is_some_and(|letter| !"Tt".contains(letter)));
    wait_for(&format!("process {pid} not to be stopped, {case}"), || awake().then_some(())).unwrap();
    let before = stage::cpu_time(pid).unwrap();
    let spins = || stage::state_letter(pid) == Some('S') || stage::cpu_time(pid).is_some_and(|now| now > before);
    wait_for(&format!("process {pid} to run, {case}"), || spins().then_some(())).unwrap();
}

/// R1.3: a group of 300 groups needs no 300 descriptors.
#[test]
fn many_groups_need_few_descriptors() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("many").unwrap();
        let pid = start(&group, &["sleep"]);
        for index in 0..300 {
            own.0.create(format!("many/{index}")).unwrap();
        }
        let mut driver = Driver::start(Surface::Rust.command().unwrap()).unwrap();
        let name = own.0.name().to_str().unwrap().to_owned();
        driver.ask(&["hierarchy", &name, &format!("backend={backend}")]).unwrap();
        limit_descriptors(driver.pid(), 64);
        for words in [
            &["groups", "/"][..],
            &["procs", "many"],
            &["freeze", "many", "5000"],
            &["state", "many"],
            &["thaw", "many"],
            &["kill", "many", "9"],
            &["remove", "many", "recursive"],
            &["unmount"],
        ] {
            let answer = driver.ask(words);
            assert!(answer.is_ok(), "{words:?} on {backend}: {answer:?}");
        }
        assert!(stage::has_ended(pid), "{backend}");
        driver.end();
    });
}

/// Bounds the descriptors of a process of ours from outside.
fn limit_descriptors(pid: i32, limit: u64) {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: two structures of ours, which live longer than the calls.
    unsafe {
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut now), 0);
        now.rlim_cur = limit;
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const now, std::ptr::null_mut()), 0);
    }
}

/// R1.3, R2.3, R3.8: on a full disk an operation of the embedded backend is done
/// or not begun: no group is half made, no process lost or left stopped. What is
/// frozen can be thawed and ended all the same, and with space all works again.
#[test]
fn a_full_disk_leaves_nothing_half_done() {
    /// More pages than any of the operations needs.
    const PLENTY: usize = 8;
    if !is_root() {
        eprintln!("skipped: only root can mount a small file system");
        return;
    }
    on(&[BackendKind::Embedded], |_| {
        let disk = SmallDisk::mount();
        let options = Options::parse(format!("backend=embedded,state={}", disk.0.display())).unwrap();
        let own = Own(Hierarchy::open(stage::unique("full"), &options).unwrap());
        let home = own.0.create("home").unwrap();
        let spinner = start(&home, &["spin"]);
        let tree = start(&home, &["tree", "3"]);
        let members = home.procs().unwrap();
        let mut refused = BTreeSet::new();
        for free in 0..=PLENTY {
            let case = format!("with {free} pages free");
            let mut tried = |what: &'static str, result: cgf::Result<()>| match result {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(error.errno(), libc::ENOSPC, "{what} {case}: {error:?}");
                    assert!(free < PLENTY, "{what} {case}: {error:?}");
                    refused.insert(what);
                    false
                }
            };
            let other = own.0.create("other").unwrap();
            disk.fill_but(free);
            if !tried("create", own.0.create("new/newer").map(drop)) {
                assert_eq!(paths(&own.0), ["/home", "/other"], "{case}");
                assert!(!stage::exists(&own.0.directory().join("new")), "{case}");
            }
            if !tried("attach", other.attach(spinner)) {
                assert_eq!(own.0.group_of(spinner).unwrap().path(), home.path(), "{case}");
                assert_eq!(home.procs().unwrap(), members, "{case}");
                assert_eq!(other.procs().unwrap(), [], "{case}");
            }
            runs(spinner, &case);
            for group in [&home, &other] {
                if tried("freeze", group.freeze(Duration::from_secs(10))) {
                    assert_eq!(group.state().unwrap(), State::Frozen, "{case}");
                } else {
                    assert_eq!(group.state().unwrap(), State::Thawed, "{case}");
                    assert!(!group.is_self_freezing().unwrap(), "{case}");
                    group.procs().unwrap().into_iter().for_each(|pid| runs(pid, &case));
                }
            }
            disk.fill_but(0);
            home.thaw().unwrap();
            other.thaw().unwrap();
            members.iter().for_each(|&pid| runs(pid, &case));

            disk.free();
            home.attach(spinner).unwrap();
            home.freeze(Duration::from_secs(10)).unwrap();
            assert_eq!((home.state().unwrap(), home.procs().unwrap()), (State::Frozen, members.clone()), "{case}");
            disk.fill_but(0);
            other.remove().unwrap();
            home.thaw().unwrap();
            members.iter().for_each(|&pid| runs(pid, &case));
            disk.free();
            if let Ok(new) = own.0.open_group("new") {
                new.remove_with(KILL).unwrap();
            }
        }
        assert_eq!(refused, BTreeSet::from(["create", "attach", "freeze"]));
        disk.fill_but(0);
        home.kill(libc::SIGKILL).unwrap();
        assert!(stage::has_ended(spinner) && stage::has_ended(tree));
        home.remove().unwrap();
        drop(own);
    });
}

/// R2.3: a disk that is full in the middle of a line of the embedded backend's
/// records: the process is where it was, and nowhere else.
#[test]
fn a_record_that_does_not_fit_is_not_begun() {
    if !is_root() {
        eprintln!("skipped: only root can mount a small file system");
        return;
    }
    on(&[BackendKind::Embedded], |_| {
        let disk = SmallDisk::mount();
        let options = Options::parse(format!("backend=embedded,state={}", disk.0.display())).unwrap();
        let own = Own(Hierarchy::open(stage::unique("full"), &options).unwrap());
        let home = own.0.create("home").unwrap();
        let pid = start(&home, &["spin"]);
        let mut fitted = 0;
        for left in 0..64 {
            let other = own.0.create("other").unwrap();
            // Empty lines mean nothing; they fill a page but for these bytes.
            std::fs::write(own.0.directory().join("other/cgroup.procs"), "\n".repeat(4096 - left)).unwrap();
            disk.fill_but(0);
            let case = format!("with {left} bytes left");
            let attached = other.attach(pid);
            let (is_in, is_not_in) = if attached.is_ok() { (&other, &home) } else { (&home, &other) };
            assert_eq!(own.0.group_of(pid).unwrap().path(), is_in.path(), "{case}");
            assert_eq!((is_in.procs().unwrap(), is_not_in.procs().unwrap()), (vec![pid], vec![]), "{case}");
            runs(pid, &case);
            match attached {
                Ok(()) => fitted += 1,
                Err(error) => assert_eq!(error.errno(), libc::ENOSPC, "{case}: {error:?}"),
            }
            disk.free();
            other.attach(pid).unwrap();
            assert_eq!((home.procs().unwrap(), other.procs().unwrap()), (vec![], vec![pid]), "{case}");
            home.attach(pid).unwrap();
            other.remove().unwrap();
        }
        assert!((1..60).contains(&fitted), "{fitted} of 64 fitted");
    });
}

fn paths(hierarchy: &Hierarchy) -> Vec<String> {
    let mut paths: Vec<String> = hierarchy.groups().unwrap().iter().map(ToString::to_string).collect();
    paths.sort();
    paths
}

/// A file system of a few pages; it goes when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount() -> SmallDisk {
        let disk = SmallDisk(std::env::temp_dir().join(stage::unique("cgf-disk")));
        std::fs::create_dir(&disk.0).unwrap();
        let (kind, place) = (CString::new("tmpfs").unwrap(), disk.place());
        let options = CString::new("size=128k,mode=700").unwrap();
        // SAFETY: four strings that live longer than the call, one of them as its data.
        let mounted = unsafe { libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
        assert_eq!(mounted, 0, "mounting a small tmpfs: {}", std::io::Error::last_os_error());
        disk
    }

    /// Leaves room for so many pages.
    fn fill_but(&self, pages: usize) {
        use std::io::Write;
        self.free();
        let mut filler = std::fs::File::create(self.filler()).unwrap();
        let mut written = 0;
        while filler.write_all(&[0; 4096]).is_ok() {
            written += 1;
        }
        assert!(written > pages, "the disk has {written} pages");
        filler.set_len(4096 * (written - pages) as u64).unwrap();
    }

    fn free(&self) {
        let _ = std::fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn place(&self) -> CString {
        use std::os::unix::ffi::OsStrExt;
        CString::new(self.0.as_os_str().as_bytes()).unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.free();
        let place = self.place();
        // SAFETY: a string that lives longer than the call. Who still has it open
        // keeps it alive, and nobody finds it any more.
        if unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) } != 0 {
            eprintln!("left behind: {}: {}", self.0.display(), std::io::Error::last_os_error());
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn errno(answer: Result<String, Failure>) -> i32 {
    answer.err().map_or(0, |failure| failure.errno)
}

fn is_root() -> bool {
    // SAFETY: takes and touches nothing.
    unsafe { libc::geteuid() == 0 }
}
