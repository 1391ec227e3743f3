//! Groups that are bound to namespaces: what the contract table cannot say (R10.1, R10.2).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Barrier, Mutex};

use cgf::{Attach, BackendKind, Group, Namespaces, Result, Spawn, Subsystem};
use cgf_tests::backends::{Own, on, on_each};
use cgf_tests::part::Forked;
use cgf_tests::registered::{Registered, bound_to};
use cgf_tests::stage::{self, namespace, wait_for};

fn group(backend: BackendKind, types: &str) -> (Own, Group) {
    let own = bound_to(backend, "namespace");
    let group = own.0.create("apart").unwrap();
    group.write("ns.types", types).unwrap();
    (own, group)
}

/// A process outside, killed when it is dropped.
struct Outside(Child);

impl Outside {
    /// An actor in namespaces of its own, of these flags of unshare(1).
    fn start(flags: &[&str], part: &[&str]) -> Outside {
        let mut command = Command::new("unshare");
        command.args(flags).arg(stage::actor().unwrap()).args(part);
        let outside = Outside(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        stage::wait_until_ready(outside.pid()).unwrap();
        outside
    }

    /// One whose second thread alone changes its network.
    fn with_a_thread_apart() -> Forked {
        let forked = Forked::of(|| {
            let (done, wait) = std::sync::mpsc::channel::<()>();
            let _thread = std::thread::spawn(move || {
                // SAFETY: an integer in; this thread alone is changed.
                let made = unsafe { libc::unshare(libc::CLONE_NEWNET) };
                let _ = done.send(());
                std::thread::sleep(std::time::Duration::from_secs(if made == 0 { 600 } else { 0 }));
            });
            let _ = wait.recv();
            // SAFETY: the name ends in NUL.
            unsafe { libc::prctl(libc::PR_SET_NAME, c"ready".as_ptr()) };
            std::thread::sleep(std::time::Duration::from_secs(600));
            0
        });
        stage::wait_until_ready(forked.0).unwrap();
        forked
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// R10.1: two who are in different namespaces come at once, again and again: never are both
/// in, and whoever is in is the one that is noted.
#[test]
fn two_who_would_be_the_first() {
    on_each(|backend| {
        let (own, group) = group(backend, "net");
        let two = [Outside::start(&["--net"], &["sleep"]), Outside::start(&["--net"], &["sleep"])];
        let (mut both_ran, mut nobody) = (0, 0);
        for _ in 0..60 {
            let barrier = Barrier::new(2);
            let came: Vec<_> = std::thread::scope(|scope| {
                let attach = |outside: &Outside| {
                    let pid = outside.pid();
                    let (group, barrier) = (&group, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        group.attach(pid)
                    })
                };
                let threads: Vec<_> = two.iter().map(attach).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let members = group.procs().unwrap();
            let winners: Vec<i32> =
                two.iter().zip(&came).filter(|(_, came)| came.is_ok()).map(|(outside, _)| outside.pid()).collect();
            assert!(winners.len() < 2, "{backend}: both came");
            assert_eq!(members, winners, "{backend}: {came:?}");
            for error in came.iter().filter_map(|came| came.as_ref().err()) {
                assert_eq!(error.errno(), libc::EPERM, "{backend}: {error}");
            }
            match winners.first() {
                Some(&winner) => {
                    both_ran += 1;
                    let noted = group.read("ns.net").unwrap();
                    assert_eq!(noted.trim(), namespace(winner, "net").unwrap().to_string(), "{backend}");
                    own.0.root().attach(winner).unwrap();
                }
                None => nobody += 1,
            }
        }
        assert!(both_ran > 0, "{backend}: somebody must win at times; {nobody} times nobody did");
    });
}

/// R10.1: programs that are started at once in an empty group, each in new namespaces.
#[test]
fn programs_that_would_be_the_first() {
    on_each(|backend| {
        let (_own, group) = group(backend, "net,uts");
        for _ in 0..10 {
            let barrier = Barrier::new(3);
            let spawned: Vec<_> = std::thread::scope(|scope| {
                let spawn = || {
                    barrier.wait();
                    group.spawn(Spawn::new("sleep").arg("300").namespaces(Namespaces::NET | Namespaces::UTS))
                };
                let threads: Vec<_> = (0..3).map(|_| scope.spawn(spawn)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let members: Vec<_> = spawned.iter().filter_map(|child| child.as_ref().ok()).collect();
            let mut networks: Vec<_> = members.iter().map(|child| namespace(child.pid(), "net").unwrap()).collect();
            networks.dedup();
            assert!(networks.len() <= 1, "{backend}: {networks:?}");
            for error in spawned.iter().filter_map(|child| child.as_ref().err()) {
                assert_eq!(error.errno(), libc::EPERM, "{backend}: {error}");
            }
            assert_eq!(group.procs().unwrap().len(), members.len(), "{backend}: who was refused has gone");
            group.kill(libc::SIGKILL).unwrap();
            for child in members {
                child.wait(stage::PATIENCE).unwrap();
            }
            wait_for("the group to be empty", || group.procs().unwrap().is_empty().then_some(())).unwrap();
        }
    });
}

/// R10.1: a note is of no account once nobody is in those namespaces, though it is still there.
#[test]
fn a_note_is_void_when_nobody_is_left() {
    on_each(|backend| {
        let (own, group) = group(backend, "net,uts");
        let first = Outside::start(&["--net", "--uts"], &["sleep"]);
        let next = Outside::start(&["--uts"], &["sleep"]);
        group.attach(first.pid()).unwrap();
        assert_eq!(group.attach(next.pid()).unwrap_err().errno(), libc::EPERM, "{backend}");
        own.0.root().attach(first.pid()).unwrap();
        assert_eq!(group.read("ns.net").unwrap(), "none\n", "{backend}");
        assert_eq!(group.enter(Namespaces::NET).unwrap_err().errno(), libc::ESRCH, "{backend}");
        // The first of before is still in what is noted, and comes too late.
        group.attach(next.pid()).unwrap();
        assert_eq!(group.attach(first.pid()).unwrap_err().errno(), libc::EPERM, "{backend}");
        let noted = group.read("ns.uts").unwrap();
        assert_eq!(noted.trim(), namespace(next.pid(), "uts").unwrap().to_string(), "{backend}");
    });
}

/// R10.1: a member that makes itself another namespace is a member still, but nobody is let
/// into what it has now, nor takes it for the group's.
#[test]
fn a_member_that_leaves_the_namespace() {
    on_each(|backend| {
        let (_own, group) = group(backend, "net,uts");
        let script = "read _ < \"$1\"; exec unshare --net \"$2\" sleep";
        let pipe = std::env::temp_dir().join(stage::unique("cgf-fifo"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let spawn = Spawn::new("sh").args(["-c", script, "sh"]).arg(&pipe).arg(stage::actor().unwrap());
        let member = group.spawn(spawn.namespaces(Namespaces::NET | Namespaces::UTS)).unwrap();
        let stays = group.spawn(Spawn::new("sleep").arg("300").namespaces(Namespaces::NET | Namespaces::UTS)).unwrap();
        let net = namespace(stays.pid(), "net").unwrap();
        std::fs::write(&pipe, "go\n").unwrap();
        let _ = std::fs::remove_file(&pipe);
        stage::wait_until_ready(member.pid()).unwrap();
        assert_ne!(namespace(member.pid(), "net").unwrap(), net);
        assert_eq!(group.read("ns.net").unwrap(), format!("{net}\n"), "{backend}");
        let entered = std::thread::scope(|scope| {
            scope.spawn(|| group.enter(Namespaces::NET).map(|()| own_inode("net"))).join().unwrap()
        });
        assert_eq!(entered.unwrap(), net, "{backend}: by the one who is in it");
        group.kill(libc::SIGKILL).unwrap();
        member.wait(stage::PATIENCE).unwrap();
        stays.wait(stage::PATIENCE).unwrap();
    });
}

/// The same when it is alone: the group has members and no namespace of that kind.
#[test]
fn nobody_is_left_in_the_namespace() {
    on_each(|backend| {
        let (_own, group) = group(backend, "net,uts");
        let script = "read _ < \"$1\"; exec unshare --net \"$2\" sleep";
        let pipe = std::env::temp_dir().join(stage::unique("cgf-fifo"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let spawn = Spawn::new("sh").args(["-c", script, "sh"]).arg(&pipe).arg(stage::actor().unwrap());
        let member = group.spawn(spawn).unwrap();
        let uts = namespace(member.pid(), "uts").unwrap();
        std::fs::write(&pipe, "go\n").unwrap();
        let _ = std::fs::remove_file(&pipe);
        stage::wait_until_ready(member.pid()).unwrap();
        assert_eq!(group.read("ns.net").unwrap(), "none\n", "{backend}");
        assert_eq!(group.read("ns.uts").unwrap(), format!("{uts}\n"), "{backend}");
        assert_eq!(group.enter(Namespaces::NET).unwrap_err().errno(), libc::ESRCH, "{backend}");
        let outside = stage::start_outside(&["sleep"]).map(Outside).unwrap();
        assert_eq!(group.attach(outside.pid()).unwrap_err().errno(), libc::EPERM, "{backend}");
        let refused = group.spawn(Spawn::new("true").namespaces(Namespaces::NET)).unwrap_err();
        assert_eq!(refused.errno(), libc::EPERM, "{backend}: {refused}");
        group.kill(libc::SIGKILL).unwrap();
        member.wait(stage::PATIENCE).unwrap();
    });
}

/// R10.1: who is on its way out has given its namespaces up, and is nobody, though it is still on
/// the list: the next is the first.
#[test]
fn who_is_leaving_is_nobody() {
    on_each(|backend| {
        let (_own, group) = group(backend, "net");
        let found = wait_for("one who is still leaving when the next has come", || {
            let leaving =
                group.spawn(Spawn::new("python3").args(["-c", LINGERER]).namespaces(Namespaces::NET)).unwrap();
            stage::wait_until_ready(leaving.pid()).unwrap();
            let next = Outside::start(&["--net"], &["sleep"]);
            // SAFETY: a child of ours that nobody has waited for.
            unsafe { libc::kill(leaving.pid(), libc::SIGKILL) };
            wait_for("it to give up its namespaces", || namespace(leaving.pid(), "net").is_none().then_some(()))
                .unwrap();
            let came = group.attach(next.pid());
            let seen = group.read("ns.net").unwrap();
            let is_there = group.procs().unwrap().contains(&leaving.pid());
            let net = namespace(next.pid(), "net").unwrap();
            drop(next);
            leaving.wait(stage::PATIENCE).unwrap();
            wait_for("the group to be empty", || group.procs().unwrap().is_empty().then_some(())).unwrap();
            is_there.then_some((came.map_err(|error| error.errno()), seen, net))
        });
        let (came, seen, net) = found.unwrap();
        assert_eq!((came, seen), (Ok(()), format!("{net}\n")), "{backend}");
    });
}

/// Takes its time to end, for each of the watches that the kernel ends with it, after it has given
/// up its namespaces.
const LINGERER: &str = "
import ctypes, time
libc = ctypes.CDLL(None)
for _ in range(80):
    assert libc.inotify_add_watch(libc.inotify_init1(0o2000000), b'/tmp', 0x100) > 0
open('/proc/self/comm', 'w').write('ready')
time.sleep(600)
";

/// R10.1: each thread proves for itself, the first as well as those who come later.
#[test]
fn a_thread_that_is_elsewhere() {
    on_each(|backend| {
        let (_own, group) = group(backend, "net");
        let torn = Outside::with_a_thread_apart();
        let refused = group.attach(torn.0).unwrap_err();
        assert_eq!(refused.errno(), libc::EPERM, "{backend}: {refused}");
        assert!(refused.message().contains("thread"), "{refused}");
        assert!(group.procs().unwrap().is_empty(), "{backend}");
        let whole = stage::start_outside(&["sleepers", "4"]).map(Outside).unwrap();
        group.attach(whole.pid()).unwrap();
        let refused = group.attach(torn.0).unwrap_err();
        assert_eq!(refused.errno(), libc::EPERM, "{backend}: {refused}");
        assert_eq!(group.procs().unwrap(), [whole.pid()], "{backend}");
    });
}

/// R10.1, R10.2: what a single thread brought is the group's, wherever its process is.
#[test]
fn a_thread_that_is_the_first() {
    on(&[BackendKind::Cgroup1], |backend| {
        let (_own, group) = group(backend, "net");
        let torn = Outside::with_a_thread_apart();
        let net_of =
            |tid: i32| std::fs::metadata(format!("/proc/{}/task/{tid}/ns/net", torn.0)).map(|found| found.ino());
        let threads: Vec<i32> = std::fs::read_dir(format!("/proc/{}/task", torn.0))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        let apart = threads.into_iter().find(|&tid| net_of(tid).unwrap() != own_inode("net")).unwrap();
        let net = net_of(apart).unwrap();
        group.attach_task(apart).unwrap();
        assert_eq!((group.tasks().unwrap(), group.read("ns.net").unwrap()), (vec![apart], format!("{net}\n")));
        // Who is with its process's first thread, which is not in the group.
        let elsewhere = stage::start_outside(&["sleep"]).map(Outside).unwrap();
        let refused = group.attach(elsewhere.pid()).unwrap_err();
        assert!(refused.errno() == libc::EPERM && refused.message().contains("net namespace"), "{refused}");
        let entered = std::thread::scope(|scope| {
            scope.spawn(|| group.enter(Namespaces::NET).map(|()| own_inode("net"))).join().unwrap()
        });
        assert_eq!(entered.unwrap(), net);
        let joined = group.spawn(Spawn::new("sleep").arg("300").namespaces(Namespaces::NET)).unwrap();
        assert_eq!(namespace(joined.pid(), "net"), Some(net));
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--net=/proc/{}/task/{apart}/ns/net", torn.0)).arg(stage::actor().unwrap()).arg("sleep");
        let same = Outside(nsenter.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        stage::wait_until_ready(same.pid()).unwrap();
        group.attach(same.pid()).unwrap();
        assert_eq!(group.procs().unwrap().len(), 3);
        group.kill(libc::SIGKILL).unwrap();
        joined.wait(stage::PATIENCE).unwrap();
    });
}

/// R10.1, R10.2: a member whose first thread has ended is in its namespaces by the others.
#[test]
fn a_member_without_its_first_thread() {
    on_each(|backend| {
        let (_own, group) = group(backend, "net,uts");
        let kinds = Namespaces::NET | Namespaces::UTS;
        let actor = Spawn::new(stage::actor().unwrap()).args(["headless", "1"]);
        let member = group.spawn(actor.namespaces(kinds)).unwrap();
        wait_for("its first thread to end", || stage::has_ended(member.pid()).then_some(())).unwrap();
        let next = group.spawn(Spawn::new("sleep").arg("300").namespaces(kinds)).unwrap();
        let net = namespace(next.pid(), "net").unwrap();
        next_has_gone(&group, next);
        assert_eq!(group.read("ns.net").unwrap(), format!("{net}\n"), "{backend}");
        let entered =
            std::thread::scope(|scope| scope.spawn(|| group.enter(kinds).map(|()| own_inode("net"))).join().unwrap());
        assert_eq!(entered.unwrap(), net, "{backend}");
        group.kill(libc::SIGKILL).unwrap();
        member.wait(stage::PATIENCE).unwrap();
    });
}

fn next_has_gone(group: &Group, next: cgf::Child) {
    // SAFETY: a child of ours that nobody has waited for.
    unsafe { libc::kill(next.pid(), libc::SIGKILL) };
    next.wait(stage::PATIENCE).unwrap();
    wait_for("the member alone to be left", || (group.procs().unwrap().len() == 1).then_some(())).unwrap();
}

/// R10.1: whoever is let in by the kernel's own files is a member, and no first one.
#[test]
fn a_member_by_the_kernels_own_files() {
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        let (own, group) = group(backend, "net");
        let raw = stage::start_outside(&["sleep"]).map(Outside).unwrap();
        std::fs::write(own.0.directory().join("apart/cgroup.procs"), raw.pid().to_string()).unwrap();
        assert_eq!(group.read("ns.net").unwrap(), "none\n", "{backend}");
        let next = stage::start_outside(&["sleep"]).map(Outside).unwrap();
        assert_eq!(group.attach(next.pid()).unwrap_err().errno(), libc::EPERM, "{backend}");
        // Nor is a program that is started the first.
        for kinds in [Namespaces::NONE, Namespaces::NET] {
            let refused = group.spawn(Spawn::new("true").namespaces(kinds)).unwrap_err();
            assert_eq!(refused.errno(), libc::EPERM, "{backend}: {refused}");
        }
        assert_eq!(group.procs().unwrap(), [raw.pid()], "{backend}");
        assert_eq!(group.read("ns.net").unwrap(), "none\n", "{backend}");
        assert_eq!(group.enter(Namespaces::NET).unwrap_err().errno(), libc::ESRCH, "{backend}");
        assert_eq!(group.write("ns.types", "uts").unwrap_err().errno(), libc::EBUSY, "{backend}");
    });
}

/// R10.2: of several kinds the one that is asked for, by a thread, and the rest of the process
/// stays; what is of whole processes is refused to a thread before anything is changed.
#[test]
fn the_network_alone() {
    on_each(|backend| {
        let (_own, group) = group(backend, "ipc,mnt,net,uts");
        let kinds = Namespaces::IPC | Namespaces::MNT | Namespaces::NET | Namespaces::UTS;
        let first = group.spawn(Spawn::new("sleep").arg("300").namespaces(kinds)).unwrap();
        let before = ["ipc", "mnt", "net", "uts", "user", "pid"].map(own_inode);
        let after = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let refused = group.enter(Namespaces::NET | Namespaces::MNT).unwrap_err();
                assert_eq!(refused.errno(), libc::EINVAL, "{refused}");
                assert!(refused.message().contains("one thread"), "{refused}");
                assert_eq!(own_inode("net"), before[2], "nothing is half-done");
                group.enter(Namespaces::NET).unwrap();
                ["ipc", "mnt", "net", "uts", "user", "pid"].map(own_inode)
            });
            thread.join().unwrap()
        });
        let mut wanted = before;
        wanted[2] = namespace(first.pid(), "net").unwrap();
        assert_ne!(before[2], wanted[2]);
        assert_eq!(after, wanted, "{backend}");
        assert_eq!(own_inode("net"), before[2], "{backend}: this thread");
        group.kill(libc::SIGKILL).unwrap();
        first.wait(stage::PATIENCE).unwrap();
    });
}

/// R10.2: pid and time hold for the children of who enters.
#[test]
fn numbers_and_clocks_are_the_childrens() {
    on_each(|backend| {
        let (_own, group) = group(backend, "pid,time");
        // unshare waits; the actor is its child, and the first of its pid namespace.
        let mut command = Command::new("unshare");
        command.args(["--pid", "--time", "--fork", "--kill-child"]).arg(stage::actor().unwrap()).arg("sleep");
        command.process_group(0);
        let outer = Outside(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        let inner = wait_for("the actor", || stage::children(outer.pid()).first().copied()).unwrap();
        stage::wait_until_ready(inner).unwrap();
        group.attach(inner).unwrap();
        let wanted = ["pid", "time"].map(|kind| namespace(inner, kind).unwrap());
        let own = own_inode("pid");
        let name = group.hierarchy().name().to_owned();
        let options = format!("freezer,signal,namespace,backend={backend}");
        let entered = Forked::of(|| {
            // A forked child opens the hierarchy for itself.
            let options = cgf::Options::parse(&options).unwrap();
            let hierarchy = cgf::Hierarchy::open_existing(&name, &options).unwrap();
            let group = hierarchy.open_group("apart").unwrap();
            group.enter(Namespaces::PID | Namespaces::TIME).unwrap();
            assert_eq!(own_inode("pid"), own);
            let child = Forked::of(|| {
                let ours = ["pid", "time"].map(own_inode_of_process);
                i32::from(ours != wanted)
            });
            child.result().unwrap()
        });
        assert_eq!(entered.result().unwrap(), 0, "{backend}");
    });
}

/// Asks somebody in a newborn's user namespace to look into it, before its program starts.
struct Onlooker(Mutex<Option<(i32, i32)>>);

impl Subsystem for &'static Onlooker {
    fn name(&self) -> &str {
        "onlooker"
    }

    fn follows_tasks(&self) -> bool {
        false
    }

    fn attach(&self, attach: &Attach<'_>) -> Result<()> {
        let mut look = self.0.lock().unwrap();
        if let Some((first, errno)) = look.as_mut() {
            *errno = look_into(attach.pid(), *first);
        }
        Ok(())
    }
}

/// The errno of a look at a process's program by a process in somebody's user namespace, with all
/// of the capabilities there.
fn look_into(pid: i32, first: i32) -> i32 {
    let user = File::open(format!("/proc/{first}/ns/user")).unwrap();
    let looker = Forked::of(|| {
        // SAFETY: an open descriptor and an integer; this process has one thread.
        if unsafe { libc::setns(user.as_raw_fd(), libc::CLONE_NEWUSER) } == -1 {
            return 255;
        }
        std::fs::read_link(format!("/proc/{pid}/exe")).map_or_else(|error| error.raw_os_error().unwrap_or(254), |_| 0)
    });
    looker.result().unwrap()
}

/// R10.2: who is started in a group's user namespace has our memory until its program runs, and
/// nobody in there may look into that; into its program they may.
#[test]
fn nobody_looks_into_who_has_yet_to_start() {
    static ONLOOKER: Onlooker = Onlooker(Mutex::new(None));
    let _onlooker = Registered::new(&ONLOOKER);
    on_each(|backend| {
        let own = bound_to(backend, "namespace,onlooker");
        let group = own.0.create("apart").unwrap();
        group.write("ns.types", "user").unwrap();
        let spawn = || group.spawn(Spawn::new("sleep").arg("300").namespaces(Namespaces::USER)).unwrap();
        let first = spawn();
        *ONLOOKER.0.lock().unwrap() = Some((first.pid(), 0));
        let second = spawn();
        let before = ONLOOKER.0.lock().unwrap().take().unwrap().1;
        let after = look_into(second.pid(), first.pid());
        assert_eq!(namespace(second.pid(), "user"), namespace(first.pid(), "user"));
        group.kill(libc::SIGKILL).unwrap();
        first.wait(stage::PATIENCE).unwrap();
        second.wait(stage::PATIENCE).unwrap();
        assert_eq!((before, after), (libc::EACCES, 0), "{backend}");
    });
}

/// R10.2: mounts of a new namespace stay there; who joins sees them.
#[test]
fn mounts_stay_inside() {
    on_each(|backend| {
        let (_own, group) = group(backend, "mnt");
        let shared = Shared::mount();
        let directory = &shared.0;
        let script = "mount -t tmpfs none \"$1\" && touch \"$1/inside\" && exec \"$2\" sleep";
        let spawn = Spawn::new("sh").args(["-c", script, "sh"]).arg(directory).arg(stage::actor().unwrap());
        let first = group.spawn(spawn.namespaces(Namespaces::MNT)).unwrap();
        stage::wait_until_ready(first.pid()).unwrap();
        assert!(!directory.join("inside").exists(), "{backend}: the mount came out");
        let look = Spawn::new("test").arg("-e").arg(directory.join("inside"));
        let second = group.spawn(look.namespaces(Namespaces::MNT)).unwrap();
        assert!(second.wait(stage::PATIENCE).unwrap().unwrap().success(), "{backend}: who joins sees it");
        group.kill(libc::SIGKILL).unwrap();
        first.wait(stage::PATIENCE).unwrap();
    });
}

/// A directory whose mounts come to whoever has a copy of it.
struct Shared(PathBuf);

impl Shared {
    fn mount() -> Shared {
        let shared = Shared(std::env::temp_dir().join(stage::unique("cgf-mount")));
        std::fs::create_dir(&shared.0).unwrap();
        let bound = Command::new("mount").arg("--bind").args([&shared.0, &shared.0]).status().unwrap();
        assert!(bound.success());
        assert!(Command::new("mount").arg("--make-shared").arg(&shared.0).status().unwrap().success());
        shared
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--recursive").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn own_inode(kind: &str) -> u64 {
    std::fs::metadata(format!("/proc/thread-self/ns/{kind}")).unwrap().ino()
}

/// In a pid namespace whose `/proc` is not mounted, `self` is still the process.
fn own_inode_of_process(kind: &str) -> u64 {
    std::fs::metadata(format!("/proc/self/ns/{kind}")).map_or(0, |found| found.ino())
}
