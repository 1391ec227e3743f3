//! The Rust surface's driver for the contract table: lines in, lines out
//! (`cgf_tests::driver` says which).

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError};

use cgf::{
    AttachOptions, Checkpoint, CheckpointOptions, Deadline, Error, FreezeOptions, Group, Hierarchy, Namespaces,
    Options, Reference, RemoveOptions, Resource, Result, Severity, Spawn,
};
use cgf_tests::driver::decode_bytes;

fn main() {
    let mut driver = Driver {
        hierarchy: None,
        groups: HashMap::new(),
        references: HashMap::new(),
        checkpoints: Vec::new(),
        calls: Calls::default(),
    };
    for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
        let words: Vec<Vec<u8>> = line.split(' ').map(decode_bytes).collect();
        let answer = match driver.answer(&words) {
            Ok(value) => format!("ok {}", encode(&value)),
            Err(error) => format!("error {} {} {}", error.errno(), blockers(&error), encode(error.message())),
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

struct Driver {
    hierarchy: Option<Hierarchy>,
    groups: HashMap<Vec<u8>, Group>,
    references: HashMap<Vec<u8>, Reference>,
    /// Of one group the oldest first: one that was ended by force, and the next.
    checkpoints: Vec<(Vec<u8>, Checkpoint)>,
    calls: Calls,
}

/// What the callbacks of resources were told.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl Calls {
    fn note(&self, what: &str, group: &Group, resource: &str, figure: u64) {
        let told = format!("{what}:{}:{resource}:{figure}", group.path());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).join(" ")
    }
}

impl Driver {
    fn answer(&mut self, words: &[Vec<u8>]) -> Result<String> {
        let text =
            |index: usize| String::from_utf8_lossy(words.get(index).map_or(&b""[..], Vec::as_slice)).into_owned();
        let number = |index: usize| text(index).parse::<i32>().unwrap_or(i32::MIN);
        let has = |flag: &str| words.iter().skip(2).any(|word| word == flag.as_bytes());
        let path = words.get(1).cloned().unwrap_or_default();
        let verb = text(0);
        match verb.as_str() {
            "hierarchy" => {
                self.hierarchy = Some(Hierarchy::open(text(1), &Options::parse(text(2))?)?);
                return done(());
            }
            "try_hierarchy" => {
                return {
                    let _: () = drop(Hierarchy::open(text(1), &Options::parse(text(2))?)?);
                    done(())
                };
            }
            "forget" => {
                return {
                    self.groups.clear();
                    self.references.clear();
                    self.checkpoints.clear();
                    done(())
                };
            }
            "fork_sleeper" => return Ok(fork_sleeper().to_string()),
            "fds" => return Ok(descriptors()),
            _ => {}
        }
        let Some(hierarchy) = self.hierarchy.clone() else { unreachable!("no hierarchy yet") };
        match verb.as_str() {
            "unmount" => return done(hierarchy.unmount()?),
            "create" => {
                self.groups.insert(path.clone(), hierarchy.create(&path)?);
                return done(());
            }
            "open" => {
                self.groups.insert(path.clone(), hierarchy.open_group(&path)?);
                return done(());
            }
            "clone" => {
                let clone = hierarchy.clone_group(number(1), std::ffi::OsStr::from_bytes(&words[2]))?;
                return Ok(clone.path().to_string());
            }
            "group_of" => return Ok(hierarchy.group_of(number(1))?.path().to_string()),
            "register" => return Ok(hierarchy.register_resource(&text(1), &text(2))?.number().to_string()),
            "resources" => {
                let all = hierarchy.resources()?;
                let shown = all.iter().map(|known| format!("{}:{}", known.name, known.unit));
                return Ok(shown.collect::<Vec<_>>().join(" "));
            }
            "on_barrier" => {
                let (calls, name) = (self.calls.clone(), text(1));
                let hit = move |group: &Group, _: Resource, amount| calls.note("barrier", group, &name, amount);
                return done(hierarchy.on_barrier(hierarchy.resource(&text(1))?, hit)?);
            }
            "on_limit" => {
                let (calls, name, frees) = (self.calls.clone(), text(1), text(3));
                let (jobs, holder) = (hierarchy.clone(), words[2].clone());
                let hit = move |group: &Group, resource: Resource, amount| {
                    calls.note("limit", group, &name, amount);
                    match frees.parse() {
                        Ok(0) => false,
                        Ok(freed) => jobs.open_group(&holder).and_then(|group| group.uncharge(resource, freed)).is_ok(),
                        Err(_) => true,
                    }
                };
                return done(hierarchy.on_limit(hierarchy.resource(&text(1))?, hit)?);
            }
            "calls" => return Ok(self.calls.take()),
            _ => {}
        }
        let group = match self.groups.get(&path) {
            Some(group) => group.clone(),
            None => hierarchy.open_group(&path)?,
        };
        self.groups.insert(path.clone(), group.clone());
        match verb.as_str() {
            "remove" => done(group.remove_with(RemoveOptions { kill: has("kill"), recursive: has("recursive") })?),
            "rename" => {
                let renamed = group.rename(std::ffi::OsStr::from_bytes(&words[2]))?;
                self.groups.insert(renamed.path().as_bytes().to_vec(), renamed);
                done(())
            }
            "reference" => {
                let reference = group.reference()?;
                self.references.insert(path, reference);
                done(())
            }
            "unreference" => done(self.references.remove(&path)),
            "attribute" => Ok(group.attribute(&text(2))?.unwrap_or_default()),
            "set_attribute" => done(group.set_attribute(&text(2), &text(3))?),
            "remove_attribute" => done(group.remove_attribute(&text(2))?),
            "files" => Ok(group.control_files()?.join(" ")),
            "groups" => Ok(group.groups()?.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
            "attach" => done(group.attach_with(number(2), AttachOptions { frozen: has("frozen") })?),
            "attach_task" => done(group.attach_task(number(2))?),
            "attach_gone" => {
                let mut child = std::process::Command::new("true").spawn().map_err(|_| unreachable!("no true"))?;
                let pid = child.id() as i32;
                // SAFETY: takes two integers; the descriptor is checked and ours.
                let pidfd = unsafe {
                    use std::os::fd::FromRawFd;
                    std::os::fd::OwnedFd::from_raw_fd(libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32)
                };
                let _ = child.wait();
                done(group.attach_pidfd(pidfd.as_fd(), AttachOptions::default())?)
            }
            "spawn" | "spawn_in" => {
                // The kinds of namespaces come before the program.
                let at = if verb == "spawn" { 2 } else { 3 };
                let namespaces = if verb == "spawn" { Namespaces::NONE } else { text(2).parse()? };
                let args = words[at + 1..].iter().map(|word| std::ffi::OsStr::from_bytes(word).to_owned());
                let null = std::fs::File::open("/dev/null").map_err(|_| unreachable!("no /dev/null"))?;
                let spawn = Spawn::new(text(at))
                    .args(args)
                    .namespaces(namespaces)
                    .fd(null, 0)
                    .fd(std::io::stderr().as_fd().try_clone_to_owned().map_err(|_| unreachable!())?, 1);
                Ok(group.spawn(spawn)?.pid().to_string())
            }
            "enter" => done(group.enter(text(2).parse()?)?),
            "procs" => Ok(list(group.procs()?)),
            "tasks" => Ok(list(group.tasks()?)),
            "unseen" => Ok(group.unseen_procs()?.to_string()),
            "freeze" => {
                let options = FreezeOptions::within(Deadline::from_millis(number(2)));
                done(group.freeze_with(options.rollback(has("rollback")).with_caller(has("with_caller")))?)
            }
            "thaw" => done(group.thaw()?),
            "checkpoint" => {
                let root = Some(number(2)).filter(|&root| root != 0);
                let options = CheckpointOptions::default().external(has("external")).wakeups(has("wakeups"));
                let checkpoint = group.checkpoint_with(root, options)?;
                self.checkpoints.push((path, checkpoint));
                done(())
            }
            "verify" => done(self.checkpoint(&path).verify()?),
            "woken" => Ok(list(self.checkpoint(&path).verify()?.woken().to_vec())),
            "end" => {
                let at = self.oldest(&path);
                done(self.checkpoints.remove(at).1.end()?)
            }
            "break" => done(group.break_checkpoint()?),
            "state" => Ok(group.state()?.to_string()),
            "kill" => done(group.kill(number(2))?),
            "charge" => done(group.charge(resource(&hierarchy, &text(2))?, amount(&text(3)), severity(&text(4)))?),
            "uncharge" => done(group.uncharge(resource(&hierarchy, &text(2))?, amount(&text(3)))?),
            "charge_up_to" => {
                let granted =
                    group.charge_up_to(resource(&hierarchy, &text(2))?, amount(&text(3)), severity(&text(4)))?;
                Ok(granted.to_string())
            }
            "charge_many" => done(group.charge_many(&charges(&hierarchy, &words[3..])?, severity(&text(2)))?),
            "charge_kept" => done(group.charge_kept(&charges(&hierarchy, &words[3..])?, severity(&text(2)))?),
            "uncharge_many" => done(group.uncharge_many(&charges(&hierarchy, &words[2..])?)?),
            "set_limits" => {
                let bound = |text: &str| (text != "max").then(|| amount(text));
                done(group.set_limits(resource(&hierarchy, &text(2))?, bound(&text(3)), bound(&text(4)))?)
            }
            "snapshot" => snapshot(&group, &text(2)),
            "underflow" => Ok(group.snapshot()?.underflow.to_string()),
            "read" => group.read(&text(2)),
            "write" => done(group.write(&text(2), &text(3))?),
            _ => unreachable!("no verb {verb}"),
        }
    }

    fn oldest(&self, path: &[u8]) -> usize {
        let at = self.checkpoints.iter().position(|(of, _)| of == path);
        at.unwrap_or_else(|| unreachable!("no checkpoint of {}", String::from_utf8_lossy(path)))
    }

    fn checkpoint(&self, path: &[u8]) -> &Checkpoint {
        &self.checkpoints[self.oldest(path)].1
    }
}

/// A child that has copies of all our descriptors, and lives on.
fn fork_sleeper() -> i32 {
    // SAFETY: this process has one thread, and the child calls pause(2) only.
    match unsafe { libc::fork() } {
        0 => loop {
            // SAFETY: takes nothing and touches nothing.
            unsafe { libc::pause() };
        },
        pid => pid,
    }
}

/// What our descriptors are of, a word each.
fn descriptors() -> String {
    let links = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let shown = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    shown.map(|of| of.to_string_lossy().replace(' ', "_")).collect::<Vec<_>>().join(" ")
}

/// A resource by its name, or its number.
fn resource(hierarchy: &Hierarchy, word: &str) -> Result<Resource> {
    word.parse().map_or_else(|_| hierarchy.resource(word), |number| Ok(Resource::from_number(number)))
}

fn amount(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| unreachable!("{word:?} is no amount"))
}

fn severity(word: &str) -> Severity {
    match word {
        "barrier" => Severity::Barrier,
        "" | "limit" => Severity::Limit,
        "force" => Severity::Force,
        _ => unreachable!("no severity {word:?}"),
    }
}

/// `numfiles=3 5=1`
fn charges(hierarchy: &Hierarchy, words: &[Vec<u8>]) -> Result<Vec<(Resource, u64)>> {
    let charge = |word: &Vec<u8>| {
        let word = String::from_utf8_lossy(word);
        let Some((name, figure)) = word.split_once('=') else { unreachable!("{word:?} is no charge") };
        Ok((resource(hierarchy, name)?, amount(figure)))
    };
    words.iter().map(charge).collect()
}

/// held, maxheld, minheld, barrier, limit, failcnt
fn snapshot(group: &Group, name: &str) -> Result<String> {
    let snapshot = group.snapshot()?;
    let Some(found) = snapshot.counters.iter().find(|counter| counter.name == name) else {
        unreachable!("no {name} in {snapshot:?}")
    };
    let bound = |bound: Option<u64>| bound.map_or("max".to_owned(), |bound| bound.to_string());
    let (barrier, limit) = (bound(found.barrier), bound(found.limit));
    Ok(format!("{} {} {} {barrier} {limit} {}", found.held, found.maxheld, found.minheld, found.failcnt))
}

fn done(_: impl Sized) -> Result<String> {
    Ok(String::new())
}

fn list(ids: Vec<i32>) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(" ")
}

fn blockers(error: &Error) -> String {
    let all: Vec<String> =
        error.blockers().iter().map(|found| format!("{}:{}:{}", found.pid, found.tid, found.evidence.name())).collect();
    if all.is_empty() { "-".into() } else { all.join(",") }
}

fn encode(text: &(impl Display + ?Sized)) -> String {
    text.to_string().replace('%', "%25").replace('\n', "%0a")
}
