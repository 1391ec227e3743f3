//! What the driver does, from another process: the test's own.

use cgf::{Group, Hierarchy, Severity};

use crate::driver::Failure;
use crate::stage;

/// `VERB G [WORDS]`. The outer error is the step's own, the inner one the library's.
pub fn act(
    hierarchy: &Hierarchy,
    actor: impl Fn(&str) -> Result<i32, String>,
    words: &[&str],
) -> Result<Result<String, Failure>, String> {
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    let group = hierarchy.open_group(word(1)).map_err(|error| error.to_string())?;
    let done = match word(0) {
        "thaw" => group.thaw(),
        "freeze" => group.freeze(stage::PATIENCE),
        "kill" => group.kill(libc::SIGKILL),
        "attach" => group.attach(actor(word(2))?),
        "checkpoint" => group.checkpoint(None).map(drop),
        "break" => group.break_checkpoint(),
        "charge" | "uncharge" => charge(&group, word(0), word(2), word(3))?,
        verb => return Err(format!("nobody else can {verb:?}")),
    };
    let failed =
        |error: cgf::Error| Failure { errno: error.errno(), blockers: Vec::new(), message: error.message().to_owned() };
    Ok(done.map(|()| String::new()).map_err(failed))
}

fn charge(group: &Group, verb: &str, name: &str, amount: &str) -> Result<cgf::Result<()>, String> {
    let resource = group.hierarchy().resource(name).map_err(|error| error.to_string())?;
    let amount = amount.parse().map_err(|_| format!("{amount:?} is no amount"))?;
    Ok(match verb {
        "charge" => group.charge(resource, amount, Severity::Limit),
        _ => group.uncharge(resource, amount),
    })
}
