//! A process that is run one instruction at a time (ptrace(2)), and copied where it stands.

use std::fs;
use std::os::unix::fs::FileExt;

use super::offspring::{Child, Line};

/// What a traced process takes at the places that matter.
const MARK: i32 = libc::SIGILL;

/// Says "here" to the tracer, by an instruction that there is not: a signal to itself would need its number, which a
/// copy has another of.
pub(super) fn mark() {
    // SAFETY: the tracer takes the signal away, and sets the thread behind the instruction.
    unsafe { std::arch::asm!("ud2") };
}

/// The length of that instruction.
const MARK_LENGTH: u64 = 2;

/// What a traced thread did when it was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Stepped,
    Marked,
    Ended,
}

/// A traced process. Killed when dropped, with all copies.
pub(super) struct Traced {
    child: Child,
    threads: Vec<i32>,
    /// The thread that said "here" last, and is stopped.
    thread: i32,
    /// Pages that the kernel empties in a copy: where.
    emptied: Vec<(u64, usize)>,
    /// Whether copies get all mappings.
    whole: bool,
    /// Where it was in each open file: a copy shares that, and moves it.
    positions: Vec<(u64, u64)>,
}

/// A copy of a traced process at the instruction where it stood: same registers, same memory, another number.
pub(super) struct Copy(i32);

// A system call for a process that is not in one: what the tracer points it at.
std::arch::global_asm!(".global cgf_checks_system_call", "cgf_checks_system_call:", "syscall", "ud2");

unsafe extern "C" {
    fn cgf_checks_system_call();
}

impl Traced {
    /// Forks; the child stops at its first `mark`.
    pub(super) fn start(body: impl FnOnce(&mut Line) -> String) -> Result<Traced, String> {
        let child = Child::start(|line| {
            // SAFETY: makes the parent the tracer and stops; no memory is touched.
            unsafe {
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                libc::raise(libc::SIGSTOP);
            }
            body(line)
        });
        let pid = child.pid();
        let mut traced =
            Traced { child, threads: vec![pid], thread: pid, emptied: Vec::new(), whole: false, positions: Vec::new() };
        let (_, status) = wait(pid, 0)?;
        if !libc::WIFSTOPPED(status) {
            return Err(format!("the traced process ended: {status:#x}"));
        }
        let options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_EXITKILL;
        request(libc::PTRACE_SETOPTIONS, pid, options as usize)?;
        match traced.run_to_mark()? {
            Stop::Marked => Ok(traced),
            other => Err(format!("the traced process {other:?} before it began: {:?}", traced.child.hear())),
        }
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Lets all threads go until one of them says "here".
    pub(super) fn run_to_mark(&mut self) -> Result<Stop, String> {
        request(libc::PTRACE_CONT, self.thread, 0)?;
        loop {
            for thread in self.threads.clone() {
                let Ok((found, status)) = wait(thread, libc::WNOHANG) else { continue };
                if found == 0 {
                    continue;
                }
                match self.seen(thread, status)? {
                    Stop::Marked => {
                        self.thread = thread;
                        return Ok(Stop::Marked);
                    }
                    Stop::Ended if self.threads.is_empty() => return Ok(Stop::Ended),
                    Stop::Ended => {}
                    Stop::Stepped => request(libc::PTRACE_CONT, thread, 0)?,
                }
            }
            std::thread::yield_now();
        }
    }

    /// One instruction of the thread that said "here".
    pub(super) fn step(&mut self) -> Result<Stop, String> {
        self.settle()?;
        loop {
            request(libc::PTRACE_SINGLESTEP, self.thread, 0)?;
            let (_, status) = wait(self.thread, 0)?;
            // Not yet the instruction: it would be told that a copy has ended.
            if !libc::WIFSTOPPED(status) || libc::WSTOPSIG(status) != libc::SIGCHLD {
                return self.seen(self.thread, status);
            }
        }
    }

    /// Moves open files back to where they were before the last copy.
    fn settle(&mut self) -> Result<(), String> {
        if self.positions.is_empty() {
            return Ok(());
        }
        let now = positions(self.child.pid());
        for (file, at) in std::mem::take(&mut self.positions) {
            if now.contains(&(file, at)) {
                continue;
            }
            self.call(libc::SYS_lseek, [file, at, libc::SEEK_SET as u64])?;
        }
        Ok(())
    }

    fn seen(&mut self, thread: i32, status: i32) -> Result<Stop, String> {
        if !libc::WIFSTOPPED(status) {
            self.threads.retain(|known| *known != thread);
            return Ok(Stop::Ended);
        }
        match libc::WSTOPSIG(status) {
            MARK => {
                pass_mark(thread)?;
                Ok(Stop::Marked)
            }
            libc::SIGTRAP if status >> 16 == libc::PTRACE_EVENT_CLONE => {
                let born = message(thread)?;
                self.threads.push(born);
                wait(born, 0)?;
                request(libc::PTRACE_CONT, born, 0)?;
                Ok(Stop::Stepped)
            }
            // A copy has ended.
            libc::SIGTRAP | libc::SIGSTOP | libc::SIGCHLD => Ok(Stop::Stepped),
            signal => {
                let at = registers(thread)?.rip;
                Err(format!("the traced process took signal {signal} at {at:#x}"))
            }
        }
    }

    /// SIGKILL, and until it is gone. A process is not before all its threads have been waited for.
    pub(super) fn kill(&mut self) {
        let pid = self.child.pid();
        self.child.signal(libc::SIGKILL);
        for thread in self.threads.drain(..).filter(|thread| *thread != pid) {
            while wait(thread, 0).is_ok_and(|(_, status)| libc::WIFSTOPPED(status)) {}
        }
        self.child.kill();
    }

    /// A copy of the process as it stands, itself stopped.
    pub(super) fn copy(&mut self) -> Result<Copy, String> {
        self.settle()?;
        self.positions = positions(self.child.pid());
        if !self.whole {
            self.whole = true;
            self.emptied = mappings(self.child.pid(), "wf")?;
            for (from, length) in mappings(self.child.pid(), "dc")? {
                self.call(libc::SYS_madvise, [from, length as u64, libc::MADV_DOFORK as u64])?;
            }
        }
        let copy = Copy(self.call(libc::SYS_fork, [0; 3])?);
        wait(copy.0, 0)?;
        set_registers(copy.0, &registers(self.thread)?)?;
        for &(from, length) in &self.emptied {
            let mut page = vec![0; length];
            memory(self.child.pid())?.read_exact_at(&mut page, from).map_err(|error| format!("a page: {error}"))?;
            memory(copy.0)?.write_all_at(&page, from).map_err(|error| format!("a page: {error}"))?;
        }
        Ok(copy)
    }

    /// Makes it do a system call, and puts it back where it was. What it said; for a fork who was born.
    fn call(&mut self, number: libc::c_long, arguments: [u64; 3]) -> Result<i32, String> {
        let mut before = registers(self.thread)?;
        // Not in a system call that would have to be begun again.
        before.orig_rax = u64::MAX;
        let mut call = before;
        call.rip = cgf_checks_system_call as *const () as u64;
        call.rax = number as u64;
        [call.rdi, call.rsi, call.rdx] = arguments;
        set_registers(self.thread, &call)?;
        let mut born = None;
        loop {
            request(libc::PTRACE_SINGLESTEP, self.thread, 0)?;
            let (_, status) = wait(self.thread, 0)?;
            if status >> 16 == libc::PTRACE_EVENT_FORK {
                born = Some(message(self.thread)?);
            } else if !libc::WIFSTOPPED(status) {
                return Err(format!("it ended in a system call: {status:#x}"));
            } else if libc::WSTOPSIG(status) == libc::SIGTRAP {
                break;
            }
        }
        let said = registers(self.thread)?.rax as i64;
        set_registers(self.thread, &before)?;
        if said < 0 {
            return Err(format!("system call {number}: {said}"));
        }
        Ok(born.unwrap_or(said as i32))
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Copy {
    /// Lets it go until it says "here" or ends.
    pub(super) fn run_to_mark(&self) -> Result<Stop, String> {
        request(libc::PTRACE_CONT, self.0, 0)?;
        let (_, status) = wait(self.0, 0)?;
        match status {
            status if libc::WIFSIGNALED(status) => Err(format!("the copy was killed: {status:#x}")),
            status if !libc::WIFSTOPPED(status) => Ok(Stop::Ended),
            status if libc::WSTOPSIG(status) == MARK => {
                pass_mark(self.0)?;
                Ok(Stop::Marked)
            }
            status => Err(format!("the copy stopped with {status:#x} at {:#x}", registers(self.0)?.rip)),
        }
    }

    /// One instruction.
    pub(super) fn step(&self) -> Result<Stop, String> {
        request(libc::PTRACE_SINGLESTEP, self.0, 0)?;
        let (_, status) = wait(self.0, 0)?;
        match status {
            status if libc::WIFSIGNALED(status) => Err(format!("the copy was killed: {status:#x}")),
            status if !libc::WIFSTOPPED(status) => Ok(Stop::Ended),
            status if libc::WSTOPSIG(status) == MARK => {
                pass_mark(self.0)?;
                Ok(Stop::Marked)
            }
            status if libc::WSTOPSIG(status) == libc::SIGTRAP => Ok(Stop::Stepped),
            status => Err(format!("the copy stopped with {status:#x}")),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // SAFETY: our own tracee, which nobody has waited for: the number is still its.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // It is the traced process's child, so it is seen here as long as it is traced, and reaped.
        while wait(self.0, 0).is_ok_and(|(_, status)| libc::WIFSTOPPED(status)) {}
    }
}

fn wait(pid: i32, flags: i32) -> Result<(i32, i32), String> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    match unsafe { libc::waitpid(pid, &raw mut status, flags | libc::__WALL) } {
        -1 => Err(format!("waiting for {pid}: {}", std::io::Error::last_os_error())),
        found => Ok((found, status)),
    }
}

fn request(request: libc::c_uint, pid: i32, data: usize) -> Result<(), String> {
    // SAFETY: none of the requests made here reads or writes memory of ours.
    match unsafe { libc::ptrace(request, pid, std::ptr::null_mut::<libc::c_void>(), data) } {
        -1 => Err(format!("ptrace request {request} to {pid}: {}", std::io::Error::last_os_error())),
        _ => Ok(()),
    }
}

/// The number that comes with the last event: who was born.
fn message(pid: i32) -> Result<i32, String> {
    let mut number: libc::c_ulong = 0;
    // SAFETY: `number` is a valid place for the answer.
    let done =
        unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, std::ptr::null_mut::<libc::c_void>(), &raw mut number) };
    if done == -1 { Err(format!("no message of {pid}")) } else { Ok(number as i32) }
}

fn registers(pid: i32) -> Result<libc::user_regs_struct, String> {
    let mut found = std::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
    // SAFETY: `found` is a valid place for the answer.
    let done =
        unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, std::ptr::null_mut::<libc::c_void>(), found.as_mut_ptr()) };
    if done == -1 {
        return Err(format!("the registers of {pid}: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: numbers, for which all bits are valid, and zeroed before.
    Ok(unsafe { found.assume_init() })
}

fn set_registers(pid: i32, wanted: &libc::user_regs_struct) -> Result<(), String> {
    // SAFETY: `wanted` is only read.
    let done = unsafe {
        libc::ptrace(libc::PTRACE_SETREGS, pid, std::ptr::null_mut::<libc::c_void>(), std::ptr::from_ref(wanted))
    };
    if done == -1 { Err(format!("the registers of {pid}: {}", std::io::Error::last_os_error())) } else { Ok(()) }
}

fn pass_mark(pid: i32) -> Result<(), String> {
    let mut now = registers(pid)?;
    now.rip += MARK_LENGTH;
    set_registers(pid, &now)
}

fn memory(pid: i32) -> Result<fs::File, String> {
    let file = fs::File::options().read(true).write(true).open(format!("/proc/{pid}/mem"));
    file.map_err(|error| format!("the memory of {pid}: {error}"))
}

/// The open files of a process, and where in them it is.
fn positions(pid: i32) -> Vec<(u64, u64)> {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return Vec::new() };
    let position = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let info = fs::read_to_string(entry.path()).ok()?;
        Some((number, info.lines().find_map(|line| line.strip_prefix("pos:"))?.trim().parse().ok()?))
    };
    files.flatten().filter_map(position).collect()
}

/// The mappings with a flag: `wf`, that the kernel empties in forked children (MADV_WIPEONFORK), or `dc`, that it does
/// not give them (MADV_DONTFORK).
fn mappings(pid: i32, wanted: &str) -> Result<Vec<(u64, usize)>, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).map_err(|error| format!("smaps: {error}"))?;
    let mut found = Vec::new();
    let mut range = None;
    for line in text.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if let Some((from, to)) = first.split_once('-') {
            range = u64::from_str_radix(from, 16).ok().zip(u64::from_str_radix(to, 16).ok());
        } else if first == "VmFlags:"
            && line.split_whitespace().any(|flag| flag == wanted)
            && let Some((from, to)) = range
        {
            found.push((from, usize::try_from(to - from).unwrap_or(0)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::time::Duration;

    use super::super::alone::alone;
    use super::super::picture::Mapped;
    use super::super::world::new_directory;
    use super::*;

    /// What the proofs rest upon: every write is seen, and a copy goes on where its original stands.
    #[test]
    fn each_write_is_a_state_and_a_copy_goes_on() {
        alone("step::tests::each_write_is_a_state_and_a_copy_goes_on", Duration::from_secs(60), || {
            let directory = new_directory();
            let path = directory.join("file");
            File::create(&path).unwrap().set_len(1 << 20).unwrap();
            let map = Mapped::open(&path);
            let mut victim = Traced::start(|line| {
                let file = File::options().write(true).open(&path).unwrap();
                mark();
                for value in 1..=5 {
                    file.write_all_at(&[value], 70_000).unwrap();
                }
                mark();
                line.say("done");
                mark();
                String::new()
            })?;
            let start = map.take();
            let mut states = vec![start.clone()];
            let mut steps = 0;
            loop {
                if steps % 50 == 0 {
                    let here = map.take();
                    let copy = victim.copy()?;
                    assert_eq!(copy.run_to_mark()?, Stop::Marked);
                    assert_eq!(copy.run_to_mark()?, Stop::Marked);
                    assert_eq!(victim.child().hear()?, "done");
                    let mut last = [0];
                    File::open(&path).unwrap().read_exact_at(&mut last, 70_000).unwrap();
                    assert_eq!(last, [5]);
                    map.put(&here);
                }
                let stop = victim.step()?;
                steps += 1;
                if !map.is(states.last().unwrap()) {
                    states.push(map.take());
                }
                if stop != Stop::Stepped {
                    break;
                }
            }
            fs::remove_dir_all(directory).unwrap();
            // The first state has a hole where zeroes were put back later.
            assert!((6..=7).contains(&states.len()), "{}", states.len());
            Ok(format!("{steps} steps, {} states", states.len()))
        });
    }
}
