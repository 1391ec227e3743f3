//! What shares and bounds of tasks become in the kernel (`pids.max`), whoever was interrupted at
//! it, refused, or is not root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex};

use cgf::{Attach, BackendKind, Group, Hierarchy, Options, Spawn, Subsystem};
use cgf_tests::backends::on;
use cgf_tests::driver::{Driver, Surface};
use cgf_tests::numtasks::{kernels, pids, read, write};
use cgf_tests::raw;
use cgf_tests::registered::{Registered, bound_to};
use cgf_tests::stage;

const KERNEL: [BackendKind; 2] = [BackendKind::Cgroup2, BackendKind::Cgroup1];

/// Who was killed between the new note and the kernel's limit has left these.
const UNSETTLED: &str = "numtasks-unsettled";
const SHARES: &str = "numtasks-shares";
const TOTAL: &str = "numtasks-total";

/// R7.1, R7.4: somebody was killed when he had noted what was to be, and had told the kernel
/// nothing yet. Whoever writes the same once more finishes it.
#[test]
fn the_same_write_again_settles_what_a_killed_writer_left() {
    on(&KERNEL, |backend| {
        let own = bound_to(backend, "numtasks");
        let root = own.0.root();
        let (group, below) = (own.0.create("g").unwrap(), own.0.create("g/below").unwrap());
        assert_eq!(write(&root, "total_numtasks", "1000"), Ok(()));
        assert_eq!(write(&group, "shares", "max_shares=20"), Ok(()));
        assert_eq!(write(&below, "shares", "max_shares=50"), Ok(()));
        assert_eq!((kernels(&group), kernels(&below)), ("200".into(), "100".into()), "{backend}");

        raw::set_note(&group, SHARES, "res=numtasks,min_shares=-3,max_shares=40,child_shares_divisor=100").unwrap();
        raw::set_note(&root, UNSETTLED, "1").unwrap();
        assert_eq!((read(&group, "limit"), kernels(&group)), ("400".into(), "200".into()), "{backend}: as it was left");
        assert_eq!(write(&group, "shares", "max_shares=40"), Ok(()));
        assert_eq!((kernels(&group), kernels(&below)), ("400".into(), "200".into()), "{backend}");
        assert_eq!(raw::note(&root, UNSETTLED), None, "{backend}");

        raw::set_note(&root, TOTAL, "500").unwrap();
        raw::set_note(&root, UNSETTLED, "1").unwrap();
        assert_eq!(write(&root, "total_numtasks", "500"), Ok(()));
        let all = [&root, &group, &below].map(kernels);
        assert_eq!(all, ["500", "200", "100"], "{backend}");
        assert_eq!(raw::note(&root, UNSETTLED), None, "{backend}");
    });
}

/// R7.2, R7.4: below a group that doesn't care any more nobody has a limit: also further down than
/// groups that had too much for the kernel to have a limit of theirs.
#[test]
fn below_a_group_that_does_not_care_no_limit_stays() {
    const MOST: i32 = i32::MAX;
    on(&KERNEL, |backend| {
        let own = bound_to(backend, "numtasks");
        let top = own.0.create("top").unwrap();
        let (middle, low) = (own.0.create("top/middle").unwrap(), own.0.create("top/middle/low").unwrap());
        let side = own.0.create("top/side").unwrap();
        let all = || [&top, &middle, &low, &side].map(kernels);
        assert_eq!(write(&own.0.root(), "total_numtasks", &MOST.to_string()), Ok(()));
        let many = format!("max_shares=100,child_shares_divisor={MOST}");
        assert_eq!(write(&top, "shares", &many), Ok(()));
        assert_eq!(write(&middle, "shares", &format!("max_shares={MOST},child_shares_divisor={MOST}")), Ok(()));
        assert_eq!(write(&low, "shares", "max_shares=70"), Ok(()));
        assert_eq!(write(&side, "shares", "max_shares=50"), Ok(()));
        assert_eq!(all(), ["max", "max", "70", "50"], "{backend}: two have more than there can be");
        assert_eq!(write(&top, "shares", "max_shares=-3"), Ok(()));
        assert_eq!([&top, &middle, &low, &side].map(|group| read(group, "limit")), ["max"; 4], "{backend}");
        assert_eq!(all(), ["max"; 4], "{backend}");
        // Their shares are there still.
        assert_eq!(write(&top, "shares", "max_shares=100"), Ok(()));
        assert_eq!(all(), ["max", "max", "70", "50"], "{backend}");
    });
}

/// The kernel's word of whoever writes to a file, from now on.
struct Watched(OwnedFd);

impl Watched {
    fn start(file: &Path) -> Watched {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::CString::new(file.as_os_str().as_bytes()).unwrap();
        // SAFETY: integers; the descriptor is new and nobody else's.
        let watch = unsafe { OwnedFd::from_raw_fd(libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC)) };
        // SAFETY: the path ends with a zero.
        let added = unsafe { libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), libc::IN_MODIFY) };
        assert!(added >= 0, "{}: {}", file.display(), std::io::Error::last_os_error());
        Watched(watch)
    }

    /// Whether there was any since the last question. A write that has returned is known.
    fn was_written(&self) -> bool {
        let mut events = [0_u8; 4096];
        // SAFETY: the kernel writes no more than the buffer's length.
        let length = unsafe { libc::read(self.0.as_raw_fd(), events.as_mut_ptr().cast(), events.len()) };
        if length < 0 {
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EAGAIN));
        }
        length > 0
    }
}

/// R6.1, R6.11: a bound that is refused never was the kernel's limit, not for a moment.
#[test]
fn a_refused_bound_never_reaches_the_kernel() {
    on(&KERNEL, |backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("g").unwrap();
        let set = |file: &str, text: &str| group.write(file, text).map_err(|error| error.errno());
        let watched = Watched::start(&pids(&group).join("pids.max"));
        assert_eq!(set("bc.numtasks.limits", "20 25"), Ok(()));
        assert!(watched.was_written(), "{backend}: it is by this that the refused ones would be seen");
        for (file, refused) in [
            ("bc.numtasks.limit", "19"),
            ("bc.numtasks.barrier", "26"),
            ("bc.numtasks.limits", "31 30"),
            ("bc.numtasks.limit", "281474976710657"),
            ("bc.numtasks.limit", "-1"),
        ] {
            assert_eq!(set(file, refused), Err(libc::EINVAL), "{file} {refused} on {backend}");
            assert!(!watched.was_written(), "{file} {refused} on {backend}");
        }
        assert_eq!((kernels(&group), group.read("bc.numtasks.barrier").unwrap()), ("25".into(), "20\n".into()));
        assert_eq!((set("bc.numtasks.limit", "20"), kernels(&group)), (Ok(()), "20".into()), "{backend}");
    });
}

/// Gives a directory away as far as a manager does who keeps the freezer to himself.
fn delegate(directory: &Path, user: u32) {
    chown(directory, Some(user), Some(user)).unwrap();
    for file in ["cgroup.procs", "cgroup.threads", "tasks"].map(|file| directory.join(file)) {
        if file.exists() {
            chown(&file, Some(user), Some(user)).unwrap();
        }
    }
}

/// A program where everybody may execute it, wherever the build directory is.
struct Published(PathBuf);

impl Published {
    fn new(program: &std::ffi::OsStr) -> Published {
        let directory = std::env::temp_dir().join(stage::unique("programs"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
        // By another process: a copy that a child of ours has open for writing cannot be run.
        let copied = Command::new("cp").arg(program).arg(directory.join("program")).status();
        assert!(copied.unwrap().success());
        Published(directory)
    }

    fn command(&self) -> Command {
        Command::new(self.0.join("program"))
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// R7.1, R1.13: who was given a group, and may not freeze it, divides its tasks.
#[test]
fn whoever_was_given_a_group_divides_its_tasks() {
    const NOBODY: u32 = 65534;
    // SAFETY: takes and touches nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can give a group away");
        return;
    }
    let program = Published::new(Surface::Rust.command().unwrap().get_program());
    on(&KERNEL, |backend| {
        let own = bound_to(backend, "numtasks");
        let given = own.0.create("given").unwrap();
        assert_eq!(write(&own.0.root(), "total_numtasks", "1000"), Ok(()));
        assert_eq!(write(&given, "shares", "max_shares=30"), Ok(()));
        let directory = own.0.directory().join("given");
        delegate(&directory, NOBODY);
        delegate(&pids(&given), NOBODY);

        let mut command = program.command();
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        let mut user = Driver::start(command).unwrap();
        let mut ask = |words: &[&str]| user.ask(words).map_err(|failure| (failure.name(), failure.message));
        let options = format!("freezer,signal,numtasks,root={}", directory.display());
        ask(&["hierarchy", "his", &options]).unwrap();
        ask(&["create", "job"]).unwrap();
        ask(&["create", "job/1"]).unwrap();
        // Parts of what the machine has: few enough for the kernel to have a limit.
        ask(&["write", "/", "numtasks.shares", "child_shares_divisor=2000000"]).unwrap();
        ask(&["write", "job", "numtasks.shares", "min_shares=1,max_shares=2000"]).unwrap();
        let shown = ask(&["read", "job", "numtasks.limit"]).unwrap();
        let job = own.0.open_group("given/job").unwrap();
        assert_eq!(kernels(&job), shown.trim_end().trim_end_matches("%0a"), "{backend}");
        assert_eq!(raw::note(&given, UNSETTLED), None, "{backend}");
        assert_eq!(ask(&["write", "job/1", "numtasks.shares", "min_shares=101"]).unwrap_err().0, "EINVAL");
        // What he was given is not his to raise.
        assert_eq!(ask(&["write", "/", "numtasks.total_numtasks", "500"]).unwrap_err().0, "EBUSY", "{backend}");
        assert_eq!((read(&given, "limit"), kernels(&given)), ("300".into(), "300".into()), "{backend}");
        user.end();
    });
}

/// R7.4: a hierarchy that is opened at a group of another one leaves that group the limit that
/// the other gave it, whatever is changed or left over in it.
#[test]
fn a_group_of_another_hierarchy_keeps_its_limit() {
    on(&KERNEL, |backend| {
        let own = bound_to(backend, "numtasks");
        let group = own.0.create("g").unwrap();
        let below = own.0.create("g/below").unwrap();
        assert_eq!(write(&own.0.root(), "total_numtasks", "1000"), Ok(()));
        assert_eq!(write(&group, "shares", "max_shares=20"), Ok(()));
        let options = Options::parse("freezer,signal,numtasks").unwrap();
        let adopt = || Hierarchy::adopt(own.0.directory().join("g"), &options).unwrap();
        let limits = || (read(&group, "limit"), kernels(&group));
        let as_given = ("200".to_owned(), "200".to_owned());

        let inner = adopt();
        assert_eq!(write(&inner.root(), "total_numtasks", "500"), Err(libc::EBUSY), "{backend}");
        assert_eq!(limits(), as_given, "{backend}: refused");
        assert_eq!(raw::note(&group, TOTAL), None, "{backend}");
        raw::set_note(&group, UNSETTLED, "1").unwrap();
        let inner_below = inner.open_group("below").unwrap();
        assert_eq!(write(&inner_below, "shares", "min_shares=3"), Ok(()));
        assert_eq!(limits(), as_given, "{backend}: settled by the next who writes");
        raw::set_note(&group, UNSETTLED, "1").unwrap();
        adopt();
        assert_eq!(raw::note(&group, UNSETTLED), None, "{backend}");
        assert_eq!(limits(), as_given, "{backend}: settled by the next who opens it");

        // A group that nobody limits takes a number of its own.
        assert_eq!(write(&group, "shares", "max_shares=-3"), Ok(()));
        assert_eq!((write(&inner.root(), "total_numtasks", "500"), kernels(&group)), (Ok(()), "500".into()));
        drop(below);
    });
}

/// Brings somebody into a group when a program is about to be started there, after all others were
/// asked.
struct Straggler(Arc<Mutex<Option<(Group, i32)>>>);

impl Subsystem for Straggler {
    fn name(&self) -> &str {
        "straggler"
    }

    fn can_attach(&self, attach: &Attach<'_>) -> cgf::Result<()> {
        let whom = if attach.is_birth() { self.0.lock().unwrap().take() } else { None };
        whom.map_or(Ok(()), |(group, pid)| group.attach(pid))
    }
}

/// R7.4: the last place is taken after the library has looked and before the kernel makes the process:
/// that is refused like any other, and not as if there were no processes to be had.
#[test]
fn a_place_that_is_taken_at_the_last_moment_is_refused_like_any() {
    let guest = Arc::new(Mutex::new(None));
    let _straggler = Registered::new(Straggler(Arc::clone(&guest)));
    on(&KERNEL, |backend| {
        let own = bound_to(backend, "numtasks,straggler");
        let group = own.0.create("g").unwrap();
        assert_eq!(write(&own.0.root(), "total_numtasks", "100"), Ok(()));
        assert_eq!(write(&group, "shares", "max_shares=1"), Ok(()));
        let mut outsider = stage::start_outside(&["sleep"]).unwrap();
        *guest.lock().unwrap() = Some((group.clone(), outsider.id() as i32));
        // Here `pids` may be a tree of version 1, where a child counts in its parent's group: it is
        // there that this thread may make none.
        let childless = pids(&own.0.root()).join(stage::unique("childless"));
        std::fs::create_dir(&childless).unwrap();
        let (full, roomy) = std::thread::scope(|scope| {
            let spawner = scope.spawn(|| {
                // SAFETY: takes and touches nothing.
                let thread = unsafe { libc::gettid() };
                std::fs::write(childless.join("tasks"), thread.to_string()).unwrap();
                std::fs::write(childless.join("pids.max"), "0").unwrap();
                let spawn = || group.spawn(Spawn::new("true")).unwrap_err();
                let full = spawn();
                assert_eq!(write(&group, "shares", "max_shares=2"), Ok(()));
                (full, spawn())
            });
            spawner.join()
        })
        .unwrap();
        let members = group.procs().unwrap();
        outsider.kill().unwrap();
        outsider.wait().unwrap();
        stage::wait_for("the thread to be gone", || std::fs::remove_dir(&childless).ok()).unwrap();
        assert_eq!(members, [outsider.id() as i32], "{backend}");
        assert_eq!(full.errno(), libc::ENOSPC, "{backend}: {full}");
        assert!(full.message().contains("/g has 1 tasks of 1"), "{backend}: {full}");
        assert_eq!(roomy.errno(), libc::EAGAIN, "{backend}: {roomy}");
    });
}

/// R7.1, R7.4: groups that get other names all the time are promised what they were, and have the limits
/// that their shares come to.
#[test]
fn a_group_with_a_new_name_has_what_its_shares_come_to() {
    const CHILDREN: usize = 6;
    const ROUNDS: usize = 60;
    on(&[BackendKind::Cgroup1, BackendKind::Embedded], |backend| {
        let own = bound_to(backend, "numtasks");
        let top = own.0.create("top").unwrap();
        let greedy = own.0.create("top/greedy").unwrap();
        assert_eq!(write(&own.0.root(), "total_numtasks", "10000"), Ok(()));
        let name = |number: usize, round: usize| format!("{}{number}", ["a", "b"][round % 2]);
        let child = |number: usize, round: usize| own.0.open_group(format!("top/{}", name(number, round))).unwrap();
        let below = |number: usize, round: usize| own.0.open_group(format!("top/{}/g", name(number, round))).unwrap();
        let limit = |group: &Group| match backend {
            BackendKind::Embedded => read(group, "limit"),
            _ => kernels(group),
        };
        for number in 0..CHILDREN {
            own.0.create(format!("top/{}/g", name(number, 0))).unwrap();
            assert_eq!(write(&child(number, 0), "shares", "min_shares=10,max_shares=10"), Ok(()));
            assert_eq!(write(&below(number, 0), "shares", "max_shares=50"), Ok(()));
        }
        let (begin, end) = (Barrier::new(2), Barrier::new(2));
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    begin.wait();
                    let renamed = (0..CHILDREN).map(|number| child(number, round).rename(name(number, round + 1)));
                    let renamed: Vec<_> = renamed.map(|renamed| renamed.map(drop)).collect();
                    end.wait();
                    assert!(renamed.iter().all(Result::is_ok), "{renamed:?}");
                }
            });
            for round in 0..ROUNDS {
                begin.wait();
                let share = 20 + round % 70;
                let written = write(&top, "shares", &format!("max_shares={share}"));
                // Of 100 parts 40 are left.
                let greed: Vec<_> = (0..10).map(|_| write(&greedy, "shares", "min_shares=41")).collect();
                end.wait();
                let all = (0..CHILDREN).flat_map(|number| [child(number, round + 1), below(number, round + 1)]);
                let limits: Vec<String> = all.map(|group| limit(&group)).collect();
                seen.push((share, written, greed, limits));
            }
        });
        for (share, written, greed, limits) in seen {
            assert_eq!(written, Ok(()), "{backend}");
            assert_eq!(greed, [Err(libc::EINVAL); 10], "{backend}");
            let wanted = [share * 10, share * 5].map(|limit| limit.to_string());
            assert_eq!(limits, wanted.iter().cycle().take(2 * CHILDREN).cloned().collect::<Vec<_>>(), "{backend}");
        }
    });
}
