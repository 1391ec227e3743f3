//! A file that others have mapped, at one instant, to compare and to put back.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::board::Chance;

/// The file, mapped.
pub(super) struct Mapped {
    file: File,
    start: *mut u8,
    length: usize,
}

/// Its contents: the pages that are not all zeroes, by offset. To whoever has only looked into a hole there is a page
/// of zeroes, and nothing has changed.
#[derive(Clone)]
pub(super) struct Picture(Vec<(usize, Vec<u8>)>);

const PAGE: usize = 4096;
static ZEROES: [u8; PAGE] = [0; PAGE];

impl Mapped {
    pub(super) fn open(path: &Path) -> Mapped {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that anybody uses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(start, libc::MAP_FAILED);
        assert!(length.is_multiple_of(PAGE));
        Mapped { file, start: start.cast(), length }
    }

    /// The contents now. Whoever writes must be stopped.
    pub(super) fn take(&self) -> Picture {
        let pages = self.pages().filter(|page| self.bytes(*page) != ZEROES);
        Picture(pages.map(|page| (page, self.bytes(page).to_vec())).collect())
    }

    /// Whether the contents are these.
    pub(super) fn is(&self, picture: &Picture) -> bool {
        let mut known = picture.0.iter().peekable();
        for page in self.pages() {
            let known = known.next_if(|known| known.0 == page);
            if self.bytes(page) != known.map_or(&ZEROES[..], |(_, bytes)| bytes) {
                return false;
            }
        }
        known.next().is_none()
    }

    /// Makes the contents these.
    pub(super) fn put(&self, picture: &Picture) {
        for page in self.pages() {
            // SAFETY: within the mapping (`pages`). Those who have it mapped too are stopped or only use atomics.
            unsafe { std::ptr::write_bytes(self.start.add(page), 0, PAGE) };
        }
        for (page, bytes) in &picture.0 {
            assert!(page + bytes.len() <= self.length);
            // SAFETY: within the mapping, as just checked; the picture is memory of its own.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(*page), bytes.len()) };
        }
    }

    /// Writes noise, while others use what is there.
    pub(super) fn scribble(&self, from: usize, length: usize, chance: &mut Chance) {
        for at in (from..from + length).step_by(8) {
            assert!(at.is_multiple_of(8) && at + 8 <= self.length);
            let noise = match chance.below(4) {
                0 => 0,
                1 => chance.below(16),
                2 => u64::MAX,
                _ => chance.below(u64::MAX) << 11 ^ chance.below(u64::MAX),
            };
            // SAFETY: aligned and within the mapping, as just checked; to those who share it, it is an atomic, too.
            unsafe { &*self.start.add(at).cast::<AtomicU64>() }.store(noise, Ordering::SeqCst);
        }
    }

    /// The word at an offset.
    pub(super) fn word(&self, at: usize) -> u64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.length);
        // SAFETY: aligned and within the mapping, as just checked; to those who share it, it is an atomic, too.
        unsafe { &*self.start.add(at).cast::<AtomicU64>() }.load(Ordering::SeqCst)
    }

    fn bytes(&self, page: usize) -> &[u8] {
        assert!(page + PAGE <= self.length);
        // SAFETY: within the mapping, as just checked, and valid for reads. The slice is only compared and copied
        // while whoever writes is stopped.
        unsafe { std::slice::from_raw_parts(self.start.add(page), PAGE) }
    }

    /// The pages that are no holes, by offset. The file has whole ones.
    fn pages(&self) -> impl Iterator<Item = usize> {
        self.extents().into_iter().flat_map(|(from, to)| (from..to).step_by(PAGE))
    }

    /// What is not a hole, by offsets.
    fn extents(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(from) = self.seek(at, libc::SEEK_DATA).filter(|from| *from < self.length) {
            let to = self.seek(from, libc::SEEK_HOLE).unwrap_or(self.length).min(self.length);
            found.push((from, to));
            at = to;
        }
        found
    }

    fn seek(&self, from: usize, whence: i32) -> Option<usize> {
        // SAFETY: moves the position of our own descriptor, which nobody else uses.
        let found = unsafe { libc::lseek(self.file.as_raw_fd(), libc::off_t::try_from(from).ok()?, whence) };
        usize::try_from(found).ok()
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole; no slice of it outlives `self`.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}
