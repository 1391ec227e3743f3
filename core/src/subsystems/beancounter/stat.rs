//! `bc.stat`: a snapshot as the table that `/proc/user_beancounters` is, version 2.5.

use std::fmt::Write;

use super::files::NO_BOUND;
use super::snapshot::Snapshot;

/// The table. The group stands where a user stood, as user 0: so programs that know the
/// format find what they look for.
pub(super) fn table(snapshot: &Snapshot) -> String {
    let mut text = String::from("Version: 2.5\n");
    let mut row = |user: &str, resource: &str, figures: [&str; 5]| {
        let [held, maxheld, barrier, limit, failcnt] = figures;
        // A String takes all that is written to it.
        let _ = writeln!(
            text,
            "{user:>10}  {resource:<12} {held:>20} {maxheld:>20} {barrier:>20} {limit:>20} {failcnt:>20}"
        );
    };
    row("uid", "resource", ["held", "maxheld", "barrier", "limit", "failcnt"]);
    for (at, counter) in snapshot.counters.iter().enumerate() {
        let bounds = [counter.barrier, counter.limit].map(|bound| bound.unwrap_or(NO_BOUND));
        let figures = [counter.held, counter.maxheld, bounds[0], bounds[1], counter.failcnt].map(|one| one.to_string());
        let user = if at == 0 { "0:" } else { "" };
        row(user, &counter.name, figures.each_ref().map(String::as_str));
    }
    text
}
