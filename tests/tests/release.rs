//! Release agents, groups that remove themselves, and the monitor that sees to it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cgf::{BackendKind, EventKind, Group, Hierarchy, Options, Spawn, Subsystem};
use cgf_tests::backends::{Own, on, on_each, start};
use cgf_tests::stage::{self, PATIENCE, wait_for};
use cgf_tests::stream::{Stream, count, is, shown};

const KERNEL: [BackendKind; 2] = [BackendKind::Cgroup2, BackendKind::Cgroup1];

/// What the helpers of a test return: its own body unwraps it.
type Done<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A release agent that writes down what it is told.
struct Agent {
    directory: PathBuf,
}

impl Agent {
    /// Sets it in the hierarchy.
    fn of(own: &Own) -> Done<Agent> {
        let directory = std::env::temp_dir().join(stage::unique("agent"));
        std::fs::create_dir(&directory)?;
        let agent = Agent { directory };
        let program = agent.directory.join("agent");
        let log = agent.directory.join("log").display().to_string();
        std::fs::write(&program, format!("#!/bin/sh\necho \"$# $1 $HOME $PATH $(pwd)\" >> {log}\n"))?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        own.0.root().write("release_agent", &program.display().to_string())?;
        Ok(agent)
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until it was called so often, and not more.
    fn was_called(&self, times: usize) -> Done {
        let what = format!("call {times} of the release agent");
        wait_for(&what, || (self.lines().len() >= times).then_some(()))?;
        let lines = self.lines();
        if lines.len() == times { Ok(()) } else { Err(format!("called too often: {lines:?}").into()) }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Somebody comes and goes.
fn visit(group: &Group) -> Done {
    let child = group.spawn(Spawn::new("true"))?;
    child.wait(PATIENCE)?.ok_or("it did not end")?;
    Ok(())
}

/// Runs `test` while another thread of this process monitors.
fn monitored(own: &Own, test: impl FnOnce() -> Done) -> Done {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    let mut monitor = own.0.monitor()?;
    std::thread::scope(|scope| {
        let running = scope.spawn(|| monitor.run(|| stop.load(Ordering::Relaxed)));
        let done = {
            let _stop = Stop(&stop);
            test()
        };
        running.join().map_err(|_| "the monitor panicked")??;
        done
    })
}

/// A process that monitors a hierarchy, and is killed when this is dropped: this
/// very program, which then runs the one test below.
struct Elsewhere(Child);

impl Elsewhere {
    fn start(own: &Own) -> Done<Elsewhere> {
        let what = format!("{}:{}:{}", own.0.backend_kind(), std::process::id(), own.0.name().display());
        let child = Command::new(std::env::current_exe()?)
            .args(["--exact", "as_a_process_of_its_own", "--nocapture"])
            .env("CGF_TEST_MONITOR", what)
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Elsewhere(child))
    }

    fn kill(&mut self) -> Done {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Not a test: what [`Elsewhere`] starts. It ends with who started it.
#[test]
fn as_a_process_of_its_own() {
    let Ok(what) = std::env::var("CGF_TEST_MONITOR") else { return };
    let mut parts = what.splitn(3, ':');
    let backend: BackendKind = parts.next().unwrap().parse().unwrap();
    let parent: u32 = parts.next().unwrap().parse().unwrap();
    let options = Options::default().backend(backend);
    let hierarchy = Hierarchy::open_existing(parts.next().unwrap(), &options).unwrap();
    let mut monitor = hierarchy.monitor().unwrap();
    monitor.run(|| std::os::unix::process::parent_id() != parent).unwrap();
}

/// R1.11: each time that the group was emptied the agent is told, once, and with
/// the environment that it is promised; and nothing is left of it.
#[test]
fn the_agent_runs_once_for_each_emptying() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let agent = Agent::of(&own).unwrap();
        let group = own.0.create("web/1").unwrap();
        group.write("notify_on_release", "1").unwrap();
        monitored(&own, || {
            for cycle in 1..=200 {
                visit(&group)?;
                agent.was_called(cycle)?;
            }
            Ok(())
        })
        .unwrap();
        let line = "1 /web/1 / /sbin:/bin:/usr/sbin:/usr/bin /";
        assert!(agent.lines().iter().all(|said| said == line), "{:?}", agent.lines().first());
    });
}

/// R1.11: the monitor waits for its agents.
#[test]
fn an_agent_leaves_no_zombie() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let _agent = Agent::of(&own).unwrap();
        let group = own.0.create("g").unwrap();
        group.write("notify_on_release", "1").unwrap();
        let mut monitor = own.0.monitor().unwrap();
        visit(&group).unwrap();
        let pid = monitor.until_kind(EventKind::Notified, "/g").last().unwrap().pid.unwrap();
        wait_for("the agent to be waited for", || {
            assert!(monitor.next(Duration::from_millis(10)).unwrap().is_none_or(|event| event.pid.is_none()));
            stage::state_letter(pid).is_none().then_some(())
        })
        .unwrap();
    });
}

/// R1.11: whenever a monitor is killed, the next one does what it had not done
/// and nothing of what it had.
#[test]
fn a_killed_monitor_neither_loses_nor_repeats() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let agent = Agent::of(&own).unwrap();
        let group = own.0.create("web").unwrap();
        group.write("notify_on_release", "1").unwrap();
        let mut monitor = Elsewhere::start(&own).unwrap();
        let mut chance = Chance(u64::from(std::process::id()) + backend as u64);
        let mut killed_before = 0;
        for cycle in 1..=100 {
            visit(&group).unwrap();
            let until = Instant::now() + Duration::from_micros(chance.below(40_000));
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            monitor.kill().unwrap();
            killed_before += usize::from(agent.lines().len() < cycle);
            monitor = Elsewhere::start(&own).unwrap();
            agent.was_called(cycle).unwrap();
        }
        // Else this has tested nothing.
        assert!(killed_before > 0, "on {backend} no monitor was killed before its agent had begun");
        drop(monitor);
        assert_eq!(agent.lines().len(), 100, "{backend}");
    });
}

/// A few numbers without a pattern (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// R1.11: several monitors at once are one.
#[test]
fn two_monitors_report_once() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let agent = Agent::of(&own).unwrap();
        let group = own.0.create("web").unwrap();
        group.write("notify_on_release", "1").unwrap();
        let _others = [Elsewhere::start(&own).unwrap(), Elsewhere::start(&own).unwrap()];
        monitored(&own, || {
            for cycle in 1..=60 {
                visit(&group)?;
                agent.was_called(cycle)?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(agent.lines().len(), 60, "{backend}");
    });
}

/// R1.11: what was empty before the monitor came is reported, and what has never
/// been used is not.
#[test]
fn what_was_empty_already_is_reported() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let agent = Agent::of(&own).unwrap();
        let parent = own.0.create("parent").unwrap();
        parent.write("notify_on_release", "1").unwrap();
        let used = own.0.create("parent/used").unwrap();
        own.0.create("parent/unused").unwrap();
        visit(&used).unwrap();
        let mut monitor = own.0.monitor().unwrap();
        monitor.until_kind(EventKind::Notified, "/parent/used");
        agent.was_called(1).unwrap();
        // R1.11: the last group below is as good as the last task.
        used.remove().unwrap();
        own.0.open_group("parent/unused").unwrap().remove().unwrap();
        let seen = monitor.until_kind(EventKind::Notified, "/parent");
        assert_eq!(count(&seen, EventKind::Notified, "/parent/unused"), 0, "on {backend}: {}", shown(&seen));
        agent.was_called(2).unwrap();
        // And no monitor finds anything left to do.
        drop(monitor);
        let mut monitor = own.0.monitor().unwrap();
        own.0.create("fence").unwrap();
        let seen = monitor.until_kind(EventKind::Created, "/fence");
        assert_eq!(count(&seen, EventKind::Notified, "/parent"), 0);
        agent.was_called(2).unwrap();
    });
}

/// R1.11: `notify_on_release` goes from parent to child, 0 at the root;
/// `auto_delete` does not.
#[test]
fn settings_are_inherited_as_the_pioneers_ruled() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        assert_eq!(own.0.root().read("notify_on_release").unwrap(), "0\n");
        let parent = own.0.create("parent").unwrap();
        assert_eq!(parent.read("notify_on_release").unwrap(), "0\n");
        parent.write("notify_on_release", "1\n").unwrap();
        parent.write("auto_delete", "1").unwrap();
        let child = own.0.create("parent/child").unwrap();
        assert_eq!(child.read("notify_on_release").unwrap(), "1\n", "{backend}");
        assert_eq!(child.read("auto_delete").unwrap(), "0\n", "{backend}");
        child.write("notify_on_release", "0").unwrap();
        assert_eq!(child.read("notify_on_release").unwrap(), "0\n");
        assert_eq!(own.0.root().read("release_agent").unwrap(), "\n");
        let root = own.0.root();
        assert_eq!(root.write("release_agent", "agent").unwrap_err().errno(), libc::EINVAL);
        assert_eq!(root.write("auto_delete", "1").unwrap_err().errno(), libc::EINVAL);
    });
}

/// R1.11: groups that remove themselves, the inner one first, and what they have
/// counted; no agent hears of them.
#[test]
fn auto_delete_takes_nested_groups_away() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let agent = Agent::of(&own).unwrap();
        let outer = own.0.create("outer").unwrap();
        outer.write("notify_on_release", "1").unwrap();
        outer.write("auto_delete", "1").unwrap();
        let inner = own.0.create("outer/inner").unwrap();
        inner.write("auto_delete", "1").unwrap();
        let mut monitor = own.0.monitor().unwrap();
        own.0.create("fence").unwrap();
        let seen = monitor.until_kind(EventKind::Created, "/fence");
        assert_eq!(count(&seen, EventKind::Released, "/outer/inner"), 0, "nobody was in it");
        let child = inner.spawn(Spawn::new("sleep").arg("600")).unwrap();
        inner.freeze(Duration::from_secs(5)).unwrap();
        inner.thaw().unwrap();
        inner.kill(libc::SIGKILL).unwrap();
        child.wait(PATIENCE).unwrap();
        let seen = monitor.until_kind(EventKind::Removed, "/outer");
        let released: Vec<_> = seen.iter().filter(|event| event.kind == EventKind::Released).collect();
        let paths: Vec<String> = released.iter().map(|event| event.group.to_string()).collect();
        assert_eq!(paths, ["/outer/inner", "/outer"], "on {backend}: {}", shown(&seen));
        let frozen = released[0].figures.iter().find(|(name, _)| name == "frozen_usec");
        assert!(frozen.is_some_and(|(_, usec)| *usec > 0), "on {backend}: {:?}", released[0].figures);
        if backend == BackendKind::Cgroup2 {
            assert!(released[0].figures.iter().any(|(name, _)| name == "usage_usec"));
        }
        let order = |kind, group: &str| seen.iter().position(|event| is(event, kind, group)).unwrap();
        assert!(order(EventKind::Released, "/outer/inner") < order(EventKind::Removed, "/outer/inner"));
        assert!(agent.lines().is_empty());
    });
}

/// R1.11: an agent that cannot run is told of, once.
#[test]
fn a_missing_agent_is_told() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        own.0.root().write("release_agent", "/nonexistent/agent").unwrap();
        let group = own.0.create("g").unwrap();
        group.write("notify_on_release", "1").unwrap();
        let mut monitor = own.0.monitor().unwrap();
        for _ in 0..2 {
            visit(&group).unwrap();
            let failed = monitor.until_kind(EventKind::ReleaseFailed, "/g").pop().unwrap();
            assert!(failed.message.unwrap().contains("/nonexistent/agent"));
        }
        own.0.create("fence").unwrap();
        let seen = monitor.until_kind(EventKind::Created, "/fence");
        assert_eq!(count(&seen, EventKind::ReleaseFailed, "/g"), 0, "on {backend}: {}", shown(&seen));
    });
}

/// A group that is removed by rmdir takes its settings along.
#[test]
fn rmdir_leaves_nothing_behind() {
    on(&KERNEL, |backend| {
        let own = Own::new(backend).unwrap();
        let agent = Agent::of(&own).unwrap();
        let mut monitor = own.0.monitor().unwrap();
        let group = own.0.create("g").unwrap();
        group.write("notify_on_release", "1").unwrap();
        std::fs::remove_dir(own.0.directory().join("g")).unwrap();
        monitor.until_kind(EventKind::Removed, "/g");
        let group = own.0.create("g").unwrap();
        assert_eq!(group.read("notify_on_release").unwrap(), "0\n");
        let child = group.spawn(Spawn::new("sleep").arg("600")).unwrap();
        monitor.until_kind(EventKind::Populated, "/g");
        group.kill(libc::SIGKILL).unwrap();
        child.wait(PATIENCE).unwrap();
        monitor.until_kind(EventKind::Empty, "/g");
        own.0.create("fence").unwrap();
        let seen = monitor.until_kind(EventKind::Created, "/fence");
        assert_eq!(count(&seen, EventKind::Notified, "/g"), 0);
        assert!(agent.lines().is_empty());
    });
}

/// R1.11: who comes by the kernel's own file is seen while inside, and so the
/// next emptying is reported.
#[test]
fn who_comes_by_the_kernels_file_counts() {
    on(&KERNEL, |backend| {
        let own = Own::new(backend).unwrap();
        let agent = Agent::of(&own).unwrap();
        let group = own.0.create("g").unwrap();
        group.write("notify_on_release", "1").unwrap();
        let mut monitor = own.0.monitor().unwrap();
        for cycle in 1..=3 {
            let mut outsider = Command::new("sleep").arg("600").spawn().unwrap();
            std::fs::write(own.0.directory().join("g/cgroup.procs"), outsider.id().to_string()).unwrap();
            monitor.until_kind(EventKind::Populated, "/g");
            // By now it has noted that somebody is there.
            own.0.create(format!("fence-{cycle}")).unwrap();
            monitor.until_kind(EventKind::Created, &format!("/fence-{cycle}"));
            outsider.kill().unwrap();
            outsider.wait().unwrap();
            monitor.until_kind(EventKind::Notified, "/g");
            agent.was_called(cycle).unwrap();
        }
    });
}

/// R1.7, R1.11: a group that somebody holds alive removes itself afterwards.
#[test]
fn a_reference_holds_up_auto_delete() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        group.write("auto_delete", "1").unwrap();
        let mut monitor = own.0.monitor().unwrap();
        let reference = group.reference().unwrap();
        visit(&group).unwrap();
        // Two, so that it has been looked at in between.
        for fence in ["fence", "another"] {
            own.0.create(fence).unwrap();
            let seen = monitor.until_kind(EventKind::Created, &format!("/{fence}"));
            assert_eq!(count(&seen, EventKind::Released, "/g"), 0, "on {backend}: {}", shown(&seen));
        }
        drop(reference);
        monitor.until_kind(EventKind::Released, "/g");
    });
}

/// What a subsystem is told.
struct Listener {
    name: String,
    told: Arc<Mutex<Vec<String>>>,
}

impl Subsystem for Listener {
    fn name(&self) -> &str {
        &self.name
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn fork(&self, group: &Group, parent: i32, child: i32) -> cgf::Result<()> {
        self.note(format!("fork {} {parent} {child}", group.path()));
        Ok(())
    }

    fn exit(&self, group: &Group, pid: i32) -> cgf::Result<()> {
        self.note(format!("exit {} {pid}", group.path()));
        Ok(())
    }
}

impl Listener {
    fn note(&self, what: String) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

/// R1.6: subsystems that follow tasks are told of forks and exits by a monitor.
#[test]
fn subsystems_are_told_of_forks_and_exits() {
    on_each(|backend| {
        let name = format!("listener_{backend}");
        let told = Arc::new(Mutex::new(Vec::new()));
        cgf::register(Listener { name: name.clone(), told: Arc::clone(&told) }).unwrap();
        let options = Options::parse(format!("freezer,signal,{name},backend={backend}")).unwrap();
        let own = Own(Hierarchy::open(stage::unique("test"), &options).unwrap());
        let group = own.0.create("g").unwrap();
        let mut monitor = own.0.monitor().unwrap();
        let parent = start(&group, &["tree", "1"]);
        let forked = monitor.until("a child", |event| event.parent == Some(parent));
        let child = forked.last().unwrap().pid.unwrap();
        group.kill(libc::SIGKILL).unwrap();
        monitor.until("its end", |event| event.kind == EventKind::Exit && event.pid == Some(child));
        let told = told.lock().unwrap();
        assert!(told.contains(&format!("fork /g {parent} {child}")), "on {backend}: {told:?}");
        assert!(told.contains(&format!("exit /g {child}")), "on {backend}: {told:?}");
        drop(own);
        cgf::unregister(&name).unwrap();
    });
}

/// A subsystem that takes its time over every clone.
struct Slow(String);

impl Subsystem for Slow {
    fn name(&self) -> &str {
        &self.0
    }

    fn follows_attach(&self) -> bool {
        false
    }

    fn post_clone(&self, _: &Group, _: &Group) -> cgf::Result<()> {
        std::thread::sleep(Duration::from_millis(400));
        Ok(())
    }
}

/// R1.8, R1.11: nobody has been in a clone that is being made, so it stays; and
/// it goes when it has been emptied.
#[test]
fn a_clone_is_not_released_before_it_is_entered() {
    on_each(|backend| {
        let name = format!("slow_{backend}");
        cgf::register(Slow(name.clone())).unwrap();
        let options = Options::parse(format!("freezer,signal,{name},backend={backend}")).unwrap();
        let own = Own(Hierarchy::open(stage::unique("test"), &options).unwrap());
        let group = own.0.create("g").unwrap();
        group.write("auto_delete", "1").unwrap();
        let pid = start(&group, &["sleep"]);
        monitored(&own, || {
            let clone = own.0.clone_group(pid, "clone")?;
            assert_eq!(clone.procs()?, [pid], "{backend}");
            assert_eq!(clone.read("auto_delete")?, "1\n");
            // SAFETY: a child of this test's, which nobody has waited for.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
            let gone = || clone.procs().is_err().then_some(());
            Ok(wait_for("the clone to go", gone)?)
        })
        .unwrap_or_else(|error| unreachable!("on {backend}: {error}"));
        drop(own);
        cgf::unregister(&name).unwrap();
    });
}

/// R1.11: a group that is gone has no settings.
#[test]
fn a_removed_group_has_no_settings() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        let group = own.0.create("g").unwrap();
        group.write("notify_on_release", "1").unwrap();
        group.remove().unwrap();
        for file in ["notify_on_release", "auto_delete"] {
            assert_eq!(group.read(file).unwrap_err().errno(), libc::ENODEV, "{file} on {backend}");
            for value in ["0", "1"] {
                assert_eq!(group.write(file, value).unwrap_err().errno(), libc::ENODEV, "{file} on {backend}");
            }
        }
        let root = own.0.root();
        own.0.unmount().unwrap();
        assert_eq!(root.read("release_agent").unwrap_err().errno(), libc::ENODEV, "{backend}");
        assert_eq!(root.write("release_agent", "/bin/true").unwrap_err().errno(), libc::ENODEV, "{backend}");
    });
}

/// R1.11, R1.13: an agent that others may have named does not run as us.
#[test]
fn no_agent_of_strangers_runs() {
    on_each(|backend| {
        let own = Own::new(backend).unwrap();
        own.0.root().write("release_agent", "/bin/true").unwrap();
        let group = own.0.create("g").unwrap();
        group.write("notify_on_release", "1").unwrap();
        group.spawn(Spawn::new("true")).unwrap().wait(Duration::from_secs(10)).unwrap();
        std::os::unix::fs::chown(own.0.directory(), Some(65534), None).unwrap();
        let mut monitor = own.0.monitor().unwrap();
        let failed = wait_for("the release to fail", || match monitor.next(Duration::from_millis(10)) {
            Ok(Some(event)) if event.kind == EventKind::Notified => Some(Err("the agent has run")),
            Ok(Some(event)) if event.kind == EventKind::ReleaseFailed => Some(Ok(())),
            _ => None,
        });
        std::os::unix::fs::chown(own.0.directory(), Some(0), None).unwrap();
        assert_eq!(failed.unwrap(), Ok(()), "{backend}");
    });
}
