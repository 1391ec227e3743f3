//! A test in a process of its own.
//!
//! The tests here fork, trace and count processor time. That goes well only in a process with one thread, which the
//! process that runs all tests is not: so it starts itself again for the one test, and ends it when it hangs.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that runs one test.
const MARK: &str = "CGF_CHECK_ALONE";

/// Runs `body`, which belongs to the test of this name, alone; panics if it fails or takes longer than `limit`.
pub(super) fn alone(test: &str, limit: Duration, body: impl FnOnce() -> Result<String, String>) {
    if std::env::var_os(MARK).is_some() {
        match body() {
            Ok(told) => eprintln!("{test}: {told}"),
            Err(why) => panic!("{why}"),
        }
        return;
    }
    let name = format!("counters::checks::{test}");
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program)
        .args([&name, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{name}: {status}");
            return;
        }
        if Instant::now() > end {
            // Those it started end with it (PR_SET_PDEATHSIG, PTRACE_O_EXITKILL).
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{name} has not ended within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
