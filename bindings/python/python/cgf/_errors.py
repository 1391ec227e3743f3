"""The exceptions, by errno.

Those that have a counterpart among Python's own are that too, so that code
which knows nothing of libcgf catches them.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Blocker:
    """A task that an exception is about: that kept a group from being frozen, emptied or
    removed, is outside of one that is to be checkpointed, or was not still meanwhile."""

    pid: int
    """The process."""

    tid: int
    """The thread; the process's own number for its first thread."""

    command: str
    """The thread's name as the kernel has it, at most 15 bytes."""

    state: str
    """The kernel's letter for what it does: "R", "S", "D", …; "?" when it has gone."""

    waits_in: str
    """The kernel function that it waits in; empty where it runs or that cannot be read."""

    evidence: Literal["proved", "state", "outside", "ran", "thawed", "left", "came"]
    """What is said of it, and how that is known.

    "proved": it blocks, as the kernel says. "state": it blocks, as its own state shows, or
    that is all there is. "outside": it is not in the group, nor below. "ran": it was given
    a CPU. "thawed": it could run when the group was thawed, or when somebody came in who
    ran. "left": it has left the group, or ended. "came": it has come into the group.
    """


class CgfError(OSError):
    """What libcgf raises: `errno` always says what a program can act on, `strerror` why."""

    blockers: list[Blocker]
    """The tasks that blocked a freeze, a kill or a removal, that are outside of a group that
    is to be checkpointed (EXDEV), or that tore a checkpoint (ESTALE); else empty."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.blockers = []


class FreezeTimeout(CgfError, TimeoutError):
    """EBUSY from a freeze: not all tasks had stopped in time; `blockers` are those. Or a
    checkpoint holds the group."""


class GroupBusy(CgfError):
    """EBUSY: in use, frozen, held by a checkpoint, or not empty."""


class CheckpointTorn(CgfError):
    """ESTALE: a task ran during a checkpoint, or could, or came or left, and `blockers` is the
    first one; or somebody ended the checkpoint by force, and `blockers` is empty. The image
    is not to be trusted."""


class ChargeRefused(CgfError):
    """ENOMEM, or of "numfiles" EMFILE: a group had no room for a charge, and nothing was
    charged."""

    level: str
    """The group that had no room: the one that was charged, or one above."""

    resource: str
    """What there was no room for."""

    amount: int
    """How much of it was to be charged."""

    held: int
    """What that group held."""

    bound: int
    """Its barrier or its limit, whichever it was."""


class NotFound(CgfError, FileNotFoundError):
    """ENOENT: no such group, control file, subsystem, resource, directory or program."""


class GroupExists(CgfError, FileExistsError):
    """EEXIST: there is a group of that path, or a subsystem or resource of that name, already."""


class AlreadyThere(CgfError, FileExistsError):
    """EEXIST from `cgf.criu`: the directory of images is there, or a process number is in use."""


class GroupVanished(CgfError):
    """ENODEV: the group was removed, or the hierarchy has ended."""


class NoSuchProcess(CgfError, ProcessLookupError):
    """ESRCH: no such process or thread, or it ended meanwhile."""


class NotPermitted(CgfError, PermissionError):
    """EACCES or EPERM; the message names what was refused."""


class DeadlinePassed(CgfError, TimeoutError):
    """ETIMEDOUT: a call other than a freeze did not end within its deadline."""


class ForkedHandle(CgfError, ChildProcessError):
    """ECHILD: the handle was made before a fork, and this is the child: open it again."""


class NotADirectory(CgfError, NotADirectoryError):
    """ENOTDIR: the directory to start a program in is none."""
