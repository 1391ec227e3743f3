//! The guard of checkpoints between processes (R4.1, R4.3): no operation of anybody
//! within a checkpoint, no begin that starves, nothing left by a holder who dies.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use cgf::{AttachOptions, BackendKind, CheckpointOptions, Error, Group, State};
use cgf_tests::backends::{Own, on_each, start};
use cgf_tests::board::Board;
use cgf_tests::part::{self, Forked, Part, Role};
use cgf_tests::raw;
use cgf_tests::stage::{self, wait_for};

const SOON: Duration = Duration::from_secs(10);

/// Words of the board. The number of the checkpoint that goes on, from after its
/// begin has returned until before its end is called.
const HELD: usize = 0;
const STOP: usize = 1;
/// Operations that were tried.
const TRIES: usize = 2;
/// The number of the last checkpoint.
const LAST: usize = 3;
const INSIDE: usize = 4;
const MOVED: usize = 5;
/// Operations that returned success within a checkpoint; two checkpoints at once; a
/// task that ran in one.
const OVERLAPS: usize = 6;
/// Whatever else went wrong.
const FAILURES: usize = 7;
/// From here on, for each hand.
const BEGUN: usize = 16;
const ACTED: usize = 32;
const REFUSED: usize = 48;
const LONGEST: usize = 64;

const HANDS: usize = 4;

/// R4.1: four processes checkpoint one group, freeze and thaw it and a group below,
/// move a process in and out, and send signals, all as fast as they can. While one
/// of them holds a checkpoint no operation of the others succeeds, no task runs and
/// nobody comes or goes; no proof fails; and each of them comes to hold one.
///
/// What is proved does not rest on the library's word: who holds one says so in
/// memory that all share, and reads the kernel's counters itself.
#[test]
fn nobody_acts_within_a_checkpoint() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        own.0.create("g/below").unwrap();
        let other = own.0.create("other").unwrap();
        let board = Board::new().unwrap();
        board[INSIDE].store(start(&group, &["spin"]) as u64, SeqCst);
        board[MOVED].store(start(&other, &["sleep"]) as u64, SeqCst);
        let mut hands: Vec<Part> =
            (0..HANDS).map(|number| Part::start("a_hand", number, &own.0, &board).unwrap()).collect();
        std::thread::sleep(stage::stress().max(Duration::from_secs(2)));
        board[STOP].store(1, SeqCst);
        for hand in &mut hands {
            assert!(hand.ends_well().unwrap(), "a hand failed on {backend}");
        }
        let sum = |first: usize| (first..first + HANDS).map(|word| board[word].load(SeqCst)).collect::<Vec<_>>();
        let figures = format!(
            "{backend}: checkpoints {:?}, acted {:?}, refused {:?}, longest begin {:?} ms",
            sum(BEGUN),
            sum(ACTED),
            sum(REFUSED),
            sum(LONGEST)
        );
        eprintln!("{figures}");
        assert_eq!(board[OVERLAPS].load(SeqCst), 0, "{figures}");
        assert_eq!(board[FAILURES].load(SeqCst), 0, "{figures}");
        assert!(sum(BEGUN).iter().all(|&begun| begun > 0), "somebody never came to hold it: {figures}");
        assert!(sum(ACTED).iter().all(|&acted| acted > 0), "somebody never acted: {figures}");
        assert!(sum(REFUSED).iter().sum::<u64>() > 0, "nobody was in the way of anybody: {figures}");
        group.thaw().unwrap();
        assert_eq!(group.state().unwrap(), State::Thawed, "{backend}");
    });
}

/// One of the four.
#[test]
fn a_hand() {
    let Some(role) = Role::of("a_hand") else { return };
    let open = |path: &str| role.hierarchy.open_group(path).unwrap();
    let (group, below, other) = (open("g"), open("g/below"), open("other"));
    let hand = Hand { role: &role, group: &group };
    let moved = role.board[MOVED].load(SeqCst) as i32;
    let come_frozen = AttachOptions { frozen: true };
    // A generator is enough that gives each hand an order of its own.
    let mut random = 0x9e37_79b9_u64.wrapping_mul(role.number as u64 + 1) | 1;
    while role.board[STOP].load(SeqCst) == 0 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        match random % 14 {
            0..3 => hand.checkpoint(),
            3 | 4 => hand.act("freeze", || group.freeze(Duration::from_secs(2))),
            5 => hand.act("thaw", || group.thaw()),
            6 => hand.act("write", || group.write("freezer.state", "FROZEN")),
            7 => hand.move_to("attach", &group, || group.attach_with(moved, come_frozen)),
            8 => hand.move_to("detach", &other, || other.attach(moved)),
            9 => hand.act("signal", || group.kill(libc::SIGWINCH)),
            10 => hand.act("freeze below", || below.freeze(Duration::from_secs(2))),
            11 => hand.act("thaw below", || below.thaw()),
            12 => hand.act("kill below", || below.kill(libc::SIGKILL)),
            // It does nothing, and so is let through always.
            _ => {
                group.kill(0).unwrap_or_else(|error| hand.failed("signal 0", &error));
            }
        }
    }
}

struct Hand<'a> {
    role: &'a Role,
    group: &'a Group,
}

impl Hand<'_> {
    fn count(&self, word: usize) {
        self.role.board[word].fetch_add(1, SeqCst);
    }

    fn failed(&self, what: &str, why: &dyn std::fmt::Display) {
        eprintln!("hand {}: {what}: {why}", self.role.number);
        self.count(FAILURES);
    }

    fn overlaps(&self, what: &str) {
        eprintln!("hand {}: {what} within a checkpoint of another", self.role.number);
        self.count(OVERLAPS);
    }

    /// Does something to the group that must not succeed within a checkpoint.
    fn act(&self, what: &str, act: impl FnOnce() -> cgf::Result<()>) {
        self.act_since(self.role.board[HELD].load(SeqCst), what, act);
    }

    /// `before`: what was held when it began.
    fn act_since(&self, before: u64, what: &str, act: impl FnOnce() -> cgf::Result<()>) {
        let result = act();
        let after = self.role.board[HELD].load(SeqCst);
        self.count(TRIES);
        match result {
            Ok(()) if before != 0 && before == after => self.overlaps(what),
            Ok(()) => self.count(ACTED + self.role.number),
            // Refused; or by another hand, thawed or moved on meanwhile.
            Err(error) if [libc::EBUSY, libc::ECANCELED].contains(&error.errno()) => {
                self.count(REFUSED + self.role.number);
            }
            Err(error) => self.failed(what, &error),
        }
    }

    /// The same for a move, which does nothing to whom it finds there already.
    fn move_to(&self, what: &str, to: &Group, act: impl FnOnce() -> cgf::Result<()>) {
        let before = self.role.board[HELD].load(SeqCst);
        let moved = self.role.board[MOVED].load(SeqCst) as i32;
        match raw::members(to) {
            Ok(members) if before != 0 && members.contains(&moved) => {}
            _ => self.act_since(before, what, act),
        }
    }

    fn checkpoint(&self) {
        let board = &self.role.board;
        let inside = board[INSIDE].load(SeqCst) as i32;
        let began = Instant::now();
        let checkpoint = match self.group.checkpoint(Some(inside)) {
            Ok(checkpoint) => checkpoint,
            // Held by another hand, or thawed by one.
            Err(error) if [libc::EBUSY, libc::EINVAL].contains(&error.errno()) => return,
            Err(error) => return self.failed("begin", &error),
        };
        self.count(BEGUN + self.role.number);
        board[LONGEST + self.role.number].fetch_max(began.elapsed().as_millis() as u64, SeqCst);
        let number = board[LAST].fetch_add(1, SeqCst) + 1;
        if board[HELD].compare_exchange(0, number, SeqCst, SeqCst).is_err() {
            self.overlaps("a checkpoint");
        }
        let before = self.evidence();
        // Until the others have tried something, or have had the time to.
        let (tries, until) = (board[TRIES].load(SeqCst) + 6, Instant::now() + Duration::from_millis(20));
        while board[TRIES].load(SeqCst) < tries && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
        if self.evidence() != before || !is_still(self.group) {
            self.overlaps("a member ran, came or left");
        }
        board[HELD].store(0, SeqCst);
        if let Err(error) = checkpoint.end() {
            self.failed("end", &error);
        }
    }

    /// The members, and how often each was given a CPU.
    fn evidence(&self) -> Vec<(i32, Option<u64>)> {
        let members = raw::members(self.group).unwrap();
        members.into_iter().map(|pid| (pid, stage::run_count(pid))).collect()
    }
}

/// The kernel's own word that the tasks of a group are frozen, or stopped.
fn is_still(group: &Group) -> bool {
    let read = |file: &str| std::fs::read_to_string(raw::path(group, file)).unwrap_or_default();
    match group.hierarchy().backend_kind() {
        BackendKind::Cgroup2 => read("cgroup.events").contains("frozen 1"),
        BackendKind::Cgroup1 => read("freezer.state").trim() == "FROZEN",
        _ => {
            let members = raw::members(group).unwrap_or_default();
            members.iter().all(|&pid| stage::state_letter(pid).is_none_or(|letter| "TtZ".contains(letter)))
        }
    }
}

/// R4.3: wherever in a checkpoint, its begin or its end the holder is killed, and
/// though children live on that it forked at any moment and that have copies of all
/// its descriptors: the group is not CHECKPOINTING any more, the next begin comes at
/// once, and everybody can thaw it.
#[test]
fn a_killed_holder_leaves_nothing_behind() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let kills = if stage::stress().is_zero() { 17 } else { 50 };
        std::thread::scope(|scope| {
            for number in 0..4 {
                let own = &own;
                scope.spawn(move || kill_holders(own, number, kills));
            }
        });
    });
}

fn kill_holders(own: &Own, number: usize, kills: u64) {
    let backend = own.0.backend_kind();
    let group = own.0.create(format!("g{number}")).unwrap();
    let inside = start(&group, &["spin"]);
    for round in 0..kills {
        let board = Board::new().unwrap();
        board[INSIDE].store(inside as u64, SeqCst);
        group.freeze(SOON).unwrap();
        let mut holder = Part::start("a_holder", number, &own.0, &board).unwrap();
        wait_for("the holder to begin", || (board[TRIES].load(SeqCst) > 0).then_some(())).unwrap();
        // 0 to 43 ms, in steps that fall in with nothing.
        std::thread::sleep(Duration::from_micros(round * 7919 % 43_000));
        holder.kill();
        let what = format!("{backend}, round {round}, after {} checkpoints", board[BEGUN].load(SeqCst));
        let state = group.state().unwrap();
        assert_eq!(state, State::Frozen, "{what}");
        if round % 2 == 0 {
            let next = group.checkpoint(Some(inside)).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(group.state().unwrap(), State::Checkpointing, "{what}");
            next.end().unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        group.thaw().unwrap_or_else(|error| panic!("{what}: {error}"));
        let before = stage::cpu_time(inside);
        wait_for("the spinner to run", || (stage::cpu_time(inside) > before).then_some(())).unwrap();
        assert_eq!(board[FAILURES].load(SeqCst), 0, "{what}");
    }
}

/// Begins and ends as fast as it can, while another thread forks.
#[test]
fn a_holder() {
    let Some(role) = Role::of("a_holder") else { return };
    let group = role.hierarchy.open_group(format!("g{}", role.number)).unwrap();
    let inside = role.board[INSIDE].load(SeqCst) as i32;
    std::thread::spawn(|| {
        for _ in 0..100 {
            part::fork_sleeper();
            std::thread::sleep(Duration::from_micros(300));
        }
    });
    loop {
        role.board[TRIES].fetch_add(1, SeqCst);
        match group.checkpoint(Some(inside)).and_then(|checkpoint| checkpoint.end()) {
            Ok(_) => role.board[BEGUN].fetch_add(1, SeqCst),
            Err(error) => {
                eprintln!("a holder: {error}");
                role.board[FAILURES].fetch_add(1, SeqCst)
            }
        };
    }
}

/// R4.3: the holder is killed in the middle of a checkpoint; a child lives on and has
/// copies of all descriptors, the lock among them. It is void: the next lease has the
/// next number.
#[test]
fn a_forked_child_does_not_prolong_a_checkpoint() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let inside = start(&group, &["spin"]);
        group.freeze(SOON).unwrap();
        let board = Board::new().unwrap();
        board[INSIDE].store(inside as u64, SeqCst);
        for _ in 0..2 {
            let mut holder = Part::start("a_holder_with_a_child", 0, &own.0, &board).unwrap();
            wait_for("the holder to hold", || (board[HELD].load(SeqCst) > 0).then_some(())).unwrap();
            let child = board[HELD].swap(0, SeqCst) as i32;
            assert_eq!(group.state().unwrap(), State::Checkpointing, "{backend}");
            assert_eq!(group.thaw().unwrap_err().errno(), libc::EBUSY, "{backend}");
            let number = lease_number(&group);
            holder.kill();
            assert!(!stage::has_ended(child), "the child must live for this to prove something");
            assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
            let next = group.checkpoint(Some(inside)).unwrap();
            if let (Some(number), Some(next)) = (number, lease_number(&group)) {
                assert!(next > number, "{backend}: the number of a lock that is still there");
            }
            next.end().unwrap();
            group.thaw().unwrap();
            group.freeze(SOON).unwrap();
        }
    });
}

/// The first word of the note says which byte is locked.
fn lease_number(group: &Group) -> Option<u64> {
    raw::note(group, "lease")?.split(' ').next()?.parse().ok()
}

/// Holds a checkpoint, and has a child that was forked meanwhile.
#[test]
fn a_holder_with_a_child() {
    let Some(role) = Role::of("a_holder_with_a_child") else { return };
    let group = role.hierarchy.open_group("g").unwrap();
    let _checkpoint = group.checkpoint(Some(role.board[INSIDE].load(SeqCst) as i32)).unwrap();
    role.board[HELD].store(part::fork_sleeper() as u64, SeqCst);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// R4.3: a proper end is one, whoever has copies of the descriptors.
#[test]
fn a_forked_child_does_not_keep_up_what_has_ended() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let inside = start(&group, &["spin"]);
        group.freeze(SOON).unwrap();
        for drop_it in [false, true] {
            let checkpoint = group.checkpoint(Some(inside)).unwrap();
            let child = Forked(part::fork_sleeper());
            if drop_it {
                drop(checkpoint);
            } else {
                checkpoint.end().unwrap();
            }
            assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
            group.checkpoint(Some(inside)).unwrap().end().unwrap();
            assert!(!stage::has_ended(child.0), "the child must live for this to prove something");
        }
        group.thaw().unwrap();
    });
}

/// R4.3: a forked child has no share in a checkpoint, neither to end it nor to keep it.
#[test]
fn a_forked_child_has_no_share_in_a_checkpoint() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        own.0.create("g").unwrap();
        let board = Board::new().unwrap();
        let mut parent = Part::start("a_parent", 0, &own.0, &board).unwrap();
        assert!(parent.ends_well().unwrap(), "{backend}");
    });
}

/// In a process of its own: of several threads, another might have a lock at the
/// moment of the fork.
#[test]
fn a_parent() {
    let Some(role) = Role::of("a_parent") else { return };
    let group = role.hierarchy.open_group("g").unwrap();
    group.freeze(SOON).unwrap();
    let mut checkpoint = Some(group.checkpoint(None).unwrap());
    let is_echild = |error: Option<Error>| error.is_some_and(|error| error.errno() == libc::ECHILD);
    for part in 0..5 {
        let child = Forked::of(|| {
            let refused = match part {
                0 => is_echild(checkpoint.as_ref().and_then(|checkpoint| checkpoint.verify().err())),
                1 => is_echild(checkpoint.take().and_then(|checkpoint| checkpoint.end().err())),
                2 => is_echild(group.break_checkpoint().err()),
                3 => is_echild(group.checkpoint(None).err()),
                _ => {
                    checkpoint = None;
                    true
                }
            };
            i32::from(!refused)
        });
        assert_eq!(child.result(), Ok(0), "part {part}");
        assert_eq!(group.state().unwrap(), State::Checkpointing, "part {part}");
    }
    // Nor can it end it by a handle of its own, but by force.
    let child = Forked::of(|| {
        let options = cgf::Options::default().backend(role.hierarchy.backend_kind()).deadline(SOON);
        let own = cgf::Hierarchy::open_existing(role.hierarchy.name(), &options);
        let group = own.and_then(|own| own.open_group("g")).unwrap();
        i32::from(group.thaw().map_err(|error| error.errno()) != Err(libc::EBUSY))
    });
    assert_eq!(child.result(), Ok(0));
    checkpoint.unwrap().end().unwrap();
    group.thaw().unwrap();
}

/// R4.1: somebody who may only read the freeze file has all of it locked, for reading,
/// as far as he can. He keeps nobody from thawing, freezing, moving and killing; a
/// begin fails in time and says who he is.
#[test]
fn a_mere_reader_holds_up_no_more_than_a_begin() {
    for (first, length) in [(0, 0), (2, 1 << 39)] {
        on_each(|backend| {
            let own = Own::new(backend).unwrap();
            let group = &own.0.create("g").unwrap();
            let other = own.0.create("other").unwrap();
            let inside = start(group, &["spin"]);
            let reader = Reader::start(group, first, length);
            // Ten times as long as any of them waits for one who will not come back.
            let in_time = |what: &str, result: cgf::Result<()>, began: Instant| {
                result.unwrap_or_else(|error| panic!("{what} on {backend}: {error}"));
                assert!(began.elapsed() < Duration::from_secs(5), "{what} on {backend}: {:?}", began.elapsed());
            };
            for seconds in [1, 2] {
                in_time("freeze", group.freeze(SOON), Instant::now());
                let began = Instant::now();
                let within = CheckpointOptions::default().within(Duration::from_millis(300));
                let refused = group.checkpoint_with(Some(inside), within).err();
                let refused = refused.unwrap_or_else(|| panic!("a begin on {backend}"));
                assert!(began.elapsed() < Duration::from_secs(5), "{backend}: {:?}", began.elapsed());
                assert_eq!(refused.errno(), libc::EBUSY, "{backend}: {refused}");
                assert!(refused.message().contains(&reader.0.to_string()), "{backend}: {refused}");
                assert_eq!(group.state().unwrap(), State::Frozen, "{backend}");
                std::thread::scope(|scope| {
                    let begin = scope.spawn(move || {
                        let within = CheckpointOptions::default().within(Duration::from_secs(seconds));
                        group.checkpoint_with(Some(inside), within).map(drop)
                    });
                    in_time("thaw while one begins", group.thaw(), Instant::now());
                    assert!(begin.join().unwrap().is_err(), "{backend}");
                });
                in_time("freeze", group.freeze(SOON), Instant::now());
                in_time("thaw", group.thaw(), Instant::now());
                in_time("detach", other.attach(inside), Instant::now());
                in_time("attach", group.attach(inside), Instant::now());
                in_time("signal", group.kill(libc::SIGWINCH), Instant::now());
            }
            in_time("kill", group.kill(libc::SIGKILL), Instant::now());
        });
    }
}

/// A process that has a range of a group's freeze file locked, for reading.
struct Reader(i32, #[expect(dead_code, reason = "it is ended by being dropped")] Forked);

impl Reader {
    /// A length of 0 goes on to the end.
    fn start(group: &Group, first: i64, length: i64) -> Reader {
        // Opened here, so that the child need not allocate. The lock is of the open
        // file, which the child alone has in the end.
        let file = File::open(raw::freeze_file(group)).unwrap();
        let lock = libc::flock {
            l_type: libc::F_RDLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: first,
            l_len: length,
            l_pid: 0,
        };
        // SAFETY: the descriptor is open, and the lock outlives the call.
        assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }, 0);
        let pid = part::fork_sleeper();
        Reader(pid, Forked(pid))
    }
}

/// R4.1: of two threads of one process that may both act upon the group, as a tool
/// that thaws may, only one holds a checkpoint.
#[test]
fn a_process_holds_a_group_once() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        start(&group, &["sleep"]);
        group.freeze(SOON).unwrap();
        let board = Board::new().unwrap();
        let until = Instant::now() + stage::stress().max(Duration::from_millis(500));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while Instant::now() < until {
                        let options = CheckpointOptions::default().external(true);
                        let Ok(checkpoint) = group.checkpoint_with(None, options) else { continue };
                        let overlaps = board[HELD].fetch_add(1, SeqCst);
                        board[OVERLAPS].fetch_add(overlaps, SeqCst);
                        std::thread::yield_now();
                        board[HELD].fetch_sub(1, SeqCst);
                        // ESTALE: it was another's by then.
                        board[OVERLAPS].fetch_add(u64::from(checkpoint.end().is_err()), SeqCst);
                        board[BEGUN].fetch_add(1, SeqCst);
                    }
                });
            }
        });
        assert_eq!(board[OVERLAPS].load(SeqCst), 0, "{backend}");
        assert!(board[BEGUN].load(SeqCst) > 0);
    });
}

/// R4.1: no begin starves, however many are refused meanwhile; and who breaks a
/// checkpoint takes no other's away.
#[test]
fn refused_callers_hold_up_no_begin() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        let below = own.0.create("g/below").unwrap();
        start(&group, &["sleep"]);
        group.freeze(SOON).unwrap();
        let board = Board::new().unwrap();
        std::thread::scope(|scope| {
            for number in 0..6 {
                let (group, below, board) = (&group, &below, &board);
                scope.spawn(move || {
                    while board[STOP].load(SeqCst) == 0 {
                        let _ = if number % 2 == 0 { group.freeze(SOON) } else { below.thaw() };
                    }
                });
            }
            let mut longest = Duration::ZERO;
            let begun: Vec<_> = (0..20)
                .map(|_| {
                    let began = Instant::now();
                    let ended = group.checkpoint(None).and_then(|checkpoint| checkpoint.end());
                    longest = longest.max(began.elapsed());
                    ended
                })
                .collect();
            board[STOP].store(1, SeqCst);
            eprintln!("{backend}: the longest of 20 checkpoints among 6 callers took {longest:?}");
            for ended in begun {
                ended.unwrap_or_else(|error| panic!("{backend}: {error}"));
            }
        });
    });
}
