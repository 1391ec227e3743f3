"""Freeze, guard, move, count and end groups of Linux processes.

>>> import cgf
>>> h = cgf.Hierarchy("jobs")
>>> g = h.create("web/1")
>>> p = g.spawn(["sleep", "60"])  # in the group before its first instruction
>>> with g.frozen(timeout=5.0):
...     g.state
<State.FROZEN: 2>
>>> g.remove(kill=True)
>>> h.unmount()
"""

from cgf._beancounter import BeanCounter, BeanCounters, Figures, ResourceInfo, Severity, Snapshot
from cgf._checkpoint import Stillness
from cgf._doctor import Finding
from cgf._errors import (
    AlreadyThere,
    Blocker,
    CgfError,
    ChargeRefused,
    CheckpointTorn,
    DeadlinePassed,
    ForkedHandle,
    FreezeTimeout,
    GroupBusy,
    GroupExists,
    GroupVanished,
    NoSuchProcess,
    NotADirectory,
    NotFound,
    NotPermitted,
)
from cgf._event import Event, EventKind
from cgf._native import (
    Attach,
    Attributes,
    Charged,
    Checkpoint,
    Frozen,
    Group,
    Hierarchy,
    Monitor,
    Reference,
    Watch,
    __version__,
    doctor,
    register,
    unregister,
)
from cgf._process import Process
from cgf._state import State
from cgf._subsystem import ControlFile, Subsystem

__all__ = [
    "AlreadyThere",
    "Attach",
    "Attributes",
    "BeanCounter",
    "BeanCounters",
    "Blocker",
    "CgfError",
    "ChargeRefused",
    "Charged",
    "Checkpoint",
    "CheckpointTorn",
    "ControlFile",
    "DeadlinePassed",
    "Event",
    "EventKind",
    "Figures",
    "Finding",
    "ForkedHandle",
    "FreezeTimeout",
    "Frozen",
    "Group",
    "GroupBusy",
    "GroupExists",
    "GroupVanished",
    "Hierarchy",
    "Monitor",
    "NoSuchProcess",
    "NotADirectory",
    "NotFound",
    "NotPermitted",
    "Process",
    "Reference",
    "ResourceInfo",
    "Severity",
    "Snapshot",
    "State",
    "Stillness",
    "Subsystem",
    "Watch",
    "__version__",
    "doctor",
    "register",
    "unregister",
]
