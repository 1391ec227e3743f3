"""Hierarchies and groups: making, finding, naming and removing them."""

import errno
import os
from pathlib import Path

import pytest

import cgf
from conftest import Backend, Starter


def test_groups_are_made_with_those_above_them(hierarchy: cgf.Hierarchy) -> None:
    """R1.3"""
    one = hierarchy.create("web/1")
    assert one.path == "/web/1"
    assert hierarchy.groups() == ["/web", "/web/1"]
    assert hierarchy.open("/web/").groups() == ["/web/1"]
    assert one.groups() == []
    with pytest.raises(cgf.GroupExists) as raised:
        hierarchy.create("web/1")
    assert raised.value.errno == errno.EEXIST
    assert isinstance(raised.value, FileExistsError)


@pytest.mark.parametrize("path", ["", "..", "web/../x", "a//b", "a\nb", "a\0b", "tasks", "cgroup.procs", "freezer.x"])
def test_what_is_no_path_is_refused(hierarchy: cgf.Hierarchy, path: str) -> None:
    """R1.3"""
    with pytest.raises(cgf.CgfError) as raised:
        hierarchy.create(path)
    assert raised.value.errno == errno.EINVAL
    assert hierarchy.groups() == []


def test_paths_are_any_of_pythons_kinds(hierarchy: cgf.Hierarchy) -> None:
    odd = b"na\xffme"
    made = hierarchy.create(odd)
    assert made.path == "/" + os.fsdecode(odd)
    assert hierarchy.open(made.path) == made
    assert hierarchy.open(Path(os.fsdecode(odd))) == made
    assert hierarchy.groups() == [made.path]
    with pytest.raises(TypeError):
        hierarchy.open(7)  # type: ignore[arg-type]


def test_the_root_is_a_group(hierarchy: cgf.Hierarchy) -> None:
    assert hierarchy.root.path == "/"
    assert hierarchy.open("/") == hierarchy.root
    with pytest.raises(cgf.GroupBusy):
        hierarchy.root.remove()


def test_a_group_that_is_not_there(hierarchy: cgf.Hierarchy) -> None:
    with pytest.raises(cgf.NotFound) as raised:
        hierarchy.open("nosuch")
    assert raised.value.errno == errno.ENOENT
    assert isinstance(raised.value, FileNotFoundError)
    assert "nosuch" in str(raised.value)


def test_handles_are_equal_if_they_mean_the_same_group(hierarchy: cgf.Hierarchy) -> None:
    one, two = hierarchy.create("one"), hierarchy.create("two")
    assert one == hierarchy.open("one") and one != two and one != "one"
    assert len({one, hierarchy.open("one"), two}) == 2
    one.remove()
    assert hierarchy.create("one") != one


def test_a_removed_group_has_vanished(hierarchy: cgf.Hierarchy) -> None:
    gone = hierarchy.create("gone")
    gone.remove()
    hierarchy.create("gone")
    for use in (gone.procs, gone.thaw, gone.remove, lambda: gone.state, lambda: gone["freezer.state"]):
        with pytest.raises(cgf.GroupVanished) as raised:
            use()
        assert raised.value.errno == errno.ENODEV


def test_remove_takes_only_what_it_was_allowed_to(hierarchy: cgf.Hierarchy, start: Starter) -> None:
    """R1.3, R1.4"""
    web, below = hierarchy.create("web"), hierarchy.create("web/1")
    process = start(below)
    with pytest.raises(cgf.GroupBusy) as raised:
        web.remove(kill=True)
    assert "/web/1" in str(raised.value)
    with pytest.raises(cgf.GroupBusy) as raised:
        below.remove()
    assert raised.value.errno == errno.EBUSY and str(process.pid) in str(raised.value)
    assert process.poll() is None
    web.remove(kill=True, recursive=True)
    assert hierarchy.groups() == []
    assert process.wait(timeout=10) == -9


def test_rename(hierarchy: cgf.Hierarchy) -> None:
    """R1.3"""
    old = hierarchy.create("a/old")
    hierarchy.create("a/taken")
    if hierarchy.backend == "cgroup2":
        with pytest.raises(cgf.CgfError) as raised:
            old.rename("new")
        assert raised.value.errno == errno.EOPNOTSUPP
        return
    with pytest.raises(cgf.GroupExists):
        old.rename("taken")
    new = old.rename("new")
    assert new.path == "/a/new"
    assert hierarchy.groups() == ["/a", "/a/new", "/a/taken"]


def test_a_name_is_one_hierarchy(hierarchy: cgf.Hierarchy, backend: Backend) -> None:
    """R1.1"""
    again = cgf.Hierarchy(hierarchy.name, backend=backend)
    assert again.create("web") == hierarchy.open("web")
    assert cgf.Hierarchy(hierarchy.name).backend == backend
    assert hierarchy.subsystems == ["freezer", "signal"]
    assert os.path.isdir(hierarchy.directory)
    with pytest.raises(cgf.GroupBusy):
        cgf.Hierarchy(hierarchy.name, ["freezer"], backend)
    with pytest.raises(cgf.GroupBusy):
        hierarchy.unmount()


def test_a_hierarchy_ends(backend: Backend, unique_name: str) -> None:
    made = cgf.Hierarchy(unique_name, ("signal",), backend)
    assert made.subsystems == ["signal"]
    made.unmount()
    assert not os.path.exists(made.directory)
    with pytest.raises(cgf.GroupVanished):
        made.unmount()
    with pytest.raises(cgf.GroupVanished):
        made.create("web")


def test_a_system_binds_a_subsystem_once(backend: Backend, unique_name: str, tmp_path: Path) -> None:
    """R1.1"""
    one = cgf.Hierarchy(unique_name, ["freezer"], backend, state=tmp_path)
    try:
        with pytest.raises(cgf.GroupBusy):
            cgf.Hierarchy(unique_name + "-2", ["freezer"], backend, state=tmp_path)
    finally:
        one.unmount()
        # The one that was refused was made before it was found out.
        try:
            cgf.Hierarchy(unique_name + "-2", ["freezer"], backend, state=tmp_path).unmount()
        except cgf.CgfError:
            pass


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ({"subsystems": ["nosuch"]}, errno.ENOENT),
        ({"subsystems": ["freezer", "freezer"]}, errno.EINVAL),
        ({"subsystems": [""]}, errno.EINVAL),
        ({"backend": "cgroup3"}, errno.EINVAL),
        ({"root": "/nosuch/directory"}, errno.ENOENT),
        ({"name": "a/b"}, errno.EINVAL),
        ({"name": ""}, errno.EINVAL),
    ],
)
def test_wrong_options(arguments: dict[str, object], number: int) -> None:
    with pytest.raises(cgf.CgfError) as raised:
        cgf.Hierarchy(**{"name": "never-made", **arguments})  # type: ignore[arg-type]
    assert raised.value.errno == number


@pytest.mark.parametrize("arguments", [{"deadline": -1}, {"deadline": float("nan")}, {"stop": "gently"}])
def test_wrong_values(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        cgf.Hierarchy("never-made", **arguments)  # type: ignore[arg-type]


def test_adopting_a_directory(hierarchy: cgf.Hierarchy, start: Starter) -> None:
    below = hierarchy.create("web/1")
    process = start(below)
    directory = os.path.join(hierarchy.directory, "web")
    for adopted in (cgf.Hierarchy.adopt(directory), cgf.Hierarchy("label", root=os.fsencode(directory))):
        assert adopted.open("1") == below
        assert adopted.groups() == ["/1"]
        assert adopted.group_of(process.pid) == below
        with pytest.raises(cgf.NoSuchProcess) as raised:
            adopted.group_of(os.getpid())
        assert raised.value.errno == errno.ESRCH
    if hierarchy.backend != "embedded":
        of = cgf.Hierarchy.adopt_group_of(process.pid, backend=hierarchy.backend)
        assert of.root == below


def test_reprs(hierarchy: cgf.Hierarchy) -> None:
    assert repr(hierarchy.create("web")) == f"<cgf.Group '/web' of '{hierarchy.name}'>"
    assert repr(hierarchy).startswith(f"<cgf.Hierarchy '{hierarchy.name}': {hierarchy.backend} at /")


def test_the_directory_of_a_group(group: cgf.Group) -> None:
    fd = group.directory_fd()
    try:
        assert os.readlink(f"/proc/self/fd/{fd}").endswith("/web")
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)
