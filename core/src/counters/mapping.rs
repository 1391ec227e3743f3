//! The file that processes share, mapped: made whole or not at all, and believed only
//! as far as it can be checked.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::cell::{Cell, Memory, Offset, Word};
use super::holder::Process;
use super::layout::{STANDARD, damaged};
use super::liveness::Liveness;
use crate::error::{Error, Result};
use crate::process;
use crate::sys::Errno;
use crate::sys::fork::Origin;

/// A region of this version in our memory, for as long as this value.
#[derive(Debug)]
pub(crate) struct Mapping {
    file: File,
    memory: NonNull<u8>,
    length: usize,
    header: Header,
    allocated: Vec<AtomicU64>,
    liveness: Liveness,
    /// Device and inode.
    identity: (u64, u64),
    origin: Origin,
}

// SAFETY: the memory is shared by processes already; all of it is used by atomic
// operations alone.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// What a file begins with; the rest of the page is empty.
pub(super) const HEADER: usize = 4096;
const MAGIC: [u8; 8] = *b"cgfcount";
/// Another layout or another algorithm has another number.
const VERSION: u64 = 1;

/// The first words of a file, written once before it has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    /// The region's own number.
    number: u64,
    /// The pid and the time namespace in which its processes are numbered.
    pids: u64,
    time: u64,
}

impl Header {
    fn to_bytes(self) -> [u8; 48] {
        let length = (HEADER + STANDARD.length()) as u64;
        let mut bytes = [0; 48];
        let words = [u64::from_ne_bytes(MAGIC), VERSION, length, self.number, self.pids, self.time];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// Memory is asked for in pieces of this size.
const PIECE: usize = 1 << 14;

impl Mapping {
    /// Maps a file, and makes it if there is none. The errors are those of
    /// [`Region::open`](super::Region::open).
    pub(super) fn open(path: &Path) -> Result<Mapping> {
        let shown = path.display();
        if !IS_SUPPORTED {
            return Err(Error::new(
                libc::EOPNOTSUPP,
                "counters need 128 bits exchanged as one: x86-64 and aarch64 can",
            ));
        }
        if !Origin::is_told() {
            let why = "the kernel has no memory that forked children see empty (MADV_WIPEONFORK)";
            return Err(Error::new(libc::EOPNOTSUPP, format!("no counters: {why}")));
        }
        for _ in 0..100 {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            match rustix::fs::open(path, flags, Mode::empty()) {
                Ok(fd) => return Mapping::of(File::from(fd), path),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::os(errno, format_args!("opening the counters {shown}"))),
            }
            make(path)?;
        }
        Err(Error::new(libc::EBUSY, format!("the counters {shown} are made and removed by somebody else")))
    }

    fn of(file: File, path: &Path) -> Result<Mapping> {
        let shown = path.display();
        let failed = |error: std::io::Error| Error::os(&error, format_args!("reading the counters {shown}"));
        let about = file.metadata().map_err(failed)?;
        let user = rustix::process::geteuid().as_raw();
        if !about.is_file() {
            return Err(Error::new(libc::EUCLEAN, format!("the counters {shown} are no file")));
        }
        if about.uid() != user || about.mode() & 0o077 != 0 {
            let why = "belong to another user, or others may use them";
            return Err(Error::new(libc::EPERM, format!("the counters {shown} {why}")));
        }
        let wrong =
            |what: &str| Error::new(libc::EUCLEAN, format!("{shown} holds no counters of this version: {what}"));
        let length = HEADER + STANDARD.length();
        if about.len() != length as u64 {
            return Err(wrong("its length is wrong"));
        }
        let mut bytes = [0; 48];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        let word = |at: usize| {
            bytes.get(at * 8..at * 8 + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_ne_bytes)
        };
        let header = Header { number: word(3), pids: word(4), time: word(5) };
        if header.to_bytes() != bytes || header.number == 0 {
            return Err(wrong("it begins with something else"));
        }
        let (pids, time) = namespaces()?;
        if (header.pids, header.time) != (pids, time) {
            let why = "are used in another pid or time namespace, where processes have other numbers";
            return Err(Error::new(libc::EXDEV, format!("the counters {shown} {why}")));
        }
        // SAFETY: a shared mapping of a file at an address of the kernel's choice; it is
        // as long as the file.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        let memory = NonNull::new(memory.cast::<u8>()).filter(|_| memory != libc::MAP_FAILED);
        let Some(memory) = memory else {
            return Err(Error::os(&std::io::Error::last_os_error(), format_args!("mapping the counters {shown}")));
        };
        // A forked child has no business here, and its handles say so.
        // SAFETY: the mapping is ours; the advice changes nothing in this process.
        if unsafe { libc::madvise(memory.as_ptr().cast(), length, libc::MADV_DONTFORK) } != 0 {
            let error = std::io::Error::last_os_error();
            // SAFETY: the mapping is ours, and nobody has a reference into it yet.
            unsafe { libc::munmap(memory.as_ptr().cast(), length) };
            return Err(Error::os(&error, format_args!("keeping the counters {shown} from forked children")));
        }
        let pieces = length.div_ceil(PIECE);
        let allocated = (0..pieces.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let mapping = Mapping {
            file,
            memory,
            length,
            header,
            allocated,
            liveness: Liveness::new(boot()?),
            identity: (about.dev(), about.ino()),
            origin: Origin::here(),
        };
        mapping.allocate(0, STANDARD.first())?;
        Ok(mapping)
    }

    /// The region's own number.
    pub(super) fn number(&self) -> u64 {
        self.header.number
    }

    /// Whether both are the same file's.
    pub(super) fn is_same(&self, other: &Mapping) -> bool {
        self.identity == other.identity && self.header == other.header
    }

    /// The boot that runs, as processes have it.
    pub(super) fn boot(&self) -> u8 {
        self.liveness.boot()
    }

    /// Whether the process that runs now mapped it.
    pub(super) fn is_ours(&self) -> bool {
        self.origin.is_here()
    }

    /// Whether a word is in it.
    pub(super) fn has(&self, word: *const AtomicU64) -> bool {
        let begin = self.memory.as_ptr() as usize;
        (begin..begin + self.length).contains(&(word as usize))
    }

    #[inline]
    /// Touches memory of ours so that no fault is left to come. By the mapping and not by the
    /// file: a program that closed all of its files may have another under that number.
    fn populate(&self, at: usize, length: usize) -> std::result::Result<(), Errno> {
        retry_on_intr(|| {
            // SAFETY: within the mapping, as the caller has seen to; the kernel makes pages
            // present and changes nothing in them.
            let done = unsafe { libc::madvise(self.memory.add(at).as_ptr().cast(), length, libc::MADV_POPULATE_WRITE) };
            match done {
                0 => Ok(()),
                _ => Err(crate::sys::last_errno()),
            }
        })
        // What touching it would be a fault for.
        .map_err(|errno| if errno == Errno::FAULT { Errno::NOSPC } else { errno })
    }

    fn at(&self, at: Offset, size: usize) -> NonNull<u8> {
        let at = at + HEADER;
        // Every offset comes from the layout, all of whose parts are multiples of 16, or was looked at (`has_cell`).
        debug_assert!(at.is_multiple_of(size));
        assert!(at <= self.length - size, "every offset is in the layout");
        // SAFETY: within the mapping, as was just looked at.
        unsafe { self.memory.add(at) }
    }
}

/// The program that this process runs: sixteen random bytes that the kernel gives each
/// anew (AT_RANDOM, getauxval(3)), folded.
pub(super) fn this_program() -> u32 {
    // SAFETY: getauxval(3) takes nothing but a number.
    let bytes = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const [u32; 4];
    if bytes.is_null() {
        return 0;
    }
    // SAFETY: the kernel has put 16 bytes there, on the stack of the first thread above all
    // of its frames, for as long as the program runs.
    let words = unsafe { bytes.read_unaligned() };
    words.iter().fold(0, |folded, word| folded ^ word) & 0x7fff_ffff
}

/// Makes the file under another name, and gives it its own when it is complete.
fn make(path: &Path) -> Result<()> {
    let shown = path.display();
    let failed = |error: std::io::Error| Error::os(&error, format_args!("making the counters {shown}"));
    let (pids, time) = namespaces()?;
    let length = (HEADER + STANDARD.length()) as u64;
    // The kernel would end the process for trying (SIGXFSZ, setrlimit(2)).
    if rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some_and(|most| most < length) {
        let why = format!("making the counters {shown}: files may not be as long as {length} bytes (RLIMIT_FSIZE)");
        return Err(Error::new(libc::EFBIG, why));
    }
    let mut number = [0; 8];
    while u64::from_ne_bytes(number) == 0 {
        rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| failed(errno.into()))?;
    }
    let header = Header { number: u64::from_ne_bytes(number), pids, time };
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}", header.number));
    let draft = Path::new(&name);
    let file =
        std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(draft).map_err(failed)?;
    let made = file
        .set_len(length)
        .and_then(|()| file.write_all_at(&header.to_bytes(), 0))
        .and_then(|()| allocate(&file, 0, HEADER + STANDARD.first()).map_err(Into::into))
        .and_then(|()| {
            // Somebody may have been quicker: then theirs is it.
            match rustix::fs::linkat(CWD, draft, CWD, path, AtFlags::empty()) {
                Err(errno) if errno != Errno::EXIST => Err(errno.into()),
                _ => Ok(()),
            }
        });
    let removed = std::fs::remove_file(draft);
    made.map_err(failed)?;
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Gives a file memory, so that touching it is no fault on a full disk.
fn allocate(file: &File, at: usize, length: usize) -> Result<(), Errno> {
    let given = retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, at as u64, length as u64));
    match given {
        // A file system that does not know it: what it has not, it tells by a fault.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => other,
    }
}

/// Some bits of the boot's id.
fn boot() -> Result<u8> {
    let id = process::read("/proc/sys/kernel/random/boot_id");
    let id = id.map_err(|errno| Error::os(errno, "asking the kernel for the boot's id"))?;
    Ok(id.iter().fold(0, |folded: u8, byte| folded.rotate_left(3) ^ byte))
}

/// The inodes that stand for our pid and our time namespace. (Before Linux 5.6 there is
/// one time.)
///
/// EXDEV: `/proc` shows another pid namespace's processes.
fn namespaces() -> Result<(u64, u64)> {
    let own = rustix::fs::readlink("/proc/self", Vec::new());
    let own = own.map_err(|errno| Error::os(errno, "looking at ourselves in /proc"))?;
    if own.to_bytes() != process::this_process().to_string().as_bytes() {
        let why = "/proc shows the processes of another pid namespace: nobody could tell who is alive";
        return Err(Error::new(libc::EXDEV, why));
    }
    let inode = |path: &str| rustix::fs::stat(path).map(|stat| stat.st_ino);
    let pids = inode("/proc/self/ns/pid").map_err(|errno| Error::os(errno, "looking at our pid namespace"))?;
    Ok((pids, inode("/proc/self/ns/time").unwrap_or(0)))
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a forked child it is not there, and something else may be.
        if !self.origin.is_here() {
            return;
        }
        // SAFETY: the mapping is ours, whole, and with this value goes the last that
        // leads to it: words and cells are borrowed from it.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.length) };
    }
}

impl Memory for Mapping {
    type Word = AtomicU64;
    type Cell = Shared;

    #[inline]
    fn word(&self, at: Offset) -> &AtomicU64 {
        // SAFETY: aligned, within the mapping, which stays as long as `self`; every
        // use of these bytes is atomic.
        unsafe { self.at(at, 8).cast().as_ref() }
    }

    #[inline]
    fn cell(&self, at: Offset) -> &Shared {
        // SAFETY: as above.
        unsafe { self.at(at, 16).cast().as_ref() }
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        fence(order);
    }

    fn allocate(&self, at: Offset, length: usize) -> Result<()> {
        let begin = (at + HEADER) / PIECE;
        let end = (at + HEADER + length).div_ceil(PIECE);
        for piece in begin..end {
            let Some(word) = self.allocated.get(piece / 64) else {
                return Err(damaged("a piece beyond its end"));
            };
            let bit = 1 << (piece % 64);
            if word.load(Ordering::Acquire) & bit != 0 {
                continue;
            }
            let length = PIECE.min(self.length - piece * PIECE);
            let given = match self.populate(piece * PIECE, length) {
                // Not before Linux 5.14.
                Err(Errno::INVAL) => allocate(&self.file, piece * PIECE, length),
                other => other,
            };
            given.map_err(|errno| Error::os(errno, "giving the counters more memory"))?;
            word.fetch_or(bit, Ordering::Release);
        }
        Ok(())
    }

    fn dead(&self, processes: &[Process]) -> Vec<bool> {
        self.liveness.dead(processes)
    }
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }

    #[inline]
    fn compare_exchange(&self, current: u64, new: u64) -> Result<u64, u64> {
        AtomicU64::compare_exchange(self, current, new, Ordering::SeqCst, Ordering::SeqCst)
    }

    fn fetch_add(&self, value: u64) -> u64 {
        AtomicU64::fetch_add(self, value, Ordering::SeqCst)
    }

    fn fetch_max(&self, value: u64) -> u64 {
        AtomicU64::fetch_max(self, value, Ordering::SeqCst)
    }
}

/// A cell in shared memory: the low half first.
#[repr(C, align(16))]
#[derive(Debug)]
pub(crate) struct Shared {
    low: AtomicU64,
    high: AtomicU64,
}

impl Cell for Shared {
    #[inline]
    fn load(&self) -> u128 {
        // The high half has the tag and changes with every transfer, never back to what
        // it was; without one only the low half changes. So a low half that was read
        // while the high one stayed belongs to it. (Of a holder's cell, which has no
        // tag, both halves may be of different holders: whoever reads one relies on no more
        // than a swap tells.)
        let mut high = self.high.load(Ordering::Acquire);
        loop {
            let low = self.low.load(Ordering::Acquire);
            let again = self.high.load(Ordering::Acquire);
            if again == high {
                return u128::from(low) | u128::from(high) << 64;
            }
            high = again;
        }
    }

    #[inline]
    fn look(&self) -> u128 {
        u128::from(self.low.load(Ordering::Acquire)) | u128::from(self.high.load(Ordering::Acquire)) << 64
    }

    #[inline]
    fn compare_exchange(&self, current: u128, new: u128) -> Result<(), u128> {
        let (at, low, high) = (std::ptr::from_ref(self), current as u64, (current >> 64) as u64);
        exchange(at, (low, high), (new as u64, (new >> 64) as u64))
            .map_err(|(low, high)| u128::from(low) | u128::from(high) << 64)
    }

    fn set_low(&self, bits: u64) {
        self.low.fetch_or(bits, Ordering::AcqRel);
    }
}

/// Compares and exchanges 128 bits as one, sequentially consistent.
#[cfg(target_arch = "x86_64")]
fn exchange(at: *const Shared, current: (u64, u64), new: (u64, u64)) -> Result<(), (u64, u64)> {
    let (mut low, mut high) = current;
    let done: u8;
    // SAFETY: `at` is a cell that may be written, 16 bytes at a multiple of 16, and both
    // halves are atomics. The instruction reads and writes those bytes and the flags
    // alone; rbx, which the compiler keeps for itself, is put back. Every x86-64 but the
    // first of 2003 has it, and no such one runs a kernel with pidfds.
    unsafe {
        std::arch::asm!(
            "xchg {new_low}, rbx",
            "lock cmpxchg16b [rdi]",
            "sete r8b",
            "mov rbx, {new_low}",
            new_low = inout(reg) new.0 => _,
            in("rdi") at,
            lateout("r8b") done,
            inout("rax") low,
            inout("rdx") high,
            in("rcx") new.1,
            options(nostack),
        );
    }
    if done != 0 { Ok(()) } else { Err((low, high)) }
}

/// Compares and exchanges 128 bits as one; acquires, and releases what was before.
#[cfg(target_arch = "aarch64")]
fn exchange(at: *const Shared, current: (u64, u64), new: (u64, u64)) -> Result<(), (u64, u64)> {
    loop {
        let (low, high): (u64, u64);
        let failed: u32;
        // SAFETY: `at` is a cell that may be written, 16 bytes at a multiple of 16, and
        // both halves are atomics. The pair is written back as it was if it is not the
        // current one: only then is it known that both halves are of one instant.
        unsafe {
            std::arch::asm!(
                "ldaxp {low}, {high}, [{at}]",
                "cmp {low}, {current_low}",
                "ccmp {high}, {current_high}, #0, eq",
                "csel {put_low}, {new_low}, {low}, eq",
                "csel {put_high}, {new_high}, {high}, eq",
                "stlxp {failed:w}, {put_low}, {put_high}, [{at}]",
                at = in(reg) at,
                low = out(reg) low,
                high = out(reg) high,
                current_low = in(reg) current.0,
                current_high = in(reg) current.1,
                new_low = in(reg) new.0,
                new_high = in(reg) new.1,
                put_low = out(reg) _,
                put_high = out(reg) _,
                failed = out(reg) failed,
                options(nostack),
            );
        }
        if failed == 0 {
            return if (low, high) == current { Ok(()) } else { Err((low, high)) };
        }
    }
}

/// There are no counters elsewhere ([`Mapping::open`] says so).
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn exchange(_: *const Shared, current: (u64, u64), _: (u64, u64)) -> Result<(), (u64, u64)> {
    Err(current)
}

/// Whether 128 bits can be exchanged as one here.
const IS_SUPPORTED: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
