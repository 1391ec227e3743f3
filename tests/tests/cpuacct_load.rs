//! The load of groups (R8.2), and what it costs those who do not ask.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use cgf::{BackendKind, Group, Spawn};
use cgf_tests::backends::{Own, on, on_each};
use cgf_tests::part::Forked;
use cgf_tests::registered::bound_to;
use cgf_tests::stage::{self, wait_for};

fn read(group: &Group, file: &str) -> u64 {
    group.read(file).unwrap().trim().parse().unwrap()
}

/// R8.2: spinners on one CPU are a load of 100, on two it may pass that, and none is 0.
#[test]
fn the_load_is_that_of_the_cpus_that_are_used() {
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        let group = own.0.create("a/b").unwrap();
        let above = own.0.open_group("a").unwrap();
        above.write("cpuacct.interval", "1").unwrap();
        let cpus = cpus();
        let mut spinners = vec![spinner(&group, cpus[0]), spinner(&group, cpus[0]), spinner(&group, cpus[0])];
        let of_one = load_of(&above, &spinners, 95..=105);
        assert!(of_one <= 105, "{backend}: {of_one}");
        if let Some(&second) = cpus.get(1) {
            spinners.push(spinner(&group, second));
            let of_two = load_of(&above, &spinners, 111..=210);
            assert!(of_two > of_one.max(95), "{backend}: {of_two} after {of_one}");
        }
        group.kill(libc::SIGKILL).unwrap();
        for spinner in spinners {
            spinner.wait(stage::PATIENCE).unwrap();
        }
        wait_for("no load", || (read(&above, "cpuacct.load") == 0).then_some(())).unwrap();
    });
}

/// A process that uses a CPU, as nearly alone as it may be.
fn spinner(group: &Group, cpu: usize) -> cgf::Child {
    let program = format!(
        "import os
os.sched_setaffinity(0, {{{cpu}}})
try:
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    # A session is weighed as a whole against the others.
    open('/proc/self/autogroup', 'w').write('-20')
except OSError:
    pass
while True:
    pass"
    );
    group.spawn(Spawn::new("python3").args(["-c", &program]).session(true)).unwrap()
}

/// The load of an interval, one after another until it is as expected. On a machine that is too
/// busy for that, each has to be what the spinners got by their own clocks.
fn load_of(group: &Group, spinners: &[cgf::Child], expected: std::ops::RangeInclusive<u64>) -> u64 {
    let got = || {
        let used: u64 = spinners.iter().map(|spinner| stage::cpu_time(spinner.pid()).unwrap()).sum();
        (used, Instant::now())
    };
    // What was before is another interval's.
    std::thread::sleep(Duration::from_millis(1050));
    read(group, "cpuacct.load");
    let (mut used, mut began) = got();
    let mut seen = Vec::new();
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(1050));
        let load = read(group, "cpuacct.load");
        if expected.contains(&load) {
            return load;
        }
        let (used_now, now) = got();
        seen.push((load, 100 * (used_now - used) / (now - began).as_nanos() as u64));
        (used, began) = (used_now, now);
    }
    let misses = seen.iter().filter(|(load, got)| load.abs_diff(*got) > 5).count();
    assert!(misses <= 2, "a load of {expected:?}, or what the spinners got: {seen:?}");
    eprintln!("never {expected:?}, on a machine that is busy: {seen:?}");
    seen.iter().map(|(load, _)| *load).max().unwrap_or(0)
}

/// R8.2: readers at once do not disturb each other: each load is that of an interval.
#[test]
fn readers_at_once_agree_on_the_load() {
    on_each(|backend| {
        let own = bound_to(backend, "cpuacct");
        let group = own.0.create("a").unwrap();
        group.write("cpuacct.interval", "1").unwrap();
        let spinner = spinner(&group, cpus()[0]);
        read(&group, "cpuacct.load");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let began = Instant::now();
                    let mut loads = Vec::new();
                    while began.elapsed() < Duration::from_millis(2500) {
                        loads.push(read(&group, "cpuacct.load"));
                    }
                    // One CPU is 100, whoever completes the interval, and once there was one
                    // it is never forgotten.
                    assert!(loads.iter().all(|&load| load <= 105), "{backend}: {loads:?}");
                    let first = loads.iter().position(|&load| load > 0).unwrap();
                    assert!(!loads[first..].contains(&0), "{backend}: {loads:?}");
                });
            }
        });
        group.kill(libc::SIGKILL).unwrap();
        spinner.wait(stage::PATIENCE).unwrap();
    });
}

/// The CPUs that we may run on.
fn cpus() -> Vec<usize> {
    // SAFETY: a zeroed set is an empty one, and the kernel writes no more than its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &raw mut set), 0);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// R8.2: freezing, thawing, moving and starting something cost not one system call more where
/// accounting is bound and nobody reads.
#[test]
fn nothing_is_done_for_what_nobody_reads() {
    on(&[BackendKind::Cgroup2], |backend| {
        let with = bound_to(backend, "cpuacct");
        let without = Own::new(backend).unwrap();
        let hierarchies = [&with, &without].map(|own| {
            ["a", "b"].iter().for_each(|name| drop(own.0.create(name).unwrap()));
            own.0.name().to_str().unwrap().to_owned()
        });
        for job in [Job::Freeze, Job::Attach, Job::Spawn] {
            // How long a freeze takes is not in our hands, and a wait has more calls: the
            // least of many is what the work itself costs.
            let mut least = [u64::MAX; 2];
            let mut rounds = 0;
            wait_for(&format!("{job:?} to cost the same with accounting as without"), || {
                for (least, name) in least.iter_mut().zip(&hierarchies) {
                    *least = (*least).min(calls(name, backend, job));
                }
                rounds += 1;
                (rounds >= 3 && least[0] == least[1]).then_some(())
            })
            .unwrap_or_else(|why| panic!("{why}: {least:?}"));
            assert!(least[0] > 1, "{job:?}: {least:?}");
        }
        assert!(calls(&hierarchies[0], backend, Job::Read) > 1, "reading does cost something");
    });
}

#[derive(Clone, Copy, Debug)]
enum Job {
    Freeze,
    Attach,
    Spawn,
    Read,
}

/// A system call that does nothing, around what is counted.
const MARK: libc::c_int = 0x6367_6601;

fn mark() {
    // SAFETY: an option that there is not: EINVAL.
    unsafe { libc::prctl(MARK, 0, 0, 0, 0) };
}

/// How many system calls a process makes for a job, as a tracer sees them.
fn calls(hierarchy: &str, backend: BackendKind, job: Job) -> u64 {
    let child = Forked::of(|| {
        let options = cgf::Options::default().backend(backend);
        let jobs = cgf::Hierarchy::open_existing(hierarchy, &options).unwrap();
        let [a, b] = ["a", "b"].map(|name| jobs.open_group(name).unwrap());
        let sleeper = a.spawn(Spawn::new("sleep").arg("60")).unwrap();
        // SAFETY: takes integers; the parent is told of what comes.
        unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
        }
        mark();
        let spawned = match job {
            Job::Freeze => {
                a.freeze(stage::PATIENCE).unwrap();
                a.thaw().unwrap();
                None
            }
            Job::Attach => {
                b.attach(sleeper.pid()).unwrap();
                None
            }
            Job::Spawn => Some(b.spawn(Spawn::new("sleep").arg("60")).unwrap()),
            Job::Read => {
                a.read("cpuacct.load").unwrap();
                None
            }
        };
        mark();
        for child in spawned.iter().chain([&sleeper]) {
            // SAFETY: takes integers: our own child, not yet waited for.
            unsafe { libc::kill(child.pid(), libc::SIGKILL) };
            child.wait(stage::PATIENCE).unwrap();
        }
        0
    });
    let next = || -> Option<i32> {
        let mut status = 0;
        // SAFETY: our own child; the status outlives the call. It ends by itself: each of its waits
        // has a deadline.
        assert_eq!(unsafe { libc::waitpid(child.0, &raw mut status, libc::__WALL) }, child.0);
        libc::WIFSTOPPED(status).then(|| libc::WSTOPSIG(status))
    };
    assert_eq!(next(), Some(libc::SIGSTOP));
    let trace = |request, data: usize| {
        // SAFETY: of our own child, which is stopped for us; what is read is written to `registers`.
        unsafe { libc::ptrace(request, child.0, 0, data) }
    };
    assert_eq!(trace(libc::PTRACE_SETOPTIONS, (libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL) as usize), 0);
    let (mut marks, mut stops) = (0, 0);
    let mut signal = 0;
    while marks < 2 {
        assert_eq!(trace(libc::PTRACE_SYSCALL, signal as usize), 0);
        match next() {
            Some(stop) if stop == libc::SIGTRAP | 0x80 => {
                signal = 0;
                stops += u64::from(marks == 1);
                marks += u64::from(is_mark(child.0));
            }
            Some(stop) => signal = stop,
            None => panic!("{job:?} in {hierarchy} failed"),
        }
    }
    assert_eq!(trace(libc::PTRACE_DETACH, 0), 0);
    assert_eq!(child.result(), Ok(0));
    // Each call stops twice; the first mark was left, and the second entered.
    (stops - 2) / 2
}

/// Whether a stopped process is on its way into the call that marks.
fn is_mark(pid: i32) -> bool {
    // SAFETY: zeroed registers are registers, and the kernel writes no more than there are.
    unsafe {
        let mut info: libc::ptrace_syscall_info = std::mem::zeroed();
        let size = size_of_val(&info);
        assert!(libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, &raw mut info) > 0);
        info.op == libc::PTRACE_SYSCALL_INFO_ENTRY
            && info.u.entry.nr == libc::SYS_prctl as u64
            && info.u.entry.args[0] == MARK as u64
    }
}
