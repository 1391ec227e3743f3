"""What the tasks of a group do."""

import enum


class State(enum.IntEnum):
    """What the tasks of a group do; `str()` is the word in `freezer.state`."""

    THAWED = 0
    """They run."""

    FREEZING = 1
    """They were asked to stop, and at least one has not."""

    FROZEN = 2
    """None of them runs, on the kernel's own evidence at the time of asking."""

    CHECKPOINTING = 3
    """Frozen, and held so by a checkpoint."""

    def __str__(self) -> str:
        return self.name
