//! Telling a forked child from the process that made a handle.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::last_errno;

/// The process that made a handle, as against a child it forked later.
///
/// A pid would not do: a child may be given the number of its dead
/// grandparent. The kernel empties one page of ours in every forked child
/// (MADV_WIPEONFORK, madvise(2), Linux 4.14); a zero there says "new process".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(u64);

impl Origin {
    /// The process that runs now. Two loads, most of the time: charges ask each time.
    #[inline]
    pub(crate) fn here() -> Origin {
        let page = page();
        let known = page.load(Ordering::Relaxed);
        if known != 0 { Origin(known) } else { Origin::first(page) }
    }

    /// Whether forked children are told apart; counters rely on it.
    pub(crate) fn is_told() -> bool {
        !std::ptr::eq(page(), &STAND_IN)
    }

    /// For whoever cannot spare a call: the word that tells, and what it says in this process.
    pub(crate) fn page() -> (&'static AtomicU64, u64) {
        (page(), Origin::here().0)
    }

    /// First use, or first use after a fork. The counter is ordinary memory, which a
    /// child inherits, so its numbers are larger than any its parent gave before the fork.
    #[cold]
    fn first(page: &AtomicU64) -> Origin {
        let fresh = GENERATION.fetch_add(1, Ordering::Relaxed) + 1;
        // Two threads may both come here: one wins.
        match page.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Origin(fresh),
            Err(winner) => Origin(winner),
        }
    }

    /// Whether the process that runs now is this one.
    pub(crate) fn is_here(self) -> bool {
        self == Origin::here()
    }
}

static GENERATION: AtomicU64 = AtomicU64::new(0);

static STAND_IN: AtomicU64 = AtomicU64::new(0);

/// The page that forked children see empty. Where the kernel has none to give,
/// an ordinary word stands in: then forked children are not told apart, which
/// costs a diagnosis, and counters (they ask).
#[inline]
fn page() -> &'static AtomicU64 {
    static PAGE: OnceLock<&'static AtomicU64> = OnceLock::new();
    PAGE.get_or_init(|| wiped_on_fork().unwrap_or(&STAND_IN))
}

fn wiped_on_fork() -> super::Result<&'static AtomicU64> {
    let size = rustix::param::page_size();
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice
    // touches no memory that anybody uses.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(last_errno());
    }
    // SAFETY: the mapping is ours alone, and nobody has a reference into it.
    if unsafe { libc::madvise(page, size, libc::MADV_WIPEONFORK) } != 0 {
        let errno = last_errno();
        // SAFETY: as above; it is given back whole, and not used again.
        unsafe { libc::munmap(page, size) };
        return Err(errno);
    }
    // SAFETY: the page is aligned, large enough, zeroed by the kernel (zero is
    // a valid AtomicU64) and never unmapped, so 'static holds.
    Ok(unsafe { &*page.cast::<AtomicU64>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What holds after fork: a handle's origin is not its child's.
    #[test]
    fn a_forked_child_is_another_origin() {
        let origin = Origin::here();
        assert!(origin.is_here());
        // SAFETY: the child calls nothing but the function under test, which
        // takes no lock, and _exit.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let told = !origin.is_here() && Origin::here().is_here();
            // SAFETY: ends the child at once; no destructor need run.
            unsafe { libc::_exit(if told { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert_eq!(status, 0);
        assert!(origin.is_here());
    }
}
