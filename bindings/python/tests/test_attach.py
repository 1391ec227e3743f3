"""Who is in a group, and coming into it."""

import errno
import os
import subprocess
from collections.abc import Iterator

import pytest

import cgf
from conftest import Backend, Starter, clear


@pytest.fixture
def outsider(hierarchy: cgf.Hierarchy) -> Iterator[subprocess.Popen[bytes]]:
    """A process that was not made for any group."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        # It may be in a group, and frozen.
        clear(hierarchy)
        process.kill()


def test_attach_moves_a_process(
    hierarchy: cgf.Hierarchy, group: cgf.Group, outsider: subprocess.Popen[bytes]
) -> None:
    """R2.1, R2.5"""
    assert hierarchy.group_of(outsider.pid) == hierarchy.root
    assert not group.populated
    group.attach(outsider.pid)
    assert group.procs() == [outsider.pid]
    assert group.tasks() == [outsider.pid]
    assert group.populated
    assert hierarchy.group_of(outsider.pid) == group
    group.kill()
    assert outsider.wait(timeout=10) == -9


def test_attach_by_pidfd(group: cgf.Group, outsider: subprocess.Popen[bytes]) -> None:
    pidfd = os.pidfd_open(outsider.pid)
    try:
        group.attach_pidfd(pidfd)
        assert group.procs() == [outsider.pid]
        outsider.kill()
        outsider.wait()
        with pytest.raises(cgf.NoSuchProcess):
            group.attach_pidfd(pidfd)
    finally:
        os.close(pidfd)


def test_what_is_no_pidfd(group: cgf.Group) -> None:
    with open("/dev/null") as file:
        for fd in (file.fileno(), -1, 1 << 30):
            with pytest.raises(OSError) as raised:
                group.attach_pidfd(fd)
            assert raised.value.errno == errno.EBADF


def test_attach_to_a_frozen_group_has_to_be_asked_for(
    group: cgf.Group, start: Starter, outsider: subprocess.Popen[bytes]
) -> None:
    """R2.4"""
    start(group)
    group.freeze()
    with pytest.raises(cgf.GroupBusy):
        group.attach(outsider.pid)
    assert outsider.pid not in group.procs()
    group.attach(outsider.pid, frozen=True)
    group.freeze()
    assert group.state is cgf.State.FROZEN
    assert outsider.pid in group.procs()


def test_no_such_process(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    """R2.3"""
    gone = subprocess.Popen(["true"])
    gone.wait()
    for use in (group.attach, group.attach_task, hierarchy.group_of):
        with pytest.raises(cgf.NoSuchProcess) as raised:
            use(gone.pid)
        assert raised.value.errno == errno.ESRCH
        assert isinstance(raised.value, ProcessLookupError)


def test_one_thread(group: cgf.Group, outsider: subprocess.Popen[bytes], backend: Backend) -> None:
    """R2.1"""
    if backend == "cgroup1":
        group.attach_task(outsider.pid)
        assert group.tasks() == [outsider.pid]
    else:
        with pytest.raises(cgf.CgfError) as raised:
            group.attach_task(outsider.pid)
        assert raised.value.errno == errno.EOPNOTSUPP


def test_control_files(group: cgf.Group, outsider: subprocess.Popen[bytes]) -> None:
    """R1.8, R3.1"""
    group["cgroup.procs"] = f"{outsider.pid}\n"
    assert group["cgroup.procs"] == str(outsider.pid)
    assert group.read("cgroup.procs") == f"{outsider.pid}\n"
    group["freezer.state"] = "FROZEN"
    group.freeze()
    assert group["freezer.state"] == "FROZEN" and group.read("freezer.state") == "FROZEN\n"
    assert group["freezer.self_freezing"] == "1"
    group["freezer.state"] = group["freezer.state"]
    group.write("freezer.state", "RUNNING")
    assert group["freezer.state"] == "THAWED"
    group["signal.kill"] = "9"
    assert outsider.wait(timeout=10) == -9


@pytest.mark.parametrize(
    ("file", "text", "number"),
    [
        ("nosuch", "1", errno.ENOENT),
        ("freezer.state", "FREEZING", errno.EINVAL),
        ("freezer.state", "CHECKPOINTING", errno.EINVAL),
        ("freezer.state", "", errno.EINVAL),
        ("freezer.frozen_usec", "1", errno.EACCES),
        ("signal.kill", "soon", errno.EINVAL),
        ("signal.kill", "65", errno.EINVAL),
        ("freezer.state", "F" * 4097, errno.E2BIG),
        ("cgroup.procs", "-1", errno.EINVAL),
    ],
)
def test_what_control_files_refuse(group: cgf.Group, file: str, text: str, number: int) -> None:
    """R1.8"""
    with pytest.raises(cgf.CgfError) as raised:
        group[file] = text
    assert raised.value.errno == number
    assert group.state is cgf.State.THAWED


def test_a_control_file_to_write_only(group: cgf.Group) -> None:
    with pytest.raises(cgf.NotPermitted) as raised:
        group["signal.kill"]
    assert raised.value.errno == errno.EACCES
    assert isinstance(raised.value, PermissionError)
    with pytest.raises(cgf.NotFound):
        group["nosuch"]
    with pytest.raises(TypeError):
        group[0]  # type: ignore[index]
    with pytest.raises(TypeError):
        iter(group)  # type: ignore[call-overload]
