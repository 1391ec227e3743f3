//! Running cases: a new hierarchy, a new driver, the steps, and nothing left.

mod apart;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc;
use std::time::Duration;

use cgf::{BackendKind, GroupPath, Hierarchy, Options, RemoveOptions};

use crate::beancounter;
use crate::driver::{Driver, Failure, Surface, decode};
use crate::other;
use crate::stage::{self, SilentServer, wait_for};
use crate::table::{Case, Expected, Step};

/// A case that hangs is ended after this.
const LIMIT: Duration = Duration::from_secs(45);

/// Runs every case that is about this backend; the failures, one a line.
pub fn run_all(cases: &[Case], surface: Surface, backend: BackendKind) -> (usize, Vec<String>) {
    let about = |names: &[String]| names.is_empty() || names.iter().any(|name| name == backend.name());
    let filter = std::env::var("CGF_CASE").unwrap_or_default();
    let mut run = 0;
    let mut failures = Vec::new();
    for case in cases.iter().filter(|case| about(&case.backends) && case.title.contains(&filter)) {
        run += 1;
        eprintln!("{surface:?} on {backend}: {}", case.title);
        if let Err(why) = run_case(case, surface, backend) {
            failures.push(format!("{surface:?} on {backend}: {}: {why}", case.title));
        }
    }
    (run, failures)
}

fn run_case(case: &Case, surface: Surface, backend: BackendKind) -> Result<(), String> {
    let name = stage::unique("contract");
    let options = Options::parse(case.option(backend)).map_err(|error| error.to_string())?;
    let hierarchy = Hierarchy::open(&name, &options).map_err(|error| format!("opening the hierarchy: {error}"))?;
    let mut play = match Play::begin(case, surface, backend, &name, hierarchy.clone()) {
        Ok(play) => play,
        Err(why) => {
            let _ = hierarchy.unmount();
            return Err(why);
        }
    };
    let (finished, watched) = mpsc::channel::<()>();
    let pid = play.driver.pid();
    let watch = std::thread::spawn(move || {
        if watched.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: our own child, which nobody waits for before `finished`.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    });
    let played = play.steps(&case.steps).and_then(|()| play.holds_no_descriptors());
    let _ = finished.send(());
    let _ = watch.join();
    let cleared = play.end();
    played.and(cleared)
}

struct Play {
    surface: Surface,
    backend: BackendKind,
    driver: Driver,
    hierarchy: Hierarchy,
    name: String,
    /// Its options.
    option: String,
    /// The driver's descriptors before the first step.
    descriptors: Vec<String>,
    actors: HashMap<String, i32>,
    outside: Vec<Child>,
    server: Option<SilentServer>,
    /// The state directory of the case's system, and the hierarchies in it.
    system: Option<PathBuf>,
    in_system: Vec<String>,
    last: Failure,
}

impl Play {
    fn begin(
        case: &Case,
        surface: Surface,
        backend: BackendKind,
        name: &str,
        hierarchy: Hierarchy,
    ) -> Result<Play, String> {
        let mut driver = Driver::start(surface.command()?)?;
        let option = case.option(backend);
        driver.ask(&["hierarchy", name, &option]).map_err(|failure| failure.message)?;
        let descriptors = driver.descriptors(&option)?;
        Ok(Play {
            surface,
            backend,
            driver,
            hierarchy,
            name: name.to_owned(),
            option,
            descriptors,
            actors: HashMap::new(),
            outside: Vec::new(),
            server: None,
            system: None,
            in_system: Vec::new(),
            last: Failure::default(),
        })
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), String> {
        let mut index = 0;
        while let Some(step) = steps.get(index) {
            index += 1;
            if !step.backends.is_empty() && !step.backends.iter().any(|name| name == self.backend.name()) {
                continue;
            }
            if step.words.first().is_some_and(|word| word == "repeat") {
                let length = steps[index..].iter().position(|step| step.words == ["end"]).unwrap_or(0);
                let times = step.words.get(1).and_then(|times| times.parse().ok()).unwrap_or(1);
                for _ in 0..times {
                    self.steps(&steps[index..index + length])?;
                }
                index += length + 1;
                continue;
            }
            self.step(step).map_err(|why| format!("{}: `{}`: {why}", step.place, step.words.join(" ")))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let words: Vec<&str> = step.words.iter().map(String::as_str).collect();
        match (self.act(&words)?, &step.expected) {
            (Ok(_), Expected::Success) => Ok(()),
            (Ok(answer), Expected::Answer(wanted)) => {
                let wanted = self.named(&decode(wanted));
                if answer.trim_end() == wanted { Ok(()) } else { Err(format!("{answer:?}, not {wanted:?}")) }
            }
            (Ok(_), Expected::Failure(errno)) => Err(format!("succeeded; {errno} expected")),
            (Err(failure), expected) => {
                let errno = failure.name();
                let message = failure.message.clone();
                self.last = failure;
                match expected {
                    Expected::Failure(wanted) if *wanted == errno && !message.is_empty() => Ok(()),
                    _ => Err(format!("{errno}: {message}")),
                }
            }
        }
    }

    /// The outer error is a check that failed; the inner one the surface's.
    fn act(&mut self, words: &[&str]) -> Result<Result<String, Failure>, String> {
        let word = |index: usize| words.get(index).copied().unwrap_or_default();
        let holds = |what: Result<(), String>| what.map(|()| Ok(String::new()));
        Ok(match word(0) {
            "start" => return self.start(word(1), word(2), &words[3..]).map(|pid| pid.map(|_| String::new())),
            "start_apart" | "spawn_in" | "shares" | "differs" => return self.about_namespaces(words),
            "stuck" => return self.get_stuck(word(1), word(2)),
            "unstick" => {
                self.server = None;
                Ok(String::new())
            }
            "attach" | "attach_task" => {
                let id = self.number(word(2))?;
                self.driver.ask(&[word(0), word(1), &id, word(3)])
            }
            // Who belongs together, a flag, or nothing.
            "checkpoint" => {
                let (root, flag) = match word(2) {
                    "" => ("0".to_owned(), ""),
                    flag @ ("external" | "wakeups") => ("0".to_owned(), flag),
                    root => (self.number(root)?, word(3)),
                };
                self.driver.ask(&["checkpoint", word(1), &root, flag])
            }
            "woken" => return self.settled_woken(word(1), words.get(2..).unwrap_or_default()),
            "other" => other::act(&self.hierarchy, |name| self.actor(name), words.get(1..).unwrap_or_default())?,
            "killed" => self.by_one_killed_then(words.get(1..).unwrap_or_default())?,
            "row" => match self.driver.ask(&["read", word(1), "bc.stat"]) {
                Ok(table) => return beancounter::row(&table, word(2)).map(Ok),
                failure => failure,
            },
            "child" => {
                let parent = self.actor(word(2))?;
                let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
                let children = children.map_err(|error| format!("the children of {parent}: {error}"))?;
                let first = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
                self.actors.insert(word(1).to_owned(), first.ok_or(format!("{parent} has no child"))?);
                Ok(String::new())
            }
            "thread" => {
                let process = self.actor(word(2))?;
                let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
                let tasks = tasks.map_err(|error| format!("the threads of {process}: {error}"))?;
                let tids = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok());
                let last = tids.filter(|&tid| tid != process).max();
                self.actors.insert(word(1).to_owned(), last.ok_or(format!("{process} has one thread"))?);
                Ok(String::new())
            }
            "clone" => {
                let id = self.number(word(1))?;
                self.driver.ask(&["clone", &id, word(2)])
            }
            "in_system" => {
                let state = self.system()?.display().to_string();
                let options = format!("{},backend={},state={state}", word(2), self.backend);
                let name = format!("{}-{}", self.name, word(1));
                self.in_system.push(name.clone());
                self.driver.ask(&["try_hierarchy", &name, &options])
            }
            "where" => {
                let pid = self.number(word(1))?;
                self.driver.ask(&["group_of", &pid])
            }
            "hierarchy" => {
                let name = self.name.clone();
                self.driver.ask(&["try_hierarchy", &name, word(1)])
            }
            "hierarchy_named" => self.driver.ask(&["try_hierarchy", word(1), word(2)]),
            "procs" => {
                let mut names: Vec<String> = Vec::new();
                match self.driver.ask(&["procs", word(1)]) {
                    Ok(list) => {
                        for pid in list.split_whitespace() {
                            let name = self.actors.iter().find(|(_, actor)| actor.to_string() == pid);
                            names.push(name.map_or(pid.to_owned(), |(name, _)| name.clone()));
                        }
                        names.sort();
                        Ok(names.join(" "))
                    }
                    failure => failure,
                }
            }
            "count" | "tasks" => return self.settled_count(words),
            "await" => return self.settled_state(word(1), word(2)),
            "freeze_self" => return self.freeze_from_inside(word(1)),
            "raw_freeze" => return holds(self.raw(word(1), true)),
            "raw_thaw" => return holds(self.raw(word(1), false)),
            "raw_attach" => {
                let pid = self.actor(word(2))?.to_string();
                let file = self.directory(word(1)).join("cgroup.procs");
                return holds(std::fs::write(file, pid).map_err(|error| error.to_string()));
            }
            "rmdir" => return holds(std::fs::remove_dir(self.directory(word(1))).map_err(|error| error.to_string())),
            "mkdir" => return holds(std::fs::create_dir(self.directory(word(1))).map_err(|error| error.to_string())),
            "symlink" => {
                let link = std::os::unix::fs::symlink(word(2), self.directory(word(1)));
                return holds(link.map_err(|error| error.to_string()));
            }
            "unlink" => return holds(std::fs::remove_file(self.directory(word(1))).map_err(|error| error.to_string())),
            "signal" => {
                let pid = self.actor(word(1))?;
                // SAFETY: an actor of this case, whose number is held by its parent, the driver or us.
                unsafe { libc::kill(pid, word(2).parse().unwrap_or(0)) };
                Ok(String::new())
            }
            "still" => {
                // A frozen task may wake for a moment, to look and sleep on (a
                // signal, a move); one that is not frozen never comes to rest.
                let pid = self.actor(word(1))?;
                let look = || Some((stage::run_count(pid)?, stage::cpu_time(pid)?));
                return holds(wait_for("it to be still", || {
                    let before = look()?;
                    std::thread::sleep(Duration::from_millis(30));
                    (look()? == before).then_some(())
                }));
            }
            "runs" => {
                let pid = self.actor(word(1))?;
                let before = stage::cpu_time(pid).ok_or("it has gone")?;
                return holds(wait_for("it to run", || (stage::cpu_time(pid)? > before).then_some(())));
            }
            "alive" => {
                let pid = self.actor(word(1))?;
                return holds(if stage::has_ended(pid) { Err("it has ended".into()) } else { Ok(()) });
            }
            "ended" => {
                let pid = self.actor(word(1))?;
                return holds(wait_for("its end", || stage::has_ended(pid).then_some(())));
            }
            "shows" => {
                let pid = self.actor(word(1))?;
                let letters = word(2);
                return holds(wait_for(&format!("its state to be one of {letters}"), || {
                    letters.contains(stage::state_letter(pid)?).then_some(())
                }));
            }
            "named" => {
                let pid = self.actor(word(1))?;
                let wanted = decode(word(2));
                return holds(wait_for(&format!("its name to be {wanted:?}"), || {
                    (std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim() == wanted).then_some(())
                }));
            }
            "blocked_by" => {
                let pid = self.actor(word(1))?;
                let found = self.last.blockers.iter().any(|(blocker, _, _)| *blocker == pid);
                let others = self.last.blockers.len() > 1;
                return holds(match (found, others) {
                    (true, false) => Ok(()),
                    _ => Err(format!("{:?} block, not {pid} alone: {}", self.last.blockers, self.last.message)),
                });
            }
            "says" => {
                let message = &self.last.message;
                return holds(if message.contains(word(1)) { Ok(()) } else { Err(format!("it says {message:?}")) });
            }
            "evidence" => {
                let found = &self.last.blockers;
                let all = !found.is_empty() && found.iter().all(|(_, _, evidence)| evidence == word(1));
                return holds(if all { Ok(()) } else { Err(format!("{found:?}")) });
            }
            "outside" => {
                let mut wanted = Vec::new();
                for name in &words[1..] {
                    wanted.push(self.actor(name)?);
                }
                let mut found: Vec<i32> = self.last.blockers.iter().map(|(_, tid, _)| *tid).collect();
                wanted.sort_unstable();
                found.sort_unstable();
                let all = self.last.blockers.iter().all(|(_, _, evidence)| evidence == "outside");
                let why = || format!("{:?} and not {wanted:?}: {}", self.last.blockers, self.last.message);
                return holds(if all && found == wanted { Ok(()) } else { Err(why()) });
            }
            "grows" | "constant" => {
                let look = |driver: &mut Driver| {
                    driver.ask(&["read", word(1), "freezer.frozen_usec"]).map_err(|failure| failure.message)
                };
                let before = look(&mut self.driver)?;
                std::thread::sleep(Duration::from_millis(5));
                let after = look(&mut self.driver)?;
                let grew = before != after;
                return holds(if grew == (word(0) == "grows") {
                    Ok(())
                } else {
                    Err(format!("{} then {}", before.trim(), after.trim()))
                });
            }
            "longer" => {
                let mut look =
                    |group| self.driver.ask(&["read", group, "freezer.frozen_usec"]).map_err(|failure| failure.message);
                // The shorter is read first, for both may be growing.
                let short = look(word(2))?;
                let long = look(word(1))?;
                let usec = |text: &str| text.trim().parse::<u64>().unwrap_or(0);
                return holds(if usec(&long) > usec(&short) {
                    Ok(())
                } else {
                    Err(format!("{} and {}", long.trim(), short.trim()))
                });
            }
            "write" => {
                let text = self.named(word(3));
                self.driver.ask(&[word(0), word(1), word(2), &text])
            }
            _ => self.driver.ask(words),
        })
    }

    fn start(&mut self, name: &str, group: &str, part: &[&str]) -> Result<Result<i32, Failure>, String> {
        let mut part: Vec<String> = part.iter().map(|&word| word.to_owned()).collect();
        for word in part.iter_mut().skip(1) {
            if let Some(actor) = self.actors.get(word) {
                *word = actor.to_string();
            }
        }
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        let pid = if group == "-" {
            let child = stage::start_outside(&part)?;
            let pid = child.id() as i32;
            self.outside.push(child);
            pid
        } else {
            let actor = stage::actor()?.display().to_string();
            let mut words = vec!["spawn", group, &actor];
            words.extend(&part);
            let pid = match self.driver.ask(&words) {
                Ok(pid) => pid.trim().parse().map_err(|_| format!("{pid:?} is no pid"))?,
                Err(failure) => return Ok(Err(failure)),
            };
            stage::wait_until_ready(pid)?;
            pid
        };
        self.actors.insert(name.to_owned(), pid);
        Ok(Ok(pid))
    }

    fn get_stuck(&mut self, name: &str, group: &str) -> Result<Result<String, Failure>, String> {
        let server = SilentServer::start()?;
        let server = self.server.insert(server);
        let file = server.file().display().to_string();
        let actor = stage::actor()?.display().to_string();
        Ok(match self.driver.ask(&["spawn", group, &actor, "ask", &file]) {
            Ok(pid) => {
                let pid = pid.trim().parse().map_err(|_| format!("{pid:?} is no pid"))?;
                self.actors.insert(name.to_owned(), pid);
                server.wait_until_stuck(pid)?;
                Ok(String::new())
            }
            failure => failure,
        })
    }

    /// What comes and goes by itself is asked for until it is as expected.
    fn settled_count(&mut self, words: &[&str]) -> Result<Result<String, Failure>, String> {
        let verb = if words[0] == "count" { "procs" } else { "tasks" };
        let wanted = words.get(2).copied().unwrap_or("?");
        let mut last = String::new();
        let driver = &mut self.driver;
        let group = words.get(1).copied().unwrap_or_default();
        let mut failed = None;
        let found = wait_for(&format!("{wanted} {verb}"), || match driver.ask(&[verb, group]) {
            Ok(list) => {
                last = list.split_whitespace().count().to_string();
                (last == wanted).then_some(())
            }
            Err(failure) => {
                failed = Some(failure);
                Some(())
            }
        });
        match failed {
            Some(failure) => Ok(Err(failure)),
            None => found.map(|()| Ok(String::new())).map_err(|why| format!("{why}; there are {last}")),
        }
    }

    fn settled_state(&mut self, group: &str, wanted: &str) -> Result<Result<String, Failure>, String> {
        let driver = &mut self.driver;
        let mut last = String::new();
        let settled = wait_for(&format!("state {wanted}"), || {
            last = driver.ask(&["state", group]).unwrap_or_else(|failure| failure.message);
            (last == wanted).then_some(())
        });
        settled.map(|()| Ok(String::new())).map_err(|why| format!("{why}; it is {last}"))
    }

    /// Who was woken during a checkpoint; a signal may take a moment to do it.
    fn settled_woken(&mut self, group: &str, names: &[&str]) -> Result<Result<String, Failure>, String> {
        let mut wanted = Vec::new();
        for name in names {
            wanted.push(self.actor(name)?.to_string());
        }
        let driver = &mut self.driver;
        let mut last = Ok(String::new());
        let settled = wait_for("those who were woken", || {
            last = driver.ask(&["woken", group]);
            match &last {
                Ok(list) => list.split_whitespace().eq(wanted.iter().map(String::as_str)).then_some(()),
                Err(_) => Some(()),
            }
        });
        match (settled, last) {
            (_, Err(failure)) => Ok(Err(failure)),
            (settled, Ok(list)) => {
                settled.map(|()| Ok(String::new())).map_err(|why| format!("{why}, {wanted:?}; it is {list:?}"))
            }
        }
    }

    /// A second driver does it, and is killed: what it answered, of a process that is no more.
    fn by_one_killed_then(&self, words: &[&str]) -> Result<Result<String, Failure>, String> {
        let mut second = Driver::start(self.surface.command()?)?;
        second.ask(&["hierarchy", &self.name, &self.option]).map_err(|failure| failure.message)?;
        let answer = second.ask(words);
        second.end();
        Ok(answer)
    }

    /// The driver freezes the group that it is in; somebody outside thaws it.
    fn freeze_from_inside(&mut self, group: &str) -> Result<Result<String, Failure>, String> {
        let outside = self.hierarchy.open_group(group).map_err(|error| error.to_string())?;
        let thaw = std::thread::spawn(move || {
            wait_for("the group to be frozen", || (outside.state().ok()? == cgf::State::Frozen).then_some(()))?;
            outside.thaw().map_err(|error| error.to_string())
        });
        let frozen = self.driver.ask(&["freeze", group, "10000", "with_caller"]);
        thaw.join().map_err(|_| "the thawing thread panicked".to_owned())??;
        Ok(frozen)
    }

    /// Somebody who does not know the library.
    fn raw(&self, group: &str, freeze: bool) -> Result<(), String> {
        let directory = self.directory(group);
        let (file, word) = match self.backend {
            BackendKind::Cgroup2 => ("cgroup.freeze", if freeze { "1" } else { "0" }),
            BackendKind::Cgroup1 => ("freezer.state", if freeze { "FROZEN" } else { "THAWED" }),
            _ => {
                let group = self.hierarchy.open_group(group).map_err(|error| error.to_string())?;
                let done = if freeze { group.freeze(Duration::from_secs(5)) } else { group.thaw() };
                return done.map_err(|error| error.to_string());
            }
        };
        std::fs::write(directory.join(file), word).map_err(|error| format!("{file}: {error}"))
    }

    fn directory(&self, group: &str) -> PathBuf {
        self.hierarchy.directory().join(group.trim_start_matches('/'))
    }

    fn system(&mut self) -> Result<&Path, String> {
        if self.system.is_none() {
            let directory = std::env::temp_dir().join(stage::unique("cgf-system"));
            std::fs::create_dir(&directory).map_err(|error| format!("making {}: {error}", directory.display()))?;
            self.system = Some(directory);
        }
        self.system.as_deref().ok_or_else(|| unreachable!("just made"))
    }

    fn actor(&self, name: &str) -> Result<i32, String> {
        self.actors.get(name).copied().ok_or(format!("no actor {name}"))
    }

    fn number(&self, name: &str) -> Result<String, String> {
        match name {
            "self" => Ok("0".into()),
            "driver" => Ok(self.driver.pid().to_string()),
            number if number.parse::<i32>().is_ok() => Ok(number.to_owned()),
            name => self.actor(name).map(|pid| pid.to_string()),
        }
    }

    /// In an expected answer and in what is written, an actor's name in braces is its number.
    fn named(&self, text: &str) -> String {
        self.actors.iter().fold(text.to_owned(), |text, (name, pid)| {
            apart::named(&text.replace(&format!("{{{name}}}"), &pid.to_string()), name, *pid)
        })
    }

    fn holds_no_descriptors(&mut self) -> Result<(), String> {
        self.driver.ask(&["forget"]).map_err(|failure| failure.message)?;
        let now = self.driver.descriptors(&self.option)?;
        if now == self.descriptors {
            Ok(())
        } else {
            Err(format!("descriptors of {now:?}, {:?} before", self.descriptors))
        }
    }

    /// Ends everybody and everything of the case, and says what would not go.
    fn end(mut self) -> Result<(), String> {
        self.server = None;
        for child in &mut self.outside {
            // A tracer that is killed lets its tracee go. Nobody is waited for
            // yet: a task frozen on cgroup v1 does not die before the thaw.
            let _ = child.kill();
        }
        self.driver.end();
        beancounter::give_back(&self.hierarchy);
        let everything = RemoveOptions { kill: true, recursive: true };
        let mut failures = Vec::new();
        let tops = self.hierarchy.groups().unwrap_or_default();
        for path in tops.iter().filter(|path| path.parent() == Some(GroupPath::root())) {
            match self.hierarchy.open_group(path.as_bytes()).and_then(|group| group.remove_with(everything)) {
                Err(error) if error.errno() != libc::ENODEV && error.errno() != libc::ENOENT => {
                    failures.push(format!("removing {path}: {error}"));
                }
                _ => {}
            }
        }
        if !self.hierarchy.root().procs().unwrap_or_default().is_empty() {
            let _ = self.hierarchy.root().kill(libc::SIGKILL);
        }
        match self.hierarchy.unmount() {
            Err(error) if error.errno() != libc::ENODEV => failures.push(format!("ending the hierarchy: {error}")),
            _ => {}
        }
        if stage::exists(Path::new(self.hierarchy.directory())) {
            failures.push(format!("{} is still there", self.hierarchy.directory().display()));
        }
        if let Some(state) = &self.system {
            let options = Options::default().backend(self.backend).state(state);
            for name in &self.in_system {
                match Hierarchy::open_existing(name, &options).and_then(|hierarchy| hierarchy.unmount()) {
                    Err(error) if error.errno() != libc::ENOENT => failures.push(format!("ending {name}: {error}")),
                    _ => {}
                }
            }
            if let Err(error) = std::fs::remove_dir_all(state) {
                failures.push(format!("removing {}: {error}", state.display()));
            }
        }
        for (name, pid) in &self.actors {
            if let Err(why) = wait_for(&format!("actor {name} to be gone"), || stage::has_ended(*pid).then_some(())) {
                failures.push(format!("{:?}: {why}", self.surface));
            }
        }
        for child in &mut self.outside {
            if let Err(why) = wait_for("a process outside to end", || child.try_wait().ok().flatten()) {
                failures.push(why);
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(format!("left behind: {}", failures.join("; "))) }
    }
}
