//! What the counters do, on a real mapping, in one process and in several.

mod hostile;
mod invariants;

use std::path::PathBuf;
use std::sync::Arc;

use super::*;

/// A region in a file of its own, which goes with this value.
struct Bench {
    file: PathBuf,
    region: Arc<Region>,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let file = std::env::temp_dir().join(format!("cgf-counters-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let region = Region::open(&file).unwrap();
        Bench { file, region }
    }

    /// A group below these, and its account of files.
    fn account(&self, above: &[u64]) -> (u64, Account) {
        let group = self.region.new_group().unwrap();
        let path: Vec<u64> = [group].into_iter().chain(above.iter().copied()).collect();
        (group, self.region.account(&path, FILES).unwrap())
    }

    fn charge(&self, account: Account, amount: u64, bound: Bound) -> std::result::Result<Crossed, Refused> {
        self.region.charge(0, &[(account, amount)], bound, Owner::Process)
    }

    fn held(&self, account: Account) -> u64 {
        self.read(account).held
    }

    fn read(&self, account: Account) -> Figures {
        let figures = self.region.read(&[account]).unwrap();
        assert_eq!(self.region.counters().broken().unwrap(), None);
        figures[0]
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

const FILES: u32 = 4;

/// R6.2, R6.3: what is charged is held at every level, and taken back.
#[test]
fn charges_count_at_all_levels() {
    let bench = Bench::new("levels");
    let (root, of_root) = bench.account(&[]);
    let (web, of_web) = bench.account(&[root]);
    let (_, of_one) = bench.account(&[web, root]);
    bench.charge(of_one, 5, Bound::Limit).unwrap();
    bench.charge(of_web, 2, Bound::Limit).unwrap();
    assert_eq!([of_one, of_web, of_root].map(|account| bench.held(account)), [5, 7, 7]);
    bench.region.uncharge(0, &[(of_one, 4)]).unwrap();
    assert_eq!([of_one, of_web, of_root].map(|account| bench.held(account)), [1, 3, 3]);
    let figures = bench.read(of_one);
    assert_eq!((figures.maxheld, figures.minheld, figures.underflow), (5, 0, 0));
    bench.region.uncharge(0, &[(of_one, 4)]).unwrap();
    let figures = bench.read(of_one);
    assert_eq!((figures.held, figures.underflow), (0, 1));
}

/// R6.2, R6.9: bounds are exact, though other slots have stock.
#[test]
fn a_charge_passes_no_bound() {
    let bench = Bench::new("bounds");
    let (root, of_root) = bench.account(&[]);
    let (_, one) = bench.account(&[root]);
    let (_, other) = bench.account(&[root]);
    bench.region.set_bounds(of_root, Some(Some(1000)), Some(Some(2000))).unwrap();
    for _ in 0..400 {
        bench.charge(one, 1, Bound::Barrier).unwrap();
        bench.charge(other, 1, Bound::Barrier).unwrap();
    }
    bench.charge(one, 200, Bound::Barrier).unwrap();
    assert!(matches!(bench.charge(other, 1, Bound::Barrier), Err(Refused::Full { which: 0, group }) if group == root));
    assert_eq!(bench.charge(other, 1, Bound::Limit).unwrap(), [(0, root)]);
    assert_eq!(bench.charge(other, 999, Bound::Limit).unwrap(), []);
    assert!(bench.charge(one, 1, Bound::Limit).is_err());
    bench.charge(one, 1, Bound::Never).unwrap();
    assert_eq!(bench.held(of_root), 2001);
    bench.region.uncharge(0, &[(other, 1000)]).unwrap();
    assert_eq!(bench.region.charge_up_to(other, 5000, Bound::Limit).unwrap().0, 999);
    assert_eq!(bench.region.charge_up_to(other, 5000, Bound::Limit).unwrap().0, 0);
}

/// R6.10: the quick way does what the long one does.
#[test]
fn the_quick_way_counts_the_same() {
    let bench = Bench::new("quick");
    let (_, account) = bench.account(&[]);
    let key = 7 << 16 | 4;
    let mut quick = 0;
    for _ in 0..1000 {
        if charge_quickly(key, 1) || charge_again(key, 1) {
            quick += 1;
        } else {
            bench.region.charge(key, &[(account, 1)], Bound::Limit, Owner::Process).unwrap();
        }
    }
    assert!(quick > 900, "{quick}");
    assert_eq!(bench.held(account), 1000);
    assert_eq!(bench.read(account).maxheld, 1000);
    for _ in 0..1000 {
        if !(uncharge_quickly(key, 1) || uncharge_again(key, 1)) {
            bench.region.uncharge(key, &[(account, 1)]).unwrap();
        }
    }
    let figures = bench.read(account);
    assert_eq!((figures.held, figures.maxheld, figures.minheld), (0, 1000, 0));
    bench.region.reset_marks(account).unwrap();
    bench.region.charge(key, &[(account, 10)], Bound::Limit, Owner::Process).unwrap();
    assert!(charge_again(key, 20) && uncharge_again(key, 25));
    let figures = bench.read(account);
    assert_eq!((figures.held, figures.maxheld, figures.minheld, figures.underflow), (5, 30, 0, 0));
}

/// R6.7: what a process held is given back when it was killed, and what a group keeps is not.
#[test]
fn the_dead_hold_nothing() {
    let bench = Bench::new("dead");
    let (root, of_root) = bench.account(&[]);
    let (_, account) = bench.account(&[root]);
    bench.region.set_bounds(of_root, Some(None), Some(Some(100))).unwrap();
    // SAFETY: the child does what a child of a process with threads had better not,
    // and takes memory; no other thread of this test holds a lock of the allocator's for long.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let done = || -> Option<()> {
            let region = Region::open(&bench.file).ok()?;
            region.charge(0, &[(account, 60)], Bound::Limit, Owner::Process).ok()?;
            region.charge(0, &[(account, 30)], Bound::Limit, Owner::Group).ok().map(|_| ())
        };
        let status = i32::from(done().is_none());
        // SAFETY: ends the child; no destructor runs, as if it were killed.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: `status` is a place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    bench.charge(account, 70, Bound::Limit).unwrap();
    assert_eq!(bench.held(of_root), 100);
    bench.region.uncharge(0, &[(account, 90)]).unwrap();
    assert_eq!(bench.held(of_root), 10);
}

/// R6.12: groups, resources and accounts come and go, and none is lost.
#[test]
fn accounts_are_given_back() {
    let bench = Bench::new("accounts");
    let (root, of_root) = bench.account(&[]);
    for _ in 0..100 {
        let (group, account) = bench.account(&[root]);
        bench.charge(account, 1, Bound::Limit).unwrap();
        assert_eq!(bench.region.remove_group(group).unwrap_err().errno(), libc::EBUSY);
        bench.region.uncharge(0, &[(account, 1)]).unwrap();
        bench.region.remove_group(group).unwrap();
        assert!(bench.charge(account, 1, Bound::Limit).is_err());
    }
    assert_eq!(bench.held(of_root), 0);
    assert_eq!(bench.region.groups().unwrap(), [root]);
    assert_eq!(bench.region.register("sockets", "count").unwrap(), 5);
    assert_eq!(bench.region.register("a-name-of-some-length", "bytes").unwrap(), 6);
    assert_eq!(bench.region.register("sockets", "count").unwrap(), 5);
    assert_eq!(bench.region.register("sockets", "bytes").unwrap_err().errno(), libc::EEXIST);
    assert_eq!(bench.region.resources().unwrap()[6], ("a-name-of-some-length".to_owned(), "bytes".to_owned()));
}

/// R6.3: threads of a process share what it holds.
#[test]
fn another_thread_takes_back() {
    let bench = Bench::new("threads");
    let (_, account) = bench.account(&[]);
    bench.charge(account, 500, Bound::Limit).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| bench.region.uncharge(0, &[(account, 200)]).unwrap()).join().unwrap();
        threads.spawn(|| bench.charge(account, 40, Bound::Limit).unwrap()).join().unwrap();
    });
    assert_eq!(bench.held(account), 340);
    bench.region.uncharge(0, &[(account, 340)]).unwrap();
    let figures = bench.read(account);
    assert_eq!((figures.held, figures.underflow), (0, 0));
}

/// R6.3: the handle of a group that was removed does not reach the one that came into its
/// place.
#[test]
fn a_removed_account_stays_removed() {
    let bench = Bench::new("removed");
    let (group, account) = bench.account(&[]);
    let key = 9 << 16 | 4;
    let charge = || bench.region.charge(key, &[(account, 1)], Bound::Limit, Owner::Process);
    charge().unwrap();
    bench.region.uncharge(key, &[(account, 1)]).unwrap();
    bench.region.remove_group(group).unwrap();
    let (_, other) = bench.account(&[]);
    assert_eq!(other.index, account.index);
    for _ in 0..100 {
        bench.charge(other, 1, Bound::Limit).unwrap();
        assert!(charge().is_err());
        assert!(!charge_quickly(key, 1) && !charge_again(key, 1));
    }
    assert_eq!(bench.held(other), 100);
}

/// R6.4: two handles on one group, in one thread, take back no more than is held.
#[test]
fn a_slot_is_remembered_once() {
    let bench = Bench::new("once");
    let (_, account) = bench.account(&[]);
    let (_, other) = bench.account(&[]);
    let (one, two, third) = (7 << 16 | 4, 8 << 16 | 4, 9 << 16 | 4);
    let charge = |key, account, amount| {
        bench.region.charge(key, &[(account, amount)], Bound::Limit, Owner::Process).unwrap();
    };
    for _ in 0..40 {
        charge(one, account, 100);
        charge(third, other, 1);
    }
    charge(one, account, 1000);
    charge(two, account, 1000);
    bench.region.uncharge(two, &[(account, 6000)]).unwrap();
    assert!((0..5).all(|_| !uncharge_again(one, 10)));
    assert_eq!(bench.held(account), 0);
}
