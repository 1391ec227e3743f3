"""What `doctor` finds out."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What was found out about one backend."""

    backend: Literal["cgroup2", "cgroup1", "embedded"]
    """Who would carry the groups."""

    place: str | None
    """A hierarchy's directory is this one and the name; None where there is no such place."""

    reason: str | None
    """Why the backend does not work here; None if it does."""

    @property
    def works(self) -> bool:
        """Whether the trial went through."""
        return self.reason is None
