//! References that die with their process (R1.7).

use std::fs::File;
use std::process::Command;

use cgf::{BackendKind, RemoveOptions};
use cgf_tests::backends::{Own, on_each};
use cgf_tests::driver::{Driver, Surface};
use cgf_tests::stage;

/// R1.7: the holder is killed while a child of its lives on, with copies of all
/// its descriptors; the group can be removed at once.
#[test]
fn a_reference_ends_with_its_holder() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("held").unwrap();
        let mut driver = Driver::start(Surface::Rust.command().unwrap()).unwrap();
        let name = own.0.name().to_str().unwrap().to_owned();
        driver.ask(&["hierarchy", &name, &format!("backend={backend}")]).unwrap();
        driver.ask(&["reference", "held"]).unwrap();
        let child: i32 = driver.ask(&["fork_sleeper"]).unwrap().trim().parse().unwrap();
        let refused = group.remove().unwrap_err();
        assert_eq!(refused.errno(), libc::EBUSY, "{backend}");
        assert!(refused.message().contains(&driver.pid().to_string()), "{refused}");

        // SAFETY: our own child, which is waited for below.
        unsafe { libc::kill(driver.pid(), libc::SIGKILL) };
        let holder = driver.pid();
        stage::wait_for("the holder to be dead", || stage::has_ended(holder).then_some(())).unwrap();
        assert!(!stage::has_ended(child), "the child must live for this to prove something");
        let removed = group.remove();
        // SAFETY: the child that the driver made for us; it lives until now.
        unsafe { libc::kill(child, libc::SIGKILL) };
        driver.end();
        removed.unwrap_or_else(|error| panic!("on {backend}: {error}"));
    });
}

/// R1.7: takers and a remover at once; whoever got a reference has a group.
#[test]
fn a_reference_is_of_a_group_that_stays() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        for _ in 0..200 {
            let group = own.0.create("passing").unwrap();
            std::thread::scope(|scope| {
                let takers: Vec<_> = (0..2).map(|_| scope.spawn(|| group.reference())).collect();
                let removed = group.remove();
                let taken: Vec<_> = takers.into_iter().map(|taker| taker.join().unwrap()).collect();
                let held = taken.iter().filter(|taken| taken.is_ok()).count();
                for error in taken.iter().filter_map(|taken| taken.as_ref().err()) {
                    assert_eq!(error.errno(), libc::ENODEV, "{error}");
                }
                match removed {
                    Ok(()) => assert_eq!(held, 0, "on {backend}: a reference on what is gone"),
                    Err(error) => assert_eq!(error.errno(), libc::EBUSY, "{error}"),
                }
            });
            match group.remove_with(RemoveOptions::default()) {
                Ok(()) => {}
                Err(error) => assert_eq!(error.errno(), libc::ENODEV, "{error}"),
            }
        }
    });
}

/// R1.7: whoever cannot look at the holder does not take it for dead.
#[test]
fn a_holder_that_cannot_be_looked_at_is_no_dead_one() {
    on_each(|backend| {
        // In a process of its own: descriptors are everybody's.
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "short_of_descriptors", "--nocapture"])
            .env("CGF_TEST_SHORT", backend.to_string())
            .status();
        assert!(ended.unwrap().success(), "{backend}");
    });
}

/// Not a test: what the one above starts.
#[test]
fn short_of_descriptors() {
    let Ok(backend) = std::env::var("CGF_TEST_SHORT") else { return };
    let own = Own::new(backend.parse::<BackendKind>().unwrap()).unwrap();
    let group = own.0.create("held").unwrap();
    let reference = group.reference().unwrap();
    let mut enough = false;
    for free in 0..10 {
        let limit = libc::rlimit { rlim_cur: 100, rlim_max: 100 };
        // SAFETY: the limit outlives the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        taken.truncate(taken.len() - free);
        let refused = group.remove().unwrap_err();
        enough |= refused.errno() == libc::EBUSY;
    }
    assert!(enough, "more than ten descriptors for a removal");
    drop(reference);
    group.remove().unwrap();
}
