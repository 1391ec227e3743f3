//! What others do to us: files closed behind our back, memory that lies, groups without end.

use std::os::unix::fs::FileExt;

use super::super::layout::{self, STANDARD};
use super::*;

/// What the file has before the region.
const HEADER: usize = 4096;

/// R6.7: a program that closes all of its files, ours among them, and opens its own under
/// their numbers, takes nobody who lives for dead.
#[test]
fn closed_descriptors_are_not_believed() {
    let bench = Bench::new("closed");
    let (_, account) = bench.account(&[]);
    bench.region.set_bounds(account, None, Some(Some(100))).unwrap();
    bench.charge(account, 60, Bound::Limit).unwrap();
    // In a process of its own: these are all descriptors of that process.
    let status = in_child(|| {
        let region = Region::open(&bench.file).unwrap();
        let charge = || region.charge(0, &[(account, 70)], Bound::Limit, Owner::Process);
        let refused_before = charge().is_err();
        let is_pidfd = |fd: &i32| {
            let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
            link.is_ok_and(|link| link.to_string_lossy().contains("pidfd"))
        };
        let pidfds: Vec<i32> = (3..256).filter(is_pidfd).collect();
        for fd in &pidfds {
            // SAFETY: the child has no other thread, and uses none of these itself.
            unsafe {
                let zero = libc::open(c"/dev/zero".as_ptr(), libc::O_RDWR);
                libc::dup2(zero, *fd);
                libc::close(zero);
            }
        }
        !pidfds.is_empty() && refused_before && charge().is_err()
    });
    assert_eq!(status, 0);
    assert_eq!(bench.held(account), 60);
    bench.charge(account, 40, Bound::Limit).unwrap();
}

/// R6.3: what is charged can be taken back, so a group that is too deep for that has no
/// counters.
#[test]
fn groups_too_deep_have_no_counters() {
    let bench = Bench::new("deep");
    let mut path: Vec<u64> = Vec::new();
    let mut accounts = Vec::new();
    loop {
        path.insert(0, bench.region.new_group().unwrap());
        match bench.region.account(&path, FILES) {
            Ok(account) => accounts.push(account),
            Err(error) => {
                assert_eq!(error.errno(), libc::E2BIG);
                break;
            }
        }
    }
    assert_eq!(accounts.len(), 84);
    let (root, deepest) = (accounts[0], accounts[83]);
    for account in &accounts {
        bench.region.reset_marks(*account).unwrap();
    }
    for _ in 0..40 {
        bench.charge(deepest, 5, Bound::Limit).unwrap();
    }
    assert_eq!(bench.held(root), 200);
}

/// R6.12: a region that says what cannot be gives errors.
#[test]
fn lies_are_errors() {
    let bench = Bench::new("lies");
    let (_, account) = bench.account(&[]);
    let file = std::fs::OpenOptions::new().write(true).open(&bench.file).unwrap();
    let put = |at: usize, word: u64| file.write_all_at(&word.to_ne_bytes(), (HEADER + at) as u64).unwrap();
    put(layout::GROUPS, u64::MAX);
    assert_eq!(bench.region.new_group().unwrap_err().errno(), libc::EUCLEAN);

    // A transfer that drains what is no slot.
    let forged = STANDARD.descriptor(1).unwrap();
    let version = 1 << 40;
    let entries = forged + layout::descriptor::ENTRIES;
    put(forged + layout::descriptor::COUNT, 2);
    put(entries, (STANDARD.length() - 16) as u64 | 1);
    put(entries + 24, STANDARD.account(5).unwrap() as u64 | 2);
    put(forged + layout::descriptor::VERSION, version);
    put(layout::COMMIT, version << 12 | 1);
    assert_eq!(bench.region.find(1, FILES).unwrap_err().errno(), libc::EUCLEAN);
    assert!(bench.charge(account, 1, Bound::Limit).is_err());
}

/// The exit status of a child that says whether all was well.
fn in_child(act: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child of a process with threads takes memory and locks of its own
    // library; no other test holds those for long.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).unwrap_or(false);
        // SAFETY: ends the child; no destructor need run.
        unsafe { libc::_exit(i32::from(!is_well)) };
    }
    let mut status = 0;
    // SAFETY: `status` is a place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}
