"""Subsystems that are Python classes (R1.6)."""

import doctest
import errno
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cgf
from conftest import Backend, Bind, clear


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


class Log(cgf.Subsystem):
    """Writes down what it is told, and raises what it was asked to."""

    def __init__(self, name: str = "log", raises: dict[str, BaseException] | None = None) -> None:
        self.name = name
        self.raises = raises or {}
        self.told: list[tuple[Any, ...]] = []

    def _tell(self, what: str, *about: object) -> None:
        self.told.append((what, *about))
        if what in self.raises:
            raise self.raises[what]

    def names(self) -> list[str]:
        return [what for what, *_ in self.told]

    def mount(self, hierarchy: cgf.Hierarchy) -> None:
        self._tell("mount", hierarchy.name)

    def unmount(self, hierarchy: cgf.Hierarchy) -> None:
        self._tell("unmount", hierarchy.name)

    def create(self, group: cgf.Group) -> None:
        self._tell("create", group)

    def destroy(self, group: cgf.Group) -> None:
        self._tell("destroy", group)

    def post_clone(self, group: cgf.Group, parent: cgf.Group) -> None:
        self._tell("post_clone", group, parent)

    def can_attach(self, attach: cgf.Attach) -> None:
        self._tell("can_attach", attach)

    def can_attach_task(self, attach: cgf.Attach, tid: int) -> None:
        self._tell("can_attach_task", attach, tid)

    def cancel_attach(self, attach: cgf.Attach) -> None:
        self._tell("cancel_attach", attach)

    def pre_attach(self, attach: cgf.Attach) -> None:
        self._tell("pre_attach", attach)

    def attach_task(self, attach: cgf.Attach, tid: int) -> None:
        self._tell("attach_task", attach, tid)

    def attach(self, attach: cgf.Attach) -> None:
        self._tell("attach", attach)


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


@pytest.mark.parametrize(
    "step", ["mount", "create", "post_clone", "can_attach", "can_attach_task", "destroy", "unmount"]
)
def test_an_exception_is_an_error_that_names_it(bind: Bind, backend: Backend, unique_name: str, step: str) -> None:
    class Odd(Exception):
        pass

    log = Log(raises={step: Odd("such a day")})

    def use_everything() -> None:
        hierarchy = bind(log)
        try:
            web = hierarchy.create("web")
            with web.spawn(["sleep", "300"]) as process:
                try:
                    hierarchy.clone("below", process.pid)
                finally:
                    process.kill()
        finally:
            clear(hierarchy)
            hierarchy.unmount()

    with pytest.raises(cgf.CgfError) as raised:
        use_everything()
    assert raised.value.errno == errno.ENOTRECOVERABLE
    assert raised.value.__cause__ is log.raises.pop(step)
    where = "test_an_exception_is_an_error_that_names_it.<locals>.Odd"
    assert raised.value.strerror == f"subsystem log, {step}: {where}: such a day"


@pytest.mark.parametrize(
    ("exception", "number", "said"),
    [
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC, "log, create: full"),
        (cgf.GroupBusy(errno.EBUSY, "busy"), errno.EBUSY, "log, create: busy"),
        (FileNotFoundError(errno.ENOENT, "no", "/n\udcff"), errno.ENOENT, r"log, create: no: '/n\udcff'"),
        (OSError("no number"), errno.ENOTRECOVERABLE, "log, create: OSError: no number"),
        (OSError(-errno.ENOSPC, "full"), errno.ENOTRECOVERABLE, "log, create: OSError: [Errno -28] full"),
        (OSError(4096, "far"), errno.ENOTRECOVERABLE, "log, create: OSError: [Errno 4096] far"),
        (OSError(1 << 40, "far"), errno.ENOTRECOVERABLE, "log, create: OSError: [Errno 1099511627776] far"),
        (AssertionError(), errno.ENOTRECOVERABLE, "log, create: AssertionError"),
        (KeyError("k\udcff"), errno.ENOTRECOVERABLE, r"log, create: KeyError: 'k\udcff'"),
    ],
)
def test_what_a_callback_raises(bind: Bind, exception: Exception, number: int, said: str) -> None:
    hierarchy = bind(Log(raises={"create": exception}))
    with pytest.raises(cgf.CgfError) as raised:
        hierarchy.create("web")
    assert (raised.value.errno, raised.value.strerror) == (number, f"subsystem {said}")
    assert raised.value.__cause__ is exception
    assert hierarchy.groups() == []


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_exception_that_cannot_be_told(bind: Bind) -> None:
    hierarchy = bind(Log(raises={"create": Unspeakable()}))
    with pytest.raises(cgf.CgfError) as raised:
        hierarchy.create("web")
    assert raised.value.strerror == "subsystem log, create: Unspeakable"


def test_to_return_false_is_no_refusal_and_no_consent(bind: Bind) -> None:
    class Shy(cgf.Subsystem):
        name = "shy"

        def create(self, group: cgf.Group) -> None:
            return False  # type: ignore[return-value]

    hierarchy = bind(Shy())
    with pytest.raises(cgf.CgfError) as raised:
        hierarchy.create("web")
    assert raised.value.errno == errno.ENOTRECOVERABLE and "raise OSError" in str(raised.value)
    assert hierarchy.groups() == []


@pytest.mark.parametrize("step", ["create", "can_attach", "attach", "cancel_attach"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_through(bind: Bind, step: str, kind: type[BaseException]) -> None:
    interrupt = kind()
    one = Log("one", {step: interrupt})
    two = Log("two", {"can_attach": OSError(errno.ENOSPC, "full")} if step == "cancel_attach" else {})
    hierarchy = bind(one, two)
    with pytest.raises(kind) as raised:
        hierarchy.create("web").spawn(["sleep", "300"])
    assert raised.value is interrupt
    if step == "cancel_attach":
        assert isinstance(interrupt.__context__, cgf.CgfError)
        assert interrupt.__context__.__cause__ is two.raises["can_attach"]
    assert all(hierarchy.open(path).procs() == [] for path in hierarchy.groups())


def test_what_nobody_asks_for_is_not_lost(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: lost.append(unraisable.exc_value))
    one, two = Log("one", {"cancel_attach": KeyError("lost")}), Log("two", {"attach": ValueError("told")})
    web = bind(one, two).create("web")
    with pytest.raises(cgf.CgfError) as raised:
        web.spawn(["sleep", "300"])
    assert raised.value.__cause__ is two.raises["attach"]
    assert lost == [one.raises["cancel_attach"]]


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


def run_python(script: str, *arguments: str) -> str:
    """In a process of its own, which says where its threads are if they hang."""
    script = "import faulthandler; faulthandler.dump_traceback_later(30, exit=True)\n" + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    assert done.stderr == ""
    return done.stdout


def test_threads(backend: Backend, unique_name: str) -> None:
    """Callbacks that wait for each other's threads and call the library, in all that may run them."""
    output = run_python(
        """
        import subprocess, sys, threading, time
        import cgf
        sys.setswitchinterval(1e-4)

        class Busy(cgf.Subsystem):
            name = "busy"
            calls = 0

            def look(self, group):
                time.sleep(0)
                group.procs() if group.path in jobs.groups() else None
                Busy.calls += 1

            create = destroy = look

            def can_attach(self, attach): self.look(attach.group)
            can_attach_task = lambda self, attach, tid: self.look(attach.group)
            pre_attach = cancel_attach = attach = can_attach
            attach_task = can_attach_task

            def read(self, group):
                self.look(group)
                return group.path + "\\n"

            def files(self):
                return [cgf.ControlFile("path", self.read, lambda group, text: self.look(group))]

        cgf.register(Busy())
        jobs = cgf.Hierarchy(sys.argv[1], ["freezer", "signal", "busy"], sys.argv[2])

        # Two threads, each in a callback until the other is: none holds anything that the other needs.
        both = threading.Barrier(2, timeout=10)
        class Both(cgf.Subsystem):
            name = "both"
            def create(self, group): both.wait()
        cgf.register(Both())
        meeting = cgf.Hierarchy(sys.argv[1] + "-both", ["both"], sys.argv[2])
        meet = [threading.Thread(target=meeting.create, args=(name,)) for name in "ab"]
        [thread.start() for thread in meet]
        [thread.join() for thread in meet]
        assert meeting.groups() == ["/a", "/b"]
        [meeting.open(path).remove() for path in meeting.groups()]
        meeting.unmount()

        failed = []
        def work(name):
            try:
                for _ in range(4):
                    group = jobs.create(name)
                    process = group.spawn(["sleep", "60"])
                    with subprocess.Popen(["sleep", "60"]) as outsider:
                        group.attach(outsider.pid)
                        assert group["busy.path"] == "/" + name
                        group["busy.path"] = ""
                        jobs.clone("below", outsider.pid)
                        group.remove(kill=True, recursive=True)
                    process.wait()
            except BaseException as error:
                failed.append(repr(error))
        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not failed, failed
        jobs.unmount()
        print(Busy.calls > 100)
        """,
        unique_name,
        backend,
    )
    assert output == "True\n"


def test_other_threads_run_meanwhile(group: cgf.Group, hierarchy: cgf.Hierarchy) -> None:
    """A call releases the interpreter, which nobody else takes from it within a minute."""
    beats = 0
    stop = False

    def beat() -> None:
        nonlocal beats
        while not stop:
            beats += 1
            time.sleep(0.0001)

    uses: list[Callable[[], object]] = [
        lambda: hierarchy.create("other").remove(),
        lambda: group.read("freezer.state"),
        lambda: group.write("freezer.state", "THAWED"),
        lambda: cgf.Hierarchy(hierarchy.name, backend=hierarchy.backend),
    ]
    interval = sys.getswitchinterval()
    thread = threading.Thread(target=beat)
    thread.start()
    sys.setswitchinterval(60)
    try:
        for use in uses:
            before = beats
            for _ in range(200):
                use()
            assert beats > before
    finally:
        stop = True
        sys.setswitchinterval(interval)
        thread.join()


def test_callbacks_in_a_forked_child(backend: Backend, unique_name: str) -> None:
    """The child opens the hierarchy again, and the subsystem is called there."""
    output = run_python(
        """
        import errno, os, sys
        import cgf

        class Counting(cgf.Subsystem):
            name = "counting"
            created = []
            def create(self, group):
                self.created.append(group.path)
                if group.path == "/forks":
                    self.child = os.fork()

        cgf.register(counting := Counting())
        open = lambda: cgf.Hierarchy(sys.argv[1], ["freezer", "signal", "counting"], sys.argv[2])
        jobs = open()
        jobs.create("parent")
        child = os.fork()
        if child == 0:
            open().create("child")
            print(Counting.created, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(Counting.created, flush=True)

        # A child that is made in a callback leaves it as its parent does.
        try:
            jobs.create("forks")
        except cgf.ForkedHandle:
            assert counting.child == 0
        if counting.child == 0:
            os._exit(0)
        assert os.waitpid(counting.child, 0)[1] == 0
        for path in jobs.groups():
            jobs.open(path).remove()
        jobs.unmount()
        """,
        unique_name,
        backend,
    )
    assert output == "['/parent', '/child']\n['/parent']\n"


def test_the_end_of_the_interpreter(backend: Backend, unique_name: str) -> None:
    """Threads that are in callbacks, and in the library, when it ends; and handles that go last."""
    run_python(
        """
        import sys, threading, time
        import cgf

        class Slow(cgf.Subsystem):
            name = "slow"
            def create(self, group):
                time.sleep(0.001)
            def destroy(self, group):
                time.sleep(0.001)

        cgf.register(Slow())
        jobs = cgf.Hierarchy(sys.argv[1], ["slow"], sys.argv[2])
        def work(name):
            while True:
                jobs.create(name).remove()
        for n in range(4):
            threading.Thread(target=work, args=(f"t{n}",), daemon=True).start()
        time.sleep(0.2)

        class Last:
            def __del__(self, jobs=jobs):
                try:
                    jobs.create("last").remove()
                except cgf.CgfError:
                    pass
        last = Last()
        last.me = last
        """,
        unique_name,
        backend,
    )
    # What the threads could not take away again.
    left = cgf.Hierarchy(unique_name, backend=backend)
    clear(left)
    left.unmount()
