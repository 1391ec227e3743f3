//! BeanCounters: what charges and their refusals mean.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cgf::{BackendKind, Group, Hierarchy, Options, Resource, Severity};
use cgf_tests::backends::{Own, on_each};
use cgf_tests::charger::{Charger, failures, held};
use cgf_tests::registered::bound_to;
use cgf_tests::stage;

const CHARGER: &str = env!("CARGO_BIN_EXE_charger");
const FILES: Resource = Resource::NUMFILES;
const MEMORY: Resource = Resource::KMEMSIZE;

/// R6.2: each severity ends where it is to end, at exactly that amount; a refusal charges
/// nothing and is counted.
#[test]
fn a_severity_ends_at_its_bound() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("a").unwrap();
        group.set_limits(FILES, Some(10), Some(20)).unwrap();
        let charge = |amount, severity| group.charge(FILES, amount, severity).map_err(|error| error.errno());
        assert_eq!(charge(11, Severity::Barrier), Err(libc::EMFILE), "{backend}");
        assert_eq!(charge(10, Severity::Barrier), Ok(()));
        assert_eq!(charge(1, Severity::Barrier), Err(libc::EMFILE));
        assert_eq!(charge(10, Severity::Limit), Ok(()));
        let refused = group.charge(FILES, 1, Severity::Limit).unwrap_err();
        assert_eq!(refused.errno(), libc::EMFILE);
        assert_eq!(refused.message(), "group /a holds 20 of numfiles, and 1 more would pass its limit of 20");
        assert_eq!(charge(5, Severity::Force), Ok(()));
        assert_eq!((held(&group, "numfiles"), failures(&group, "numfiles")), (25, 3), "{backend}");
        assert_eq!(charge(0, Severity::Barrier), Ok(()), "nothing always fits");
        assert_eq!(charge((1 << 48) + 1, Severity::Force), Err(libc::EINVAL));
        assert_eq!(charge(u64::MAX, Severity::Limit), Err(libc::EINVAL));
        assert_eq!((held(&group, "numfiles"), failures(&group, "numfiles")), (25, 3), "{backend}");
        group.uncharge(FILES, 25).unwrap();
        // Of what is not files: ENOMEM; and without a barrier of its own the limit is one.
        group.set_limits(MEMORY, None, Some(5)).unwrap();
        assert_eq!(group.charge(MEMORY, 6, Severity::Barrier).unwrap_err().errno(), libc::ENOMEM);
        group.charge(MEMORY, 5, Severity::Barrier).unwrap();
        group.uncharge(MEMORY, 5).unwrap();
        let errno = group.charge(Resource::from_number(77), 1, Severity::Limit).unwrap_err().errno();
        assert_eq!(errno, libc::ENOENT);
    });
}

/// R6.3: a charge counts all the way up, the level that refuses is named and counts it,
/// and nobody else does.
#[test]
fn a_charge_counts_in_all_groups_above() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let leaf = own.0.create("top/middle/leaf").unwrap();
        let [top, middle] = ["top", "top/middle"].map(|path| own.0.open_group(path).unwrap());
        middle.set_limits(FILES, None, Some(7)).unwrap();
        leaf.charge(FILES, 4, Severity::Limit).unwrap();
        let other = own.0.create("top/other").unwrap();
        other.charge(FILES, 2, Severity::Limit).unwrap();
        let levels = [&leaf, &middle, &top, &own.0.root(), &other];
        assert_eq!(levels.map(|group| held(group, "numfiles")), [4, 4, 6, 6, 2], "{backend}");
        let refused = leaf.charge(FILES, 4, Severity::Limit).unwrap_err();
        assert!(refused.message().starts_with("group /top/middle holds 4 of numfiles"), "{refused}");
        assert_eq!(levels.map(|group| failures(group, "numfiles")), [0, 1, 0, 0, 0], "{backend}");
        assert_eq!(levels.map(|group| held(group, "numfiles")), [4, 4, 6, 6, 2], "{backend}");
        leaf.uncharge(FILES, 4).unwrap();
        other.uncharge(FILES, 2).unwrap();
        assert_eq!(levels.map(|group| held(group, "numfiles")), [0; 5], "{backend}");
    });
}

/// R6.3: a flat hierarchy counts in its own group alone, and all who open it agree.
#[test]
fn a_flat_hierarchy_is_flat_for_all() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter,flat");
        let name = own.0.name().to_owned();
        let again = Hierarchy::open(&name, &Options::default().backend(backend)).unwrap();
        let leaf = again.create("top/leaf").unwrap();
        let top = own.0.open_group("top").unwrap();
        top.set_limits(FILES, None, Some(0)).unwrap();
        leaf.charge(FILES, 4, Severity::Limit).unwrap();
        assert_eq!((held(&leaf, "numfiles"), held(&top, "numfiles")), (4, 0), "{backend}");
        leaf.uncharge(FILES, 4).unwrap();
        // One that is not cannot become it, and one without counters has nothing to be flat.
        let other = bound_to(backend, "beancounter");
        let asked = Options::parse("flat").unwrap().backend(backend);
        let errno = |name| Hierarchy::open(name, &asked).unwrap_err().errno();
        assert_eq!(errno(other.0.name()), libc::EBUSY, "{backend}");
        let without = Own::new(backend).unwrap();
        assert_eq!(errno(without.0.name()), libc::EINVAL, "{backend}");
        let errno = without.0.root().charge(FILES, 1, Severity::Limit).unwrap_err().errno();
        assert_eq!(errno, libc::EOPNOTSUPP);
        assert!(without.0.root().control_files().unwrap().iter().all(|file| !file.starts_with("bc.")));
    });
}

/// R6.4: several at once, all or none; as much as there is; no more back than was taken.
#[test]
fn several_at_once_and_as_much_as_there_is() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("a").unwrap();
        group.set_limits(FILES, None, Some(10)).unwrap();
        group.set_limits(MEMORY, None, Some(100)).unwrap();
        let both = |files, memory| group.charge_many(&[(FILES, files), (MEMORY, memory)], Severity::Limit);
        let figures = || (held(&group, "numfiles"), held(&group, "kmemsize"));
        assert_eq!(both(4, 101).unwrap_err().errno(), libc::ENOMEM);
        assert_eq!(figures(), (0, 0), "{backend}");
        assert_eq!(both(11, 1).unwrap_err().errno(), libc::EMFILE);
        assert_eq!((failures(&group, "numfiles"), failures(&group, "kmemsize")), (1, 1), "{backend}");
        both(4, 100).unwrap();
        // One that is named twice is charged the sum; none at all is no charge.
        group.charge_many(&[(FILES, 2), (FILES, 1), (MEMORY, 0)], Severity::Limit).unwrap();
        group.charge_many(&[], Severity::Limit).unwrap();
        assert_eq!(figures(), (7, 100), "{backend}");
        assert_eq!(group.charge_up_to(FILES, 5, Severity::Limit).unwrap(), 3);
        assert_eq!(failures(&group, "numfiles"), 1);
        assert_eq!(group.charge_up_to(FILES, 5, Severity::Limit).unwrap(), 0);
        assert_eq!((figures(), failures(&group, "numfiles")), ((10, 100), 2), "{backend}");
        assert_eq!(group.read("bc.underflow").unwrap(), "0\n");
        group.uncharge_many(&[(FILES, 11), (MEMORY, 60)]).unwrap();
        assert_eq!((figures(), group.snapshot().unwrap().underflow), ((0, 40), 1), "{backend}");
        group.uncharge(MEMORY, 41).unwrap();
        assert_eq!((figures(), group.read("bc.underflow").unwrap().as_str()), ((0, 0), "2\n"), "{backend}");
        {
            let _charged = group.charged(FILES, 6, Severity::Limit).unwrap();
            assert_eq!(figures(), (6, 0));
        }
        assert_eq!(figures(), (0, 0), "{backend}");
    });
}

/// R6.5: what is charged in one step is seen in one, also the first time, when there are no
/// accounts yet.
#[test]
fn a_snapshot_is_of_one_instant() {
    let own = bound_to(BackendKind::Embedded, "beancounter");
    let groups: Vec<Group> = (0..50).map(|number| own.0.create(format!("g{number}")).unwrap()).collect();
    for group in &groups {
        // Known to the counters, but not these two resources of it.
        group.charge(Resource::PHYSPAGES, 1, Severity::Limit).unwrap();
        group.uncharge(Resource::PHYSPAGES, 1).unwrap();
    }
    let at = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (number, group) in (0..).zip(&groups) {
                at.store(number, Ordering::SeqCst);
                // The one who looks is at this group now.
                std::thread::yield_now();
                group.charge_many(&[(FILES, 3), (MEMORY, 3)], Severity::Limit).unwrap();
                // For as long as a look takes.
                (0..3).for_each(|_| drop(group.snapshot().unwrap()));
                group.uncharge_many(&[(MEMORY, 3), (FILES, 3)]).unwrap();
            }
            at.store(u64::MAX, Ordering::SeqCst);
        });
        while let Some(group) = usize::try_from(at.load(Ordering::SeqCst)).ok().and_then(|at| groups.get(at)) {
            let counters = group.snapshot().unwrap().counters;
            let held = |resource: Resource| counters[resource.number() as usize].held;
            assert_eq!(held(FILES), held(MEMORY), "{group}");
        }
    });
}

/// R6.2: the barrier tells once for each crossing, afterwards, and the limit asks before it
/// refuses; both may use the group.
#[test]
fn callbacks_come_at_the_barrier_and_the_limit() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let leaf = own.0.create("top/leaf").unwrap();
        let top = own.0.open_group("top").unwrap();
        top.set_limits(FILES, Some(10), Some(20)).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let hits = Arc::clone(&told);
        own.0
            .on_barrier(FILES, move |group, resource, amount| {
                hits.lock().unwrap().push((group.path().to_string(), resource, amount, held(group, "numfiles")));
            })
            .unwrap();
        let charge = |amount, severity| leaf.charge(FILES, amount, severity).map_err(|error| error.errno());
        let crossed = |amount, held| vec![("/top".to_owned(), FILES, amount, held)];
        charge(10, Severity::Limit).unwrap();
        assert_eq!(*told.lock().unwrap(), [], "{backend}: up to the barrier is not over it");
        charge(1, Severity::Limit).unwrap();
        charge(1, Severity::Limit).unwrap();
        assert_eq!(*told.lock().unwrap(), crossed(1, 11), "{backend}");
        leaf.uncharge(FILES, 2).unwrap();
        told.lock().unwrap().clear();
        charge(4, Severity::Force).unwrap();
        assert_eq!(*told.lock().unwrap(), [], "{backend}: FORCE tells nobody");
        leaf.uncharge(FILES, 8).unwrap();
        leaf.charge_many(&[(MEMORY, 1), (FILES, 5)], Severity::Limit).unwrap();
        assert_eq!(*told.lock().unwrap(), crossed(5, 11), "{backend}: again, after it was below");

        let asked = Arc::new(AtomicU64::new(0));
        let (count, to_free) = (Arc::clone(&asked), leaf.clone());
        own.0
            .on_limit(FILES, move |group, resource, amount| {
                assert_eq!((group.path().to_string().as_str(), resource), ("/top", FILES));
                count.fetch_add(amount, Ordering::SeqCst);
                // 100 is hopeless; for less, as much is freed.
                amount < 100 && to_free.uncharge(FILES, amount).is_ok()
            })
            .unwrap();
        charge(9, Severity::Limit).unwrap();
        assert_eq!((asked.load(Ordering::SeqCst), failures(&top, "numfiles")), (0, 0));
        charge(2, Severity::Limit).unwrap();
        assert_eq!((asked.load(Ordering::SeqCst), held(&top, "numfiles")), (2, 20), "{backend}");
        assert_eq!(failures(&top, "numfiles"), 0, "{backend}: the retry went well");
        assert_eq!(charge(100, Severity::Limit), Err(libc::EMFILE));
        assert_eq!((asked.load(Ordering::SeqCst), failures(&top, "numfiles")), (102, 1), "{backend}");
        // One that frees too little is asked once, not again and again.
        let again = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&again);
        own.0.on_limit(FILES, move |_, _, _| count.fetch_add(1, Ordering::SeqCst) < 100).unwrap();
        assert_eq!(charge(1, Severity::Limit), Err(libc::EMFILE));
        assert_eq!((again.load(Ordering::SeqCst), failures(&top, "numfiles")), (1, 2), "{backend}");
        leaf.uncharge_many(&[(FILES, 20), (MEMORY, 1)]).unwrap();
    });
}

/// R6.7, R6.8, R6.9: whoever is frozen or killed while charging, wherever that is, keeps
/// nobody waiting and nothing that is not his.
#[test]
fn a_frozen_charger_stalls_nobody() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let stopped = own.0.create("top/stopped").unwrap();
        let running = own.0.create("top/running").unwrap();
        let top = own.0.open_group("top").unwrap();
        top.set_limits(FILES, None, Some(1000)).unwrap();
        for round in 0..20 {
            let mut spinner = Charger::start(CHARGER, &own.0);
            stopped.attach(spinner.pid()).unwrap();
            spinner.ask("spin /top/stopped numfiles").unwrap();
            running.charge(FILES, round, Severity::Limit).unwrap();
            stopped.freeze(stage::PATIENCE).unwrap();
            // All that is left, whatever the one that stands still had set aside.
            let rest = running.charge_up_to(FILES, 2000, Severity::Limit).unwrap();
            let has = held(&stopped, "numfiles");
            assert!(has <= 1, "{backend}, round {round}: {has}");
            assert_eq!(round + rest + has, 1000, "{backend}, round {round}");
            assert_eq!(running.charge(FILES, 1, Severity::Limit).unwrap_err().errno(), libc::EMFILE);
            // Also while it is frozen; then nobody needs it any more.
            stopped.kill(libc::SIGKILL).unwrap();
            spinner.kill();
            stopped.thaw().unwrap();
            assert_eq!(running.charge_up_to(FILES, 2, Severity::Limit).unwrap(), has, "{backend}, round {round}");
            running.uncharge(FILES, 1000).unwrap();
            assert_eq!(held(&top, "numfiles"), 0, "{backend}, round {round}");
        }
    });
}

/// R6.1: a named resource is the same for all who share the hierarchy.
#[test]
fn named_resources_are_agreed_on() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("a").unwrap();
        let errno = |name: &str, unit: &str| own.0.register_resource(name, unit).unwrap_err().errno();
        for (name, unit) in [("", "count"), ("Upper", "count"), ("a.b", "count"), ("a/b", "count"), ("1st", "count")] {
            assert_eq!(errno(name, unit), libc::EINVAL, "{name:?}");
        }
        assert_eq!(errno(&"n".repeat(33), "count"), libc::EINVAL);
        assert_eq!(errno("n", ""), libc::EINVAL);
        let longest = "n".repeat(32);
        let number = own.0.register_resource(&longest, &"u".repeat(16)).unwrap();
        assert_eq!(own.0.resource(&longest).unwrap(), number);
        let connections = own.0.register_resource("connections", "count").unwrap();
        assert_eq!(errno("connections", "pages"), libc::EEXIST);
        assert_eq!(own.0.register_resource("numfiles", "count").unwrap(), FILES);
        assert_eq!(own.0.resource("nosuch").unwrap_err().errno(), libc::ENOENT);
        let mut other = Charger::start(CHARGER, &own.0);
        assert_eq!(other.ask("register connections count"), Ok(connections.number().to_string()), "{backend}");
        assert_eq!(other.ask("register connections bytes"), Err(libc::EEXIST));
        let fresh = other.ask("register leases count").unwrap();
        assert_eq!(own.0.resource("leases").unwrap().number().to_string(), fresh, "{backend}");
        other.ask("charge /a leases 3").unwrap();
        assert_eq!(held(&group, "leases"), 3);
        assert!(group.control_files().unwrap().contains(&"bc.leases.limit".to_owned()));
        let names: Vec<String> = own.0.resources().unwrap().into_iter().map(|info| info.name).collect();
        assert_eq!(names[..5], ["kmemsize", "privvmpages", "physpages", "numtasks", "numfiles"]);
        assert_eq!(names[5..], [longest.as_str(), "connections", "leases"]);
    });
}

/// R6.7: what a process holds ends with it, and what a group keeps does not; a limit holds
/// over all of them.
#[test]
fn charges_of_the_dead_are_given_back() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("top/leaf").unwrap();
        let top = own.0.open_group("top").unwrap();
        top.set_limits(FILES, None, Some(10)).unwrap();
        let mut one = Charger::start(CHARGER, &own.0);
        let mut other = Charger::start(CHARGER, &own.0);
        one.ask("charge /top/leaf numfiles 5").unwrap();
        one.ask("keep /top/leaf numfiles 2").unwrap();
        assert_eq!(other.ask("charge /top/leaf numfiles 4"), Err(libc::EMFILE), "{backend}");
        other.ask("charge /top/leaf numfiles 3").unwrap();
        assert_eq!(held(&top, "numfiles"), 10, "{backend}");
        // The next who needs it has it, without anybody having looked in between.
        one.kill();
        other.ask("charge /top/leaf numfiles 5").unwrap();
        assert_eq!(other.ask("charge /top/leaf numfiles 1"), Err(libc::EMFILE), "{backend}");
        assert_eq!(other.ask("fork /top/leaf"), Err(libc::EMFILE));
        other.ask("uncharge /top/leaf numfiles 1").unwrap();
        assert_eq!(other.ask("fork /top/leaf"), Ok(libc::ECHILD.to_string()), "{backend}: a child has no handle");
        // Another program, the same process: it holds what it held.
        other.ask("exec").unwrap();
        assert_eq!(other.ask("read /top/leaf bc.numfiles.held"), Ok("10".into()), "{backend}");
        other.ask("uncharge /top/leaf numfiles 3").unwrap();
        assert_eq!(held(&group, "numfiles"), 7, "{backend}");
        other.kill();
        assert_eq!((held(&group, "numfiles"), held(&top, "numfiles")), (2, 2), "{backend}");
        // Anybody may take back what the group keeps.
        group.uncharge(FILES, 2).unwrap();
        assert_eq!((held(&group, "numfiles"), held(&own.0.root(), "numfiles")), (0, 0), "{backend}");
        assert_eq!(group.snapshot().unwrap().underflow, 0, "{backend}");
    });
}

/// R6.1: ten thousand resources, and each is found.
#[test]
fn ten_thousand_resources_are_known() {
    let own = bound_to(BackendKind::Embedded, "beancounter");
    let group = own.0.create("a").unwrap();
    for number in 0..10_000 {
        own.0.register_resource(&format!("r{number}"), "count").unwrap();
    }
    let last = own.0.resource("r9999").unwrap();
    assert_eq!((last.number(), own.0.resources().unwrap().len()), (10_004, 10_005));
    group.charge(last, 3, Severity::Limit).unwrap();
    assert_eq!((held(&group, "r9999"), held(&own.0.root(), "r9999")), (3, 3));
    assert_eq!(group.read("bc.stat").unwrap().lines().count(), 10_007);
    assert!(group.control_files().unwrap().contains(&"bc.r5000.limits".to_owned()));
    group.uncharge(last, 3).unwrap();
    group.remove().unwrap();
}

/// R6.3: groups as deep as there are, and what is too deep for one step says so.
#[test]
fn deep_groups_are_charged() {
    let own = bound_to(BackendKind::Embedded, "beancounter");
    let path = ["d"; 40].join("/");
    let deep = own.0.create(&path).unwrap();
    deep.charge(FILES, 2, Severity::Limit).unwrap();
    deep.uncharge(FILES, 1).unwrap();
    assert_eq!((held(&deep, "numfiles"), held(&own.0.root(), "numfiles")), (1, 1));
    let all: Vec<(Resource, u64)> = (0..5).map(|number| (Resource::from_number(number), 1)).collect();
    match deep.charge_many(&all, Severity::Limit) {
        Ok(()) => deep.uncharge_many(&all).unwrap(),
        Err(error) => assert_eq!(error.errno(), libc::E2BIG, "{error}"),
    }
    deep.uncharge(FILES, 1).unwrap();
    assert_eq!(own.0.root().snapshot().unwrap().underflow, 0);
}

/// R6.2: FORCE is never refused, but no counter wraps.
#[test]
fn force_ends_where_counters_do() {
    let own = bound_to(BackendKind::Embedded, "beancounter");
    let group = own.0.create("a").unwrap();
    let most = 1 << 48;
    let mut charged = 0;
    let error = loop {
        match group.charge(MEMORY, most, Severity::Force) {
            Ok(()) => charged += 1,
            Err(error) => break error,
        }
        assert!(charged < 1_000_000, "something wraps");
    };
    assert_eq!(error.errno(), libc::EOVERFLOW, "{error}");
    assert!(charged >= 1);
    assert_eq!(held(&group, "kmemsize"), charged * most);
    (0..charged).for_each(|_| group.uncharge(MEMORY, most).unwrap());
    assert_eq!(held(&group, "kmemsize"), 0);
}
