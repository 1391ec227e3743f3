//! The error object: what errno is too coarse to say.

use std::ffi::CString;

use cgf_core::Evidence;
use libc::{c_char, c_int, pid_t};

use crate::arguments::{Record, Records};
use crate::guard::{Failure, free};

/// Why a call failed, for people and for programs. It never changes, belongs to
/// whoever received it, and may be used in any thread and after a fork.
pub struct cgf_error {
    errno: c_int,
    message: CString,
    blockers: Vec<cgf_blocker>,
}

/// A task that an error is about: that kept a group from being frozen, emptied or
/// removed (R3.7), that is outside of a group that is to be checkpointed (R4.2),
/// or that was not still during a checkpoint (R4.4).
///
/// Later versions may add members at the end; "size" says how far this one is
/// filled in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cgf_blocker {
    /// How many bytes of this structure the library has filled in.
    pub size: usize,
    /// The process.
    pub pid: pid_t,
    /// The thread; the process's own number for its first thread.
    pub tid: pid_t,
    /// The kernel's letter for what the task does, 'R', 'S', 'D', ...
    /// (proc_pid_stat(5)); '?' when it has gone.
    pub state: c_char,
    /// What is said of it, and how that is known: CGF_EVIDENCE_PROVED, ...
    pub evidence: c_char,
    /// Zero.
    pub reserved: [c_char; 6],
    /// The thread's name, at most 15 bytes and a NUL.
    pub command: [c_char; 16],
    /// The kernel function that it waits in, at most 63 bytes and a NUL; empty
    /// where it runs, or where we may not look.
    pub waits_in: [c_char; 64],
}

/// It blocks, as the kernel said: alone in a group of its own, it did not stop.
pub const CGF_EVIDENCE_PROVED: c_int = 1;
/// It blocks, and only its own state says so.
pub const CGF_EVIDENCE_STATE: c_int = 2;
/// It is not in the group, nor below.
pub const CGF_EVIDENCE_OUTSIDE: c_int = 3;
/// Its run counter moved: it was given a CPU.
pub const CGF_EVIDENCE_RAN: c_int = 4;
/// It could run: the group was thawed, or somebody came into it who ran.
pub const CGF_EVIDENCE_THAWED: c_int = 5;
/// It has left the group, or ended.
pub const CGF_EVIDENCE_LEFT: c_int = 6;
/// It has come into the group.
pub const CGF_EVIDENCE_CAME: c_int = 7;

// SAFETY: numbers and letters without padding (`layout`), the size first.
unsafe impl Record for cgf_blocker {}

impl cgf_error {
    /// A new object, which the receiver frees.
    pub(crate) fn boxed(failure: Failure) -> *mut cgf_error {
        let error = cgf_error {
            errno: failure.errno,
            message: shown(&failure.message),
            blockers: failure.blockers.iter().map(cgf_blocker::from).collect(),
        };
        Box::into_raw(Box::new(error))
    }
}

impl From<&cgf_core::Blocker> for cgf_blocker {
    fn from(blocker: &cgf_core::Blocker) -> cgf_blocker {
        cgf_blocker {
            size: size_of::<cgf_blocker>(),
            pid: blocker.pid,
            tid: blocker.tid,
            state: u8::try_from(blocker.state).unwrap_or(b'?') as c_char,
            evidence: match blocker.evidence {
                Evidence::Proved => CGF_EVIDENCE_PROVED,
                Evidence::Outside => CGF_EVIDENCE_OUTSIDE,
                Evidence::Ran => CGF_EVIDENCE_RAN,
                Evidence::Thawed => CGF_EVIDENCE_THAWED,
                Evidence::Left => CGF_EVIDENCE_LEFT,
                Evidence::Came => CGF_EVIDENCE_CAME,
                // What a later core may add is no stronger.
                _ => CGF_EVIDENCE_STATE,
            } as c_char,
            reserved: [0; 6],
            command: cut(&blocker.command),
            waits_in: cut(&blocker.waits_in),
        }
    }
}

/// A text for C. It may hold a name and so anything; a NUL would end it.
pub(crate) fn shown(text: &str) -> CString {
    CString::new(text.replace('\0', "\\0")).unwrap_or_default()
}

/// As much of a text as fits before a NUL, without cutting through a character.
pub(crate) fn cut<const N: usize>(text: &str) -> [c_char; N] {
    let mut cut = [0; N];
    let end = text.floor_char_boundary(N - 1);
    for (place, byte) in cut.iter_mut().zip(text[..end].bytes()) {
        *place = byte as c_char;
    }
    cut
}

/// The errno of the failure, positive: what the call returned, negated. 0 for
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_error_errno(e: *const cgf_error) -> c_int {
    // SAFETY: NULL, or an error that is not freed yet (the header's rule).
    unsafe { e.as_ref() }.map_or(0, |error| error.errno)
}

/// One sentence: what failed, on what, and where it is known, the remedy. UTF-8,
/// owned by the error: good until that is freed. "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_error_message(e: *const cgf_error) -> *const c_char {
    // SAFETY: NULL, or an error that is not freed yet (the header's rule).
    unsafe { e.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Copies the tasks that the error is about, the first "cap" of them, and returns
/// how many there are: after a freeze, kill or removal that failed with EBUSY
/// (R3.7), a cgf_checkpoint_begin that failed with EXDEV (R4.2), and whatever
/// says -ESTALE of a checkpoint (R4.4); else 0. 0 for NULL.
///
/// "size" is sizeof(struct cgf_blocker) in the caller's header: of a structure
/// that has grown since only that much is copied, and where the caller's is the
/// larger one, the rest is zero. "buf" may be NULL if "cap" is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_error_blockers(
    e: *const cgf_error,
    buf: *mut cgf_blocker,
    size: usize,
    cap: usize,
) -> usize {
    // SAFETY: NULL, or an error that is not freed yet (the header's rule).
    let Some(error) = (unsafe { e.as_ref() }) else { return 0 };
    if buf.is_null() {
        return error.blockers.len();
    }
    // SAFETY: `buf` has room for `cap` structures of `size` bytes each (the header's rule).
    if let Ok(records) = unsafe { Records::new(buf, size, cap) } {
        records.fill(&error.blockers);
    }
    error.blockers.len()
}

/// Frees an error. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_error_free(e: *mut cgf_error) {
    // SAFETY: NULL, or an error that is not freed yet (the header's rule).
    unsafe { free(e) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `Blocker` cannot be made outside of the core; the C structure can.
    fn error_with(count: i32) -> cgf_error {
        let blocker = |pid| cgf_blocker {
            size: size_of::<cgf_blocker>(),
            pid,
            tid: pid + 100,
            state: b'D' as c_char,
            evidence: CGF_EVIDENCE_PROVED as c_char,
            reserved: [0; 6],
            command: cut("a-command-that-is-long"),
            waits_in: cut("request_wait_answer"),
        };
        cgf_error { errno: libc::EBUSY, message: c"busy".into(), blockers: (1..=count).map(blocker).collect() }
    }

    /// What a caller sees whose structure is `size` bytes long.
    fn copied(error: &cgf_error, size: usize, cap: usize) -> (usize, Vec<u8>) {
        // Words, so that it is aligned as a structure; filled with what must stay.
        let mut memory = vec![u64::MAX; (size * cap).div_ceil(8) + 1];
        // SAFETY: the memory has room for `cap` structures of `size` bytes.
        let count = unsafe { cgf_error_blockers(error, memory.as_mut_ptr().cast(), size, cap) };
        (count, memory.into_iter().flat_map(u64::to_ne_bytes).collect())
    }

    #[test]
    fn a_shorter_structure_gets_its_part() {
        let (count, bytes) = copied(&error_with(3), 16, 2);
        assert_eq!(count, 3);
        let (first, second) = (&bytes[..16], &bytes[16..32]);
        assert_eq!(first[..8], 16_usize.to_ne_bytes());
        assert_eq!((&first[8..12], &first[12..]), (&1_i32.to_ne_bytes()[..], &101_i32.to_ne_bytes()[..]));
        assert_eq!(&second[8..12], &2_i32.to_ne_bytes());
        assert!(bytes[32..].iter().all(|&byte| byte == 0xff), "wrote past the end");
    }

    #[test]
    fn a_longer_structure_is_zero_at_its_end() {
        let known = size_of::<cgf_blocker>();
        let (count, bytes) = copied(&error_with(1), known + 8, 2);
        assert_eq!(count, 1);
        assert_eq!(bytes[..8], known.to_ne_bytes());
        assert!(bytes[known..known + 8].iter().all(|&byte| byte == 0));
        assert!(bytes[known + 8..].iter().all(|&byte| byte == 0xff), "wrote past the end");
    }

    #[test]
    fn nothing_is_written_without_room() {
        assert_eq!(copied(&error_with(2), 0, 2).0, 2);
        assert!(copied(&error_with(2), 104, 0).1.iter().all(|&byte| byte == 0xff));
        // SAFETY: NULL is allowed for both.
        unsafe {
            assert_eq!(cgf_error_blockers(&error_with(2), std::ptr::null_mut(), 104, 2), 2);
            assert_eq!(cgf_error_blockers(std::ptr::null(), std::ptr::null_mut(), 104, 2), 0);
        }
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let text = |bytes: [c_char; 16]| bytes.map(|byte| byte as u8).to_vec();
        assert_eq!(text(cut("fourteen bytesé")), b"fourteen bytes\0\0");
        assert_eq!(text(cut("fifteen-bytes-x-and-more")), b"fifteen-bytes-x\0");
        assert_eq!(text(cut("")), [0; 16]);
    }
}
