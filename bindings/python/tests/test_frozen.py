"""Keeping a group frozen together: `with group.frozen():`"""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import cgf
from conftest import Starter

HOLDER = """
import sys, cgf
group = cgf.Hierarchy(sys.argv[1], backend=sys.argv[2]).open("web")
with group.frozen():
    print("in", flush=True)
    sys.stdin.readline()
print("out", flush=True)
"""


@pytest.fixture
def other(hierarchy: cgf.Hierarchy, group: cgf.Group, start: Starter) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the group and its sleeper frozen until it reads a line."""
    start(group)
    command = [sys.executable, "-c", HOLDER, hierarchy.name, hierarchy.backend]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        yield process
        process.kill()


def leave(other: subprocess.Popen[str]) -> None:
    output, _ = other.communicate("\n", timeout=10)
    assert output == "out\n"


def test_it_is_frozen_inside(group: cgf.Group, start: Starter) -> None:
    start(group)
    with group.frozen(timeout=5.0) as inside:
        assert inside is group
        assert group.state is cgf.State.FROZEN
    assert group.state is cgf.State.THAWED


def test_the_last_one_out_thaws(group: cgf.Group, start: Starter) -> None:
    start(group)
    share = group.frozen()
    with group.frozen(), share, share:
        assert group.state is cgf.State.FROZEN
        with group.frozen():
            pass
        assert group.state is cgf.State.FROZEN
    assert group.state is cgf.State.THAWED


def test_threads_share(group: cgf.Group, start: Starter) -> None:
    start(group)
    both_in, first_out = threading.Barrier(2, timeout=10), threading.Barrier(2, timeout=10)

    def hold() -> None:
        with group.frozen():
            both_in.wait()
        first_out.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    with group.frozen():
        both_in.wait()
        first_out.wait()
        assert group.state is cgf.State.FROZEN
    thread.join()
    assert group.state is cgf.State.THAWED


def test_processes_share(group: cgf.Group, other: subprocess.Popen[str]) -> None:
    with group.frozen():
        assert group.state is cgf.State.FROZEN
    assert group.state is cgf.State.FROZEN
    leave(other)
    assert group.state is cgf.State.THAWED


def test_a_killed_holder_gives_its_share_back(group: cgf.Group, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait()
    assert group.state is cgf.State.FROZEN
    with group.frozen():
        pass
    assert group.state is cgf.State.THAWED


def test_a_group_that_was_frozen_before_stays_so(group: cgf.Group, start: Starter) -> None:
    start(group)
    group.freeze()
    with group.frozen():
        pass
    assert group.state is cgf.State.FROZEN


def test_an_exception_passes_through(group: cgf.Group, start: Starter) -> None:
    start(group)
    with pytest.raises(KeyError):
        with group.frozen():
            raise KeyError
    assert group.state is cgf.State.THAWED


def test_a_failure_to_leave_is_told(hierarchy: cgf.Hierarchy) -> None:
    group = hierarchy.create("gone")
    with pytest.raises(cgf.GroupVanished) as raised:
        with group.frozen():
            group.remove()
            raise KeyError
    assert isinstance(raised.value.__context__, KeyError)


def test_leaving_without_having_come(group: cgf.Group) -> None:
    with pytest.raises(RuntimeError):
        group.frozen().__exit__(None, None, None)
