//! Which processors a thread may run on (sched_setaffinity(2)), with room for more than the
//! 1024 that the C library's own type has.

use super::{Errno, Result, last_errno};

/// Words of 64 processors each: 8192, the most that Linux is built for.
const WORDS: usize = 128;

/// A set of processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mask([u64; WORDS]);

impl Mask {
    /// Of ranges with both their ends; beyond what Linux can have, nothing is.
    pub(crate) fn of(ranges: impl Iterator<Item = (u32, u32)>) -> Mask {
        let mut words = [0; WORDS];
        for (first, last) in ranges {
            for cpu in first..=last.min((64 * WORDS - 1) as u32) {
                if let Some(word) = words.get_mut(cpu as usize / 64) {
                    *word |= 1 << (cpu % 64);
                }
            }
        }
        Mask(words)
    }
}

/// What a thread may run on now. ESRCH.
pub(crate) fn get(tid: i32) -> Result<Mask> {
    let mut mask = Mask([0; WORDS]);
    // SAFETY: the kernel writes at most the given number of bytes to the mask, which is
    // plain numbers. (The system call itself: the C library's function knows one size.)
    let written = unsafe {
        libc::syscall(libc::SYS_sched_getaffinity, positive(tid)?, size_of_val(&mask.0), mask.0.as_mut_ptr())
    };
    if written < 0 { Err(last_errno()) } else { Ok(mask) }
}

/// Makes a thread run there and nowhere else. ESRCH, EPERM; EINVAL: none of them is online
/// and allowed to it by the kernel.
pub(crate) fn set(tid: i32, mask: &Mask) -> Result<()> {
    // SAFETY: the kernel reads the given number of bytes, all of which are there.
    let done =
        unsafe { libc::syscall(libc::SYS_sched_setaffinity, positive(tid)?, size_of_val(&mask.0), mask.0.as_ptr()) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}

/// 0 would be the caller.
fn positive(tid: i32) -> Result<i32> {
    if tid > 0 { Ok(tid) } else { Err(Errno::SRCH) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_what_the_kernel_shows() {
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let mask = get(own).unwrap();
        set(own, &mask).unwrap();
        assert_eq!(get(own), Ok(mask));
        assert_eq!(get(0), Err(Errno::SRCH));
        assert_eq!(set(own, &Mask::of(std::iter::empty())), Err(Errno::INVAL));
        assert_eq!(Mask::of([(0, 1), (63, 64), (8191, u32::MAX)].into_iter()).0[..2], [1 << 63 | 3, 1]);
        assert_eq!(Mask::of([(0, u32::MAX)].into_iter()).0, [u64::MAX; WORDS]);
    }
}
