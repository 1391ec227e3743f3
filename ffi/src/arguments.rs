//! What comes from C, checked: handles, strings, flags, and places for answers.

use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

use libc::{c_char, ssize_t};

use crate::guard::{Failure, Result};

/// The object behind a pointer. NULL: EINVAL.
///
/// # Safety
///
/// `pointer` is NULL, or points to a `T` that is not freed while `'a` lasts.
pub(crate) unsafe fn object<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    // SAFETY: NULL or valid, as the caller promises.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// The bytes of a string, without the NUL at its end. NULL: EINVAL.
///
/// # Safety
///
/// `pointer` is NULL, or points to a string that ends in NUL and does not
/// change while `'a` lasts.
pub(crate) unsafe fn bytes<'a>(pointer: *const c_char, name: &str) -> Result<&'a [u8]> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL, so a string, as the caller promises.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// A string that names a file, a program or a hierarchy: bytes, not text.
///
/// # Safety
///
/// As [`bytes`].
pub(crate) unsafe fn os_str<'a>(pointer: *const c_char, name: &str) -> Result<&'a OsStr> {
    // SAFETY: the same promise.
    unsafe { bytes(pointer, name) }.map(OsStr::from_bytes)
}

/// A string that is text. Not UTF-8: EINVAL.
///
/// # Safety
///
/// As [`bytes`].
pub(crate) unsafe fn utf8<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    // SAFETY: the same promise.
    let bytes = unsafe { bytes(pointer, name) }?;
    std::str::from_utf8(bytes).map_err(|_| Failure::invalid(format!("{name} is not UTF-8")))
}

/// The strings of an array that ends in NULL, such as `argv`. NULL: EINVAL.
///
/// # Safety
///
/// `array` is NULL, or points to strings as for [`bytes`] and a NULL after them.
pub(crate) unsafe fn strings<'a>(array: *const *mut c_char, name: &str) -> Result<Vec<&'a OsStr>> {
    if array.is_null() {
        return Err(null(name));
    }
    let mut found = Vec::new();
    loop {
        // SAFETY: the NULL at the end has not come yet, so this element is there.
        let string = unsafe { array.add(found.len()).read() };
        if string.is_null() {
            return Ok(found);
        }
        // SAFETY: an element before the end is a string.
        found.push(unsafe { os_str(string, name) }?);
    }
}

/// The elements of an array. NULL: EINVAL, but for none.
///
/// # Safety
///
/// `pointer` points to `count` values that do not change while `'a` lasts, or is NULL.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    if count.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Failure::invalid(format!("{count} {name} do not fit in memory")));
    }
    // SAFETY: that many are there, as the caller promises, and no more than a slice may have.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// Refuses flags that this version does not know: a later one may give them a
/// meaning that the caller relies on.
pub(crate) fn check_flags(given: u64, known: u64) -> Result<()> {
    match given & !known {
        0 => Ok(()),
        unknown => Err(Failure::invalid(format!("unknown flags {unknown:#x}; there are {known:#x}"))),
    }
}

/// A public structure, which grows at its end from version to version.
///
/// # Safety
///
/// It is `repr(C)` without padding and begins with a `usize` that says how many
/// bytes of it there are. All zeros are a value of it, and so is whatever a C
/// caller may have written there.
pub(crate) unsafe trait Versioned: Copy {
    /// How much of it every caller has.
    const LEAST: usize;
}

/// More than this was not meant (a page, as openat2(2) has it).
pub(crate) const LARGEST_SIZE: usize = 4096;

/// A copy of a structure of a caller whose header may be older or newer than
/// this library, by the rule of openat2(2): what the caller does not have is
/// zero, and what we do not know must be. NULL: EINVAL.
///
/// # Safety
///
/// `pointer` is NULL, or points to as many bytes as its first member says.
pub(crate) unsafe fn structure<T: Versioned>(pointer: *const T, name: &str) -> Result<T> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL, so at least its size is there, as the caller promises.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size > LARGEST_SIZE {
        return Err(Failure::new(libc::E2BIG, format!("{name}.size is {size}, more than {LARGEST_SIZE}")));
    }
    // A size that ends within a member would leave half a pointer.
    if size < T::LEAST || size % align_of::<T>() != 0 {
        let why = format!("{name}.size is {size}, which no version had; the least is {}", T::LEAST);
        return Err(Failure::invalid(why));
    }
    let ours = size_of::<T>();
    // SAFETY: `size` bytes are there, as the caller promises; they are plain
    // bytes to us, read one by one.
    let tail = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), size) }.get(ours..).unwrap_or_default();
    if tail.iter().any(|&byte| byte != 0) {
        let why = format!("{name} has {size} bytes, of which this library knows {ours}; the rest is not zero");
        return Err(Failure::new(libc::E2BIG, why));
    }
    let mut known = MaybeUninit::<T>::zeroed();
    // SAFETY: both have that many bytes. All zeros are a value, and so is what
    // the caller wrote, as the trait promises.
    unsafe {
        known.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(pointer.cast(), size.min(ours));
        Ok(known.assume_init())
    }
}

/// A place for one answer, which is written on success only.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Checked before anything is done, so that nothing is done for nobody.
    /// NULL: EINVAL.
    ///
    /// # Safety
    ///
    /// `pointer` is NULL, or can be written to for as long as the value is used.
    pub(crate) unsafe fn new(pointer: *mut T, name: &str) -> Result<Out<T>> {
        if pointer.is_null() { Err(null(name)) } else { Ok(Out(pointer)) }
    }

    pub(crate) fn put(self, value: T) {
        // SAFETY: can be written to, as `new` was promised.
        unsafe { self.0.write(value) };
    }
}

impl<T> Out<*mut T> {
    /// Hands a new object over; the caller frees it.
    pub(crate) fn put_new(self, value: T) {
        self.put(Box::into_raw(Box::new(value)));
    }
}

/// A place for as much of an answer as fits.
pub(crate) struct Buffer<T> {
    pointer: *mut T,
    room: usize,
}

impl<T: Copy> Buffer<T> {
    /// NULL with room for something: EINVAL.
    ///
    /// # Safety
    ///
    /// `pointer` has room for `room` values for as long as the value is used.
    pub(crate) unsafe fn new(pointer: *mut T, room: usize) -> Result<Buffer<T>> {
        if pointer.is_null() && room > 0 { Err(null("buf")) } else { Ok(Buffer { pointer, room }) }
    }

    /// Copies what fits and returns how much there is.
    pub(crate) fn fill(self, values: &[T]) -> ssize_t {
        let fitting = values.len().min(self.room);
        if fitting > 0 {
            // SAFETY: both have at least `fitting` values, and what C gave us
            // cannot overlap with memory of ours.
            unsafe { self.pointer.copy_from_nonoverlapping(values.as_ptr(), fitting) };
        }
        // Lossless: no slice is larger than isize::MAX bytes.
        values.len() as ssize_t
    }
}

impl Buffer<c_char> {
    /// Copies what fits, with a NUL after it if that fits too, and returns the
    /// length of the whole text without the NUL.
    pub(crate) fn fill_text(self, text: &[u8]) -> ssize_t {
        if text.len() < self.room {
            // SAFETY: less than `room`, so within the buffer.
            unsafe { self.pointer.add(text.len()).write(0) };
        }
        let bytes = Buffer { pointer: self.pointer.cast::<u8>(), room: self.room };
        bytes.fill(text)
    }
}

/// A public structure that the library fills in, and that grows at its end from
/// version to version.
///
/// # Safety
///
/// It is `repr(C)` without padding and begins with a `usize`: how many bytes of it are
/// filled in.
pub(crate) unsafe trait Record: Copy {}

/// A place for as many structures as fit, of a caller whose header may be older or
/// newer than this library.
pub(crate) struct Records<T> {
    pointer: *mut T,
    size: usize,
    room: usize,
}

impl<T: Record> Records<T> {
    /// NULL with room for something: EINVAL.
    ///
    /// # Safety
    ///
    /// `pointer` has room for `room` structures of `size` bytes each for as long as
    /// the value is used.
    pub(crate) unsafe fn new(pointer: *mut T, size: usize, room: usize) -> Result<Records<T>> {
        if pointer.is_null() && room > 0 { Err(null("buf")) } else { Ok(Records { pointer, size, room }) }
    }

    /// Copies what fits and returns how much there is. Of each structure as much as
    /// the caller's has; what that has more is zero.
    pub(crate) fn fill(self, values: &[T]) -> ssize_t {
        let known = size_of::<T>().min(self.size);
        for (index, value) in values.iter().take(self.room).enumerate() {
            // SAFETY: `index` is below `room`, so the place is within the caller's
            // memory with all of its `size` bytes; `known` of them are within ours,
            // which has no padding. A size is written where there is one.
            unsafe {
                let place = self.pointer.cast::<u8>().add(index * self.size);
                place.copy_from_nonoverlapping((&raw const *value).cast(), known);
                place.add(known).write_bytes(0, self.size - known);
                if known >= size_of::<usize>() {
                    place.cast::<usize>().write_unaligned(known);
                }
            }
        }
        // Lossless: no slice is larger than isize::MAX bytes.
        values.len() as ssize_t
    }
}

pub(crate) fn null(name: &str) -> Failure {
    Failure::invalid(format!("{name} is NULL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_its_whole_length_told() {
        let fill = |room: usize| {
            let mut buffer = [b'#' as c_char; 6];
            // SAFETY: `room` is at most 6.
            let length = unsafe { Buffer::new(buffer.as_mut_ptr(), room) }.map(|buffer| buffer.fill_text(b"abc"));
            (length.ok(), buffer.map(|byte| byte as u8 as char).iter().collect::<String>())
        };
        assert_eq!(fill(0), (Some(3), "######".to_owned()));
        assert_eq!(fill(2), (Some(3), "ab####".to_owned()));
        assert_eq!(fill(3), (Some(3), "abc###".to_owned()));
        assert_eq!(fill(4), (Some(3), "abc\0##".to_owned()));
        assert_eq!(fill(6), (Some(3), "abc\0##".to_owned()));
    }

    /// A structure that once had two members and has three now.
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct Grown {
        size: usize,
        first: usize,
        second: usize,
    }

    // SAFETY: numbers of one width, the size first.
    unsafe impl Versioned for Grown {
        const LEAST: usize = 2 * size_of::<usize>();
    }

    #[test]
    fn sizes_are_those_of_openat2() {
        const WORD: usize = size_of::<usize>();
        let read = |words: &[usize]| {
            let mut memory = vec![0; LARGEST_SIZE / WORD + 2];
            memory[..words.len()].copy_from_slice(words);
            // SAFETY: the memory is larger than any size that is read.
            let known = unsafe { structure(memory.as_ptr().cast::<Grown>(), "grown") };
            known.map(|grown| (grown.first, grown.second)).map_err(|failure| failure.errno)
        };
        assert_eq!(read(&[0]), Err(libc::EINVAL));
        assert_eq!(read(&[WORD, 7, 8]), Err(libc::EINVAL));
        assert_eq!(read(&[2 * WORD + 1, 7, 8]), Err(libc::EINVAL));
        assert_eq!(read(&[2 * WORD, 7, 8]), Ok((7, 0)));
        assert_eq!(read(&[3 * WORD, 7, 8, 9]), Ok((7, 8)));
        assert_eq!(read(&[4 * WORD, 7, 8, 0, 9]), Ok((7, 8)));
        assert_eq!(read(&[4 * WORD, 7, 8, 9]), Err(libc::E2BIG));
        assert_eq!(read(&[LARGEST_SIZE, 7, 8]), Ok((7, 8)));
        assert_eq!(read(&[LARGEST_SIZE + WORD, 7, 8]), Err(libc::E2BIG));
        // SAFETY: NULL is allowed.
        let none = unsafe { structure::<Grown>(std::ptr::null(), "grown") };
        assert_eq!(none.err().map(|failure| failure.errno), Some(libc::EINVAL));
    }

    #[test]
    fn no_room_needs_no_buffer() {
        // SAFETY: NULL is allowed.
        let buffer = |room| unsafe { Buffer::<i32>::new(std::ptr::null_mut(), room) };
        assert_eq!(buffer(0).map(|buffer| buffer.fill(&[1, 2])).ok(), Some(2));
        assert_eq!(buffer(1).err().map(|failure| failure.errno), Some(libc::EINVAL));
    }

    #[test]
    fn unknown_flags_are_refused() {
        assert!(check_flags(0b11, 0b11).is_ok());
        assert!(check_flags(0, 0).is_ok());
        assert_eq!(check_flags(0b100, 0b11).err().map(|failure| failure.errno), Some(libc::EINVAL));
    }
}
