//! What a case's groups hold, and what their table says.

use cgf::Hierarchy;

/// After a case that failed half-way, so that its groups can go.
pub fn give_back(hierarchy: &Hierarchy) {
    let paths = hierarchy.groups().unwrap_or_default();
    // Children first: what is theirs is held above, too.
    for path in paths.iter().rev() {
        let Ok(group) = hierarchy.open_group(path.as_bytes()) else { continue };
        for counter in group.snapshot().map(|snapshot| snapshot.counters).unwrap_or_default() {
            if counter.held > 0 {
                let _ = group.uncharge(counter.resource, counter.held);
            }
        }
    }
}

/// What `bc.stat` says of a resource: held, maxheld, barrier, limit, failcnt.
pub fn row(table: &str, resource: &str) -> Result<String, String> {
    let mut lines = table.lines();
    let head = |line: Option<&str>| line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    if head(lines.next()).as_deref() != Some("Version: 2.5") {
        return Err(format!("no version in {table:?}"));
    }
    let columns = head(lines.next());
    if columns.is_none_or(|columns| !columns.ends_with("resource held maxheld barrier limit failcnt")) {
        return Err(format!("other columns in {table:?}"));
    }
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(at) = words.iter().position(|&word| word == resource) {
            return Ok(words[at + 1..].join(" "));
        }
    }
    Err(format!("no {resource} in {table:?}"))
}
