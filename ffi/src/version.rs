//! Which version of the library runs.

use std::ffi::CStr;

use libc::c_char;

/// The version of the library that runs, "0.1.0"; CGF_VERSION is that of the
/// header. The string is constant.
#[unsafe(no_mangle)]
pub extern "C" fn cgf_version() -> *const c_char {
    TEXT.as_ptr()
}

/// The same as a number, for comparing: 0xMMmmpp, one byte each for major,
/// minor and patch; CGF_VERSION_NUMBER is that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn cgf_version_number() -> u32 {
    NUMBER
}

const TEXT: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(text) => text,
    // The line above ends in the only NUL.
    Err(_) => c"",
};

const NUMBER: u32 = part(env!("CARGO_PKG_VERSION_MAJOR")) << 16
    | part(env!("CARGO_PKG_VERSION_MINOR")) << 8
    | part(env!("CARGO_PKG_VERSION_PATCH"));

/// A decimal number below 256; anything else does not compile.
const fn part(digits: &str) -> u32 {
    let digits = digits.as_bytes();
    let mut value = 0;
    let mut at = 0;
    while at < digits.len() {
        assert!(digits[at].is_ascii_digit());
        value = value * 10 + (digits[at] - b'0') as u32;
        at += 1;
    }
    assert!(value < 256);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_agree() {
        let number = cgf_version_number();
        let text = format!("{}.{}.{}", number >> 16, number >> 8 & 0xff, number & 0xff);
        assert_eq!(TEXT.to_str(), Ok(text.as_str()));
        assert_eq!((part("0"), part("1"), part("255")), (0, 1, 255));
    }
}
