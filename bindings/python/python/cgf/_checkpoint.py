"""What a checkpoint has found out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stillness:
    """No task of the group could execute anything, and its members stayed the same."""

    woken: list[int]
    """The threads that a signal, say, woke for a moment, which did no harm: on cgroup
    version 2, if the checkpoint was begun with `wakeups`."""
