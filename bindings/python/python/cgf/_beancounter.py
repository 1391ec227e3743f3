"""What groups hold of each resource, and how much they may."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cgf._native import Group


class Severity(enum.IntEnum):
    """How hard a charge insists."""

    BARRIER = 0
    """Refused if it would pass the barrier."""

    LIMIT = 1
    """Refused if it would pass the limit."""

    FORCE = 2
    """Never refused."""


@dataclass(frozen=True)
class ResourceInfo:
    """A resource as a hierarchy knows it."""

    number: int
    """The same for all who use the hierarchy."""

    name: str
    """What it is called."""

    unit: str
    """What is counted: "bytes", "pages", "count", or whatever was registered."""


@dataclass(frozen=True)
class Figures:
    """The figures of one resource in one group, at one instant."""

    name: str
    """What the resource is called."""

    number: int
    """Its number."""

    unit: str
    """What is counted: "bytes" for one."""

    held: int
    """What the group holds, with the groups below."""

    maxheld: int
    """The most that was held since the group was made, or since `BeanCounter.reset_marks`.
    Exact while at most one process charges at a time, else no less than the truth."""

    minheld: int
    """The least, likewise; no more than the truth."""

    barrier: int | None
    """Where BARRIER charges end; None is nowhere."""

    limit: int | None
    """Where LIMIT charges end; None is nowhere."""

    failcnt: int
    """How many charges this group has refused."""

    by_kernel: bool
    """Whether the limit binds every program, by the kernel, and `held` is the kernel's figure.
    Else those are bound who charge by libcgf."""


@dataclass(frozen=True)
class Snapshot:
    """All figures of a group at one instant; `snapshot["numfiles"]` is `counters["numfiles"]`."""

    counters: Mapping[str, Figures] = field(hash=False)
    """One for each resource of the hierarchy, by name, in the order of their numbers."""

    underflow: int
    """How often more was taken back than was held."""

    def __getitem__(self, resource: str, /) -> Figures:
        return self.counters[resource]


class BeanCounter:
    """One resource in one group, as it is now. Made by `Group.beancounters`.

    Each reading is a look of its own; `Group.snapshot` has figures that belong together.
    Reading and setting raise `GroupVanished`, `ForkedHandle`; setting `CgfError` with
    EINVAL: a barrier above the limit, or more than 2**48.
    """

    __slots__ = ("_group", "_name")

    def __init__(self, group: "Group", name: str) -> None:
        self._group = group
        self._name = name

    @property
    def name(self) -> str:
        """What the resource is called."""
        return self._name

    @property
    def held(self) -> int:
        """What the group holds, with the groups below."""
        return int(self._read("held"))

    @property
    def maxheld(self) -> int:
        """The most that was held: `Figures.maxheld`."""
        return int(self._read("maxheld"))

    @property
    def minheld(self) -> int:
        """The least that was held: `Figures.minheld`."""
        return int(self._read("minheld"))

    @property
    def failcnt(self) -> int:
        """How many charges the group has refused."""
        return int(self._read("failcnt"))

    @property
    def by_kernel(self) -> bool:
        """Whether the limit binds every program: `Figures.by_kernel`."""
        return self._read("enforced") == "kernel"

    @property
    def barrier(self) -> int | None:
        """Where BARRIER charges end; None is nowhere."""
        return _bound(self._read("barrier"))

    @barrier.setter
    def barrier(self, barrier: int | None) -> None:
        self._write("barrier", _text(barrier))

    @property
    def limit(self) -> int | None:
        """Where LIMIT charges end; None is nowhere. One below `held` lets nothing more in."""
        return _bound(self._read("limit"))

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._write("limit", _text(limit))

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """Barrier and limit, read and set together."""
        barrier, limit = self._read("limits").split()
        return _bound(barrier), _bound(limit)

    @limits.setter
    def limits(self, limits: tuple[int | None, int | None]) -> None:
        barrier, limit = limits
        self._group.set_limits(self._name, barrier, limit)

    def reset_marks(self) -> None:
        """Make `maxheld` and `minheld` what is held now."""
        self._write("maxheld", "0")

    def reset_failcnt(self) -> None:
        """Make `failcnt` 0."""
        self._write("failcnt", "0")

    def _read(self, figure: str) -> str:
        return self._group[f"bc.{self._name}.{figure}"]

    def _write(self, figure: str, text: str) -> None:
        self._group[f"bc.{self._name}.{figure}"] = text

    def __repr__(self) -> str:
        return f"<cgf.BeanCounter {self._name!r} of {self._group.path!r}>"


class BeanCounters(Mapping[str, BeanCounter]):
    """The resources of one group by name: `Group.beancounters`.

    >>> group.beancounters["numfiles"].limit = 100
    """

    __slots__ = ("_group",)

    def __init__(self, group: "Group") -> None:
        self._group = group

    def __getitem__(self, resource: str, /) -> BeanCounter:
        if not self._group._has_resource(resource):
            raise KeyError(resource)
        return BeanCounter(self._group, resource)

    def __iter__(self) -> Iterator[str]:
        return iter(self._group._resources())

    def __len__(self) -> int:
        return len(self._group._resources())


def _bound(text: str) -> int | None:
    return None if text == "max" else int(text)


def _text(bound: int | None) -> str:
    return "max" if bound is None else str(int(bound))
