//! The Rust surface's driver for the contract table: lines in, lines out
//! (`cgf_tests::driver` says which).

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use cgf::{
    AttachOptions, Checkpoint, CheckpointOptions, Deadline, Error, FreezeOptions, Group, Hierarchy, Options, Reference,
    RemoveOptions, Result, Spawn,
};
use cgf_tests::driver::decode_bytes;

fn main() {
    let mut driver =
        Driver { hierarchy: None, groups: HashMap::new(), references: HashMap::new(), checkpoints: Vec::new() };
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
            "fds" => return Ok(std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count).to_string()),
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
            "spawn" => {
                let args = words[3..].iter().map(|word| std::ffi::OsStr::from_bytes(word).to_owned());
                let null = std::fs::File::open("/dev/null").map_err(|_| unreachable!("no /dev/null"))?;
                let spawn = Spawn::new(text(2))
                    .args(args)
                    .fd(null, 0)
                    .fd(std::io::stderr().as_fd().try_clone_to_owned().map_err(|_| unreachable!())?, 1);
                Ok(group.spawn(spawn)?.pid().to_string())
            }
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
