"""The exceptions, by errno.

Those that have a counterpart among Python's own are that too, so that code
which knows nothing of libcgf catches them.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Blocker:
    """A task that kept a group from being frozen, emptied or removed."""

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

    evidence: Literal["proved", "state"]
    """"proved": the kernel says so. "state": the task's own state shows it, or is all there is."""


class CgfError(OSError):
    """What libcgf raises: `errno` always says what a program can act on, `strerror` why."""

    blockers: list[Blocker]
    """The tasks that blocked a freeze, a kill or a removal; else empty."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.blockers = []


class FreezeTimeout(CgfError, TimeoutError):
    """EBUSY from a freeze: not all tasks had stopped in time; `blockers` are those."""


class GroupBusy(CgfError):
    """EBUSY: in use, frozen, or not empty."""


class NotFound(CgfError, FileNotFoundError):
    """ENOENT: no such group, control file, subsystem, directory or program."""


class GroupExists(CgfError, FileExistsError):
    """EEXIST: there is a group of that path, or a subsystem of that name, already."""


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
