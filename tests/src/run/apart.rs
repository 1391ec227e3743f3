//! Steps about namespaces: actors that have their own, and who shares them.

use std::process::{Command, Stdio};

use super::Play;
use crate::driver::Failure;
use crate::stage;

/// The kinds by their names in `/proc/PID/ns`.
const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

impl Play {
    /// `start_apart P KINDS PART`, `spawn_in P G KINDS PART`, `shares P Q KINDS`,
    /// `differs P Q KINDS`.
    pub(super) fn about_namespaces(&mut self, words: &[&str]) -> Result<Result<String, Failure>, String> {
        let done = Ok(Ok(String::new()));
        match *words {
            ["start_apart", name, kinds, ref part @ ..] => {
                let flags = kinds.split(',').map(|kind| format!("--{}", if kind == "mnt" { "mount" } else { kind }));
                let child = Command::new("unshare")
                    .args(flags)
                    .arg(stage::actor()?)
                    .args(part)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn()
                    .map_err(|error| format!("unshare: {error}"))?;
                let pid = child.id() as i32;
                self.outside.push(child);
                self.actors.insert(name.to_owned(), pid);
                stage::wait_until_ready(pid)?;
                done
            }
            ["spawn_in", name, group, kinds, ref part @ ..] => {
                let actor = stage::actor()?.display().to_string();
                let asked: Vec<&str> =
                    ["spawn_in", group, kinds, &actor].into_iter().chain(part.iter().copied()).collect();
                let pid = match self.driver.ask(&asked) {
                    Ok(pid) => pid.trim().parse().map_err(|_| format!("{pid:?} is no pid"))?,
                    Err(failure) => return Ok(Err(failure)),
                };
                self.actors.insert(name.to_owned(), pid);
                stage::wait_until_ready(pid)?;
                done
            }
            [verb @ ("shares" | "differs"), one, other, kinds] => {
                let pid = |name: &str| if name == "driver" { Ok(self.driver.pid()) } else { self.actor(name) };
                let (one_pid, other_pid) = (pid(one)?, pid(other)?);
                for kind in kinds.split(',') {
                    let (ours, theirs) = (stage::namespace(one_pid, kind), stage::namespace(other_pid, kind));
                    if ours.is_none() || (ours == theirs) != (verb == "shares") {
                        return Err(format!("{kind}: {one} is in {ours:?}, {other} in {theirs:?}"));
                    }
                }
                done
            }
            _ => Err(format!("no step {words:?}")),
        }
    }
}

/// `{p/net}` is the inode of the actor's namespace.
pub(super) fn named(text: &str, name: &str, pid: i32) -> String {
    KINDS.iter().fold(text.to_owned(), |text, kind| {
        let word = format!("{{{name}/{kind}}}");
        match stage::namespace(pid, kind) {
            Some(inode) if text.contains(&word) => text.replace(&word, &inode.to_string()),
            _ => text,
        }
    })
}
