//! Where and when process numbers that somebody wrote down are good.

use crate::error::{Error, Result};
use crate::process;

/// This boot of the machine, this pid namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Era {
    pub boot: String,
    /// `pid:[4026531836]`
    pub namespace: String,
}

impl Era {
    pub(crate) fn now() -> Result<Era> {
        let failed = |errno| Error::os(errno, "asking the kernel for the boot's id and our pid namespace");
        let boot = process::read("/proc/sys/kernel/random/boot_id").map_err(failed)?;
        let namespace = rustix::fs::readlink("/proc/self/ns/pid", Vec::new()).map_err(failed)?;
        Ok(Era {
            boot: String::from_utf8_lossy(boot.trim_ascii()).into_owned(),
            namespace: namespace.to_string_lossy().into_owned(),
        })
    }
}
