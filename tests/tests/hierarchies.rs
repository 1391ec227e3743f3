//! Opening, sharing, adopting and ending hierarchies.

use std::time::Duration;

use cgf::{BackendKind, Hierarchy, Options, State};
use cgf_tests::backends::{Own, on, on_each, start};
use cgf_tests::stage;

const KERNEL: [BackendKind; 2] = [BackendKind::Cgroup2, BackendKind::Cgroup1];

/// R1.1: `auto` takes the first backend that works, and a name means one place.
#[test]
fn auto_takes_what_doctor_says() {
    let works = cgf::doctor().into_iter().find(|found| found.trial.is_ok()).unwrap();
    let name = stage::unique("auto");
    let hierarchy = Hierarchy::open(&name, &Options::default()).unwrap();
    assert_eq!(hierarchy.backend_kind(), works.backend);
    assert_eq!(hierarchy.directory(), works.place.unwrap().join(&name));
    let again = Hierarchy::open(&name, &Options::parse("freezer,signal").unwrap()).unwrap();
    assert_eq!(again.directory(), hierarchy.directory());
    assert!(Hierarchy::all(&Options::default()).iter().any(|(other, _)| *other == *name));
    hierarchy.unmount().unwrap();
    assert_eq!(again.unmount().unwrap_err().errno(), libc::ENODEV);
    assert_eq!(Hierarchy::open_existing(&name, &Options::default()).unwrap_err().errno(), libc::ENOENT);
}

/// R1.1: an existing hierarchy is opened where it is, whatever works best.
#[test]
fn a_name_is_found_where_it_was_made() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let found = Hierarchy::open(own.0.name(), &Options::default()).unwrap();
        assert_eq!(found.backend_kind(), backend);
    });
}

/// R1.1: within one system, a subsystem has one hierarchy; without, no limit.
#[test]
fn a_system_binds_a_subsystem_once() {
    on_each(|backend| {
        let state = std::env::temp_dir().join(stage::unique("system"));
        let in_system = |words: &str| {
            let text = format!("{words},backend={backend},state={}", state.display());
            Hierarchy::open(stage::unique("bound"), &Options::parse(text).unwrap())
        };
        let one = in_system("freezer").unwrap();
        assert_eq!(in_system("freezer").unwrap_err().errno(), libc::EBUSY, "{backend}");
        assert_eq!(in_system("freezer,signal").unwrap_err().errno(), libc::EBUSY, "{backend}");
        let two = in_system("signal").unwrap();
        // Outside of the system the name is taken.
        let outside = Options::default().backend(backend);
        if backend != BackendKind::Embedded {
            assert_eq!(Hierarchy::open(one.name(), &outside).unwrap_err().errno(), libc::EBUSY, "{backend}");
        }
        one.unmount().unwrap();
        let three = in_system("freezer").unwrap();
        two.unmount().unwrap();
        three.unmount().unwrap();
        std::fs::remove_dir_all(&state).unwrap();
        assert!(Hierarchy::all(&outside).iter().all(|(name, _)| !name.display().to_string().starts_with("bound")));
    });
}

/// A group that somebody else made is opened in place, and left in place.
#[test]
fn a_directory_is_adopted() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let container = own.0.create("container").unwrap();
        let pid = start(&container, &["spin"]);
        let directory = own.0.directory().join("container");

        let adopted = Hierarchy::adopt(&directory, &Options::default()).unwrap();
        assert_eq!(adopted.backend_kind(), backend);
        adopted.root().freeze(Duration::from_secs(5)).unwrap();
        assert_eq!(container.state().unwrap(), State::Frozen);
        assert!(adopted.group_of(pid).unwrap().path().is_root());
        // R1.2: outside of the adopted directory is no group.
        assert_eq!(adopted.group_of(0).unwrap_err().errno(), libc::ESRCH);
        adopted.root().thaw().unwrap();
        adopted.unmount().unwrap();
        assert!(directory.is_dir());

        if backend == BackendKind::Embedded {
            return;
        }
        let of_pid = Hierarchy::adopt_group_of(pid, &Options::default().backend(backend)).unwrap();
        assert_eq!(of_pid.directory(), directory);
        let other = if backend == BackendKind::Cgroup2 { BackendKind::Cgroup1 } else { BackendKind::Cgroup2 };
        let wrong = Hierarchy::adopt(&directory, &Options::default().backend(other));
        assert_eq!(wrong.unwrap_err().errno(), libc::EINVAL);
    });
}

/// R1.2: the kernel's own root is neither frozen nor killed. (The signal here
/// is 0, and the file that would freeze does not exist: nothing could go wrong.)
#[test]
fn the_kernels_own_root_is_left_alone() {
    on(&KERNEL, |backend| {
        let own = Own::new(backend).unwrap();
        let mount = own.0.directory().parent().unwrap().parent().unwrap().to_owned();
        let kernel = Hierarchy::adopt(&mount, &Options::default()).unwrap();
        assert_eq!(kernel.root().state().unwrap(), State::Thawed);
        assert_eq!(kernel.root().kill(0).unwrap_err().errno(), libc::EINVAL);
        assert_eq!(
            kernel
                .root()
                .freeze_with(cgf::FreezeOptions::within(Duration::ZERO).with_caller(true))
                .unwrap_err()
                .errno(),
            libc::EINVAL
        );
    });
}

/// R1.13: a delegated directory works for an ordinary user, within its bounds.
#[test]
fn an_ordinary_user_works_in_a_delegated_directory() {
    use cgf_tests::driver::{Driver, Surface};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    if !is_root() {
        eprintln!("skipped: only root can delegate");
        return;
    }
    on(&KERNEL, |backend| {
        let own = Own::new(backend).unwrap();
        let delegated = own.0.create("delegated").unwrap();
        own.0.create("delegated/init").unwrap();
        let directory = own.0.directory().join("delegated");
        for place in [directory.clone(), directory.join("init")] {
            std::os::unix::fs::chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
            for file in ["cgroup.procs", "cgroup.threads", "tasks", "freezer.state"] {
                let file = place.join(file);
                if file.exists() {
                    std::os::unix::fs::chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
                }
            }
        }
        // A program that anybody may execute, wherever the build directory is.
        let programs = std::env::temp_dir().join(stage::unique("programs"));
        std::fs::create_dir(&programs).unwrap();
        std::fs::set_permissions(&programs, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program = programs.join("driver");
        let actor = programs.join("actor");
        copy(Surface::Rust.command().unwrap().get_program(), &program);
        copy(stage::actor().unwrap().as_os_str(), &actor);

        let mut command = std::process::Command::new(&program);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        let mut driver = Driver::start(command).unwrap();
        own.0.open_group("delegated/init").unwrap().attach(driver.pid()).unwrap();
        let errno =
            |answer: Result<String, cgf_tests::driver::Failure>| answer.err().map_or(0, |failure| failure.errno);

        driver.ask(&["hierarchy", "mine", &format!("root={}", directory.display())]).unwrap();
        driver.ask(&["create", "job/1"]).unwrap();
        let pid: i32 =
            driver.ask(&["spawn", "job/1", &actor.display().to_string(), "spin"]).unwrap().trim().parse().unwrap();
        stage::wait_until_ready(pid).unwrap();
        driver.ask(&["freeze", "job", "5000"]).unwrap();
        assert_eq!(driver.ask(&["state", "job/1"]).unwrap(), "FROZEN");
        driver.ask(&["thaw", "job"]).unwrap();
        driver.ask(&["create", "other"]).unwrap();
        driver.ask(&["attach", "other", &pid.to_string()]).unwrap();
        // R1.13: somebody else's process, and a place that is not delegated.
        let root_process = std::process::id().to_string();
        assert_eq!(errno(driver.ask(&["attach", "other", &root_process])), libc::EACCES);
        driver.ask(&["kill", "/", "0"]).unwrap();
        driver.ask(&["remove", "other", "kill"]).unwrap();
        driver.ask(&["remove", "job", "recursive"]).unwrap();
        let above = own.0.directory().display().to_string();
        driver.ask(&["hierarchy", "above", &format!("root={above}")]).unwrap();
        if backend == BackendKind::Cgroup2 {
            // Who may not read the freeze file is still told of the freeze.
            let private = own.0.create("private").unwrap();
            assert_eq!(driver.ask(&["state", "private"]).unwrap(), "THAWED");
            private.freeze(Duration::from_secs(5)).unwrap();
            assert_eq!(driver.ask(&["state", "private"]).unwrap(), "FROZEN");
        }
        assert_eq!(errno(driver.ask(&["create", "x"])), libc::EACCES);
        driver.end();
        std::fs::remove_dir_all(&programs).unwrap();
        drop(delegated);
    });
}

/// R3.5, R2.5: with a mount from outside of the caller's cgroup namespace, where
/// `/proc/PID/cgroup` names other paths, who is in which group is still known.
#[test]
fn a_cgroup_namespace_hides_nobody() {
    use cgf_tests::driver::Driver;
    if !is_root() {
        eprintln!("skipped: only root makes a cgroup namespace");
        return;
    }
    on(&KERNEL, |backend| {
        let own = Own::new(backend).unwrap();
        own.0.create("inside").unwrap();
        let target = own.0.create("target").unwrap();
        let pid = start(&target, &["spin"]);
        let driver = cgf_tests::driver::Surface::Rust.command().unwrap().get_program().to_owned();
        let procs = own.0.directory().join("inside/cgroup.procs");
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg("echo $$ > $0 && exec unshare --cgroup -- $1").arg(&procs).arg(&driver);
        let mut driver = Driver::start(command).unwrap();
        let root = format!("root={}", own.0.directory().display());
        driver.ask(&["hierarchy", "inside", &root]).unwrap();
        let errno =
            |answer: Result<String, cgf_tests::driver::Failure>| answer.err().map_or(0, |failure| failure.errno);
        assert_eq!(errno(driver.ask(&["freeze", "inside", "1000"])), libc::EDEADLK, "{backend}");
        assert_eq!(driver.ask(&["group_of", &pid.to_string()]).unwrap(), "/target", "{backend}");
        driver.ask(&["attach", "inside", &pid.to_string()]).unwrap();
        driver.ask(&["attach", "target", &pid.to_string()]).unwrap();
        driver.ask(&["kill", "target", "9"]).unwrap();
        stage::wait_for("the actor's end", || stage::has_ended(pid).then_some(())).unwrap();
        driver.end();
    });
}

/// By another process: a descriptor of ours that is open for writing could be
/// inherited by a child of another test, and a file that somebody may write is
/// not executed.
fn copy(from: &std::ffi::OsStr, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "copying {}", from.display());
}

fn is_root() -> bool {
    // SAFETY: takes and touches nothing.
    unsafe { libc::geteuid() == 0 }
}

/// What a program leaves behind when it ends stays in its group (R1.2), on the
/// embedded backend too, if its end is waited for by the library.
#[test]
fn what_outlives_its_parent_stays_in_the_group() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("left").unwrap();
        let child = group.spawn(cgf::Spawn::new("sh").arg("-c").arg("sleep 60 & sleep 60 &")).unwrap();
        child.wait(stage::PATIENCE).unwrap().unwrap();
        assert_eq!(group.procs().unwrap().len(), 2, "{backend}");
        group.freeze(Duration::from_secs(5)).unwrap();
        group.kill(libc::SIGKILL).unwrap();
        assert!(group.procs().unwrap().is_empty(), "{backend}");
    });
}
