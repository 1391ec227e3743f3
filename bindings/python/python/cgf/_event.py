"""What happens in a hierarchy."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class EventKind(enum.Enum):
    """What kind of thing has happened; the value is the word that `cgf watch` prints."""

    CREATED = "created"
    """A group was made, or was given this name."""

    REMOVED = "removed"
    """A group was removed, or was given another name. That of the root group is the last
    event."""

    FORK = "fork"
    """A process was born in the group: `pid`, and `parent`."""

    EXIT = "exit"
    """A process of the group ended: `pid`, and `status` where the kernel told."""

    ATTACHED = "attached"
    """A process came that was alive already, from `other` if that is in the hierarchy."""

    LEFT = "left"
    """A process left alive, to `other` if that is in the hierarchy."""

    EMPTY = "empty"
    """The last task has left, and there is no group below."""

    POPULATED = "populated"
    """A task has come to the group, or to one below, where none was."""

    FROZEN = "frozen"
    """Every task of the group has stopped."""

    THAWED = "thawed"
    """The group runs again."""

    FOREIGN_THAW = "foreign-thaw"
    """The group runs although somebody holds it frozen: another one thawed it."""

    RELEASED = "released"
    """The group was removed because it was empty (`auto_delete`): `figures` has what it
    had counted. From a monitor only."""

    NOTIFIED = "notified"
    """The release agent was started for the empty group: `pid`. From a monitor only."""

    RELEASE_FAILED = "release-failed"
    """A monitor could not do what the group's emptiness called for: `message` says why. It
    is not tried again."""

    BARRIER = "barrier"
    """A resource went over its barrier."""

    LIMIT = "limit"
    """A resource met its limit."""

    LOST = "lost"
    """More has happened than was told; `message` says where it was lost. Events that follow
    tell in what the hierarchy differs now from what was told before."""


@dataclass(frozen=True)
class Event:
    """One thing that has happened."""

    kind: EventKind
    """What."""

    group: str
    """To which group; "/" for what is about the whole hierarchy."""

    group_id: int
    """The inode of the group's directory, on cgroup2 the cgroup's id; 0 if it was gone before
    it could be asked for. With `Watch.boot_id` it names the group among all of all machines."""

    time: float
    """When, in seconds since the machine was booted, sleep included
    (`time.clock_gettime(time.CLOCK_BOOTTIME)`). Of a fork and an exit by the kernel's clock,
    else when it was noticed."""

    pid: int | None = None
    """Which process."""

    parent: int | None = None
    """Of a fork: by which process."""

    status: int | None = None
    """Of an exit: as `os.wait` gives it, for `os.waitstatus_to_exitcode`."""

    other: str | None = None
    """Of a move within the hierarchy: the other end."""

    figures: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Of a release: `frozen_usec` (microseconds) and, on cgroup2, those of `cpu.stat` that
    end in `_usec`."""

    message: str | None = None
    """Of a loss or a failure: a sentence about it."""
