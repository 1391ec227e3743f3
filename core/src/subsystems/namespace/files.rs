//! The control files `ns.…` (R10.2).

use super::first;
use super::kinds::Namespaces;
use crate::about::About;
use crate::control_file::ControlFile;
use crate::error::Result;
use crate::group::Group;

/// All of them begin so, and not with the name of the subsystem.
const PREFIX: &str = "ns.";

const TYPES: About = About {
    writers: "",
    meaning: "The kinds of namespaces that all members of the group share; a write binds a group without members",
    unit: "",
    format: "of `cgroup`, `ipc`, `mnt`, `net`, `pid`, `time`, `user` and `uts` those that it is, with commas between them; \
             empty for none",
    errors: &[
        ("EINVAL", "another word, an empty one, one twice, a kind that the kernel has not, or the root group"),
        ("EBUSY", "the group has members; or somebody else binds it, or joins it, and does not get on with it"),
        ("EACCES", "nothing may be noted on the group"),
    ],
    backends: "",
};

const fn about(meaning: &'static str) -> About {
    About {
        meaning,
        unit: "",
        format: "the inode of `/proc/PID/ns`, or `none`",
        writers: "",
        errors: &[],
        backends: "",
    }
}

/// What is said of each kind: the namespace, if the group is bound to the kind and a member
/// is in it.
const OF_KINDS: [(Namespaces, About); 8] = [
    (Namespaces::CGROUP, about("The control group namespace of the members")),
    (Namespaces::IPC, about("The IPC namespace of the members")),
    (Namespaces::MNT, about("The mount namespace of the members")),
    (Namespaces::NET, about("The network namespace of the members")),
    (Namespaces::PID, about("The pid namespace of the members")),
    (Namespaces::TIME, about("The time namespace of the members")),
    (Namespaces::USER, about("The user namespace of the members")),
    (Namespaces::UTS, about("The UTS namespace of the members")),
];

pub(super) fn all() -> Vec<ControlFile> {
    vec![ControlFile::family(PREFIX, names, pick, described)]
}

fn names(_: &Group) -> Result<Vec<String>> {
    Ok(described().iter().map(|file| file.name().to_owned()).collect())
}

fn pick(_: &Group, name: &str) -> Result<Option<ControlFile>> {
    Ok(described().into_iter().find(|file| file.name() == name))
}

fn described() -> Vec<ControlFile> {
    let types = ControlFile::new(format!("{PREFIX}types"))
        .about(TYPES)
        .read(|group| Ok(format!("{}\n", first::types(group)?)))
        .write(|group, text| first::set_types(group, text.parse()?));
    let of_kinds = OF_KINDS.into_iter().map(|(kind, about)| {
        let file = ControlFile::new(format!("{PREFIX}{}", kind.name())).about(about);
        file.read(move |group| inode(group, kind))
    });
    [types].into_iter().chain(of_kinds).collect()
}

fn inode(group: &Group, kind: Namespaces) -> Result<String> {
    if !first::types(group)?.contains(kind) {
        return Ok("none\n".to_owned());
    }
    let noted = first::standing_note(group, kind)?.and_then(|note| note.get(kind));
    Ok(noted.map_or_else(|| "none\n".to_owned(), |identity| format!("{}\n", identity.inode)))
}
