//! CPU accounting against what the kernel says of the processes (R8.1).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use cgf::{BackendKind, EventKind, Group, Spawn};
use cgf_tests::backends::{Own, on, on_each};
use cgf_tests::part::Forked;
use cgf_tests::registered::bound_to;
use cgf_tests::stage::{self, wait_for};

/// A process that uses CPU time as it is told: a line is an order, and the answer what it has
/// used itself by then, in nanoseconds, and its children for whom it has waited.
const BURNER: &str = r"
import os, resource, signal, sys, threading, time

def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

born = []
for line in sys.stdin:
    order, seconds = line.split()
    seconds = float(seconds)
    if order == 'burn':
        burn(seconds)
    elif order == 'threads':
        threads = [threading.Thread(target=burn, args=(seconds / 2,)) for _ in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    elif order == 'child':
        pid = os.fork()
        if pid == 0:
            burn(seconds)
            os._exit(0)
        os.waitpid(pid, 0)
    elif order == 'bear':
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGUSR1, lambda *_: burn(seconds))
            burn(seconds)
            os.write(into, b'.')
            time.sleep(600)
        os.read(out, 1)
        born.append(pid)
    elif order == 'bury':
        for pid in born:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        born.clear()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(time.process_time_ns(), int((children.ru_utime + children.ru_stime) * 1e9), flush=True)
";

struct Burner(Child, ChildStdin, BufReader<ChildStdout>);

impl Burner {
    fn start() -> Burner {
        let mut python = Command::new("python3");
        python.args(["-c", BURNER]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let python = python.spawn();
        let mut child = python.unwrap();
        let (into, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut burner = Burner(child, into, BufReader::new(out));
        burner.ask("burn", 0.0);
        burner
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// What it has used itself by the end of the order, and its children.
    fn ask(&mut self, order: &str, seconds: f64) -> [Duration; 2] {
        writeln!(self.1, "{order} {seconds}").unwrap();
        let mut line = String::new();
        self.2.read_line(&mut line).unwrap();
        let mut numbers = line.split_whitespace().map(|number| Duration::from_nanos(number.parse().unwrap()));
        [numbers.next().unwrap(), numbers.next().unwrap()]
    }

    /// What an order uses, itself and the children that it waits for.
    fn cost(&mut self, order: &str, seconds: f64) -> Duration {
        let [own, children] = self.ask("burn", 0.0);
        let [own_then, children_then] = self.ask(order, seconds);
        own_then + children_then - own - children
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        // SAFETY: takes integers: the process group of our own child, not yet waited for.
        unsafe { libc::kill(-self.pid(), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

/// Within 2% or two clock ticks.
fn is_near(found: Duration, wanted: Duration) -> bool {
    found.abs_diff(wanted) <= (wanted / 50).max(Duration::from_millis(20))
}

#[track_caller]
fn assert_near(found: Duration, wanted: Duration, what: &str) {
    assert!(is_near(found, wanted), "{what}: {found:?}, not {wanted:?}");
}

fn usage(group: &Group) -> Duration {
    group.cpu_time().unwrap().usage
}

fn read(group: &Group, file: &str) -> u64 {
    group.read(file).unwrap().trim().parse().unwrap()
}

/// RUSAGE_CHILDREN is the whole process's: while one test looks at it, no other has children.
static CHILDREN: RwLock<()> = RwLock::new(());

fn alone() -> RwLockWriteGuard<'static, ()> {
    CHILDREN.write().unwrap_or_else(PoisonError::into_inner)
}

fn among_others() -> RwLockReadGuard<'static, ()> {
    CHILDREN.read().unwrap_or_else(PoisonError::into_inner)
}

/// What all children have used that were waited for: in their own code, and in the kernel.
fn used_by_children() -> [Duration; 2] {
    // SAFETY: a zeroed rusage is one, and the kernel writes it during the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage), 0);
        usage
    };
    let time =
        |time: libc::timeval| Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64);
    [time(usage.ru_utime), time(usage.ru_stime)]
}

/// What a child uses, in its own code and in the kernel, which this starts and waits for.
fn used_by(child: impl FnOnce()) -> [Duration; 2] {
    let [user, system] = used_by_children();
    child();
    let [user_then, system_then] = used_by_children();
    [user_then - user, system_then - system]
}

/// R8.1: a program with threads, and children that come and go unseen, comes to what
/// getrusage says of it after its end; in all groups above, and after its group has gone.
#[test]
fn what_a_program_used_is_what_getrusage_says() {
    let _alone = alone();
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        let group = own.0.create("top/leaf").unwrap();
        let top = own.0.open_group("top").unwrap();
        let (out, mut into) = std::io::pipe().unwrap();
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        let spawn = Spawn::new("python3").args(["-c", BURNER]).fd(out, 0).fd(null, 1);
        let [user, system] = used_by(|| {
            let child = group.spawn(spawn).unwrap();
            into.write_all(b"threads 0.2\nchild 0.1\nchild 0.1\nchild 0.03\nburn 0.2\n").unwrap();
            drop(into);
            assert!(child.wait(stage::PATIENCE).unwrap().unwrap().success());
        });
        let wanted = user + system;
        assert!(wanted > Duration::from_millis(600), "{wanted:?}");
        assert_near(usage(&group), wanted, &format!("{backend}"));
        assert_near(usage(&top), wanted, &format!("{backend}, above"));
        assert_near(Duration::from_millis(read(&top, "cpuacct.usage")), wanted, &format!("{backend}, in ms"));
        assert_near(Duration::from_nanos(read(&top, "cpuacct.usage_ns")), wanted, &format!("{backend}, in ns"));
        let stat = top.read("cpuacct.stat").unwrap();
        let accumulated = stat.lines().find_map(|line| line.strip_prefix("accumulated time ")).unwrap();
        assert_near(Duration::from_millis(accumulated.parse().unwrap()), wanted, &format!("{backend}: {stat}"));
        group.remove().unwrap();
        assert_near(usage(&top), wanted, &format!("{backend}, its group removed"));
        top.remove().unwrap();
        assert_near(usage(&own.0.root()), wanted, &format!("{backend}, all groups removed"));
        // The successor has no share in it.
        assert_eq!(usage(&own.0.create("top").unwrap()), Duration::ZERO, "{backend}");
    });
}

/// R8.1: user is the programs' own, system the kernel's, as getrusage tells them apart: by the
/// same clock ticks, which on a busy machine may fall oddly.
#[test]
fn user_and_system_are_told_apart() {
    let _alone = alone();
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        let programs = [
            ("user", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"),
            ("system", "exec dd if=/dev/zero of=/dev/null bs=64k count=60000 2>/dev/null"),
        ];
        for (name, program) in programs {
            let group = own.0.create(name).unwrap();
            let [user, system] = used_by(|| {
                let child = group.spawn(Spawn::new("sh").args(["-c", program])).unwrap();
                assert!(child.wait(stage::PATIENCE).unwrap().unwrap().success());
            });
            let time = group.cpu_time().unwrap();
            let share = |user: Duration, system: Duration| user.as_secs_f64() / (user + system).as_secs_f64();
            let (found, wanted) = (share(time.user, time.system), share(user, system));
            assert!((found - wanted).abs() < 0.15, "{backend}, {name}: {time:?}, not {user:?} and {system:?}");
            assert_eq!(time.user.as_millis() as u64, read(&group, "cpuacct.user"), "{backend}");
            assert_eq!(time.system.as_millis() as u64, read(&group, "cpuacct.system"), "{backend}");
        }
    });
}

/// R8.1: a group is charged what a process uses while it is in there.
#[test]
fn what_was_used_elsewhere_is_not_counted() {
    let _others = among_others();
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        let [one, other] = ["one", "other"].map(|name| own.0.create(name).unwrap());
        let mut burner = Burner::start();
        burner.ask("burn", 0.1);
        burner.ask("child", 0.1);
        one.attach(burner.pid()).unwrap();
        assert_near(usage(&one), Duration::ZERO, &format!("{backend}, before"));
        let mut in_one = burner.cost("threads", 0.1) + burner.cost("child", 0.1);
        assert_near(usage(&one), in_one, &format!("{backend}, of one"));
        other.attach(burner.pid()).unwrap();
        let in_other = burner.cost("burn", 0.1) + burner.cost("child", 0.1);
        assert_near(usage(&other), in_other, &format!("{backend}, of the other"));
        one.attach(burner.pid()).unwrap();
        in_one += burner.cost("burn", 0.05);
        assert_near(usage(&one), in_one, &format!("{backend}, of one again"));
        assert_near(usage(&other), in_other, &format!("{backend}, of the other still"));
        assert_near(usage(&own.0.root()), in_one + in_other, &format!("{backend}, of both"));
        // What a process had that is gone stays.
        one.procs().unwrap();
        drop(burner);
        assert_near(usage(&one), in_one, &format!("{backend}, afterwards"));
        assert_near(usage(&other), in_other, &format!("{backend}, afterwards"));
    });
}

/// R8.1: a child that stays when its parent leaves is its group's, also after the parent has
/// waited for it in another.
#[test]
fn a_child_is_counted_where_it_was() {
    let _others = among_others();
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        let [one, other] = ["one", "other"].map(|name| own.0.create(name).unwrap());
        let mut burner = Burner::start();
        one.attach(burner.pid()).unwrap();
        burner.ask("bear", 0.2);
        let before = usage(&one);
        assert!(before > Duration::from_millis(180), "{backend}: {before:?}");
        other.attach(burner.pid()).unwrap();
        assert_near(usage(&one), before, &format!("{backend}: without the parent"));
        let at_end = burner.cost("burn", 0.1);
        burner.ask("bury", 0.0);
        assert_near(usage(&one), before, &format!("{backend}: the child is buried"));
        assert_near(usage(&other), at_end, &format!("{backend}: where the parent is"));
        assert_near(usage(&own.0.root()), before + at_end, &format!("{backend}: in all"));
    });
}

/// R8.1: what a child uses in another group is that group's alone, whoever looked only there: the
/// parent, who waits for it, is not charged.
#[test]
fn what_others_saw_a_child_use_is_not_its_parents() {
    let _others = among_others();
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        let [one, other] = ["one", "other"].map(|name| own.0.create(name).unwrap());
        let mut burner = Burner::start();
        one.attach(burner.pid()).unwrap();
        burner.ask("bear", 0.2);
        let before = usage(&one);
        let child = stage::children(burner.pid())[0];
        other.attach(child).unwrap();
        // SAFETY: takes integers; a child of our own child, which has not waited for it.
        unsafe { libc::kill(child, libc::SIGUSR1) };
        let is_burnt = || (usage(&other) >= Duration::from_millis(190)).then_some(());
        wait_for("the child to use its time", is_burnt).unwrap();
        burner.ask("bury", 0.0);
        let [in_one, in_other] = [usage(&one), usage(&other)];
        assert_near(in_one, before, &format!("{backend}: where the parent is"));
        assert!(in_other >= Duration::from_millis(190), "{backend}: {in_other:?}");
        assert_near(usage(&own.0.root()), in_one + in_other, &format!("{backend}: in all"));
    });
}

/// R8.1, R1.11: where nothing can be noted any more, a group is removed all the same, and its figure
/// alone is lost.
#[test]
fn a_figure_stops_no_removal() {
    let _others = among_others();
    on(&[BackendKind::Embedded], |_| {
        let state = Small::mount();
        let options = format!("freezer,signal,cpuacct,backend=embedded,state={}", state.0.display());
        let options = cgf::Options::parse(&options).unwrap();
        let own = Own(cgf::Hierarchy::open(stage::unique("test"), &options).unwrap());
        let group = own.0.create("a/b").unwrap();
        let above = own.0.open_group("a").unwrap();
        let spin = Spawn::new("sh").args(["-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"]);
        group.spawn(spin).unwrap().wait(stage::PATIENCE).unwrap();
        assert!(usage(&above) > Duration::ZERO);
        state.fill();
        let unnoted = group.cpu_time();
        group.remove().unwrap();
        assert!(!own.0.directory().join("a/b").exists());
        assert_eq!(unnoted.unwrap_err().errno(), libc::ENOSPC, "the disk is full");
        above.remove().unwrap();
    });
}

/// A file system of its own that is soon full.
struct Small(std::path::PathBuf);

impl Small {
    fn mount() -> Small {
        let small = Small(std::env::temp_dir().join(stage::unique("cgf-small")));
        std::fs::create_dir(&small.0).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(&small.0).status();
        assert!(mount.unwrap().success());
        small
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("full")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// R8.1: what a program used in its group is not its starter's, who waits for it in another.
#[test]
fn who_starts_a_program_elsewhere_is_not_charged() {
    let _others = among_others();
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        ["one", "other"].iter().for_each(|name| drop(own.0.create(name).unwrap()));
        let name = own.0.name().to_owned();
        let starter = Forked::of(|| {
            let options = cgf::Options::default().backend(backend);
            let jobs = cgf::Hierarchy::open_existing(&name, &options).unwrap();
            let [one, other] = ["one", "other"].map(|name| jobs.open_group(name).unwrap());
            one.attach(0).unwrap();
            let before = usage(&one);
            let spin = Spawn::new("sh").args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]);
            other.spawn(spin).unwrap().wait(stage::PATIENCE).unwrap();
            let spun = usage(&other);
            i32::from(spun < Duration::from_millis(100) || usage(&one) - before > spun / 2)
        });
        assert_eq!(starter.result(), Ok(0), "{backend}");
    });
}

/// R8.1: who ends unseen is counted by its parent's time; who was seen, at least as far; and
/// the figure never goes back.
#[test]
fn a_figure_never_goes_back() {
    let _others = among_others();
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        let group = own.0.create("a").unwrap();
        let mut burner = Burner::start();
        group.attach(burner.pid()).unwrap();
        let mut last = Duration::ZERO;
        let until = Instant::now() + stage::stress();
        for turn in (0..).take_while(|&turn| turn < 12 || Instant::now() < until) {
            burner.ask(["child", "bear", "burn", "bury"][turn % 4], 0.01);
            for _ in 0..3 {
                let now = usage(&group);
                assert!(now >= last, "{backend}: {now:?} after {last:?}");
                last = now;
            }
        }
        assert!(last > Duration::from_millis(80), "{backend}: {last:?}");
    });
}

/// R8.1: writing 0 restarts the count, the group's alone.
#[test]
fn a_restarted_count_begins_at_nothing() {
    let _others = among_others();
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        let group = own.0.create("a/b").unwrap();
        let above = own.0.open_group("a").unwrap();
        let mut burner = Burner::start();
        group.attach(burner.pid()).unwrap();
        let first = burner.cost("burn", 0.1);
        group.write("cpuacct.usage", "0\n").unwrap();
        assert_near(usage(&group), Duration::ZERO, &format!("{backend}"));
        let second = burner.cost("burn", 0.05);
        assert_near(usage(&group), second, &format!("{backend}"));
        assert!(read(&group, "cpuacct.user") + read(&group, "cpuacct.system") <= 90, "{backend}");
        assert_near(usage(&above), first + second, &format!("{backend}, above"));
    });
}

/// R8.1: without the subsystem there is no figure, and the function says why.
#[test]
fn only_where_it_is_bound() {
    let _others = among_others();
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("a").unwrap();
        assert_eq!(group.cpu_time().unwrap_err().errno(), libc::EOPNOTSUPP, "{backend}");
    });
}

/// R1.11, R8.1: a group that removes itself tells what was used in it.
#[test]
fn the_last_figures_are_told() {
    let _alone = alone();
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        let group = own.0.create("a").unwrap();
        group.write("auto_delete", "1").unwrap();
        let mut monitor = own.0.monitor().unwrap();
        let spin = Spawn::new("sh").args(["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"]);
        let [user, system] = used_by(|| {
            group.spawn(spin).unwrap().wait(stage::PATIENCE).unwrap();
        });
        let wanted = user + system;
        let until = Instant::now() + stage::PATIENCE;
        let figures = loop {
            let event = monitor.next(until.saturating_duration_since(Instant::now())).unwrap().unwrap();
            if event.kind == EventKind::Released {
                break event.figures;
            }
        };
        let figure = figures.iter().find(|(name, _)| name == "usage_usec").unwrap().1;
        assert_near(Duration::from_micros(figure), wanted, &format!("{backend}"));
    });
}
