//! Holding by ptrace.

use super::*;

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

/// R3.7: starting a helper takes no longer than the caller allows, and leaves
/// nothing behind if it does.
#[test]
fn a_helper_that_does_not_begin_in_time_is_given_up() {
    let mut bench = Bench::stopping_by(StopMethod::Ptrace);
    let group = bench.group("web");
    let pid = bench.sleeper(&group);
    // The helper waits for the lock; the caller, who has taken its own turn, not.
    let helper_waits = |wait: &mut Wait<'_>| {
        let held = bench.backend.lock().unwrap();
        std::thread::scope(|scope| {
            let releaser = scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(700));
                drop(held);
            });
            let begun = std::time::Instant::now();
            let failure = bench.backend.start_helper(&group, wait).unwrap_err().errno();
            let (took, late) = (begun.elapsed(), !releaser.is_finished());
            releaser.join().unwrap();
            (failure, took, late)
        })
    };
    let (failure, took, _) = helper_waits(&mut within(0));
    assert_eq!(failure, libc::ETIMEDOUT);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let mut interrupt = |_: Duration| std::ops::ControlFlow::Break(());
    let (failure, ..) = helper_waits(&mut Wait::with(Deadline::after(Duration::from_secs(5)), Some(&mut interrupt)));
    assert_eq!(failure, libc::EINTR);
    // Nor does a helper that gets the lock after all write anything.
    std::thread::sleep(Duration::from_millis(100));
    assert!(!bench.path.join("web/freezer.tracer").exists());
    until("nobody holds it", || bench.backend.state(&group).unwrap() == State::Thawed);
    assert_eq!(letter(pid), '-');
    assert_eq!(bench.freeze(&group), Outcome::Done);
    bench.thaw(&group);
    assert_eq!(letter(pid), '-');
}
