//! Stopping, letting go, killing.

use super::*;
use crate::backend::embedded::lock::Killer;
use crate::process::Ticks;

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
    let stat = |state| Stat {
        pid: 1,
        command: String::new(),
        state,
        parent: 0,
        session: 0,
        threads: 1,
        start_time: 0,
        used: Ticks::default(),
        waited_for: Ticks::default(),
    };
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

/// R3.1, R3.8: a killer holds its victims still without anybody's having asked
/// to freeze them. If it dies at it, whoever looks lets them go.
#[test]
fn a_killer_that_dies_leaves_nobody_stopped() {
    let mut bench = Bench::new();
    let (above, below) = (bench.group("a"), bench.group("a/b"));
    let pids = [bench.sleeper(&above), bench.sleeper(&below)];
    let killer = sys::helper::start(|| {
        let _killer = Killer::of(&above).unwrap();
        let mut roll = Roll::read(&bench.backend.root).unwrap();
        let pages = roll.subtree(&above).unwrap();
        {
            let _held = bench.backend.lock().unwrap();
            pass::stop(&bench.backend.root, &mut bench.backend.scan(), &mut roll, &pages).unwrap();
        }
        std::thread::sleep(Duration::from_secs(10));
        1
    });
    let killer = killer.unwrap();
    until("the stops", || pids.iter().all(|&pid| letter(pid) == 'T'));
    // While the killer lives they are its to hold.
    assert_eq!(bench.backend.state(&below).unwrap(), State::Thawed);
    assert!(pids.iter().all(|&pid| letter(pid) == 'T'));
    killer.kill();
    for (group, pid) in [(&below, pids[1]), (&above, pids[0])] {
        assert_eq!(bench.backend.state(group).unwrap(), State::Thawed);
        until("the continue", || letter(pid) == '-');
    }
    assert_eq!(bench.backend.kill(&above, &mut within(5000)).unwrap(), Outcome::Done);
}

/// R3.8: the same, and a real kill that is killed at any moment.
#[test]
fn a_kill_that_is_killed_leaves_the_dead_and_the_running() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    for round in 0..20 {
        let pids: Vec<i32> = (0..10).map(|_| bench.sleeper(&group)).collect();
        let killer = sys::helper::start(|| match bench.backend.kill(&group, &mut within(5000)) {
            Ok(_) => 0,
            Err(_) => 1,
        });
        std::thread::sleep(Duration::from_micros(100 * round));
        killer.unwrap().kill();
        assert_eq!(bench.backend.state(&group).unwrap(), State::Thawed);
        until("the continue", || pids.iter().all(|&pid| letter(pid) != 'T'));
        assert_eq!(bench.backend.kill(&group, &mut within(5000)).unwrap(), Outcome::Done);
    }
}

/// R3.10: where nobody is born, one look at all that is still is proof; births
/// and orphans that were not sought are none.
#[test]
fn one_quiet_pass_counts_if_nobody_was_born() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    bench.run(&group, Admission::Spawned, &["setsid", "sleep", "1000"]);
    assert_eq!(bench.freeze(&group), Outcome::Done);
    let mut roll = Roll::read(&bench.backend.root).unwrap();
    let pages = roll.subtree(&group).unwrap();
    let mut scan = bench.backend.scan();
    scan.spare_orphans();
    let pass = pass::stop(&bench.backend.root, &mut scan, &mut roll, &pages).unwrap();
    assert!(pass.quiet && pass.hasty);
    // Others on this machine start processes now and then.
    let unborn = (0..1000).any(|_| {
        let pass = pass::stop(&bench.backend.root, &mut bench.backend.scan(), &mut roll, &pages).unwrap();
        assert!(pass.quiet && !pass.hasty);
        pass.unborn
    });
    assert!(unborn);
    let births = numbers::forks();
    bench.sleeper(&group);
    assert_ne!(births, numbers::forks());
}
