"""Each test that takes `backend`, or what is made from it, runs on all three.

A backend that does not work here skips, and fails where CGF_DEMAND is set. A
test's hierarchy is its own and is ended after it, with all that runs in it.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal

import pytest

import cgf
from stuck import Stuck

Backend = Literal["cgroup2", "cgroup1", "embedded"]
Starter = Callable[..., cgf.Process[bytes]]
Bind = Callable[..., cgf.Hierarchy]

_NUMBER = itertools.count()


@cache
def _findings() -> dict[str, cgf.Finding]:
    return {finding.backend: finding for finding in cgf.doctor()}


def missing(what: str) -> None:
    """Ends a test whose means are not there."""
    if os.environ.get("CGF_DEMAND"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(params=["cgroup2", "cgroup1", "embedded"])
def backend(request: pytest.FixtureRequest) -> Backend:
    finding = _findings()[request.param]
    if not finding.works:
        missing(f"{finding.backend}: {finding.reason}")
    return finding.backend


@pytest.fixture
def unique_name() -> str:
    return f"pytest-{os.getpid()}-{next(_NUMBER)}"


@pytest.fixture
def hierarchy(backend: Backend, unique_name: str) -> Iterator[cgf.Hierarchy]:
    made = cgf.Hierarchy(unique_name, backend=backend)
    yield made
    clear(made)
    made.unmount()


def clear(hierarchy: cgf.Hierarchy) -> None:
    """Ends all groups, and what runs in them."""
    for path in hierarchy.groups():
        # A test that failed may still have a checkpoint.
        with suppress(cgf.NotFound):
            hierarchy.open(path).break_checkpoint()
    for path in hierarchy.groups():
        if path.count("/") == 1:
            hierarchy.open(path).remove(kill=True, recursive=True)


@pytest.fixture
def bind(backend: Backend, unique_name: str) -> Iterator[Bind]:
    """Registers subsystems and opens a hierarchy with them, for the length of the test."""
    registered: list[str] = []
    opened: list[cgf.Hierarchy] = []

    def bind(*subsystems: cgf.Subsystem) -> cgf.Hierarchy:
        for subsystem in subsystems:
            cgf.register(subsystem)
            registered.append(subsystem.name)
        opened.append(cgf.Hierarchy(unique_name, ["freezer", "signal", *registered], backend))
        return opened[-1]

    yield bind
    for name in registered:
        try:
            cgf.unregister(name)
        except cgf.NotFound:
            pass
    for made in opened:
        try:
            clear(made)
            made.unmount()
        except cgf.GroupVanished:
            pass


@pytest.fixture
def group(hierarchy: cgf.Hierarchy) -> cgf.Group:
    return hierarchy.create("web")


@pytest.fixture
def start(hierarchy: cgf.Hierarchy) -> Iterator[Starter]:
    """Starts a process that needs not be waited for: `start(group)` one that sleeps."""
    started: list[cgf.Process[bytes]] = []

    def start(group: cgf.Group, *command: str | Path) -> cgf.Process[bytes]:
        started.append(group.spawn(command or ["sleep", "300"]))
        return started[-1]

    yield start
    clear(hierarchy)
    for process in started:
        process.kill()
        process.wait(timeout=10)


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Stuck]:
    """A file at which whoever opens it cannot be frozen."""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        missing("no FUSE here: it takes root and /dev/fuse")
    made = Stuck(tmp_path)
    yield made
    made.let_go()
