"""Checkpoints of groups, taken and restored by CRIU (4.1 or newer).

>>> import cgf, cgf.criu
>>> web = cgf.Hierarchy("jobs").open("web")
>>> cgf.criu.dump(web, "web.images")  # doctest: +SKIP
>>> cgf.criu.restore(web, "web.images")  # doctest: +SKIP
4242
"""

import os
from collections.abc import Sequence
from typing import Literal, TypeAlias

from cgf._native import Group, criu_dump, criu_restore

__all__ = ["dump", "restore"]

_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def dump(
    group: Group,
    images: _Path,
    *,
    root: int | None = None,
    leave: Literal["kill", "running", "frozen"] = "kill",
    timeout: float | None = 30.0,
    criu: _Path = "criu",
    args: Sequence[_Path] = (),
) -> None:
    """Take a checkpoint of the processes of a group, into a new directory.

    The group is frozen, nobody else can act upon it through libcgf while CRIU works, and
    the directory has its name only when everything is in it; CRIU's log is "dump.log"
    there. After an exception there is no such directory, and the group is in its former
    state.

    images: the directory to make.
    root: the process whose whole tree is meant; None: the only one of the group whose
        parent is not in it.
    leave: what becomes of the processes then: ended, running, or the group FROZEN.
    timeout: seconds for the whole; CRIU may take 5 s more to let go. None has no limit.
    criu: which CRIU, a path or a name to look up in PATH.
    args: more arguments for ``criu dump``, "--tcp-established" for one.

    Raises `AlreadyThere`: the directory is. `NotFound`: no such CRIU, or no directory to
    make the images in. `DeadlinePassed`. `GroupBusy`: not frozen in time
    (`.blockers`), or somebody else's checkpoint holds it, or a group above is frozen, or
    a process is traced. `CheckpointTorn`: somebody has broken the guard by force; if CRIU
    has succeeded all the same, the images are there. `NoSuchProcess`: no such root. `CgfError` with EINVAL: several
    trees of processes and no root, or none; with EXDEV: processes of the tree are outside
    of the group (`.blockers`); with EDEADLK: the caller is in it; with EIO: CRIU failed,
    its last words are in the message; with EOPNOTSUPP: it is too old. `NotPermitted`,
    `GroupVanished`. Ctrl-C ends it as a passed deadline does.
    """
    criu_dump(group, images, root=root, leave=leave, timeout=timeout, criu=criu, args=args)


def restore(
    group: Group,
    images: _Path,
    *,
    timeout: float | None = 30.0,
    criu: _Path = "criu",
    args: Sequence[_Path] = (),
) -> int:
    """Make the processes of a checkpoint again, and return the number of their root.

    The group must be there, empty and THAWED; they are in it from the start, and run
    when this returns. They have the numbers that they had, so these must be free; they are
    no children of the caller. After an exception nothing runs in the group.

    timeout: seconds for the whole; None has no limit.
    criu: which CRIU, a path or a name to look up in PATH.
    args: more arguments for ``criu restore``.

    Raises `NotFound`: no such CRIU, or no whole checkpoint in the directory. `GroupBusy`:
    the group is not empty, or not THAWED. `AlreadyThere`: one of the numbers is
    somebody else's. `DeadlinePassed`. `CgfError` with EINVAL: the images are damaged; with
    EIO: CRIU failed, its last words are in the message; with EOPNOTSUPP: it is too old.
    `NotPermitted`, `GroupVanished`. Ctrl-C ends it.
    """
    return criu_restore(group, images, timeout=timeout, criu=criu, args=args)
