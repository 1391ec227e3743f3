//! Who is in a group.

use super::*;

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
    assert_eq!(bench.backend.create(&root, OsStr::new("web")).err(), Some(Errno::EXIST));
    bench.backend.remove(&group, &inner).unwrap();
    bench.backend.rename(&root, &group, OsStr::new("shop")).unwrap();
    bench.backend.remove(&root, &bench.open("shop")).unwrap();
    assert_eq!(bench.backend.procs(&group).unwrap_err().errno(), libc::ENODEV);
    assert_eq!(bench.backend.is_asked(&group).unwrap_err().errno(), libc::ENODEV);
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

/// R2.3: a member ends between the look at it and that at its children, and its
/// number is given to a stranger. A start time that is not the process's own is
/// what that looks like.
#[test]
fn the_children_of_a_recycled_number_are_strangers() {
    let mut bench = Bench::new();
    let group = bench.group("web");
    let victim = bench.sleeper(&group);
    // Start times are counted in hundredths of a second.
    std::thread::sleep(Duration::from_millis(50));
    let mut stranger = Command::new("sh").args(["-c", "sleep 1000 & wait"]).spawn().unwrap();
    let number = i32::try_from(stranger.id()).unwrap();
    until("the stranger's child", || children_of(number).len() == 1);
    let child = children_of(number)[0];

    let mut roll = Roll::read(&bench.backend.root).unwrap();
    let pages = roll.subtree(&group).unwrap();
    let mut scan = bench.backend.scan();
    let mut met = Vec::new();
    let visited = scan.visit(&mut roll, &pages, &mut |_, members| {
        met.extend(members.iter().map(|member| member.stat.pid));
        for member in members.iter_mut().filter(|member| member.stat.pid == victim) {
            member.stat.pid = number;
        }
        Ok(())
    });
    let (place, lost) = (bench.place(child), scan.has_lost());
    Process::open(child).unwrap().signal(libc::SIGKILL).unwrap();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    visited.unwrap();
    assert_eq!((met, place), (vec![victim], None));
    assert!(lost, "such a look is not the last");
}
