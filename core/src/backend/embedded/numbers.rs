//! Whether a process number may have been given away twice.

use crate::process;

/// How many processes and threads have been made since the machine started; 0
/// if the kernel does not say.
pub(crate) fn forks() -> u64 {
    let text = process::read("/proc/stat").unwrap_or_default();
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"processes "));
    line.and_then(number).unwrap_or(0)
}

/// Whether a number that was in use after `then` forks, and has been freed at
/// some time since, may be in use again.
///
/// The kernel gives out numbers in turn, so that each comes again only when all
/// others that are free have been. Half of a round is left for those that were
/// not free, and for forks that took a number and failed.
pub(super) fn may_recur(then: u64) -> bool {
    let round = process::read("/proc/sys/kernel/pid_max").ok().and_then(|text| number(&text)).unwrap_or(0);
    then == 0 || forks().checked_sub(then).is_none_or(|since| since >= round / 2)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_again_after_a_round() {
        assert!(forks() > 0);
        assert!(!may_recur(forks()));
        assert!(may_recur(0));
        assert!(may_recur(forks() + 1_000_000));
        assert!(forks() < 1 << 22 || may_recur(1));
    }
}
