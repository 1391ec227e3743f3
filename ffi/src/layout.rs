//! The layout of public structures is part of the ABI: it never changes but at
//! the end. These numbers are the published ones.

use std::mem::offset_of;

use crate::beancounter::{cgf_amount, cgf_beancounter};
use crate::checkpoint::cgf_checkpoint_options;
use crate::control_file::cgf_control_file;
use crate::error::cgf_blocker;
use crate::resource::cgf_resource_callbacks;
use crate::spawn::{cgf_spawn_fd, cgf_spawn_options};
use crate::subsystem::cgf_subsystem;

/// Each member begins where the one before ends, and the last one ends the
/// structure: there is no padding, whose bytes nobody would have set.
fn check_no_padding(name: &str, size: usize, members: &[(usize, usize)]) {
    let mut end = 0;
    for (offset, length) in members {
        assert_eq!(*offset, end, "padding in {name} before offset {offset}");
        end = offset + length;
    }
    assert_eq!(end, size, "padding at the end of {name}");
}

macro_rules! members {
    ($type:ty: $($member:ident: $of:ty),+) => {
        [$((offset_of!($type, $member), size_of::<$of>())),+]
    };
}

#[test]
fn structures_have_no_padding() {
    let members = members!(cgf_blocker: size: usize, pid: i32, tid: i32, state: i8, evidence: i8,
        reserved: [i8; 6], command: [i8; 16], waits_in: [i8; 64]);
    check_no_padding("cgf_blocker", size_of::<cgf_blocker>(), &members);
    let members = members!(cgf_spawn_options: size: usize, fd_count: usize, flags: u64, fds: usize, cwd: usize,
        signal_mask: usize, pidfd: usize, namespaces: u64);
    check_no_padding("cgf_spawn_options", size_of::<cgf_spawn_options>(), &members);
    let members = members!(cgf_spawn_fd: from: i32, to: i32);
    check_no_padding("cgf_spawn_fd", size_of::<cgf_spawn_fd>(), &members);
    let members = members!(cgf_checkpoint_options: size: usize, timeout_ms: isize, flags: u64);
    check_no_padding("cgf_checkpoint_options", size_of::<cgf_checkpoint_options>(), &members);
    let members = members!(cgf_control_file: size: usize, name: usize, read: usize, write: usize, flags: u64);
    check_no_padding("cgf_control_file", size_of::<cgf_control_file>(), &members);
    let members = members!(cgf_subsystem: size: usize, name: usize, controllers: usize, state: usize, free: usize,
        files: usize, nfiles: usize, create: usize, destroy: usize, post_clone: usize, can_attach: usize,
        can_attach_task: usize, cancel_attach: usize, pre_attach: usize, attach_task: usize, attach: usize,
        fork: usize, exit: usize, mount: usize, unmount: usize);
    check_no_padding("cgf_subsystem", size_of::<cgf_subsystem>(), &members);
    let members = members!(cgf_amount: resource: u64, amount: u64);
    check_no_padding("cgf_amount", size_of::<cgf_amount>(), &members);
    let members = members!(cgf_beancounter: size: usize, resource: usize, held: u64, maxheld: u64, minheld: u64,
        barrier: u64, limit: u64, failcnt: u64, flags: u64, name: [i8; 64], unit: [i8; 32]);
    check_no_padding("cgf_beancounter", size_of::<cgf_beancounter>(), &members);
    let members = members!(cgf_resource_callbacks: size: usize, state: usize, free: usize, barrier_hit: usize,
        limit_hit: usize);
    check_no_padding("cgf_resource_callbacks", size_of::<cgf_resource_callbacks>(), &members);
}

#[cfg(target_pointer_width = "64")]
#[test]
fn sizes_are_the_published_ones() {
    assert_eq!(size_of::<cgf_blocker>(), 104);
    assert_eq!(size_of::<cgf_spawn_options>(), 64);
    assert_eq!(size_of::<cgf_spawn_fd>(), 8);
    assert_eq!(size_of::<cgf_checkpoint_options>(), 24);
    assert_eq!(size_of::<cgf_control_file>(), 40);
    assert_eq!(size_of::<cgf_subsystem>(), 160);
    assert_eq!(size_of::<cgf_amount>(), 16);
    assert_eq!(size_of::<cgf_beancounter>(), 168);
    assert_eq!(size_of::<cgf_resource_callbacks>(), 40);
}
