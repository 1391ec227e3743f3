"""Holding a group alive (R1.7), noting something on it, and copying it (R1.5)."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

import cgf
from conftest import Starter

HOLDER = """
import os, sys, time, cgf
reference = cgf.Hierarchy(sys.argv[1], backend=sys.argv[2]).open("web").reference()
child = os.fork()
if child == 0:
    time.sleep(300)
print(child, flush=True)
time.sleep(300)
"""


def test_a_group_that_is_held_is_not_removed(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    with group.reference() as held, hierarchy.open("web").reference():
        for options in ({}, {"kill": True}, {"recursive": True}):
            with pytest.raises(cgf.GroupBusy) as raised:
                group.remove(**options)
            assert raised.value.errno == errno.EBUSY and str(os.getpid()) in str(raised.value)
        held.release()
        held.release()
        with pytest.raises(cgf.GroupBusy):
            group.remove()
    with pytest.raises(RuntimeError):
        held.__enter__()
    group.remove()
    with pytest.raises(cgf.GroupVanished) as gone:
        group.reference()
    assert gone.value.errno == errno.ENODEV


def test_a_reference_ends_with_the_object(group: cgf.Group) -> None:
    held = group.reference()
    with pytest.raises(cgf.GroupBusy):
        group.remove()
    del held
    group.remove()


def test_nothing_is_killed_for_a_removal_that_is_refused(group: cgf.Group, start: Starter) -> None:
    process = start(group)
    with group.reference():
        with pytest.raises(cgf.GroupBusy):
            group.remove(kill=True)
        assert process.poll() is None


@pytest.fixture
def holder(hierarchy: cgf.Hierarchy, group: cgf.Group) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the group, and has a child."""
    command = [sys.executable, "-c", HOLDER, hierarchy.name, hierarchy.backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_reference_dies_with_its_process(group: cgf.Group, holder: subprocess.Popen[str]) -> None:
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    pidfd = os.pidfd_open(child)
    try:
        with pytest.raises(cgf.GroupBusy) as raised:
            group.remove()
        assert str(holder.pid) in str(raised.value)
        holder.kill()
        holder.wait(timeout=10)
        os.kill(child, 0)
        group.remove()
    finally:
        os.kill(child, 9)
        os.close(pidfd)


def test_a_forked_child_lets_nothing_go(group: cgf.Group) -> None:
    with group.reference() as held:
        child = os.fork()
        if child == 0:
            held.release()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(cgf.GroupBusy):
            group.remove()
    group.remove()


def test_attributes(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    notes = group.attributes
    assert "signal.note" not in notes and notes.get("signal.note") is None
    assert notes.get("signal.note", 7) == 7
    with pytest.raises(KeyError) as raised:
        notes["signal.note"]
    assert raised.value.args == ("signal.note",)
    with pytest.raises(KeyError):
        del notes["signal.note"]
    for value in ("1", "", "é\n", "x" * 1000):
        notes["signal.note"] = value
        assert hierarchy.open("web").attributes["signal.note"] == value
        assert "signal.note" in notes and notes.get("signal.note", "other") == value
    del notes["signal.note"]
    assert "signal.note" not in group.attributes
    with pytest.raises(TypeError):
        iter(notes)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["", "note", "signal.", ".note", "members.max", "signal.a b", "signal.a/b"])
def test_what_is_no_attribute(group: cgf.Group, name: str) -> None:
    def delete() -> None:
        del group.attributes[name]

    for use in (
        lambda: group.attributes[name],
        lambda: group.attributes.get(name),
        lambda: name in group.attributes,
        lambda: group.attributes.__setitem__(name, "1"),
        delete,
    ):
        with pytest.raises(cgf.CgfError) as raised:
            use()
        assert raised.value.errno == errno.EINVAL


def test_what_attributes_do_not_take(group: cgf.Group) -> None:
    with pytest.raises(cgf.CgfError) as raised:
        group.attributes["signal.note"] = "x" * 4097
    assert raised.value.errno == errno.E2BIG
    with pytest.raises(TypeError):
        group.attributes["signal.note"] = 7  # type: ignore[assignment]


def test_clone(hierarchy: cgf.Hierarchy, group: cgf.Group, start: Starter) -> None:
    """R1.5"""
    process = start(group)
    group.attributes["signal.note"] = "copied"
    below = hierarchy.clone("below", pid=process.pid)
    assert below.path == "/web/below" and below.procs() == [process.pid] and group.procs() == []
    assert below.attributes["signal.note"] == "copied"
    with pytest.raises(cgf.GroupExists):
        group.attach(process.pid)
        hierarchy.clone("below", process.pid)
    with pytest.raises(cgf.CgfError) as raised:
        hierarchy.clone("a/b", process.pid)
    assert raised.value.errno == errno.EINVAL
    assert hierarchy.groups() == ["/web", "/web/below"]


def test_clone_for_the_caller(hierarchy: cgf.Hierarchy) -> None:
    script = """
import os, sys, cgf
jobs = cgf.Hierarchy(sys.argv[1], backend=sys.argv[2])
mine = jobs.clone("mine")
assert mine.procs() == [os.getpid()] and jobs.group_of(0) == mine
print(mine.path)
"""
    command = [sys.executable, "-c", script, hierarchy.name, hierarchy.backend]
    assert subprocess.run(command, stdout=subprocess.PIPE, timeout=30, check=True).stdout == b"/mine\n"


def test_clone_without_a_process(hierarchy: cgf.Hierarchy) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(cgf.NoSuchProcess):
        hierarchy.clone("below", gone.pid)
    assert hierarchy.groups() == []
