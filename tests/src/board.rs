//! Numbers that several processes of a test write to and read, without a word of
//! the library's: a page of memory that they share.

use std::fs::OpenOptions;
use std::ops::Index;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use crate::stage;

/// How many numbers there are.
pub const WORDS: usize = 512;

/// The page, mapped until the process ends.
pub struct Board {
    path: PathBuf,
    words: &'static [AtomicU64; WORDS],
    is_maker: bool,
}

impl Board {
    /// A new one, all zero. Its file goes when this is dropped.
    pub fn new() -> std::io::Result<Board> {
        let path = std::env::temp_dir().join(stage::unique("cgf-board"));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.set_len(size_of::<[AtomicU64; WORDS]>() as u64)?;
        let mut board = Board::open(&path).inspect_err(|_| {
            let _ = std::fs::remove_file(&path);
        })?;
        board.is_maker = true;
        Ok(board)
    }

    /// Another process's.
    pub fn open(path: &Path) -> std::io::Result<Board> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        // SAFETY: a new mapping of a whole file of that size, which nobody shortens.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<[AtomicU64; WORDS]>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: mapped above, aligned to a page, never unmapped, and only ever
        // accessed as atomics.
        let words = unsafe { &*address.cast::<[AtomicU64; WORDS]>() };
        Ok(Board { path: path.to_owned(), words, is_maker: false })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Index<usize> for Board {
    type Output = AtomicU64;

    fn index(&self, word: usize) -> &AtomicU64 {
        &self.words[word]
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if self.is_maker {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
