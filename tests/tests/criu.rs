//! Checkpoints by a real CRIU (R4.5, R4.6): processes that count are dumped,
//! restored, and shown to go on from where they were.
//!
//! `CGF_CRIU` names the program, `CGF_COUNTER` the one that counts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cgf::criu::{self, DumpOptions, Leave, RestoreOptions};
use cgf::{BackendKind, Child, Group, Hierarchy, Options, Result, Spawn, State};
use cgf_tests::backends::{Own, on_each};
use cgf_tests::stage::{self, PATIENCE, wait_for};

/// Calls `test` on every backend, if there is a CRIU to test with.
fn with_criu(test: impl Fn(BackendKind, &Path)) {
    let found = std::env::var_os("CGF_CRIU").map(PathBuf::from).filter(|program| program.exists());
    match found {
        Some(program) => on_each(|backend| test(backend, &program)),
        None => {
            assert!(std::env::var_os("CGF_DEMAND").is_none(), "CGF_CRIU names no program");
            eprintln!("skipped: CGF_CRIU names no program");
        }
    }
}

/// How long CRIU may take, on a machine that is very busy with other tests.
const LIMIT: Duration = Duration::from_secs(90);

/// A directory of the test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let path = std::env::temp_dir().join(stage::unique("cgf-criu"));
        fs::create_dir_all(path.join("files")).unwrap();
        Scratch(path)
    }

    fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// Whether nothing of a checkpoint is left, be it half of one.
    fn has_no_images(&self) -> bool {
        fs::read_dir(&self.0).unwrap().all(|entry| entry.unwrap().file_name() == "files")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A counter in a group, with nothing open that CRIU could not make again.
fn start(group: &Group, scratch: &Scratch, part: &[&str]) -> Child {
    start_with(group, scratch, part, File::options().write(true).open("/dev/null").unwrap().into())
}

fn start_with(group: &Group, scratch: &Scratch, part: &[&str], output: std::os::fd::OwnedFd) -> Child {
    let counter = std::env::var_os("CGF_COUNTER").expect("CGF_COUNTER names the counter program");
    let null = || File::options().read(true).write(true).open("/dev/null").unwrap();
    let spawn = Spawn::new(counter)
        .arg(part[0])
        .arg(scratch.0.join("files"))
        .args(&part[1..])
        .current_dir("/")
        .session(true)
        .close_others(true)
        .fd(null(), 0)
        .fd(output, 1)
        .fd(null(), 2);
    let child = group.spawn(spawn).unwrap();
    stage::wait_until_ready(child.pid()).unwrap();
    child
}

/// Who has counted how far.
type Counts = BTreeMap<String, (u64, u64)>;

fn counts(scratch: &Scratch) -> Counts {
    let mut counts = Counts::new();
    for entry in fs::read_dir(scratch.0.join("files")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        if name == "log" {
            // What came through the pipe, none lost and none twice.
            let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            let lines: Vec<u64> = whole.lines().map(|line| line.parse().unwrap()).collect();
            assert!(lines.iter().copied().eq(1..=lines.len() as u64), "a number was lost or came twice");
            counts.insert(name, (0, lines.len() as u64));
        } else if let Some((who, count)) = text.trim().split_once(' ') {
            counts.insert(name, (who.parse().unwrap(), count.parse().unwrap()));
        }
    }
    counts
}

/// Waits until so many counters have begun.
fn begun(scratch: &Scratch, number: usize) -> Counts {
    wait_for("everybody to count", || {
        let counts = counts(scratch);
        (counts.len() == number && counts.values().all(|(_, count)| *count > 0)).then_some(counts)
    })
    .unwrap()
}

/// Waits until all of them, the same as before, have counted further.
fn go_on(scratch: &Scratch, before: &Counts) {
    wait_for("everybody to count on", || {
        let now = counts(scratch);
        let further = |(name, (who, count)): (&String, &(u64, u64))| {
            let (who_now, count_now) = now[name];
            assert_eq!(who_now, *who, "{name} was begun anew");
            assert!(count_now >= *count, "{name} was set back");
            count_now > *count
        };
        before.iter().all(further).then_some(())
    })
    .unwrap();
}

fn dump(group: &Group, scratch: &Scratch, criu: &Path, leave: Leave) -> Result<()> {
    criu::dump(group, scratch.images(), DumpOptions::within(LIMIT).program(criu).leave(leave))
}

fn restore(group: &Group, scratch: &Scratch, criu: &Path) -> Result<i32> {
    criu::restore(group, scratch.images(), RestoreOptions::within(LIMIT).program(criu))
}

/// R4.6: processes, threads, what is in a pipe and where a file is written: all of
/// it is taken, is gone, and goes on.
#[test]
fn what_was_dumped_goes_on_from_where_it_was() {
    with_criu(|backend, criu| {
        for (part, files, tasks) in [(&["alone"][..], 1, 1), (&["crowd", "8", "20"][..], 28, 28), (&["pipe"][..], 1, 2)]
        {
            let own = Own::new(backend).unwrap();
            let group = own.0.create("counted").unwrap();
            let scratch = Scratch::new();
            let child = start(&group, &scratch, part);
            begun(&scratch, files);

            dump(&group, &scratch, criu, Leave::Kill).unwrap_or_else(|error| panic!("{part:?} on {backend}: {error}"));
            let taken = counts(&scratch);
            child.wait(PATIENCE).unwrap().unwrap();
            assert!(!group.is_populated().unwrap(), "{backend}");
            assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");

            let root = restore(&group, &scratch, criu).unwrap_or_else(|error| panic!("{part:?} on {backend}: {error}"));
            assert_eq!(root, child.pid(), "{backend}");
            go_on(&scratch, &taken);
            assert_eq!(group.tasks().unwrap().len(), tasks, "{part:?} on {backend}");

            // They are the group's as any others are.
            group.freeze(PATIENCE).unwrap();
            let frozen = counts(&scratch);
            assert_eq!(counts(&scratch), frozen, "{backend}");
            group.thaw().unwrap();
            go_on(&scratch, &frozen);
            group.kill(libc::SIGKILL).unwrap();
        }
    });
}

/// R4.6: thaw, or leave frozen; and what is frozen does not run for a moment.
#[test]
fn who_is_not_killed_is_left_running_or_frozen() {
    with_criu(|backend, criu| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("left").unwrap();
        let scratch = Scratch::new();
        let child = start(&group, &scratch, &["crowd", "3", "3"]);
        let before = begun(&scratch, 6);
        dump(&group, &scratch, criu, Leave::Running).unwrap();
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
        go_on(&scratch, &before);
        fs::remove_dir_all(scratch.images()).unwrap();

        group.freeze(PATIENCE).unwrap();
        let frozen = counts(&scratch);
        dump(&group, &scratch, criu, Leave::Frozen).unwrap();
        assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
        assert_eq!(counts(&scratch), frozen, "on {backend} somebody ran");
        group.thaw().unwrap();
        go_on(&scratch, &frozen);

        // What was left is not what was taken: that is still where it was.
        group.kill(libc::SIGKILL).unwrap();
        child.wait(PATIENCE).unwrap().unwrap();
        let root = restore(&group, &scratch, criu).unwrap();
        assert_eq!(root, child.pid());
        go_on(&scratch, &frozen);
    });
}

/// R4.5: a group that is held by a parent of its own (hold=parent) is let go by it
/// for as long as CRIU works, and held again.
#[test]
fn a_group_that_its_parent_holds_is_dumped_and_held_again() {
    with_criu(|backend, criu| {
        let own = Own::new(backend).unwrap();
        let options = Options::default().backend(backend).hold_by_parent(true);
        let group = Hierarchy::open(own.0.name(), &options).unwrap().create("outer/held").unwrap();
        let scratch = Scratch::new();
        let child = start(&group, &scratch, &["crowd", "2", "2"]);
        begun(&scratch, 4);
        for state in [State::Thawed, State::Frozen] {
            assert_eq!(group.state().unwrap(), state, "{backend}");
            dump(&group, &scratch, criu, Leave::Frozen).unwrap();
            assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
            assert_eq!(own.0.open_group("outer").unwrap().state().unwrap(), State::Frozen, "{backend}");
            fs::remove_dir_all(scratch.images()).unwrap();
        }
        let frozen = counts(&scratch);
        dump(&group, &scratch, criu, Leave::Kill).unwrap();
        assert_eq!(counts(&scratch), frozen, "on {backend} somebody ran");
        child.wait(PATIENCE).unwrap().unwrap();
        restore(&group, &scratch, criu).unwrap();
        go_on(&scratch, &frozen);
    });
}

/// Asserts that a failed dump has changed nothing: neither the state, nor who
/// runs, nor the directory.
fn changes_nothing(group: &Group, scratch: &Scratch, errno: i32, fail: impl Fn() -> Result<()>) -> String {
    let mut message = String::new();
    let backend = group.hierarchy().backend_kind();
    for state in [State::Thawed, State::Frozen] {
        if state == State::Frozen {
            group.freeze(PATIENCE).unwrap();
        }
        let before = counts(scratch);
        let error = fail().unwrap_err();
        assert_eq!(error.errno(), errno, "on {backend}, {state}: {error:?}");
        assert_eq!(group.state().unwrap(), state, "{backend}: {error}");
        assert!(scratch.has_no_images(), "{backend}: {error}");
        if state == State::Frozen {
            assert_eq!(counts(scratch), before, "on {backend} somebody ran: {error}");
            group.thaw().unwrap();
        }
        go_on(scratch, &before);
        message = error.message().to_owned();
    }
    message
}

/// R4.6: the group is in its former state, and there is no directory.
#[test]
fn a_dump_that_fails_changes_nothing() {
    with_criu(|backend, criu| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("failing").unwrap();
        let scratch = Scratch::new();
        // A socket whose other end is outside is nothing that CRIU takes.
        let (ours, theirs) = UnixStream::pair().unwrap();
        start_with(&group, &scratch, &["alone"], theirs.into());
        begun(&scratch, 1);
        let said = changes_nothing(&group, &scratch, libc::EIO, || dump(&group, &scratch, criu, Leave::Kill));
        assert!(said.contains("Error (criu/"), "{said}");
        drop(ours);

        let missing = Path::new("/nowhere/criu");
        let said = changes_nothing(&group, &scratch, libc::ENOENT, || dump(&group, &scratch, missing, Leave::Kill));
        assert!(said.contains("/nowhere/criu") && said.contains("4.1"), "{said}");

        // Stands in for Debian 12's, which fails on the kernels of today.
        let old = scratch.0.join("files/../old");
        fs::write(&old, "#!/bin/sh\n[ \"$1\" = --version ] && echo 'Version: 3.17.1' && exit\nexit 1\n").unwrap();
        fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let error = dump(&group, &scratch, &old, Leave::Kill).unwrap_err();
        fs::remove_file(&old).unwrap();
        assert_eq!(error.errno(), libc::EOPNOTSUPP, "{error}");
        assert!(error.message().contains("3.17.1") && error.message().contains("4.1"), "{error}");
        assert_eq!(group.state().unwrap(), State::Thawed);
        assert!(scratch.has_no_images());

        fs::create_dir(scratch.images()).unwrap();
        let error = dump(&group, &scratch, criu, Leave::Kill).unwrap_err();
        assert_eq!(error.errno(), libc::EEXIST, "{error}");
        assert_eq!(group.state().unwrap(), State::Thawed);
    });
}

/// The number of the CRIU that works here: a child of ours ("self"), or of another
/// process.
fn criu_of(parent: &str, scratch: &Scratch) -> Option<i32> {
    for task in fs::read_dir(format!("/proc/{parent}/task")).ok()? {
        let children = fs::read_to_string(task.ok()?.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace() {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            if line.contains("--images-dir") && line.contains(&scratch.0.display().to_string()) {
                return pid.parse().ok();
            }
        }
    }
    None
}

fn signal(pid: i32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(sent.unwrap().success());
}

/// A process that CRIU is busy with for a while.
const LARGE: [&str; 2] = ["large", "200"];

/// Stops CRIU, if it is in the middle: it has seized the processes, and has written
/// some of their memory, and not half of it.
fn catch_in_the_middle(parent: &str, scratch: &Scratch) -> Option<i32> {
    let written = |path: PathBuf| fs::metadata(path.join("pages-1.img")).map_or(0, |found| found.len());
    let in_the_middle = |path| (1..100 << 20).contains(&written(path));
    let is_begun = fs::read_dir(&scratch.0).unwrap().any(|entry| in_the_middle(entry.unwrap().path()));
    let pid = criu_of(parent, scratch).filter(|_| is_begun)?;
    signal(pid, "STOP");
    wait_for("CRIU to be stopped", || (stage::state_letter(pid) == Some('T')).then_some(())).unwrap();
    Some(pid)
}

/// On a busy machine CRIU may be done before anybody looks.
const TRIES: usize = 50;

/// Takes a checkpoint, and does something while CRIU is stopped in the middle of it.
fn dump_and_catch(
    group: &Group,
    scratch: &Scratch,
    criu: &Path,
    limit: Duration,
    mut then: impl FnMut(i32, Duration) -> ControlFlow<()>,
) -> Result<()> {
    for _ in 0..TRIES {
        let mut caught = false;
        let mut meanwhile = |waited| {
            while !caught && criu_of("self", scratch).is_some() {
                if let Some(pid) = catch_in_the_middle("self", scratch) {
                    caught = true;
                    return then(pid, waited);
                }
            }
            ControlFlow::Continue(())
        };
        let leave = if group.is_self_freezing()? { Leave::Frozen } else { Leave::Running };
        let options = DumpOptions::within(limit).program(criu).leave(leave).meanwhile(&mut meanwhile);
        let taken = criu::dump(group, scratch.images(), options);
        if caught {
            return taken;
        }
        taken.unwrap();
        fs::remove_dir_all(scratch.images()).unwrap();
    }
    panic!("CRIU was not caught in the middle");
}

/// R4.6, "a deadline for the whole": CRIU is caught in the middle of its work, and
/// lets go.
#[test]
fn a_deadline_that_passes_in_the_middle_changes_nothing() {
    with_criu(|backend, criu| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("late").unwrap();
        let scratch = Scratch::new();
        start(&group, &scratch, &LARGE);
        begun(&scratch, 1);
        let limit = Duration::from_secs(3);
        let said = changes_nothing(&group, &scratch, libc::ETIMEDOUT, || {
            dump_and_catch(&group, &scratch, criu, limit, |pid, waited| {
                std::thread::sleep(limit.saturating_sub(waited));
                signal(pid, "CONT");
                ControlFlow::Continue(())
            })
        });
        assert!(!said.contains("killed"), "{said}");
        dump(&group, &scratch, criu, Leave::Kill).unwrap();
    });
}

/// Who writes to the kernel's own file is not kept out. Frozen under CRIU's hands, the
/// processes do not answer it: that costs the checkpoint, and not the processes.
#[test]
fn a_freeze_by_the_kernels_file_costs_the_checkpoint_only() {
    with_criu(|backend, criu| {
        let (file, word) = match backend {
            BackendKind::Cgroup2 => ("cgroup.freeze", "1"),
            BackendKind::Cgroup1 => ("freezer.state", "FROZEN"),
            _ => return,
        };
        let own = Own::new(backend).unwrap();
        let group = own.0.create("meddled").unwrap();
        let scratch = Scratch::new();
        start(&group, &scratch, &LARGE);
        let before = begun(&scratch, 1);
        let file = own.0.directory().join("meddled").join(file);
        let limit = Duration::from_secs(2);
        let taken = dump_and_catch(&group, &scratch, criu, limit, |pid, _| {
            fs::write(&file, word).unwrap();
            signal(pid, "CONT");
            ControlFlow::Continue(())
        });
        let error = taken.unwrap_err();
        assert_eq!(error.errno(), libc::ETIMEDOUT, "{error}");
        assert!(!error.message().contains("killed"), "{error}");
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
        assert!(scratch.has_no_images());
        go_on(&scratch, &before);
    });
}

/// A CRIU that does not even let go is killed; the caller is told, and the group
/// can be used.
#[test]
fn a_criu_that_hangs_is_killed() {
    with_criu(|backend, criu| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("hanging").unwrap();
        let scratch = Scratch::new();
        start(&group, &scratch, &LARGE);
        let before = begun(&scratch, 1);
        let error = dump_and_catch(&group, &scratch, criu, LIMIT, |_, _| ControlFlow::Break(())).unwrap_err();
        assert_eq!(error.errno(), libc::EINTR, "{error}");
        assert!(error.message().contains("was killed"), "{error}");
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
        assert!(scratch.has_no_images());
        go_on(&scratch, &before);
    });
}

/// The cgf command on a group, as another process has it.
fn cgf(group: &Group, words: &[&str], more: &[&str]) -> Command {
    let hierarchy = group.hierarchy();
    let mut command = Command::new(std::env::var_os("CGF_COMMAND").expect("CGF_COMMAND names the cgf command"));
    command
        .args(words)
        .arg(format!("{}:{}", hierarchy.name().display(), group.path()))
        .args(more)
        .env("CGF_OPTIONS", format!("backend={}", hierarchy.backend_kind()))
        .stdin(Stdio::null());
    command
}

/// R4.5: whoever else uses the library is kept out while CRIU works, though the
/// group is not frozen then.
#[test]
fn nobody_else_touches_the_group_while_criu_works() {
    with_criu(|backend, criu| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("guarded").unwrap();
        let scratch = Scratch::new();
        start(&group, &scratch, &LARGE);
        begun(&scratch, 1);
        let mut seen = Vec::new();
        let taken = dump_and_catch(&group, &scratch, criu, LIMIT, |pid, _| {
            for words in [&["state"][..], &["thaw"], &["freeze"], &["kill", "-s", "TERM"], &["rm", "--kill"]] {
                let output = cgf(&group, words, &[]).output().unwrap();
                seen.push(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
            }
            signal(pid, "CONT");
            ControlFlow::Continue(())
        });
        taken.unwrap();
        assert_eq!(seen.first().map(|said| said.trim()), Some("CHECKPOINTING"), "{backend}");
        assert!(seen.iter().skip(1).all(|said| said.contains("EBUSY")), "{backend}: {seen:?}");
    });
}

/// The same by the cgf command, which is left with CRIU stopped in the middle.
fn take_and_catch(group: &Group, scratch: &Scratch, criu: &Path) -> (std::process::Child, i32) {
    let images = scratch.images();
    let words = ["--leave-running", "--images", images.to_str().unwrap(), "--criu", criu.to_str().unwrap()];
    for _ in 0..TRIES {
        let mut taker = cgf(group, &["checkpoint"], &words).stderr(Stdio::piped()).spawn().unwrap();
        let parent = taker.id().to_string();
        while taker.try_wait().unwrap().is_none() {
            if let Some(criu) = catch_in_the_middle(&parent, scratch) {
                return (taker, criu);
            }
        }
        fs::remove_dir_all(&images).unwrap();
    }
    panic!("CRIU was not caught in the middle");
}

/// R4.3: the lease ends with who took the checkpoint, CRIU goes on to its end, and
/// the group can be used.
#[test]
fn who_takes_a_checkpoint_may_be_killed() {
    with_criu(|backend, criu| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("orphaned").unwrap();
        let scratch = Scratch::new();
        start(&group, &scratch, &LARGE);
        let before = begun(&scratch, 1);
        let (mut taker, criu) = take_and_catch(&group, &scratch, criu);
        taker.kill().unwrap();
        taker.wait().unwrap();
        assert_ne!(group.state().unwrap(), State::Checkpointing, "{backend}");
        signal(criu, "CONT");
        wait_for("CRIU to end", || stage::has_ended(criu).then_some(())).unwrap();
        assert!(!scratch.images().exists(), "nobody was there to see whether it is whole");
        group.thaw().unwrap();
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
        go_on(&scratch, &before);
    });
}

/// Whoever ends the command ends the checkpoint, in good order.
#[test]
fn a_signal_to_the_command_changes_nothing() {
    with_criu(|backend, criu| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("interrupted").unwrap();
        let scratch = Scratch::new();
        start(&group, &scratch, &LARGE);
        let before = begun(&scratch, 1);
        let (taker, criu) = take_and_catch(&group, &scratch, criu);
        signal(taker.id() as i32, "TERM");
        let limit = || fs::read_to_string(format!("/proc/{criu}/limits")).unwrap_or_default();
        let is_told = || limit().lines().any(|line| line.starts_with("Max file size") && line.contains(" 0 "));
        wait_for("CRIU to be told to stop", || is_told().then_some(())).unwrap();
        signal(criu, "CONT");
        let output = taker.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("EINTR") && !said.contains("killed"), "{backend}: {said}");
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
        assert!(scratch.has_no_images(), "{backend}");
        go_on(&scratch, &before);
    });
}

/// R4.6: a checkpoint is of one tree.
#[test]
fn of_several_trees_one_has_to_be_named() {
    with_criu(|backend, criu| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("trees").unwrap();
        let scratch = Scratch::new();
        let error = dump(&group, &scratch, criu, Leave::Kill).unwrap_err();
        assert_eq!(error.errno(), libc::EINVAL, "nobody is in it: {error}");
        let pids = [(); 2].map(|()| start(&group, &scratch, &["alone"]).pid());
        let error = dump(&group, &scratch, criu, Leave::Kill).unwrap_err();
        assert_eq!(error.errno(), libc::EINVAL, "{error}");
        assert!(pids.iter().all(|pid| error.message().contains(&pid.to_string())), "{error}");
        assert_eq!(group.state().unwrap(), State::Thawed);
        assert!(scratch.has_no_images());
    });
}

/// R4.6: where nothing can be restored, nothing is begun.
#[test]
fn a_restore_needs_an_empty_group_free_numbers_and_a_whole_checkpoint() {
    with_criu(|backend, criu| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("web").unwrap();
        let other = own.0.create("other").unwrap();
        let scratch = Scratch::new();
        let errno = |group: &Group| restore(group, &scratch, criu).unwrap_err().errno();
        assert_eq!(errno(&other), libc::ENOENT, "no images");
        let child = start(&group, &scratch, &["alone"]);
        begun(&scratch, 1);
        dump(&group, &scratch, criu, Leave::Frozen).unwrap();
        assert_eq!(errno(&group), libc::EBUSY, "it has processes");
        assert_eq!(errno(&other), libc::EEXIST, "those of the checkpoint live");
        other.freeze(PATIENCE).unwrap();
        assert_eq!(errno(&other), libc::EBUSY, "it is frozen");
        other.thaw().unwrap();

        let core = scratch.images().join(format!("core-{}.img", child.pid()));
        let bytes = fs::read(&core).unwrap();
        fs::remove_file(&core).unwrap();
        group.kill(libc::SIGKILL).unwrap();
        child.wait(PATIENCE).unwrap().unwrap();
        assert_eq!(errno(&other), libc::ENOENT, "half a checkpoint");
        // Whole by its names, but nothing that CRIU can use.
        fs::write(&core, &bytes[..bytes.len() / 2]).unwrap();
        let error = restore(&other, &scratch, criu).unwrap_err();
        assert_eq!(error.errno(), libc::EIO, "{error}");
        assert!(error.message().contains("Error (criu/"), "{error}");
        assert!(!other.is_populated().unwrap(), "{backend}");

        fs::write(&core, &bytes).unwrap();
        let before = counts(&scratch);
        restore(&other, &scratch, criu).unwrap();
        go_on(&scratch, &before);
    });
}
