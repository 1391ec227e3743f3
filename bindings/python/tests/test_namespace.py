"""Groups that are bound to namespaces (R10.1, R10.2)."""

import errno
import os
import threading
from collections.abc import Callable, Iterator

import pytest

import cgf
from conftest import Backend, clear

SUBSYSTEMS = ["freezer", "signal", "namespace"]


def inode(whose: int | str, kind: str) -> int:
    return os.stat(f"/proc/{whose}/ns/{kind}").st_ino


def in_a_child(job: Callable[[], None]) -> None:
    """Does it in a forked child, which has one thread and changes nothing of ours."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            job()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.fixture
def bound(backend: Backend, unique_name: str) -> Iterator[cgf.Hierarchy]:
    made = cgf.Hierarchy(unique_name, SUBSYSTEMS, backend)
    yield made
    clear(made)
    made.unmount()


@pytest.fixture
def first(bound: cgf.Hierarchy) -> Iterator[cgf.Process[bytes]]:
    """The first of a group that is bound to net and uts."""
    web = bound.create("web")
    web["ns.types"] = "uts,net"
    made = web.spawn(["sleep", "300"], namespaces=("net", "uts"))
    yield made
    web.kill(9)
    made.wait(timeout=10)


def test_spawn_makes_and_joins_namespaces(bound: cgf.Hierarchy, first: cgf.Process[bytes]) -> None:
    """R10.2: who is first makes them, who comes later is in the same."""
    web = bound.open("web")
    assert web["ns.types"] == "net,uts"
    assert inode(first.pid, "net") != inode("self", "net")
    assert inode(first.pid, "ipc") == inode("self", "ipc")
    assert web["ns.net"] == str(inode(first.pid, "net"))
    second = web.spawn(["readlink", "/proc/self/ns/net"], namespaces="net,uts", stdout=-1, text=True)
    assert second.communicate()[0] == f"net:[{inode(first.pid, 'net')}]\n"
    with pytest.raises(cgf.NotPermitted, match="uts") as refused:
        web.spawn(["true"], namespaces=["net"])
    assert refused.value.errno == errno.EPERM


def test_enter_in_a_child(bound: cgf.Hierarchy, first: cgf.Process[bytes]) -> None:
    """R10.2: the network alone, by a child that opens the hierarchy for itself."""
    web, name, backend = bound.open("web"), bound.name, bound.backend
    uts = inode("self", "uts")

    def child() -> None:
        with pytest.raises(cgf.ForkedHandle):
            web.enter(("net",))
        own = cgf.Hierarchy(name, SUBSYSTEMS, backend)
        own.open("web").enter(("net",))
        assert inode("self", "net") == inode(first.pid, "net")
        assert inode("self", "uts") == uts
        assert own.group_of(os.getpid()).path == "/"

    in_a_child(child)
    assert web.procs() == [first.pid]


def test_enter_is_the_threads(bound: cgf.Hierarchy, first: cgf.Process[bytes]) -> None:
    """R10.2: one thread comes into the namespace, the others stay."""
    seen = []

    def enter() -> None:
        bound.open("web").enter(["net"])
        seen.append(inode("thread-self", "net"))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(timeout=10)
    assert seen == [inode(first.pid, "net")] != [inode("self", "net")]


def test_what_cannot_be_entered(bound: cgf.Hierarchy, first: cgf.Process[bytes]) -> None:
    """R10.2"""
    web, empty = bound.open("web"), bound.create("empty")
    for kinds in ("ipc", "net,ipc", "network", "", "net,net"):
        with pytest.raises(cgf.CgfError) as refused:
            web.enter(kinds)
        assert refused.value.errno == errno.EINVAL, kinds
    empty["ns.types"] = "net"
    with pytest.raises(cgf.NoSuchProcess):
        empty.enter(("net",))
    with pytest.raises(TypeError):
        web.enter(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        web.enter([5])  # type: ignore[list-item]
    for kinds in ("pid", "mem", "ipc"):
        with pytest.raises(cgf.CgfError) as refused:
            web.spawn(["true"], namespaces=kinds)
        assert refused.value.errno == errno.EINVAL, kinds


def test_members_prove_where_they_are(bound: cgf.Hierarchy, first: cgf.Process[bytes]) -> None:
    """R10.1"""
    web = bound.open("web")
    with pytest.raises(cgf.NotPermitted, match=str(inode(first.pid, "net"))):
        web.attach(0)
    with pytest.raises(cgf.NotPermitted):
        web.spawn(["true"])
    with pytest.raises(cgf.GroupBusy):
        web["ns.types"] = "net"
    with pytest.raises(cgf.NotPermitted):
        web["ns.net"] = "1"
    assert web.procs() == [first.pid]


def test_no_bare_numbers(bound: cgf.Hierarchy) -> None:
    """R10.2"""
    with pytest.raises(cgf.CgfError) as refused:
        bound.create("1234")
    assert refused.value.errno == errno.EINVAL


def test_not_bound(hierarchy: cgf.Hierarchy) -> None:
    """A hierarchy without the subsystem has none of it."""
    web = hierarchy.create("web")
    with pytest.raises(cgf.CgfError) as refused:
        web.enter(("net",))
    assert refused.value.errno == errno.EOPNOTSUPP
    with pytest.raises(cgf.NotFound):
        web["ns.types"]
