//! Containers of other programs, made and ended as their users do it: by runc, by
//! crun and by LXC, with a root file system of busybox.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cgf::BackendKind;

use crate::stage::{self, PATIENCE, wait_for};

/// Whose containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Those of `runc`.
    Runc,
    /// Those of `crun`.
    Crun,
    /// Those of the tools of LXC.
    Lxc,
}

/// Stands for the container's own name in a command.
pub const NAME: &str = "NAME";

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It ended with success.
    Does,
    /// It ended with a failure.
    Refuses,
    /// It did not end, and was killed.
    Hangs,
}

/// What the container runs: it goes on and on, with new processes, and notes that
/// it was sent a SIGTERM.
const WORK: &str = "trap '/bin/busybox touch /heard' TERM
/bin/busybox touch /started
while :; do /bin/busybox sleep 0.01; done
";

impl Runtime {
    /// Why its containers cannot be made here, if so.
    pub fn missing(self) -> Option<String> {
        let own: &[&str] = match self {
            Runtime::Runc => &["runc"],
            Runtime::Crun => &["crun"],
            Runtime::Lxc => &["lxc-start", "lxc-attach", "lxc-destroy"],
        };
        // SAFETY: takes and touches nothing.
        if unsafe { libc::geteuid() } != 0 {
            return Some("only root starts containers in groups of its choice".into());
        }
        let all = own.iter().chain(&["busybox", "unshare", "mount"]);
        let missing: Vec<&str> = all.filter(|name| find(name).is_none()).copied().collect();
        if !missing.is_empty() {
            return Some(format!("there is no {}", missing.join(", no ")));
        }
        (!is_static(&find("busybox")?)).then(|| "busybox is not statically linked (package busybox-static)".into())
    }

    /// What it says of a container that it has paused.
    pub fn word_for_paused(self) -> &'static str {
        if self == Runtime::Lxc { "FROZEN" } else { "paused" }
    }

    /// What it says of a container that is not paused.
    pub fn word_for_running(self) -> &'static str {
        if self == Runtime::Lxc { "RUNNING" } else { "running" }
    }

    /// The command that pauses a container.
    pub fn pause(self) -> &'static [&'static str] {
        if self == Runtime::Lxc { &["lxc-freeze"] } else { &["pause", NAME] }
    }

    /// The command that ends it.
    pub fn resume(self) -> &'static [&'static str] {
        if self == Runtime::Lxc { &["lxc-unfreeze"] } else { &["resume", NAME] }
    }
}

/// A container. Dropping it takes away everything of it, however far it got.
#[derive(Debug)]
pub struct Container {
    runtime: Runtime,
    backend: BackendKind,
    name: String,
    /// All that the container and its runtime keep.
    directory: PathBuf,
    pid: i32,
}

impl Container {
    /// Starts one that the runtime freezes through cgroups of this version. The
    /// machine's other version is kept out of the runtime's sight where that decides.
    pub fn start(runtime: Runtime, backend: BackendKind) -> Result<Container, String> {
        let name = stage::unique(&format!("cgf-{runtime:?}").to_lowercase());
        let directory = std::env::temp_dir().join(&name);
        let mut container = Container { runtime, backend, name, directory, pid: 0 };
        container.make_bundle().map_err(|error| format!("making the bundle of {}: {error}", container.name))?;
        let started = if runtime == Runtime::Lxc {
            container.call(&["lxc-start", "-d"])?
        } else {
            let file = container.directory.join("pid").display().to_string();
            let bundle = container.directory.display().to_string();
            container.call(&["run", "--detach", "--bundle", &bundle, "--pid-file", &file, NAME])?
        };
        let pid = match runtime {
            Runtime::Lxc => container.ask(&["lxc-info", "-p", "-H"])?,
            _ => fs::read_to_string(container.directory.join("pid")).unwrap_or_default(),
        };
        container.pid = pid.trim().parse().map_err(|_| {
            format!("{runtime:?} {started:?} to start {}: {}", container.name, container.said().unwrap_or_default())
        })?;
        // runc is done before its first process has become the container's: that one is
        // in the middle of exec with several threads, which version 1 cannot freeze.
        let started = container.directory.join("rootfs/started");
        wait_for("the container's program", || stage::exists(&started).then_some(()))?;
        Ok(container)
    }

    /// The process that it began with, as seen from outside.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The state that its own runtime says it is in.
    pub fn word(&self) -> Result<String, String> {
        if self.runtime == Runtime::Lxc {
            return self.ask(&["lxc-info", "-s", "-H"]);
        }
        let state = self.ask(&["state", NAME])?;
        let status = state.split("\"status\": \"").nth(1).and_then(|rest| rest.split('"').next());
        status.map(str::to_owned).ok_or(format!("no status in {state}"))
    }

    /// Whether it has noticed a SIGTERM since this was asked last.
    pub fn has_heard(&self) -> bool {
        fs::remove_file(self.directory.join("rootfs/heard")).is_ok()
    }

    /// What a command prints, which must succeed.
    pub fn ask(&self, words: &[&str]) -> Result<String, String> {
        let answer = self.call(words)?;
        let said = self.said()?;
        if answer == Answer::Does { Ok(said.trim().to_owned()) } else { Err(format!("{words:?} {answer:?}: {said}")) }
    }

    /// Has the runtime carry out a command; [`PATIENCE`] is what it is given.
    ///
    /// OCI runtimes: their arguments, with [`NAME`]; LXC: the tool, and its arguments
    /// without the container's name.
    pub fn call(&self, words: &[&str]) -> Result<Answer, String> {
        let start = Instant::now();
        self.call_until(words, || start.elapsed() > PATIENCE)
    }

    /// The same, and kills the command once `is_enough`.
    pub fn call_until(&self, words: &[&str], mut is_enough: impl FnMut() -> bool) -> Result<Answer, String> {
        // Not into a pipe: what a container inherits is open for as long as it lives.
        let output = fs::File::create(self.directory.join("said")).map_err(|error| error.to_string())?;
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let mut child = command.spawn().map_err(|error| format!("starting {words:?}: {error}"))?;
        loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => return Ok(Answer::Does),
                Some(_) => return Ok(Answer::Refuses),
                None if is_enough() => break,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        // Not by a SIGTERM, which runc hands on to its container.
        child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
        Ok(Answer::Hangs)
    }

    /// What the last command has printed.
    pub fn said(&self) -> Result<String, String> {
        fs::read_to_string(self.directory.join("said")).map_err(|error| error.to_string())
    }

    /// Has the runtime end and forget it, and says what is left of it then.
    pub fn delete(self) -> Result<(), String> {
        match self.runtime {
            Runtime::Lxc => {
                self.ask(&["lxc-stop", "-k"])?;
                self.ask(&["lxc-destroy"])?;
            }
            _ => {
                self.ask(&["delete", "--force", NAME])?;
            }
        }
        let kept = fs::read_dir(self.directory.join("state")).map_err(|error| error.to_string())?.count();
        let groups = self.groups();
        // LXC's monitor is in one itself, and cannot remove it.
        let payload = format!("lxc.payload.{}", self.name);
        let expected = |group: &PathBuf| self.runtime == Runtime::Lxc && !group.ends_with(&payload);
        match groups.iter().find(|group| !expected(group)) {
            Some(group) => Err(format!("{:?} left {}", self.runtime, group.display())),
            None if kept > 0 => Err(format!("{:?} remembers {}", self.runtime, self.name)),
            None => Ok(()),
        }
    }

    /// The command, in a mount namespace of its own. What a runtime keeps in /run
    /// whatever it is told goes with the container's directory.
    fn command(&self, words: &[&str]) -> Command {
        let mut view = String::from("mount --bind \"$1\" /run\n");
        let unified = mount_of_version_two();
        match (&unified, self.backend) {
            (Some(mount), BackendKind::Cgroup2) if mount != Path::new("/sys/fs/cgroup") => {
                view.push_str("mount --bind \"$2\" /sys/fs/cgroup\n");
            }
            // crun refuses to work where version 2 has a controller beside version 1.
            (Some(_), BackendKind::Cgroup1) if self.runtime == Runtime::Crun => {
                view.push_str("mount --bind /dev/null \"$2/cgroup.controllers\"\n");
            }
            _ => {}
        }
        view.push_str("shift 2\nexec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-e", "-c", &view, "sh"]);
        command.arg(self.directory.join("run")).arg(unified.unwrap_or_default());
        let name = |word: &&str| if *word == NAME { self.name.clone() } else { (*word).to_owned() };
        let state = self.directory.join("state");
        match (self.runtime, words.split_first()) {
            (Runtime::Lxc, Some((tool, rest))) => {
                command.arg(tool).arg("-P").arg(&state).args(["-n", &self.name]).args(rest.iter().map(name));
            }
            (Runtime::Crun, _) => {
                command.args(["crun", "--root"]).arg(&state).args(words.iter().map(name));
            }
            _ => {
                command.args(["runc", "--root"]).arg(&state).args(words.iter().map(name));
            }
        }
        command
    }

    fn make_bundle(&self) -> std::io::Result<()> {
        let rootfs = self.directory.join("rootfs");
        for place in ["run", "state", "rootfs/bin", "rootfs/dev", "rootfs/proc", "rootfs/sys"] {
            fs::create_dir_all(self.directory.join(place))?;
        }
        // By another process: a program that a child of another test has inherited open
        // for writing is not executed.
        let busybox = find("busybox").ok_or(std::io::ErrorKind::NotFound)?;
        let copied = Command::new("cp").arg(busybox).arg(rootfs.join("bin/busybox")).status()?;
        if !copied.success() {
            return Err(std::io::Error::other("busybox cannot be copied"));
        }
        fs::write(rootfs.join("loop"), WORK)?;
        if self.runtime != Runtime::Lxc {
            return fs::write(self.directory.join("config.json"), oci_config(&self.name));
        }
        let own = self.directory.join("state").join(&self.name);
        fs::create_dir(&own)?;
        fs::write(own.join("config"), lxc_config(&self.name, &rootfs))
    }

    /// Its groups in all of the machine's trees, those below first.
    fn groups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut found = Vec::new();
        for line in mounts.lines() {
            let mut words = line.split(' ').skip(1);
            if let (Some(point), Some("cgroup" | "cgroup2")) = (words.next(), words.next()) {
                collect(&Path::new(point).join(&self.name), &mut found);
            }
        }
        found
    }

    fn clear(&self) -> Result<(), String> {
        if !self.groups().is_empty() {
            // The runtime first, so that its own processes end; the rest by force.
            self.thaw();
            let end: &[&str] =
                if self.runtime == Runtime::Lxc { &["lxc-stop", "-k"] } else { &["delete", "--force", NAME] };
            let _ = self.call(end);
        }
        wait_for(&format!("the end of container {}", self.name), || {
            self.thaw();
            for group in self.groups() {
                for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                    if let Ok(pid @ 2..) = pid.parse::<i32>() {
                        // SAFETY: touches no memory. Who is in there was started for this.
                        unsafe { libc::kill(pid, libc::SIGKILL) };
                    }
                }
                let _ = fs::remove_dir(&group);
            }
            self.groups().is_empty().then_some(())
        })?;
        fs::remove_dir_all(&self.directory).map_err(|error| format!("{}: {error}", self.directory.display()))
    }

    fn thaw(&self) {
        for group in self.groups() {
            for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
                let file = group.join(file);
                if stage::exists(&file) {
                    let _ = fs::write(file, word);
                }
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(why) = self.clear() {
            eprintln!("left behind: {why}");
        }
    }
}

fn collect(group: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        collect(&entry.path(), found);
    }
    found.push(group.to_owned());
}

/// Where the shell would find a program.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// A program that is not names the one that loads it in its first bytes.
fn is_static(program: &Path) -> bool {
    let mut start = Vec::new();
    let read = fs::File::open(program).and_then(|file| file.take(1024).read_to_end(&mut start));
    read.is_ok() && !start.windows(4).any(|bytes| bytes == b"/ld-")
}

fn mount_of_version_two() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut words = mounts.lines().map(|line| line.split(' ').skip(1));
    words.find_map(|mut words| match (words.next(), words.next()) {
        (Some(point), Some("cgroup2")) => Some(point.into()),
        _ => None,
    })
}

fn oci_config(name: &str) -> String {
    format!(
        r#"{{
  "ociVersion": "1.0.2",
  "process": {{ "user": {{ "uid": 0, "gid": 0 }}, "cwd": "/", "args": ["/bin/busybox", "sh", "/loop"] }},
  "root": {{ "path": "rootfs" }},
  "mounts": [{{ "destination": "/proc", "type": "proc", "source": "proc" }}],
  "linux": {{
    "cgroupsPath": "/{name}",
    "namespaces": [{{ "type": "pid" }}, {{ "type": "ipc" }}, {{ "type": "uts" }}, {{ "type": "mount" }}]
  }}
}}
"#
    )
}

fn lxc_config(name: &str, rootfs: &Path) -> String {
    let rootfs = rootfs.display();
    format!(
        "lxc.uts.name = {name}
lxc.rootfs.path = dir:{rootfs}
lxc.rootfs.mount = {rootfs}
lxc.init.cmd = /bin/busybox sh /loop
lxc.net.0.type = empty
lxc.mount.auto = proc
lxc.apparmor.profile = unconfined
lxc.cgroup.dir = {name}
lxc.autodev = 0
lxc.pty.max = 0
lxc.tty.max = 0
lxc.console.path = none
"
    )
}
