"""Subsystems that are Python classes (R1.6)."""

import doctest
import errno
import gc
import os
import subprocess
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cgf
from conftest import Backend, Bind, clear
from log import Log


@pytest.fixture
def outsider() -> Iterator[subprocess.Popen[bytes]]:
    """A process that was not made for any group. Its group is cleared by `bind`."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


class Members(cgf.Subsystem):
    """At most so many in a group."""

    name = "members"

    def __init__(self, most: int) -> None:
        self.most = most

    def can_attach(self, attach: cgf.Attach) -> None:
        if len(attach.group.procs()) >= self.most:
            raise OSError(errno.ENOSPC, f"{attach.group.path} is full")


def test_the_example_does_what_it_says(backend: Backend, unique_name: str) -> None:
    """Word for word, but for where the hierarchy is."""
    example = cgf.Subsystem.__doc__
    assert example is not None and 'cgf.Hierarchy("jobs", [' in example
    example = example.replace('"jobs",', f'"{unique_name}", backend="{backend}", subsystems=')
    found = doctest.DocTestParser().get_doctest(example, {}, "cgf.Subsystem", None, None)
    assert len(found.examples) > 10
    said: list[str] = []
    result = doctest.DocTestRunner().run(found, out=said.append)
    assert result.failed == 0, "".join(said)


def test_a_refusal(bind: Bind, outsider: subprocess.Popen[bytes]) -> None:
    """It has its errno, and leaves everything as it was."""
    hierarchy = bind(Members(1))
    web = hierarchy.create("web")
    first = web.spawn(["sleep", "300"])
    other = hierarchy.create("other")
    uses: list[Callable[[], object]] = [
        lambda: web.attach(outsider.pid),
        lambda: web.spawn(["sleep", "300"]),
        lambda: web.__setitem__("cgroup.procs", str(outsider.pid)),
    ]
    for use in uses:
        with pytest.raises(cgf.CgfError) as raised:
            use()
        assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, None)
        assert "subsystem members, can_attach: /web is full" in str(raised.value)
        assert isinstance(raised.value.__cause__, OSError)
        assert web.procs() == [first.pid]
        assert hierarchy.group_of(outsider.pid) == hierarchy.root
    other.attach(outsider.pid)
    web.kill()
    first.wait(timeout=10)
    web.attach(outsider.pid)
    assert web.procs() == [outsider.pid] and other.procs() == []


def test_a_clone_into_a_full_group_is_undone(bind: Bind) -> None:
    """R1.5"""
    members = Members(1)
    hierarchy = bind(members)
    web = hierarchy.create("web")
    with web.spawn(["sleep", "300"]) as process:
        members.most = 0
        with pytest.raises(cgf.CgfError) as raised:
            hierarchy.clone("below", process.pid)
        assert raised.value.errno == errno.ENOSPC
        assert hierarchy.groups() == ["/web"] and web.procs() == [process.pid]
        web.kill()


class Notes(cgf.Subsystem):
    """A file of each kind."""

    name = "notes"

    def __init__(self) -> None:
        self.note = "none"

    def files(self) -> Iterator[cgf.ControlFile]:
        yield cgf.ControlFile("note", read=lambda group: f"{group.path}: {self.note}\n", write=self.write)
        yield cgf.ControlFile("all", read=lambda group: "all\n", root=True)
        yield cgf.ControlFile("drop", write=lambda group, text: text)
        yield cgf.ControlFile("number", read=lambda group: 7)  # type: ignore[arg-type,return-value]

    def write(self, group: cgf.Group, text: str) -> None:
        if text == "worse":
            raise OSError(errno.EDOM, "no worse")
        if text == "bad":
            raise ValueError("no bad notes")
        self.note = text


def test_control_files_of_its_own(bind: Bind) -> None:
    """R1.8"""
    hierarchy = bind(Notes())
    web = hierarchy.create("web")
    assert web["notes.note"] == "/web: none"
    web["notes.note"] = "one\n"
    assert web.read("notes.note") == "/web: one\n"
    web["notes.drop"] = "what it returns does not matter"
    web["notes.note"] = "none"
    assert hierarchy.root["notes.all"] == "all"
    ours = ["notes.drop", "notes.note", "notes.number"]
    assert web.control_files() == sorted(web.control_files())
    assert [name for name in web.control_files() if name.startswith("notes.")] == ours
    assert "notes.all" in hierarchy.root.control_files() and "cgroup.procs" in web.control_files()

    def failure(use: Callable[[], object]) -> cgf.CgfError:
        with pytest.raises(cgf.CgfError) as raised:
            use()
        return raised.value

    assert isinstance(failure(lambda: web["notes.all"]), cgf.NotFound)
    assert isinstance(failure(lambda: web["notes.drop"]), cgf.NotPermitted)
    assert isinstance(failure(lambda: web.write("notes.number", "8")), cgf.NotPermitted)
    assert failure(lambda: web.write("notes.note", "worse")).errno == errno.EDOM
    bad = failure(lambda: web.write("notes.note", "bad"))
    assert bad.errno == errno.ENOTRECOVERABLE
    assert "subsystem notes, notes.note: ValueError: no bad notes" in str(bad)
    assert isinstance(bad.__cause__, ValueError)
    number = failure(lambda: web["notes.number"])
    assert number.errno == errno.ENOTRECOVERABLE and isinstance(number.__cause__, TypeError)
    assert web["notes.note"] == "/web: none"


def test_the_order_of_an_attach(bind: Bind, outsider: subprocess.Popen[bytes]) -> None:
    """R2.2"""
    log = Log()
    hierarchy = bind(log)
    assert log.told == [("mount", hierarchy.name)]
    web = hierarchy.create("web")
    hierarchy.create("from").attach(outsider.pid)
    log.told.clear()
    web.attach(outsider.pid, frozen=True)
    steps = ["can_attach", "can_attach_task", "pre_attach", "attach_task", "attach"]
    assert log.names() == steps
    for _, attach, *tid in log.told:
        assert (attach.group, attach.pid, attach.from_) == (web, outsider.pid, "/from")
        assert (attach.threads, attach.is_birth, attach.may_freeze) == ([outsider.pid], False, True)
        assert tid in ([], [outsider.pid])
        assert repr(attach) == f"<cgf.Attach of process {outsider.pid} to '/web'>"

    log.told.clear()
    with web.spawn(["sleep", "300"]) as process:
        assert log.names() == steps
        born, come = log.told[0][1], log.told[-1][1]
        assert (born.pid, born.threads, born.is_birth, born.from_) == (0, [0], True, None)
        assert repr(born) == "<cgf.Attach of a program to '/web'>"
        assert (come.pid, come.threads, come.is_birth) == (process.pid, [process.pid], False)
        assert not come.may_freeze
        web.kill()
    outsider.wait(timeout=10)

    log.told.clear()
    web.remove()
    hierarchy.open("from").remove()
    hierarchy.unmount()
    assert log.names() == ["destroy", "destroy", "unmount"]
    # The handle of a group that is gone still is that group's.
    assert log.told[0][1] == web and log.told[0][1].path == "/web"


@pytest.mark.parametrize("step", ["pre_attach", "attach_task", "attach"])
def test_an_attach_that_somebody_cannot_follow(bind: Bind, outsider: subprocess.Popen[bytes], step: str) -> None:
    """R2.2: it is taken back, and the others hear of it, last first."""
    one, two = Log("one"), Log("two")
    hierarchy = bind(one, two)
    web, before = hierarchy.create("web"), hierarchy.create("before")
    before.attach(outsider.pid)
    cause = two.raises[step] = ValueError("cannot follow")
    for log in (one, two):
        log.told.clear()
    with pytest.raises(cgf.CgfError) as raised:
        web.attach(outsider.pid)
    assert raised.value.errno == errno.ENOTRECOVERABLE
    assert raised.value.__cause__ is cause
    assert f"subsystem two, {step}: ValueError: cannot follow" in str(raised.value)
    assert before.procs() == [outsider.pid] and web.procs() == []
    assert one.names()[-1] == two.names()[-1] == "cancel_attach"
    assert two.names()[-2] == step

    with pytest.raises(cgf.CgfError):
        web.spawn(["sleep", "300"])
    assert web.procs() == []


def test_only_those_who_agreed_are_told_that_it_does_not_come(bind: Bind, outsider: subprocess.Popen[bytes]) -> None:
    """R2.2"""
    one, two = Log("one"), Log("two", {"can_attach": OSError(errno.EDQUOT, "no")})
    web = bind(one, two).create("web")
    with pytest.raises(cgf.CgfError) as raised:
        web.attach(outsider.pid)
    assert raised.value.errno == errno.EDQUOT
    assert one.names()[-1] == "cancel_attach" and two.names()[-1] == "can_attach"


def test_callbacks_may_call_the_library(bind: Bind) -> None:
    """The error of a call within is that call's, until it is let through."""

    class Busy(cgf.Subsystem):
        name = "busy"
        inner: BaseException | None = None

        def create(self, group: cgf.Group) -> None:
            try:
                group.attributes["busy.x"] = "1"
                jobs.open("nosuch")
            except cgf.NotFound as error:
                self.inner = error
            if group.path == "/web":
                jobs.create("nested")
            if group.path == "/taken":
                jobs.create("taken")

    busy = Busy()
    jobs = bind(busy)
    assert jobs.create("web").attributes["busy.x"] == "1"
    assert jobs.groups() == ["/nested", "/web"]
    assert busy.inner is not None and busy.inner.__cause__ is None
    with pytest.raises(cgf.GroupExists) as raised:
        jobs.create("taken")
    assert isinstance(raised.value.__cause__, cgf.GroupExists)
    assert jobs.groups() == ["/nested", "/web"]


def test_only_what_is_overridden_is_called(bind: Bind, outsider: subprocess.Popen[bytes]) -> None:
    class Quiet(cgf.Subsystem):
        name = "quiet"

    quiet = Quiet()
    hierarchy = bind(quiet)
    for name in ("create", "can_attach", "attach", "destroy"):
        setattr(quiet, name, None)
    web = hierarchy.create("web")
    web.attach(outsider.pid)
    web.kill()
    outsider.wait(timeout=10)
    web.remove()


@pytest.mark.parametrize("name", ["", "Members", "1st", "a-b", "cgroup", "cgf", "x" * 33, "né", "a.b", "a\0b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(cgf.CgfError) as raised:
        cgf.register(Log(name))
    assert raised.value.errno == errno.EINVAL


def test_a_name_is_taken_once(bind: Bind) -> None:
    bind(Log())
    for name in ("log", "freezer", "signal"):
        with pytest.raises(cgf.GroupExists) as raised:
            cgf.register(Log(name))
        assert raised.value.errno == errno.EEXIST
        assert isinstance(raised.value, FileExistsError)
    with pytest.raises(cgf.NotFound):
        cgf.unregister("freezer")
    with pytest.raises(cgf.NotFound):
        cgf.unregister("nosuch")


def test_what_is_no_subsystem() -> None:
    class Nameless(cgf.Subsystem):
        pass

    class Files(cgf.Subsystem):
        name = "files"

        def __init__(self, *files: object) -> None:
            self.given = files

        def files(self) -> Any:
            return self.given

    class Wrong(cgf.Subsystem):
        name = "wrong"
        controllers = "pids"

    with pytest.raises(AttributeError):
        cgf.register(Nameless())
    wrong: list[Any] = [
        object(),
        Log,
        Log(7),  # type: ignore[arg-type]
        Wrong(),
        Files(7),
        Files(cgf.ControlFile(7)),  # type: ignore[arg-type]
        Files(cgf.ControlFile("x", read="text")),  # type: ignore[arg-type]
    ]
    for one in wrong:
        with pytest.raises((TypeError, AttributeError)):
            cgf.register(one)
    for name in ("files", "wrong", "log"):
        with pytest.raises(cgf.NotFound):
            cgf.unregister(name)


@pytest.mark.parametrize("names", [["x", "x"], [""], ["a/b"], ["a b"], ["x" * 65]])
def test_files_without_proper_names(backend: Backend, unique_name: str, names: list[str]) -> None:
    class Files(cgf.Subsystem):
        name = "files"

        def files(self) -> list[cgf.ControlFile]:
            return [cgf.ControlFile(name) for name in names]

    cgf.register(Files())
    try:
        with pytest.raises(cgf.CgfError) as raised:
            cgf.Hierarchy(unique_name, ["files"], backend)
        assert raised.value.errno == errno.EINVAL
    finally:
        cgf.unregister("files")


def test_unregistered_while_a_hierarchy_has_it(backend: Backend, unique_name: str) -> None:
    members = Members(0)
    alive = weakref.ref(members)
    cgf.register(members)
    hierarchy = cgf.Hierarchy(unique_name, ["members"], backend)
    web = hierarchy.create("web")
    cgf.unregister("members")
    try:
        with pytest.raises(cgf.CgfError) as raised:
            web.spawn(["true"])
        assert raised.value.errno == errno.ENOSPC
        with pytest.raises(cgf.NotFound):
            cgf.Hierarchy(unique_name, ["members"], backend)

        unused = Members(0)
        gone = weakref.ref(unused)
        unused.name = "unused"
        cgf.register(unused)
        del unused
        assert gone() is not None
        cgf.unregister("unused")
        assert gone() is None

        # Opened again it is somebody else's: what it has a say in is not done.
        again = cgf.Hierarchy(unique_name, backend=backend)
        assert again.open("web").procs() == [] and again.subsystems == ["members"]
        with pytest.raises(cgf.NotFound) as strange:
            again.create("other")
        assert "members" in str(strange.value)
        with pytest.raises(cgf.NotFound):
            again.open("web").spawn(["true"])

        # The last handle that has it lets it go.
        del members, raised, strange
        gc.collect()
        assert alive() is not None
        del web, hierarchy
        gc.collect()
        assert alive() is None
    finally:
        again = cgf.Hierarchy(unique_name, backend=backend)
        clear(again)
        again.unmount()


def test_a_name_may_be_used_again(bind: Bind, backend: Backend) -> None:
    """A hierarchy keeps the subsystem that it was opened with."""
    hierarchy = bind(Members(0))
    web = hierarchy.create("web")
    cgf.unregister("members")
    cgf.register(Members(1))
    with pytest.raises(cgf.CgfError):
        web.spawn(["sleep", "300"])
    again = cgf.Hierarchy(hierarchy.name, backend=backend).open("web")
    with again.spawn(["sleep", "300"]) as process:
        process.kill()


def test_a_controller_of_its_own(bind: Bind, backend: Backend) -> None:
    class Count(cgf.Subsystem):
        name = "count"
        controllers = ("pids",)

    web = bind(Count()).create("web")
    with pytest.raises(cgf.CgfError) as raised:
        web.controller_fd("nosuch")
    assert raised.value.errno == errno.ENODEV and type(raised.value) is cgf.CgfError
    try:
        fd = web.controller_fd("pids")
    except cgf.CgfError as error:
        assert error.errno == errno.ENODEV and backend == "embedded"
        return
    try:
        assert "pids.max" in os.listdir(f"/proc/self/fd/{fd}") and not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_names_that_are_not_utf8(bind: Bind) -> None:
    log = Log()
    hierarchy = bind(log)
    odd = os.fsdecode(b"na\xffme")
    with hierarchy.create(odd).spawn(["sleep", "300"]) as process:
        cloned = hierarchy.clone(os.fsencode(odd), process.pid)
        assert cloned.path == f"/{odd}/{odd}"
        attach = log.told[-1][1]
        assert (attach.group.path, attach.from_) == (f"/{odd}/{odd}", f"/{odd}")
        assert "\\udcff" in repr(attach)
        process.kill()
