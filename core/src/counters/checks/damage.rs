//! Files that are not what they should be: a clear error, and never a crash, a hang, or somebody else's file.

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::layout::STANDARD;
use super::super::{Bound, Owner, Region};
use super::alone::alone;
use super::board::Chance;
use super::instructions::DATA;
use super::offspring::Child;
use super::picture::Mapped;
use super::soak;
use super::world::{FILES, LEAF, MIDDLE, OTHER, ROOT, TASKS, World, new_directory};

/// A directory that goes with it.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(path) = CString::new(self.0.as_os_str().as_bytes()) {
            // SAFETY: the string ends with a zero and lives for the call. What is mounted there, if anything, is ours.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What opening a file says, in a process of its own.
fn opening(path: &Path) -> Result<String, String> {
    Child::run(|| match Region::open(path) {
        Ok(_) => "ok".to_owned(),
        Err(error) if error.message().is_empty() => "nothing is said".to_owned(),
        Err(error) => errno(error.errno()),
    })
}

fn errno(number: i32) -> String {
    io::Error::from_raw_os_error(number).to_string()
}

fn expect(path: &Path, wanted: i32) -> Result<(), String> {
    let said = opening(path)?;
    let wanted = if wanted == 0 { "ok".to_owned() } else { errno(wanted) };
    if said == wanted { Ok(()) } else { Err(format!("{}: {said}, not {wanted}", path.display())) }
}

/// R6.12: a file that is cut short, too long, of another version, of zeros, of noise, a directory, a pipe, a link,
/// or another's, is refused; and left as it was.
#[test]
fn what_is_no_region_is_refused() {
    alone("damage::what_is_no_region_is_refused", Duration::from_secs(60), || {
        let place = Place(new_directory());
        let at = |name: &str| place.0.join(name);
        let good = at("good");
        expect(&good, 0)?;
        let length = fs::metadata(&good).unwrap().len();
        let copy = |name: &str| {
            fs::copy(&good, at(name)).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
            OpenOptions::new().read(true).write(true).open(at(name)).unwrap()
        };
        for short in [0, 1, 47, 4095, 4096, 8192, length - 4096, length - 1, length + 1, length * 2] {
            copy("short").set_len(short).unwrap();
            expect(&at("short"), libc::EUCLEAN)?;
        }
        for byte in 0..48 {
            let file = copy("header");
            let mut was = [0];
            file.read_exact_at(&mut was, byte).unwrap();
            file.write_all_at(&[was[0] ^ 0x11], byte).unwrap();
            // Its own number may be any; and in other namespaces processes have other numbers.
            let wanted = match byte {
                24..32 => 0,
                32..48 => libc::EXDEV,
                _ => libc::EUCLEAN,
            };
            expect(&at("header"), wanted)?;
        }
        let noise = copy("noise");
        let mut chance = Chance::new(1);
        let bytes: Vec<u8> = (0..1 << 16).map(|_| chance.below(256) as u8).collect();
        noise.write_all_at(&bytes, 0).unwrap();
        expect(&at("noise"), libc::EUCLEAN)?;
        let mut after = vec![0; bytes.len()];
        noise.read_exact_at(&mut after, 0).unwrap();
        assert!(after == bytes, "what was refused was written to");
        File::options().write(true).create_new(true).mode(0o600).open(at("zeros")).unwrap().set_len(length).unwrap();
        expect(&at("zeros"), libc::EUCLEAN)?;
        symlink(&good, at("link")).unwrap();
        expect(&at("link"), libc::ELOOP)?;
        symlink(at("nowhere"), at("dangling")).unwrap();
        expect(&at("dangling"), libc::ELOOP)?;
        assert!(!at("nowhere").exists(), "a link was followed");
        fs::create_dir(at("directory")).unwrap();
        expect(&at("directory"), libc::EISDIR)?;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        expect(&at("pipe"), libc::EUCLEAN)?;
        expect(&at("not/there"), libc::ENOENT)?;
        for mode in [0o660, 0o606, 0o622, 0o644] {
            copy("shared").set_permissions(fs::Permissions::from_mode(mode)).unwrap();
            expect(&at("shared"), libc::EPERM)?;
        }
        // Only root can give a file away, and needs no permission.
        if rustix::process::geteuid().is_root() {
            drop(copy("another"));
            std::os::unix::fs::chown(at("another"), Some(65534), Some(65534)).unwrap();
            expect(&at("another"), libc::EPERM)?;
        } else {
            fs::set_permissions(&place.0, fs::Permissions::from_mode(0o500)).unwrap();
            expect(&at("new"), libc::EACCES)?;
            fs::set_permissions(&place.0, fs::Permissions::from_mode(0o700)).unwrap();
        }
        expect(&good, 0)?;
        Ok("all refused".to_owned())
    });
}

/// R6.12: without room on the disk there is an error and no fault, nothing half made, and what was there counts on;
/// a directory that cannot be written says so.
#[test]
fn a_full_disk_is_an_error() {
    alone("damage::a_full_disk_is_an_error", Duration::from_secs(60), || {
        let place = Place(new_directory());
        if !mount_small(&place.0) {
            return Ok("skipped: no private mount to be had".to_owned());
        }
        let full = place.0.join("full");
        fs::write(&full, vec![1; 1 << 20]).unwrap_err();
        expect(&place.0.join("new"), libc::ENOSPC)?;
        let left: Vec<_> = fs::read_dir(&place.0).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["full"], "something half made is left");
        fs::remove_file(&full).unwrap();
        let file = place.0.join("counters");
        let said = Child::run(|| {
            let region = Region::open(&file).unwrap();
            let mut groups = Vec::new();
            // Until there is no more room: each must be told, or count.
            for number in 0..100_000 {
                let group = region.new_group().unwrap();
                let charged =
                    region.account(&[group], FILES).map_err(super::super::Refused::Failed).and_then(|account| {
                        region.charge(0, &[(account, 1)], Bound::Limit, Owner::Process).map(|_| account)
                    });
                match charged {
                    Ok(account) => groups.push(account),
                    Err(super::super::Refused::Failed(error)) if error.errno() == libc::ENOSPC => {
                        let figures = region.read(&groups).unwrap();
                        assert!(figures.iter().all(|figures| figures.held == 1));
                        for account in &groups {
                            region.uncharge(0, &[(*account, 1)]).unwrap();
                        }
                        return format!("full {}", number > 100);
                    }
                    Err(other) => return format!("{other:?}"),
                }
            }
            "never full".to_owned()
        })?;
        if said != "full true" {
            return Err(said);
        }
        // Its place is taken by others, so that a newcomer has none; and can be had again.
        expect(&file, 0)?;
        mount(&place.0, libc::MS_REMOUNT | libc::MS_RDONLY, c"")?;
        expect(&place.0.join("other"), libc::EROFS)?;
        expect(&file, libc::EROFS)?;
        Ok(said)
    });
}

/// A small file system of its own, that nobody else sees and that goes with this process.
fn mount_small(at: &Path) -> bool {
    // SAFETY: only this thread, and those it forks, get another view of the mounts.
    let own = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
    own && mount(Path::new("/"), libc::MS_PRIVATE | libc::MS_REC, c"").is_ok() && mount(at, 0, c"size=900k").is_ok()
}

fn mount(at: &Path, flags: libc::c_ulong, data: &CStr) -> Result<(), String> {
    let path = CString::new(at.as_os_str().as_bytes()).map_err(|why| why.to_string())?;
    // SAFETY: the strings end with a zero and live for the call, which only reads them.
    let done =
        unsafe { libc::mount(c"cgf-checks".as_ptr(), path.as_ptr(), c"tmpfs".as_ptr(), flags, data.as_ptr().cast()) };
    if done == 0 { Ok(()) } else { Err(format!("mounting: {}", io::Error::last_os_error())) }
}

/// R6.12: noise behind a good beginning, written while others count: errors, and no crash and no hang.
#[test]
fn noise_in_a_region_crashes_nobody() {
    let (limit, rounds) = if soak() { (Duration::from_secs(3600), 20_000) } else { (Duration::from_secs(120), 250) };
    alone("damage::noise_in_a_region_crashes_nobody", limit, || {
        let world = World::make(&[(ROOT, TASKS, Some(500), Some(600_000)), (LEAF, FILES, None, Some(70))])?;
        let map = Mapped::open(&world.file);
        let start = map.take();
        let mut chance = Chance::new(std::env::var("CGF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7));
        let mut errors = 0;
        for round in 0..rounds {
            map.put(&start);
            let seed = chance.below(u64::MAX);
            let mut child = Child::start(|line| {
                let mut scene = world.enter();
                scene.take(LEAF, TASKS, 3);
                scene.be_busy(LEAF, FILES);
                line.say("ready");
                line.hear();
                let mut chance = Chance::new(seed);
                let mut failed = 0;
                for _ in 0..12 {
                    failed += u32::from(noisy(&mut scene, &mut chance).is_err());
                }
                failed.to_string()
            });
            child.hear()?;
            for _ in 0..1 + chance.below(6) {
                let (from, length) = places(&mut chance);
                map.scribble(DATA + from, length, &mut chance);
            }
            let said = child.ask("go").map_err(|why| format!("round {round}, seed {seed}: {why}"))?;
            errors += said.parse::<u32>().map_err(|_| format!("round {round}: {said}"))?;
        }
        Ok(format!("{errors} errors in {rounds} rounds"))
    });
}

/// Somewhere where it matters.
fn places(chance: &mut Chance) -> (usize, usize) {
    let index = chance.below(4) as u32;
    let record = |place: crate::error::Result<usize>| place.unwrap_or(0);
    match chance.below(7) {
        0 => (0, 512),
        1 => (record(STANDARD.descriptor(index)), 128),
        2 => (record(STANDARD.descriptor(index)), 8192),
        3 => (record(STANDARD.slot(index)), 64),
        4 => (record(STANDARD.account(index)), 320),
        5 => (STANDARD.bucket(u64::from(index) + 1, TASKS), 16),
        _ => (record(STANDARD.resource(index)), 128),
    }
}

/// Anything, which may fail.
fn noisy(scene: &mut super::world::Scene, chance: &mut Chance) -> Result<(), String> {
    let said = |error: crate::Error| format!("{error:?}");
    let group = [ROOT, MIDDLE, LEAF, OTHER][chance.below(4) as usize];
    let resource = [TASKS, FILES][chance.below(2) as usize];
    let amount = 1 + chance.below(100);
    let account = scene.try_account(group, resource).map_err(said)?;
    match chance.below(9) {
        0..3 => scene
            .try_charge(group, resource, amount, Bound::Limit, Owner::Process)
            .map(drop)
            .map_err(|why| format!("{why:?}")),
        3 => scene.region.charge_up_to(account, amount, Bound::Barrier).map(drop).map_err(|why| format!("{why:?}")),
        4 => scene.region.uncharge(0, &[(account, amount)]).map_err(said),
        5 => scene.region.read(&[account]).map(drop).map_err(said),
        6 => scene.region.set_bounds(account, Some(Some(5)), Some(Some(amount + 5))).map_err(said),
        7 => scene.region.remove_group(scene.group(group)).map_err(said),
        _ => scene.region.groups().and_then(|_| scene.region.register("noise", "count")).map(drop).map_err(said),
    }
}
