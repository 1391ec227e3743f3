//! A process that charges, for the tests of BeanCounters: opens a hierarchy (name and
//! options are its arguments), then takes one line and gives one.
//!
//! ```text
//! charge PATH RESOURCE AMOUNT    LIMIT, held by the process
//! keep PATH RESOURCE AMOUNT      LIMIT, held by the group
//! uncharge PATH RESOURCE AMOUNT
//! register NAME UNIT             answers the number
//! read PATH FILE
//! fork PATH                      what a forked child's charge gives
//! spin PATH RESOURCE             charges one and takes it back, for ever, after "ok"
//! exec                           starts the same program again, in the same process
//! ```

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;

use cgf::{Error, Hierarchy, Options, Resource, Result, Severity};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, options] = arguments.as_slice() else { return };
    let mut opened = Options::parse(options).and_then(|options| Hierarchy::open(name, &options));
    for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match opened.as_mut().map_err(|error| Error::new(error.errno(), error.message())) {
            Ok(hierarchy) => answer(hierarchy, &words),
            Err(error) => Err(error),
        };
        let answer = match answer {
            Ok(value) => format!("ok {}", value.trim_end()),
            Err(error) => format!("error {} {error}", error.errno()),
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn answer(hierarchy: &Hierarchy, words: &[&str]) -> Result<String> {
    let amount = |word: &str| word.parse().unwrap_or(u64::MAX);
    match *words {
        ["charge", path, resource, number] => {
            let resource = hierarchy.resource(resource)?;
            hierarchy.open_group(path)?.charge(resource, amount(number), Severity::Limit)?;
        }
        ["keep", path, resource, number] => {
            let charges = [(hierarchy.resource(resource)?, amount(number))];
            hierarchy.open_group(path)?.charge_kept(&charges, Severity::Limit)?;
        }
        ["uncharge", path, resource, number] => {
            hierarchy.open_group(path)?.uncharge(hierarchy.resource(resource)?, amount(number))?;
        }
        ["register", name, unit] => return Ok(hierarchy.register_resource(name, unit)?.number().to_string()),
        ["read", path, file] => return hierarchy.open_group(path)?.read(file),
        ["fork", path] => return Ok(in_a_child(hierarchy, path)?.to_string()),
        ["spin", path, resource] => {
            let (group, resource) = (hierarchy.open_group(path)?, hierarchy.resource(resource)?);
            println!("ok");
            loop {
                // It may be refused meanwhile.
                if group.charge(resource, 1, Severity::Limit).is_ok() {
                    group.uncharge(resource, 1)?;
                }
            }
        }
        ["exec"] => {
            // The next line is the next program's: it is not asked for before this one's answer.
            println!("ok");
            let failed = std::process::Command::new("/proc/self/exe").args(std::env::args().skip(1)).exec();
            return Err(Error::new(failed.raw_os_error().unwrap_or(libc::EIO), failed.to_string()));
        }
        _ => return Err(Error::new(libc::ENOSYS, format!("{words:?}"))),
    }
    Ok(String::new())
}

/// The errno that a forked child gets, 0 for none.
fn in_a_child(hierarchy: &Hierarchy, path: &str) -> Result<i32> {
    let group = hierarchy.open_group(path)?;
    // So that the child inherits whatever there is to inherit.
    group.charge(Resource::NUMFILES, 1, Severity::Limit)?;
    // SAFETY: this process has one thread, and the child only charges, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let errno = group.charge(Resource::NUMFILES, 1, Severity::Limit).map_or_else(|error| error.errno(), |()| 0);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(errno) };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    unsafe { libc::waitpid(child, &mut status, 0) };
    Ok(libc::WEXITSTATUS(status))
}
