//! BeanCounters: what charges, their refusals and their figures mean.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cgf::{Group, Hierarchy, Options, RemoveOptions, Resource, Severity};
use cgf_tests::backends::{Own, on_each};
use cgf_tests::charger::Charger;
use cgf_tests::registered::bound_to;
use cgf_tests::stage::{self, wait_for};

const CHARGER: &str = env!("CARGO_BIN_EXE_charger");
const FILES: Resource = Resource::NUMFILES;
const MEMORY: Resource = Resource::KMEMSIZE;

fn held(group: &Group, resource: &str) -> u64 {
    group.read(&format!("bc.{resource}.held")).unwrap().trim().parse().unwrap()
}

fn failures(group: &Group, resource: &str) -> u64 {
    group.read(&format!("bc.{resource}.failcnt")).unwrap().trim().parse().unwrap()
}

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

/// R6.6: the files, what they take and what they refuse.
#[test]
fn files_show_and_set_the_figures() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("a").unwrap();
        let read = |what: &str| group.read(&format!("bc.numfiles.{what}")).unwrap();
        let write =
            |what: &str, text: &str| group.write(&format!("bc.numfiles.{what}"), text).map_err(|error| error.errno());
        assert_eq!(read("limits"), "max max\n", "{backend}");
        assert_eq!(write("limit", "100\n"), Ok(()));
        assert_eq!(write("barrier", "101"), Err(libc::EINVAL));
        assert_eq!(write("barrier", "90"), Ok(()));
        assert_eq!(write("limit", "89"), Err(libc::EINVAL));
        assert_eq!(read("limits"), "90 100\n", "{backend}");
        // Both at once, which no order of two writes could do.
        assert_eq!(write("limits", "200 300"), Ok(()));
        for wrong in ["300 200", "1", "1 2 3", "", "a b", "-1 5", "1.5 2"] {
            assert_eq!(write("limits", wrong), Err(libc::EINVAL), "{wrong:?}");
        }
        for wrong in ["", "many", "-1", "1 2", "18446744073709551616", "281474976710657"] {
            assert_eq!(write("limit", wrong), Err(libc::EINVAL), "{wrong:?}");
        }
        assert_eq!(write("limit", &"1".repeat(64)), Err(libc::E2BIG));
        assert_eq!(write("limit", &" ".repeat(63)), Err(libc::EINVAL));
        assert_eq!(write("held", "0"), Err(libc::EACCES));
        assert_eq!(read("limits"), "200 300\n", "{backend}: a refused write changes nothing");
        assert_eq!(write("limits", "max 9223372036854775807\n"), Ok(()));
        assert_eq!((read("barrier"), read("limit")), ("max\n".into(), "max\n".into()));
        assert_eq!(write("limit", "281474976710656"), Ok(()));

        assert_eq!(write("limits", "5 8"), Ok(()));
        group.charge(FILES, 8, Severity::Limit).unwrap();
        group.uncharge(FILES, 6).unwrap();
        group.charge(FILES, 7, Severity::Limit).unwrap_err();
        let marks = || (read("held"), read("maxheld"), read("minheld"), read("failcnt"));
        let shown = |held: &str, most: &str, least: &str, failures: &str| {
            (format!("{held}\n"), format!("{most}\n"), format!("{least}\n"), format!("{failures}\n"))
        };
        assert_eq!(marks(), shown("2", "8", "0", "1"), "{backend}");
        assert_eq!(write("maxheld", "3"), Err(libc::EINVAL));
        assert_eq!(write("maxheld", "0\n"), Ok(()));
        assert_eq!(marks(), shown("2", "2", "2", "1"), "{backend}");
        group.charge(FILES, 2, Severity::Limit).unwrap();
        group.uncharge(FILES, 3).unwrap();
        assert_eq!(marks(), shown("1", "4", "1", "1"), "{backend}");
        assert_eq!(write("minheld", "0"), Ok(()));
        assert_eq!(write("failcnt", "0"), Ok(()));
        assert_eq!(marks(), shown("1", "1", "1", "0"), "{backend}");
        group.uncharge(FILES, 1).unwrap();

        // Lowering the limit below what is held is no error; more is refused.
        group.charge(FILES, 5, Severity::Limit).unwrap();
        assert_eq!(write("limits", "1 2"), Ok(()));
        assert_eq!((read("held"), group.charge(FILES, 1, Severity::Limit).is_err()), ("5\n".into(), true));
        group.uncharge(FILES, 5).unwrap();

        let of_each = ["barrier", "enforced", "failcnt", "held", "limit", "limits", "maxheld", "minheld"];
        let files = group.control_files().unwrap();
        for resource in ["kmemsize", "privvmpages", "physpages", "numtasks", "numfiles"] {
            assert!(of_each.iter().all(|what| files.contains(&format!("bc.{resource}.{what}"))), "{files:?}");
            assert_eq!(files.contains(&format!("bc.{resource}.sampled")), resource != "kmemsize");
        }
        assert!(files.iter().all(|file| group.read(file).is_ok() || file == "signal.kill"), "{backend}");
        for missing in
            ["bc.nosuch.held", "bc.numfiles", "bc.numfiles.", "bc.", "bc.numfiles.held.x", "bc.kmemsize.sampled"]
        {
            assert_eq!(group.read(missing).unwrap_err().errno(), libc::ENOENT, "{missing}");
        }
    });
}

/// R6.6: who sets the barrier and who sets the limit do not undo each other's.
#[test]
fn barrier_and_limit_are_set_by_several_at_once() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("a").unwrap();
        let last = 500;
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=last).for_each(|n| group.write("bc.numfiles.barrier", &n.to_string()).unwrap()));
            scope
                .spawn(|| (1..=last).for_each(|n| group.write("bc.numfiles.limit", &format!("{}", n + last)).unwrap()));
        });
        assert_eq!(group.read("bc.numfiles.limits").unwrap(), format!("{last} {}\n", 2 * last), "{backend}");
    });
}

/// R6.5: the table is read as such tables have always been read.
#[test]
fn the_table_is_that_of_user_beancounters() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("a").unwrap();
        own.0.register_resource("connections", "count").unwrap();
        group.set_limits(FILES, Some(90), Some(100)).unwrap();
        group.charge(FILES, 42, Severity::Limit).unwrap();
        let text = group.read("bc.stat").unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Version: 2.5");
        assert_eq!(
            lines[1],
            "       uid  resource                     held              maxheld              barrier                limit              failcnt"
        );
        // A user's rows begin with the one that has its number: by words, as scripts do.
        let mut user = None;
        let mut rows = std::collections::HashMap::new();
        for line in &lines[2..] {
            let mut words: Vec<&str> = line.split_whitespace().collect();
            if let Some(number) = words[0].strip_suffix(':') {
                user = Some(number.parse::<u32>().unwrap());
                words.remove(0);
            }
            let figures: Vec<i64> = words[1..].iter().map(|word| word.parse().unwrap()).collect();
            assert_eq!(figures.len(), 5, "{line:?}");
            rows.insert(words[0].to_owned(), figures);
        }
        assert_eq!((user, rows.len()), (Some(0), 6), "{backend}: {text}");
        assert_eq!(rows["numfiles"], [42, 42, 90, 100, 0]);
        assert_eq!(rows["connections"], [0, 0, i64::MAX, i64::MAX, 0]);
        // By columns, as the kernel wrote them.
        assert!(lines[2].starts_with("        0:  kmemsize                        0 "), "{:?}", lines[2]);
        assert!(lines.iter().skip(1).all(|line| line.len() == 129), "{text}");
        group.uncharge(FILES, 42).unwrap();
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

/// What is charged keeps its group from being removed, and the dead keep nothing.
#[test]
fn a_group_that_holds_something_stays() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let leaf = own.0.create("top/leaf").unwrap();
        let top = own.0.open_group("top").unwrap();
        let all = RemoveOptions { kill: true, recursive: true };
        leaf.charge_kept(&[(FILES, 3)], Severity::Limit).unwrap();
        let refused = top.remove_with(all).unwrap_err();
        assert_eq!(refused.errno(), libc::EBUSY, "{backend}");
        assert!(refused.message().contains("holds 3 of numfiles"), "{refused}");
        assert_eq!(leaf.remove().unwrap_err().errno(), libc::EBUSY);
        own.0.open_group("top/leaf").unwrap();
        leaf.uncharge(FILES, 3).unwrap();
        let mut charger = Charger::start(CHARGER, &own.0);
        charger.ask("charge /top/leaf numfiles 5").unwrap();
        assert_eq!(leaf.remove().unwrap_err().errno(), libc::EBUSY, "{backend}");
        charger.kill();
        leaf.remove().unwrap();
        let gone = leaf.charge(FILES, 1, Severity::Limit).unwrap_err();
        assert_eq!(gone.errno(), libc::ENODEV, "{backend}: {gone}");
        assert_eq!(leaf.snapshot().unwrap_err().errno(), libc::ENODEV, "{backend}");
        // Its successor has no share in what it was.
        let leaf = own.0.create("top/leaf").unwrap();
        assert_eq!(leaf.read("bc.numfiles.maxheld").unwrap(), "0\n", "{backend}");
        leaf.charge(FILES, 1, Severity::Limit).unwrap();
        leaf.uncharge(FILES, 1).unwrap();
        // A member that charges is killed, and that is enough.
        let mut member = Charger::start(CHARGER, &own.0);
        member.ask("charge /top/leaf numfiles 5").unwrap();
        leaf.attach(member.pid()).unwrap();
        top.remove_with(all).unwrap();
        assert_eq!(held(&own.0.root(), "numfiles"), 0, "{backend}");
        // The root goes with its hierarchy, and the same holds.
        own.0.root().charge(FILES, 1, Severity::Limit).unwrap();
        assert_eq!(own.0.unmount().unwrap_err().errno(), libc::EBUSY, "{backend}");
        own.0.root().uncharge(FILES, 1).unwrap();
        let files = regions(&own);
        assert_eq!(files.len(), 1, "{backend}: {files:?}");
        own.0.unmount().unwrap();
        assert!(!files[0].exists(), "{backend}: {files:?}");
        assert_eq!(own.0.root().charge(FILES, 1, Severity::Limit).unwrap_err().errno(), libc::ENODEV, "{backend}");
    });
}

/// The files of the hierarchy's counters, which are named for its root.
fn regions(own: &Own) -> Vec<std::path::PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let Ok(inode) = std::fs::metadata(own.0.directory()).map(|found| found.ino()) else { return Vec::new() };
    let directory = directory_of_counters();
    let entries = std::fs::read_dir(directory).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let mut found: Vec<std::path::PathBuf> = entries.unwrap_or_default();
    let begin = format!("{inode:x}-");
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin)));
    found
}

fn directory_of_counters() -> std::path::PathBuf {
    // SAFETY: takes nothing and cannot fail.
    match unsafe { libc::geteuid() } {
        0 => "/run/cgf-counters".into(),
        user => [format!("/run/user/{user}"), format!("/tmp/cgf-{user}")]
            .map(|above| std::path::Path::new(&above).join("cgf-counters"))
            .into_iter()
            .find(|directory| directory.exists())
            .unwrap_or_default(),
    }
}

/// What went by a bare rmdir(2) gives back what it kept when the hierarchy is next opened.
#[test]
fn groups_that_went_behind_our_back_are_swept() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let leaf = own.0.create("top/leaf").unwrap();
        leaf.charge_kept(&[(FILES, 3)], Severity::Limit).unwrap();
        own.0.create("stays").unwrap().set_limits(FILES, None, Some(5)).unwrap();
        let directory = own.0.directory().join("top");
        for gone in [directory.join("leaf"), directory] {
            remove_behind_our_back(&gone);
        }
        assert_eq!(held(&own.0.root(), "numfiles"), 3, "{backend}");
        let mut other = Charger::start(CHARGER, &own.0);
        assert_eq!(other.ask("read / bc.numfiles.held"), Ok("0".into()), "{backend}");
        assert_eq!(other.ask("read /stays bc.numfiles.limit"), Ok("5".into()), "{backend}");
        assert_eq!(leaf.charge(FILES, 1, Severity::Limit).unwrap_err().errno(), libc::ENODEV, "{backend}");
    });
}

fn remove_behind_our_back(group: &std::path::Path) {
    // The embedded backend's groups have files, which a kernel's rmdir would not mind.
    if std::fs::remove_dir(group).is_err() {
        std::fs::remove_dir_all(group).unwrap();
    }
}

/// R6.11: where the kernel has a controller, its limit binds those who charge nothing,
/// and what is held is its figure; and the files say so.
#[test]
fn the_kernel_enforces_what_it_counts() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("a").unwrap();
        let read = |file: &str| group.read(file).unwrap();
        assert_eq!(read("bc.numfiles.enforced"), "library\n");
        let is_kernels = group.controller_fd("pids").is_ok();
        assert_eq!(read("bc.numtasks.enforced"), if is_kernels { "kernel\n" } else { "library\n" }, "{backend}");
        if !is_kernels {
            eprintln!("no controller for {backend}: nothing to see");
            return;
        }
        assert_eq!(read("bc.numtasks.limit"), "max\n");
        group.write("bc.numtasks.limits", "3 5").unwrap();
        let kernels = own_file(&group, "pids", "pids.max");
        assert_eq!(std::fs::read_to_string(&kernels).unwrap(), "5\n", "{backend}");
        // Forks until it may not, and knows nothing of us.
        let pid = cgf_tests::backends::start(&group, &["threads", "1"]);
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "read go; for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; wait"])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        group.attach(shell.id() as i32).unwrap();
        drop(shell.stdin.take());
        wait_for("the kernel to refuse", || (failures(&group, "numtasks") > 0).then_some(())).unwrap();
        assert_eq!(held(&group, "numtasks"), 5, "{backend}");
        let counter = group.snapshot().unwrap().counters.swap_remove(Resource::NUMTASKS.number() as usize);
        assert!(counter.by_kernel && counter.held == 5 && counter.maxheld >= 5, "{counter:?}");
        assert_eq!((counter.barrier, counter.limit), (Some(3), Some(5)));
        group.write("bc.numtasks.failcnt", "0").unwrap();
        std::fs::write(&kernels, "7").unwrap();
        assert_eq!(read("bc.numtasks.limits"), "3 7\n", "{backend}: somebody else's word is the kernel's, too");
        group.write("bc.numtasks.limit", "max").unwrap();
        assert_eq!(std::fs::read_to_string(&kernels).unwrap(), "max\n");
        assert_eq!(group.write("bc.numtasks.limit", "2").unwrap_err().errno(), libc::EINVAL, "below the barrier");
        assert_eq!(std::fs::read_to_string(&kernels).unwrap(), "max\n", "{backend}: nothing half-done");
        group.kill(libc::SIGKILL).unwrap();
        shell.wait().unwrap();
        assert!(stage::has_ended(pid));

        if group.controller_fd("memory").is_ok() {
            assert_eq!(read("bc.physpages.enforced"), "kernel\n", "{backend}");
            group.write("bc.physpages.limit", "2560").unwrap();
            assert_eq!(read("bc.physpages.limit"), "2560\n");
            let kernels = own_file(&group, "memory", "memory.limit_in_bytes");
            if let Ok(text) = std::fs::read_to_string(kernels) {
                assert_eq!(text.trim(), (2560 * 4096).to_string(), "{backend}");
            }
            group.write("bc.physpages.limit", "max").unwrap();
            assert_eq!(read("bc.physpages.limit"), "max\n", "{backend}");
        }
    });
}

fn own_file(group: &Group, controller: &str, file: &str) -> std::path::PathBuf {
    use std::os::fd::AsRawFd;
    let directory = group.controller_fd(controller).unwrap();
    std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).unwrap().join(file)
}

/// R6.11: what `/proc` shows of the processes, and is charged to nobody.
#[test]
fn samples_are_what_proc_shows() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let group = own.0.create("top/a").unwrap();
        let top = own.0.open_group("top").unwrap();
        let sampled = |group: &Group, resource: &str| -> u64 {
            group.read(&format!("bc.{resource}.sampled")).unwrap().trim().parse().unwrap()
        };
        let all = ["numtasks", "numfiles", "physpages", "privvmpages"];
        assert_eq!(all.map(|resource| sampled(&top, resource)), [0; 4], "{backend}");
        let pid = cgf_tests::backends::start(&group, &["threads", "3"]);
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count() as u64;
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        let statm: Vec<u64> = statm.split_whitespace().map(|word| word.parse().unwrap()).collect();
        assert!(tasks >= 3, "{tasks}");
        assert_eq!(all.map(|resource| sampled(&top, resource)), [tasks, files, statm[1], statm[5]], "{backend}");
        assert_eq!((held(&group, "numfiles"), group.write("bc.numfiles.sampled", "1").is_err()), (0, true));
        group.kill(libc::SIGKILL).unwrap();
    });
}

/// R6.12: a record that leads elsewhere, a directory that is not ours to use.
#[test]
fn counters_of_somebody_else_are_not_used() {
    on_each(|backend| {
        let own = bound_to(backend, "beancounter");
        let other = bound_to(backend, "beancounter");
        other.0.root().charge(FILES, 1, Severity::Limit).unwrap();
        let record = |of: &Own| {
            let directory = own_attribute(of.0.directory(), "user.cgf.counters");
            assert!(directory.is_some(), "{backend}");
            directory.unwrap()
        };
        set_attribute(own.0.directory(), "user.cgf.counters", &record(&other));
        let refused = own.0.root().charge(FILES, 1, Severity::Limit).unwrap_err();
        assert_eq!(refused.errno(), libc::EUCLEAN, "{backend}: {refused}");
        for wrong in ["", "../../etc/passwd", "1-2", "x"] {
            set_attribute(own.0.directory(), "user.cgf.counters", wrong.as_bytes());
            let errno = own.0.root().charge(FILES, 1, Severity::Limit).unwrap_err().errno();
            assert_eq!(errno, libc::EUCLEAN, "{backend}: {wrong:?}");
        }
        other.0.root().uncharge(FILES, 1).unwrap();
    });
}

fn own_attribute(directory: &std::path::Path, name: &str) -> Option<Vec<u8>> {
    let (path, name) = (c_string(directory), std::ffi::CString::new(name).unwrap());
    let mut value = vec![0_u8; 1024];
    // SAFETY: both strings end with NUL, and the buffer is as long as is said.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(length).ok()?);
    Some(value)
}

fn set_attribute(directory: &std::path::Path, name: &str, value: &[u8]) {
    let (path, name) = (c_string(directory), std::ffi::CString::new(name).unwrap());
    // SAFETY: both strings end with NUL, and the value is as long as is said.
    let done = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

fn c_string(path: &std::path::Path) -> std::ffi::CString {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap()
}
