//! BeanCounters as text: the control files, the kernel's figures and samples among them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;

use cgf::{Group, Resource, Severity};
use cgf_tests::backends::{on_each, start};
use cgf_tests::charger::{failures, held};
use cgf_tests::registered::bound_to;
use cgf_tests::stage::{self, wait_for};

const FILES: Resource = Resource::NUMFILES;

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
        let pid = start(&group, &["threads", "1"]);
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
        std::fs::write(&kernels, "7").unwrap();
        assert_eq!(read("bc.numtasks.limits"), "3 7\n", "{backend}: somebody else's word is the kernel's, too");
        group.write("bc.numtasks.limit", "max").unwrap();
        assert_eq!(std::fs::read_to_string(&kernels).unwrap(), "max\n");
        assert_eq!(group.write("bc.numtasks.limit", "2").unwrap_err().errno(), libc::EINVAL, "below the barrier");
        assert_eq!(std::fs::read_to_string(&kernels).unwrap(), "max\n", "{backend}: nothing half-done");
        group.kill(libc::SIGKILL).unwrap();
        shell.wait().unwrap();
        assert!(stage::has_ended(pid));
        assert!(failures(&group, "numtasks") > 0, "{backend}");
        group.write("bc.numtasks.failcnt", "0").unwrap();
        assert_eq!(failures(&group, "numtasks"), 0, "{backend}: the kernel's count goes on, and ours begins anew");

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

fn own_file(group: &Group, controller: &str, file: &str) -> PathBuf {
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
        let pid = start(&group, &["threads", "3"]);
        // It may touch a page between one look and the other.
        wait_for("the samples to be what /proc shows", || {
            let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count() as u64;
            let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
            let statm: Vec<u64> = statm.split_whitespace().map(|word| word.parse().unwrap()).collect();
            let shown = [count("task"), count("fd"), statm[1], statm[5]];
            (shown[0] > 3 && all.map(|resource| sampled(&top, resource)) == shown).then_some(())
        })
        .unwrap();
        assert_eq!((held(&group, "numfiles"), group.write("bc.numfiles.sampled", "1").is_err()), (0, true));
        group.kill(libc::SIGKILL).unwrap();
    });
}
