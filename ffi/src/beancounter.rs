//! What a group holds of each resource, and how much it may.

use cgf_core::{BeanCounter, Resource, Severity};
use libc::{c_char, c_int, c_ulong, ssize_t};

use crate::arguments::{Record, Records, object, slice};
use crate::error::{cgf_error, cut};
use crate::group::cgf_group;
use crate::guard::{Failure, Result, guard};

/// Kernel memory, in bytes.
pub const CGF_KMEMSIZE: u32 = 0;
/// Private virtual memory, in pages.
pub const CGF_PRIVVMPAGES: u32 = 1;
/// Resident memory, in pages.
pub const CGF_PHYSPAGES: u32 = 2;
/// Tasks.
pub const CGF_NUMTASKS: u32 = 3;
/// Open files.
pub const CGF_NUMFILES: u32 = 4;

const _: () = assert!(
    Resource::KMEMSIZE.number() == CGF_KMEMSIZE
        && Resource::PRIVVMPAGES.number() == CGF_PRIVVMPAGES
        && Resource::PHYSPAGES.number() == CGF_PHYSPAGES
        && Resource::NUMTASKS.number() == CGF_NUMTASKS
        && Resource::NUMFILES.number() == CGF_NUMFILES
);

/// A charge is refused if it would pass the barrier.
pub const CGF_BARRIER: c_int = 0;
/// A charge is refused if it would pass the limit.
pub const CGF_LIMIT: c_int = 1;
/// A charge is never refused.
pub const CGF_FORCE: c_int = 2;

/// No barrier, no limit: what the files call "max".
pub const CGF_NO_LIMIT: u64 = 9_223_372_036_854_775_807;

/// Charges an amount of a resource to the group and to all groups above it, or, if
/// one of them has no room for it, to none (R6.2, R6.3). The charge is this
/// process's: all its threads share it, it survives an exec, and it ends with the
/// process, however that ends. It never waits.
///
/// "resource" is CGF_NUMFILES and the like, or a number from cgf_resource_register;
/// "severity" CGF_BARRIER, CGF_LIMIT or CGF_FORCE. An amount of 0 succeeds.
///
/// Returns 0, or, with nothing charged,
///
///     -ENOMEM  refused, and counted as that in the group that refused; which one it
///              was, cgf_charge_many says
///     -EMFILE  the same for CGF_NUMFILES
///     -EINVAL  more than 2^48, or an unknown severity
///     -ENOENT  no such resource in this hierarchy
///     -EOPNOTSUPP  the hierarchy is not bound to "beancounter"
///     -ENODEV  the group was removed
///     -ENOSPC  no room for more counters
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_charge(g: *mut cgf_group, resource: u32, amount: u64, severity: c_int) -> c_int {
    // The quick way calls nothing, and so needs no frame: that would cost as much again. It
    // is right whatever the severity is, if it is one.
    // SAFETY: the group is NULL or as the header asks, for the whole call.
    if let Some(group) = unsafe { g.as_ref() }
        && (CGF_BARRIER..=CGF_FORCE).contains(&severity)
        && group.0.charge_quickly(Resource::from_number(resource), amount)
    {
        return 0;
    }
    // SAFETY: the same.
    unsafe { charge(g, resource, amount, severity) }
}

/// # Safety
///
/// As the header says of cgf_charge.
#[cold]
#[inline(never)]
unsafe extern "C" fn charge(g: *mut cgf_group, resource: u32, amount: u64, severity: c_int) -> c_int {
    // SAFETY: the group is NULL or as the header asks, for the whole call.
    unsafe {
        guard(std::ptr::null_mut(), || {
            object(g, "g")?.0.charge(Resource::from_number(resource), amount, known(severity)?)?;
            Ok(0)
        })
    }
}

/// Takes a charge back from the group and all groups above it: what this process
/// holds, and then what the group keeps (cgf_charge_kept). Of more than that, the
/// rest is not taken and counts in "bc.underflow" (R6.4).
///
/// Returns 0, or -EINVAL, -ENOENT, -EOPNOTSUPP, -ENODEV, -ECHILD as cgf_charge.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_uncharge(g: *mut cgf_group, resource: u32, amount: u64) -> c_int {
    // SAFETY: the group is NULL or as the header asks, for the whole call.
    if let Some(group) = unsafe { g.as_ref() }
        && group.0.uncharge_quickly(Resource::from_number(resource), amount)
    {
        return 0;
    }
    // SAFETY: the same.
    unsafe { uncharge(g, resource, amount) }
}

/// # Safety
///
/// As the header says of cgf_uncharge.
#[cold]
#[inline(never)]
unsafe extern "C" fn uncharge(g: *mut cgf_group, resource: u32, amount: u64) -> c_int {
    // SAFETY: the group is NULL or as the header asks, for the whole call.
    unsafe {
        guard(std::ptr::null_mut(), || {
            object(g, "g")?.0.uncharge(Resource::from_number(resource), amount)?;
            Ok(0)
        })
    }
}

/// So much of a resource, for cgf_charge_many.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cgf_amount {
    /// CGF_NUMFILES and the like, or a number from cgf_resource_register.
    pub resource: u64,
    /// At most 2^48.
    pub amount: u64,
}

/// Charges several resources in one step, all of them or none, as cgf_charge does
/// each (R6.4). Nobody ever sees a part of it.
///
/// Returns 0, or fails as cgf_charge does; the error's message names the group that
/// refused, the resource, and what is held of how much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_charge_many(
    g: *mut cgf_group,
    amounts: *const cgf_amount,
    count: usize,
    severity: c_int,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, amounts) = (object(g, "g")?, slice(amounts, count, "amounts")?);
            group.0.charge_many(&charges(amounts)?, known(severity)?)?;
            Ok(0)
        })
    }
}

/// Takes several charges back in one step, as cgf_uncharge does each.
///
/// Returns 0, or fails as cgf_uncharge.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_uncharge_many(
    g: *mut cgf_group,
    amounts: *const cgf_amount,
    count: usize,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, amounts) = (object(g, "g")?, slice(amounts, count, "amounts")?);
            group.0.uncharge_many(&charges(amounts)?)?;
            Ok(0)
        })
    }
}

/// Charges several resources in one step, as cgf_charge_many, for the group itself:
/// the charges outlive this process, and last until somebody takes them back
/// (cgf_uncharge, from any process). A group cannot be removed before (-EBUSY).
///
/// Returns 0, or fails as cgf_charge_many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_charge_kept(
    g: *mut cgf_group,
    amounts: *const cgf_amount,
    count: usize,
    severity: c_int,
    err: *mut *mut cgf_error,
) -> c_int {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, amounts) = (object(g, "g")?, slice(amounts, count, "amounts")?);
            group.0.charge_kept(&charges(amounts)?, known(severity)?)?;
            Ok(0)
        })
    }
}

/// Charges as much as there is room for, and at most "amount" (R6.4).
///
/// Returns how much that was: 0 where there is no room, which counts as a refusal.
/// Else it fails as cgf_charge_many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_charge_up_to(
    g: *mut cgf_group,
    resource: u32,
    amount: u64,
    severity: c_int,
    err: *mut *mut cgf_error,
) -> i64 {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let group = object(g, "g")?;
            let granted = group.0.charge_up_to(Resource::from_number(resource), amount, known(severity)?)?;
            // No more than was asked for, which is at most 2^48.
            i64::try_from(granted).map_err(|_| Failure::new(libc::EOVERFLOW, format!("{granted} were granted")))
        })
    }
}

/// Sets a group's barrier and limit of a resource together (R6.6), each at most
/// 2^48, or CGF_NO_LIMIT. A limit below what is held lets nothing more in.
///
/// Returns 0, or
///
///     -EINVAL  a barrier above the limit; more than 2^48
///     others as cgf_charge_many
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_set_limits(
    g: *mut cgf_group,
    resource: u32,
    barrier: u64,
    limit: u64,
    err: *mut *mut cgf_error,
) -> c_int {
    let bound = |figure| (figure != CGF_NO_LIMIT).then_some(figure);
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            object(g, "g")?.0.set_limits(Resource::from_number(resource), bound(barrier), bound(limit))?;
            Ok(0)
        })
    }
}

/// struct cgf_beancounter: the limit binds every program, by the kernel, and "held" is
/// the kernel's figure. Else those are bound who charge by this library.
pub const CGF_BEANCOUNTER_BY_KERNEL: u64 = 1;

/// The figures of one resource in one group, by cgf_snapshot.
///
/// Later versions may add members at the end; "size" says how far this one is
/// filled in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cgf_beancounter {
    /// How many bytes of this structure the library has filled in.
    pub size: usize,
    /// Which resource it is: CGF_NUMFILES and the like.
    pub resource: c_ulong,
    /// What is held now, by the group and those below.
    pub held: u64,
    /// The most that was held since the group was made, or since 0 was written to
    /// "bc.NAME.maxheld". Exact while at most one process charges at a time, else
    /// no less than the truth.
    pub maxheld: u64,
    /// The least, likewise; no more than the truth.
    pub minheld: u64,
    /// Where CGF_BARRIER ends, or CGF_NO_LIMIT.
    pub barrier: u64,
    /// Where CGF_LIMIT ends, or CGF_NO_LIMIT.
    pub limit: u64,
    /// How many charges this group has refused.
    pub failcnt: u64,
    /// CGF_BEANCOUNTER_BY_KERNEL.
    pub flags: u64,
    /// What the resource is called, at most 63 bytes and a NUL.
    pub name: [c_char; 64],
    /// What is counted, "bytes" for one, at most 31 bytes and a NUL.
    pub unit: [c_char; 32],
}

// SAFETY: numbers and letters without padding (`layout`), the size first.
unsafe impl Record for cgf_beancounter {}

impl From<&BeanCounter> for cgf_beancounter {
    fn from(counter: &BeanCounter) -> cgf_beancounter {
        cgf_beancounter {
            size: size_of::<cgf_beancounter>(),
            resource: c_ulong::from(counter.resource.number()),
            held: counter.held,
            maxheld: counter.maxheld,
            minheld: counter.minheld,
            barrier: counter.barrier.unwrap_or(CGF_NO_LIMIT),
            limit: counter.limit.unwrap_or(CGF_NO_LIMIT),
            failcnt: counter.failcnt,
            flags: if counter.by_kernel { CGF_BEANCOUNTER_BY_KERNEL } else { 0 },
            name: cut(&counter.name),
            unit: cut(&counter.unit),
        }
    }
}

/// Copies the figures of all resources of the hierarchy in this group, as they were
/// at one instant (R6.5), by number, the first "cap" of them; and, where "underflow"
/// is not NULL, how often more was taken back than was held.
///
/// "size" is sizeof(struct cgf_beancounter) in the caller's header: of a structure
/// that has grown since only that much is copied, and where the caller's is the
/// larger one, the rest is zero. "buf" may be NULL if "cap" is 0.
///
/// Returns how many resources there are, or
///
///     -EINVAL  NULL
///     -EOPNOTSUPP  the hierarchy is not bound to "beancounter"
///     -ENODEV  the group was removed
///     -ECHILD  in a forked child
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cgf_snapshot(
    g: *const cgf_group,
    buf: *mut cgf_beancounter,
    size: usize,
    cap: usize,
    underflow: *mut u64,
    err: *mut *mut cgf_error,
) -> ssize_t {
    // SAFETY: pointers are NULL or as the header asks, for the whole call.
    unsafe {
        guard(err, || {
            let (group, records) = (object(g, "g")?, Records::new(buf, size, cap)?);
            let found = group.0.snapshot()?;
            if let Some(underflow) = underflow.as_mut() {
                *underflow = found.underflow;
            }
            let counters: Vec<cgf_beancounter> = found.counters.iter().map(cgf_beancounter::from).collect();
            Ok(records.fill(&counters))
        })
    }
}

fn charges(amounts: &[cgf_amount]) -> Result<Vec<(Resource, u64)>> {
    let charge = |one: &cgf_amount| {
        let none = || Failure::new(libc::ENOENT, format!("no resource {}", one.resource));
        let number = u32::try_from(one.resource).map_err(|_| none())?;
        Ok((Resource::from_number(number), one.amount))
    };
    amounts.iter().map(charge).collect()
}

fn known(severity: c_int) -> Result<Severity> {
    match severity {
        CGF_BARRIER => Ok(Severity::Barrier),
        CGF_LIMIT => Ok(Severity::Limit),
        CGF_FORCE => Ok(Severity::Force),
        other => Err(Failure::invalid(format!("{other} is no severity"))),
    }
}
