//! Subsystems of a program's own, and the attach protocol they are asked by.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cgf::{
    Attach, BackendKind, ControlFile, Error, Group, Hierarchy, Options, RemoveOptions, Result, Spawn, State, Subsystem,
};
use cgf_tests::backends::{Own, on, on_each, start};
use cgf_tests::registered::{Registered, bound_to};
use cgf_tests::stage::{self, wait_for};

/// At most so many processes in a group.
struct Members;

impl Subsystem for Members {
    fn name(&self) -> &str {
        "members"
    }

    fn can_attach(&self, attach: &Attach<'_>) -> Result<()> {
        let group = attach.group();
        match group.attribute("members.max")?.and_then(|max| max.parse().ok()) {
            Some(most) if group.procs()?.len() >= most => {
                Err(Error::new(libc::ENOSPC, format!("{group} is full with {most}")))
            }
            _ => Ok(()),
        }
    }

    fn populate(&self) -> Vec<ControlFile> {
        let max = ControlFile::new("max")
            .read(|group| Ok(group.attribute("members.max")?.unwrap_or("max".into()) + "\n"))
            .write(|group, text| match text.parse::<usize>() {
                Ok(_) => group.set_attribute("members.max", text),
                Err(_) => Err(Error::new(libc::EINVAL, format!("{text:?} is no number"))),
            });
        vec![max, ControlFile::new("above").only_at_root().read(|_| Ok("all\n".into()))]
    }
}

/// R1.6, R2.2: a refusal leaves everything as it was, for an attach, a spawn and
/// a clone.
#[test]
fn a_subsystem_refuses() {
    let _members = Registered::new(Members);
    on_each(|backend| {
        let own = bound_to(backend, "members");
        let group = own.0.create("full").unwrap();
        assert_eq!(group.read("members.max").unwrap(), "max\n");
        group.write("members.max", "1\n").unwrap();
        assert_eq!(group.write("members.max", "few").unwrap_err().errno(), libc::EINVAL);
        assert_eq!(group.read("members.above").unwrap_err().errno(), libc::ENOENT);
        assert_eq!(own.0.root().read("members.above").unwrap(), "all\n");
        let first = start(&group, &["sleep"]);
        let mut outside = stage::start_outside(&["sleep"]).unwrap();
        let pid = outside.id() as i32;
        let refused = group.attach(pid).unwrap_err();
        let born = group.spawn(Spawn::new("sleep").arg("60")).unwrap_err();
        let place = own.0.group_of(pid).unwrap();
        // What is in it already is not asked about again.
        group.attach(first).unwrap();
        let members = group.procs().unwrap();
        outside.kill().unwrap();
        outside.wait().unwrap();
        assert_eq!((refused.errno(), born.errno()), (libc::ENOSPC, libc::ENOSPC), "{backend}: {refused}");
        assert!(refused.message().contains("members"), "{refused}");
        assert!(place.path().is_root(), "{backend}");
        assert_eq!(members, [first], "{backend}");
        // R1.5: a clone has its parent's settings.
        let twin = own.0.clone_group(first, "twin").unwrap();
        assert_eq!(twin.read("members.max").unwrap(), "1\n", "{backend}");
        assert_eq!((twin.procs().unwrap(), group.procs().unwrap()), (vec![first], vec![]), "{backend}");
        assert_eq!(own.0.clone_group(first, "twin").unwrap().path().to_string(), "/full/twin/twin");
    });
}

/// Writes down what it is called for, and refuses what it is told to.
#[derive(Clone, Default)]
struct Log {
    name: String,
    lines: Arc<Mutex<Vec<String>>>,
    refuse: Arc<Mutex<&'static str>>,
}

impl Log {
    fn called(name: &str, lines: &Arc<Mutex<Vec<String>>>) -> Log {
        Log { name: name.into(), lines: Arc::clone(lines), ..Log::default() }
    }

    fn note(&self, what: &'static str, about: impl std::fmt::Display) -> Result<()> {
        self.lines.lock().unwrap().push(format!("{} {what} {about}", self.name));
        let refuse = *self.refuse.lock().unwrap();
        match refuse {
            refused if refused == what => Err(Error::new(libc::EDOM, "not today")),
            panic if panic.strip_prefix("panic ") == Some(what) => panic!("in {what}"),
            _ => Ok(()),
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

impl Subsystem for Log {
    fn name(&self) -> &str {
        &self.name
    }
    fn mount(&self, hierarchy: &Hierarchy) -> Result<()> {
        self.note("mount", hierarchy.root().path())
    }
    fn unmount(&self, hierarchy: &Hierarchy) -> Result<()> {
        self.note("unmount", hierarchy.root().path())
    }
    fn create(&self, group: &Group) -> Result<()> {
        self.note("create", group.path())
    }
    fn destroy(&self, group: &Group) -> Result<()> {
        self.note("destroy", group.path())
    }
    fn can_attach(&self, attach: &Attach<'_>) -> Result<()> {
        self.note("can_attach", attach.group().path())
    }
    fn can_attach_task(&self, _: &Attach<'_>, _: i32) -> Result<()> {
        self.note("can_attach_task", "")
    }
    fn cancel_attach(&self, attach: &Attach<'_>) -> Result<()> {
        self.note("cancel_attach", attach.group().path())
    }
    fn pre_attach(&self, attach: &Attach<'_>) -> Result<()> {
        self.note("pre_attach", attach.group().path())
    }
    fn attach_task(&self, _: &Attach<'_>, _: i32) -> Result<()> {
        self.note("attach_task", "")
    }
    fn attach(&self, attach: &Attach<'_>) -> Result<()> {
        self.note("attach", attach.group().path())
    }
}

/// R2.2: the order, with every thread asked about; whoever agreed hears that it
/// does not come; a panic is an error.
#[test]
fn subsystems_are_asked_in_order() {
    let lines = Arc::default();
    let (one, two) = (Log::called("one", &lines), Log::called("two", &lines));
    let (_one, _two) = (Registered::new(one.clone()), Registered::new(two.clone()));
    on_each(|backend| {
        let own = bound_to(backend, "one,two");
        let group = own.0.create("a/b").unwrap();
        let made = ["mount /", "create /a", "create /a/b"];
        let both = |what: &str| ["one", "two"].map(|name| format!("{name} {what}"));
        assert_eq!(one.take(), made.map(both).concat(), "{backend}");

        let mut outside = stage::start_outside(&["threads", "2"]).unwrap();
        let pid = outside.id() as i32;
        group.attach(pid).unwrap();
        let threads = 3;
        let for_each = |name: &str, what: &str| vec![format!("{name} {what} "); threads];
        let mut expected = Vec::new();
        for name in ["one", "two"] {
            expected.push(format!("{name} can_attach /a/b"));
            expected.extend(for_each(name, "can_attach_task"));
        }
        expected.extend(both("pre_attach /a/b"));
        for name in ["one", "two"] {
            expected.extend(for_each(name, "attach_task"));
            expected.push(format!("{name} attach /a/b"));
        }
        assert_eq!(one.take(), expected, "{backend}");

        let elsewhere = own.0.create("c").unwrap();
        one.take();
        for refused in ["can_attach", "can_attach_task", "pre_attach", "attach_task", "attach", "panic attach"] {
            *two.refuse.lock().unwrap() = refused;
            let errno = if refused.starts_with("panic") { libc::ENOTRECOVERABLE } else { libc::EDOM };
            let error = elsewhere.attach(pid).unwrap_err();
            let place = own.0.group_of(pid).unwrap();
            assert_eq!(error.errno(), errno, "{refused} on {backend}: {error}");
            assert_eq!(place.path().to_string(), "/a/b", "{refused} on {backend}");
            assert_eq!(elsewhere.procs().unwrap(), [0; 0], "{refused} on {backend}");
            let said = one.take();
            assert!(said.contains(&"one cancel_attach /c".to_owned()), "{refused} on {backend}: {said:?}");
            let asked_twice = refused != "can_attach";
            assert_eq!(said.contains(&"two cancel_attach /c".to_owned()), asked_twice, "{refused} on {backend}");
            let born = elsewhere.spawn(Spawn::new("sleep").arg("60")).unwrap_err();
            assert_eq!(born.errno(), errno, "{refused} on {backend}");
            assert_eq!(elsewhere.procs().unwrap(), [0; 0], "{refused} on {backend}");
            one.take();
        }
        *two.refuse.lock().unwrap() = "create";
        assert_eq!(own.0.create("d/e").unwrap_err().errno(), libc::EDOM);
        assert_eq!(one.take(), ["one create /d", "two create /d", "one destroy /d"], "{backend}");
        assert_eq!(own.0.open_group("d").unwrap_err().errno(), libc::ENOENT);
        *two.refuse.lock().unwrap() = "";

        outside.kill().unwrap();
        outside.wait().unwrap();
        own.0.open_group("a").unwrap().remove_with(RemoveOptions { kill: true, recursive: true }).unwrap();
        assert_eq!(one.take(), ["destroy /a/b", "destroy /a"].map(both).concat(), "{backend}");
        elsewhere.remove().unwrap();
        own.0.unmount().unwrap();
        assert_eq!(one.take(), ["destroy /c", "unmount /"].map(both).concat(), "{backend}");
    });
}

/// Does with the library whatever it is called for.
struct Busy {
    hierarchy: Mutex<Option<Hierarchy>>,
    bystander: AtomicI32,
    was_called: AtomicBool,
}

struct Callback(Arc<Busy>);

impl Subsystem for Callback {
    fn name(&self) -> &str {
        "busy"
    }
    fn attach(&self, attach: &Attach<'_>) -> Result<()> {
        let group = attach.group();
        if !group.procs()?.contains(&attach.pid()) {
            return Err(Error::new(libc::ESRCH, "told too early"));
        }
        group.freeze(Duration::from_secs(5))?;
        let frozen = group.state()?;
        group.thaw()?;
        assert_eq!(frozen, State::Frozen);
        let Some(hierarchy) = self.0.hierarchy.lock().unwrap().clone() else { return Ok(()) };
        if !self.0.was_called.swap(true, Ordering::SeqCst) {
            // From within, of the same subsystem, and more of what may lock.
            hierarchy.create("other")?.attach(self.0.bystander.load(Ordering::SeqCst))?;
            hierarchy.open_group("other")?.rename("another").map(drop).or_else(|error| match error.errno() {
                libc::EOPNOTSUPP => Ok(()),
                _ => Err(error),
            })?;
            cgf::register(Log::called("fleeting", &Arc::default()))?;
            cgf::unregister("fleeting")?;
        }
        Ok(())
    }
}

/// R1.6: a callback may call back.
#[test]
fn a_callback_calls_back() {
    let busy = Arc::new(Busy {
        hierarchy: Mutex::default(),
        bystander: AtomicI32::default(),
        was_called: AtomicBool::default(),
    });
    let _busy = Registered::new(Callback(Arc::clone(&busy)));
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1, BackendKind::Embedded], |backend| {
        let own = bound_to(backend, "busy");
        *busy.hierarchy.lock().unwrap() = Some(own.0.clone());
        busy.was_called.store(false, Ordering::SeqCst);
        let mut outside = stage::start_outside(&["sleep"]).unwrap();
        let mut bystander = stage::start_outside(&["sleep"]).unwrap();
        busy.bystander.store(bystander.id() as i32, Ordering::SeqCst);
        let group = own.0.create("a").unwrap();
        let attached = group.attach(outside.id() as i32);
        let place = own.0.group_of(bystander.id() as i32).map(|group| group.path().to_string());
        *busy.hierarchy.lock().unwrap() = None;
        for child in [&mut outside, &mut bystander] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        attached.unwrap();
        assert!(place.unwrap().contains("other"), "{backend}");
    });
}

/// R1.1, R1.6: names and registrations.
#[test]
fn registering() {
    let errno = |name: &str| cgf::register(Log::called(name, &Arc::default())).unwrap_err().errno();
    for name in ["", "Upper", "1st", "a.b", "a,b", "a=b", "a/b", "cgroup", "cgf", &"n".repeat(33)] {
        assert_eq!(errno(name), libc::EINVAL, "{name:?}");
    }
    assert_eq!((errno("freezer"), errno("signal")), (libc::EEXIST, libc::EEXIST));
    let lines = Arc::default();
    let registered = Registered::new(Log::called("passing", &lines));
    assert_eq!(errno("passing"), libc::EEXIST);
    let options = Options::parse("freezer,signal,passing").unwrap();
    let own = Own(Hierarchy::open(stage::unique("test"), &options).unwrap());
    let group = own.0.create("a").unwrap();
    drop(registered);
    assert_eq!(cgf::unregister("passing").unwrap_err().errno(), libc::ENOENT);
    assert_eq!(Options::parse("passing").unwrap_err().errno(), libc::ENOENT);
    // Ours keeps it; others may look and clean up, and not pass it over.
    group.spawn(Spawn::new("true")).unwrap();
    let backend = own.0.backend_kind();
    let stranger = Hierarchy::open_existing(own.0.name(), &Options::default().backend(backend)).unwrap();
    assert_eq!(stranger.subsystems(), ["freezer", "passing", "signal"]);
    assert_eq!(stranger.create("b").unwrap_err().errno(), libc::ENOENT);
    let seen = stranger.open_group("a").unwrap();
    assert_eq!(seen.attach(0).unwrap_err().errno(), libc::ENOENT);
    assert_eq!(seen.spawn(Spawn::new("true")).unwrap_err().errno(), libc::ENOENT);
    assert_eq!(seen.state().unwrap(), State::Thawed);
    seen.remove_with(RemoveOptions { kill: true, recursive: false }).unwrap();
}

type Action = Box<dyn Fn(&Attach<'_>) -> Result<()> + Send>;

/// Does what it is told when somebody has come.
#[derive(Clone)]
struct Hook {
    name: &'static str,
    action: Arc<Mutex<Action>>,
}

impl Hook {
    fn new(name: &'static str) -> Hook {
        Hook { name, action: Arc::new(Mutex::new(Box::new(|_| Ok(())))) }
    }

    fn set(&self, action: impl Fn(&Attach<'_>) -> Result<()> + Send + 'static) {
        *self.action.lock().unwrap() = Box::new(action);
    }
}

impl Subsystem for Hook {
    fn name(&self) -> &str {
        self.name
    }
    fn attach(&self, attach: &Attach<'_>) -> Result<()> {
        (self.action.lock().unwrap())(attach)
    }
}

fn not_today() -> Result<()> {
    Err(Error::new(libc::EDOM, "not today"))
}

/// R2.2: a callback that takes its time does not use up the move's; and a refusal
/// is told as what it is.
#[test]
fn a_callback_may_take_its_time() {
    let hook = Hook::new("slow");
    let _hook = Registered::new(hook.clone());
    on_each(|backend| {
        let options = format!("freezer,signal,slow,backend={backend},deadline=200");
        let own = Own(Hierarchy::open(stage::unique("test"), &Options::parse(&options).unwrap()).unwrap());
        let (here, there) = (own.0.create("here").unwrap(), own.0.create("there").unwrap());
        let mut outside = stage::start_outside(&["sleep"]).unwrap();
        let pid = outside.id() as i32;
        hook.set(|_| {
            std::thread::sleep(Duration::from_millis(300));
            Ok(())
        });
        let came = here.attach(pid);
        hook.set(|_| {
            std::thread::sleep(Duration::from_millis(300));
            not_today()
        });
        let refused = there.attach(pid).unwrap_err();
        let place = own.0.group_of(pid).unwrap();
        outside.kill().unwrap();
        outside.wait().unwrap();
        came.unwrap_or_else(|error| panic!("on {backend}: {error}"));
        assert_eq!((refused.errno(), place.path().to_string().as_str()), (libc::EDOM, "/here"), "{backend}: {refused}");
    });
}

/// R2.2: the group where it has to go back to was removed meanwhile: it goes to
/// the nearest that is left, not to the one that refused it.
#[test]
fn whose_home_has_gone_goes_above_it() {
    let hook = Hook::new("homeless");
    let _hook = Registered::new(hook.clone());
    on_each(|backend| {
        let own = bound_to(backend, "homeless");
        let (home, there) = (own.0.create("a/home").unwrap(), own.0.create("there").unwrap());
        hook.set(|_| Ok(()));
        let pid = start(&home, &["sleep"]);
        hook.set(move |_| {
            home.remove()?;
            not_today()
        });
        let refused = there.attach(pid).unwrap_err();
        assert_eq!(refused.errno(), libc::EDOM, "{backend}: {refused}");
        assert_eq!(own.0.group_of(pid).unwrap().path().to_string(), "/a", "{backend}");
        assert_eq!(there.procs().unwrap(), [0; 0], "{backend}");
        hook.set(|_| Ok(()));
    });
}

/// R2.1, R2.2: a process whose first thread has ended comes with the others, and
/// goes back with them.
#[test]
fn a_headless_process_comes_and_goes() {
    let hook = Hook::new("headless");
    let _hook = Registered::new(hook.clone());
    on(&[BackendKind::Cgroup2, BackendKind::Cgroup1], |backend| {
        let own = bound_to(backend, "headless");
        let (here, there) = (own.0.create("here").unwrap(), own.0.create("there").unwrap());
        let mut outside = stage::start_outside(&["headless", "2"]).unwrap();
        let pid = outside.id() as i32;
        wait_for("the first thread to end", || stage::has_ended(pid).then_some(())).unwrap();
        hook.set(|_| Ok(()));
        let came = here.attach(pid);
        let here_now = here.tasks().unwrap();
        hook.set(|_| not_today());
        let refused = there.attach(pid);
        let (back, left) = (here.tasks().unwrap(), there.tasks().unwrap());
        let passing = std::fs::read_dir(own.0.directory().join("there")).unwrap().flatten();
        let passing: Vec<_> = passing
            .map(|entry| entry.file_name())
            .filter(|name| name.as_encoded_bytes().starts_with(b"cgf."))
            .collect();
        outside.kill().unwrap();
        outside.wait().unwrap();
        came.unwrap_or_else(|error| panic!("on {backend}: {error}"));
        assert_eq!(refused.unwrap_err().errno(), libc::EDOM, "{backend}");
        assert_eq!((here_now.len(), back.len(), left.len()), (2, 2, 0), "{backend}");
        assert!(passing.is_empty(), "{backend}: {passing:?}");
    });
}

/// R1.6, R1.11: whoever was refused has not been there: that is no emptying.
#[test]
fn a_refusal_empties_nothing() {
    let hook = Hook::new("refusing");
    let _hook = Registered::new(hook.clone());
    on_each(|backend| {
        let own = bound_to(backend, "refusing");
        let group = own.0.create("never_used").unwrap();
        group.write("auto_delete", "1").unwrap();
        hook.set(|_| not_today());
        let mut outside = stage::start_outside(&["sleep"]).unwrap();
        let refused = group.attach(outside.id() as i32).unwrap_err();
        outside.kill().unwrap();
        outside.wait().unwrap();
        let born = group.spawn(Spawn::new("sleep").arg("60")).unwrap_err();
        hook.set(|_| Ok(()));
        let failed = group.spawn(Spawn::new("/no/such/program")).unwrap_err();
        assert_eq!(
            [refused.errno(), born.errno(), failed.errno()],
            [libc::EDOM, libc::EDOM, libc::ENOENT],
            "{backend}"
        );
        let mut monitor = own.0.monitor().unwrap();
        while monitor.next(Duration::from_millis(50)).unwrap().is_some() {}
        assert!(own.0.open_group("never_used").is_ok(), "it has removed itself on {backend}");
        // Who did come, and went, has emptied it.
        let child = group.spawn(Spawn::new("true")).unwrap();
        child.wait(Duration::from_secs(10)).unwrap();
        wait_for("the group to remove itself", || {
            monitor.next(Duration::from_millis(10)).ok();
            own.0.open_group("never_used").is_err().then_some(())
        })
        .unwrap();
    });
}

/// R1.5, R2.2: a group that was killed kills at birth (cgroup v2): only who lives
/// is told of.
#[test]
fn a_stillborn_process_is_not_told_of() {
    let hook = Hook::new("midwife");
    let _hook = Registered::new(hook.clone());
    on_each(|backend| {
        let own = bound_to(backend, "midwife");
        let group = own.0.create("a").unwrap();
        hook.set(|_| Ok(()));
        start(&group, &["sleep"]);
        group.kill(libc::SIGKILL).unwrap();
        let born = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&born);
        hook.set(move |attach| {
            seen.lock().unwrap().push(attach.pid());
            Ok(())
        });
        let pid = start(&group, &["sleep"]);
        assert_eq!(*born.lock().unwrap(), [pid], "{backend}");
    });
}
