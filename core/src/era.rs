//! Where and when process numbers that somebody wrote down are good.

use crate::error::{Error, Result};
use crate::process;

/// This boot of the machine, these namespaces of numbers and of start times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Era {
    pub boot: String,
    /// `pid:[4026531836]time:[4026531834]`
    pub namespace: String,
}

impl Era {
    pub(crate) fn now() -> Result<Era> {
        let failed = |errno| Error::os(errno, "asking the kernel for the boot's id and our pid namespace");
        let boot = process::read("/proc/sys/kernel/random/boot_id").map_err(failed)?;
        let mut namespace = rustix::fs::readlink("/proc/self/ns/pid", Vec::new()).map_err(failed)?.into_bytes();
        // Before Linux 5.6 there are none, and all have the same time.
        if let Ok(time) = rustix::fs::readlink("/proc/self/ns/time", Vec::new()) {
            namespace.extend_from_slice(time.as_bytes());
        }
        Ok(Era {
            boot: String::from_utf8_lossy(boot.trim_ascii()).into_owned(),
            namespace: String::from_utf8_lossy(&namespace).into_owned(),
        })
    }
}
