"""What groups hold of each resource, and how much they may (R6.1-R6.7)."""

import errno
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cgf
from conftest import Backend, clear

HOLDER = """
import os, sys, time, cgf
subsystems = ["freezer", "signal", "beancounter"]
group = cgf.Hierarchy(sys.argv[1], subsystems, sys.argv[2]).open("web/1")
exec(sys.argv[3])
print("done", flush=True)
time.sleep(300)
"""

Holder = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def bound(backend: Backend, unique_name: str) -> Iterator[cgf.Hierarchy]:
    """A hierarchy that counts."""
    made = cgf.Hierarchy(unique_name, ["freezer", "signal", "beancounter"], backend)
    yield made
    give_back(made)
    clear(made)
    made.unmount()


def give_back(hierarchy: cgf.Hierarchy) -> None:
    """What a test that failed has left charged: children first."""
    for path in reversed(hierarchy.groups()):
        group = hierarchy.open(path)
        for name, figures in group.snapshot().counters.items():
            group.uncharge(name, figures.held)


@pytest.fixture
def web(bound: cgf.Hierarchy) -> cgf.Group:
    return bound.create("web")


@pytest.fixture
def one(bound: cgf.Hierarchy, web: cgf.Group) -> cgf.Group:
    return bound.create("web/1")


@pytest.fixture
def holder(bound: cgf.Hierarchy) -> Iterator[Holder]:
    """Another process, that does something with the group web/1 and stays."""
    started: list[subprocess.Popen[str]] = []

    def holder(does: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, bound.name, bound.backend, does]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stdout = started[-1].stdout
        assert stdout is not None and stdout.readline() == "done\n"
        return started[-1]

    yield holder
    for process in started:
        process.kill()
        process.communicate()


def held(group: cgf.Group, resource: str = "numfiles") -> int:
    return group.snapshot()[resource].held


def test_charges(web: cgf.Group, one: cgf.Group) -> None:
    """R6.2, R6.3"""
    one.charge("numfiles", 3)
    one.charge(4, 2, cgf.Severity.BARRIER)
    one.charge("kmemsize", 4096, severity=cgf.Severity.FORCE)
    assert (held(one), held(web), held(one, "kmemsize")) == (5, 5, 4096)
    one.uncharge("numfiles", 5)
    one.uncharge("kmemsize", 4096)
    assert held(web) == held(web, "kmemsize") == 0
    one.charge("numfiles", 0)
    one.charge_many({})
    one.charge_many({"numfiles": 2, "kmemsize": 10}, cgf.Severity.BARRIER)
    one.charge_many({4: 1})
    assert (held(one), held(one, "kmemsize")) == (3, 10)
    one.uncharge_many({"numfiles": 3, "kmemsize": 10})
    assert held(web) == held(web, "kmemsize") == 0


def test_a_refusal_names_level_and_resource(web: cgf.Group, one: cgf.Group) -> None:
    """R6.3"""
    web.set_limits("numfiles", 4, 10)
    web.set_limits("kmemsize", None, 10)
    one.charge("numfiles", 4)
    with pytest.raises(cgf.ChargeRefused) as raised:
        one.charge("numfiles", 3, cgf.Severity.BARRIER)
    error = raised.value
    assert isinstance(error, OSError) and error.errno == errno.EMFILE and error.blockers == []
    assert (error.level, error.resource, error.amount, error.held, error.bound) == ("/web", "numfiles", 3, 4, 4)
    assert "/web" in str(error) and "numfiles" in str(error)
    with pytest.raises(cgf.ChargeRefused) as raised:
        one.charge_many({"numfiles": 1, "kmemsize": 11})
    error = raised.value
    assert error.errno == errno.ENOMEM
    assert (error.level, error.resource, error.amount, error.held, error.bound) == ("/web", "kmemsize", 11, 0, 10)
    assert held(one) == 4
    counters = web.snapshot()
    assert (counters["numfiles"].failcnt, counters["kmemsize"].failcnt) == (1, 1)
    assert one.snapshot()["numfiles"].failcnt == 0
    one.uncharge("numfiles", 4)


def test_as_much_as_there_is(web: cgf.Group, one: cgf.Group) -> None:
    """R6.4"""
    web.set_limits("numfiles", 2, 5)
    assert one.charge_up_to("numfiles", 3, cgf.Severity.BARRIER) == 2
    assert one.charge_up_to("numfiles", 10) == 3
    assert one.charge_up_to("numfiles", 10) == 0
    assert web.beancounters["numfiles"].failcnt == 1
    one.uncharge("numfiles", 5)


def test_charged(web: cgf.Group, one: cgf.Group) -> None:
    web.set_limits("numfiles", None, 10)
    charge = one.charged("numfiles", 4)
    assert held(web) == 0
    with charge as group:
        assert group is one and held(web) == 4
        with charge, one.charged("kmemsize", 1):
            assert held(web) == 8 and held(web, "kmemsize") == 1
        assert held(web) == 4
        with pytest.raises(cgf.ChargeRefused), one.charged("numfiles", 7):
            pytest.fail("entered")
        with pytest.raises(ZeroDivisionError), one.charged("numfiles", 5, cgf.Severity.FORCE):
            1 / 0  # noqa: B018
        assert held(web) == 4
    assert held(web) == 0


def test_what_is_no_charge(one: cgf.Group) -> None:
    for amount in (2**48 + 1, 2**63, 2**64, 2**100):
        for use in (one.charge, one.uncharge, one.charge_up_to, one.charged):
            with pytest.raises(cgf.CgfError) as raised:
                charged = use("kmemsize", amount)
                charged.__enter__()  # type: ignore[union-attr]
            assert raised.value.errno == errno.EINVAL and not isinstance(raised.value, cgf.ChargeRefused)
    with pytest.raises(ValueError, match="negative"):
        one.charge("numfiles", -1)
    with pytest.raises(ValueError, match="Severity"):
        one.charge("numfiles", 1, 3)  # type: ignore[arg-type]
    wrong: list[Any] = [1.5, "1", None, True]
    for amount in wrong:
        with pytest.raises(TypeError):
            one.charge("numfiles", amount)
    wrong = [1.5, None, True, b"numfiles"]
    for resource in wrong:
        with pytest.raises(TypeError):
            one.charge(resource, 1)
    wrong = [1.5, None, "LIMIT", True]
    for severity in wrong:
        with pytest.raises(TypeError):
            one.charge("numfiles", 1, severity)
    wrong = [None, "numfiles", [("numfiles", 1)]]
    for amounts in wrong:
        with pytest.raises((TypeError, AttributeError)):
            one.charge_many(amounts)
    for unknown in ("widgets", "", "é", 5, 2**32, 2**70, -1):
        with pytest.raises(cgf.NotFound) as missing:
            one.charge(unknown, 1)
        assert missing.value.errno == errno.ENOENT
    assert held(one) == held(one, "kmemsize") == 0


def test_beancounters(web: cgf.Group, one: cgf.Group) -> None:
    """R6.6"""
    counters = web.beancounters
    assert list(counters)[:5] == ["kmemsize", "privvmpages", "physpages", "numtasks", "numfiles"]
    assert len(counters) == len(list(counters)) and "numfiles" in counters and "widgets" not in counters
    with pytest.raises(KeyError):
        counters["widgets"]
    files = counters["numfiles"]
    assert files.name == "numfiles" and "numfiles" in repr(files) and "/web" in repr(files)
    assert (files.limit, files.barrier, files.limits) == (None, None, (None, None))
    files.limit = 100
    files.barrier = 50
    assert (files.limit, files.barrier, files.limits) == (100, 50, (50, 100))
    with pytest.raises(cgf.CgfError) as raised:
        files.barrier = 101
    assert raised.value.errno == errno.EINVAL
    with pytest.raises(cgf.CgfError):
        files.limit = -1
    files.limits = (5, 10)
    assert web["bc.numfiles.limits"] == "5 10"
    one.charge("numfiles", 7)
    one.uncharge("numfiles", 3)
    with pytest.raises(cgf.ChargeRefused):
        one.charge("numfiles", 7)
    assert (files.held, files.maxheld, files.minheld, files.failcnt) == (4, 7, 0, 1)
    files.reset_marks()
    files.reset_failcnt()
    assert (files.held, files.maxheld, files.minheld, files.failcnt) == (4, 4, 4, 0)
    files.limits = (None, 3)
    files.limit = None
    assert files.limits == (None, None)
    with pytest.raises(AttributeError):
        files.held = 0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        files.limt = 3  # type: ignore[attr-defined]
    one.uncharge("numfiles", 4)


def test_a_snapshot_is_of_one_instant(one: cgf.Group) -> None:
    """R6.4, R6.5: several charged at once are never seen one without the other."""
    stop = threading.Event()

    def charge() -> None:
        while not stop.is_set():
            one.charge_many({"numfiles": 3, "kmemsize": 3})
            one.uncharge_many({"numfiles": 3, "kmemsize": 3})

    thread = threading.Thread(target=charge)
    thread.start()
    try:
        seen: set[tuple[int, int]] = set()
        until = time.monotonic() + 30
        while len(seen) < 2 and time.monotonic() < until:
            for _ in range(50):
                snapshot = one.snapshot()
                seen.add((snapshot["numfiles"].held, snapshot["kmemsize"].held))
    finally:
        stop.set()
        thread.join()
    assert seen == {(0, 0), (3, 3)}


def test_a_snapshot(one: cgf.Group) -> None:
    one.set_limits("numfiles", 5, None)
    one.charge("numfiles", 2)
    one.uncharge("numfiles", 3)
    snapshot = one.snapshot()
    assert list(snapshot.counters) == list(one.beancounters)
    files = snapshot["numfiles"]
    assert files is snapshot.counters["numfiles"]
    assert (files.name, files.number, files.held, files.maxheld, files.minheld) == ("numfiles", 4, 0, 2, 0)
    assert (files.barrier, files.limit, files.failcnt, snapshot.underflow) == (5, None, 0, 1)
    with pytest.raises(AttributeError):
        files.held = 1  # type: ignore[misc]
    with pytest.raises(KeyError):
        snapshot["widgets"]
    assert snapshot == one.snapshot()


def test_resources(bound: cgf.Hierarchy, one: cgf.Group) -> None:
    """R6.1"""
    assert bound.register_resource("widgets", "boxes") == 5
    assert bound.register_resource("widgets") == bound.register_resource("widgets", "boxes") == 5
    assert bound.register_resource("numfiles") == bound.register_resource("numfiles", "count") == 4
    known = bound.resources
    assert known[4:] == [cgf.ResourceInfo(4, "numfiles", "count"), cgf.ResourceInfo(5, "widgets", "boxes")]
    with pytest.raises(cgf.GroupExists):
        bound.register_resource("widgets", "bytes")
    with pytest.raises(cgf.NotFound):
        bound.register_resource("gadgets")
    for name in ("", "Widgets", "wid gets", "é", "x" * 33):
        with pytest.raises(cgf.CgfError) as raised:
            bound.register_resource(name, "count")
        assert raised.value.errno == errno.EINVAL
    one.charge("widgets", 3)
    assert one["bc.widgets.held"] == "3" and one.beancounters["widgets"].held == 3
    one.beancounters["widgets"].limit = 3
    with pytest.raises(cgf.ChargeRefused) as refused:
        one.charge(5, 1)
    assert refused.value.errno == errno.ENOMEM and refused.value.resource == "widgets"
    one.uncharge(5, 3)


def test_callbacks(bound: cgf.Hierarchy, web: cgf.Group, one: cgf.Group) -> None:
    """R6.2"""
    calls: list[tuple[str, str, int]] = []
    frees = 0

    def on_barrier(group: cgf.Group, amount: int) -> None:
        calls.append(("barrier", group.path, amount))
        assert group == web and group.beancounters["numfiles"].held > 5

    def on_limit(group: cgf.Group, amount: int) -> bool:
        calls.append(("limit", group.path, amount))
        if frees:
            one.uncharge("numfiles", frees)
        return frees > 0

    bound.register_resource("numfiles", on_barrier=on_barrier, on_limit=on_limit)
    web.set_limits("numfiles", 5, 10)
    one.charge("numfiles", 6)
    one.charge("numfiles", 1)
    assert calls == [("barrier", "/web", 6)]
    with pytest.raises(cgf.ChargeRefused):
        one.charge("numfiles", 4)
    assert calls.pop() == ("limit", "/web", 4)
    frees = 2
    with pytest.raises(cgf.ChargeRefused):
        one.charge("numfiles", 6)
    assert calls.pop() == ("limit", "/web", 6) and web.beancounters["numfiles"].failcnt == 2
    assert held(web) == 5
    one.charge("numfiles", 6)
    # From 3 to 9: over the barrier once more.
    assert calls[1:] == [("limit", "/web", 6), ("barrier", "/web", 6)]
    assert web.beancounters["numfiles"].failcnt == 2 and held(web) == 9
    one.uncharge("numfiles", 9)


def test_callbacks_that_raise(
    bound: cgf.Hierarchy, one: cgf.Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: unraisable.append(raised.exc_value))

    def fail(group: cgf.Group, amount: int) -> None:
        raise LookupError(f"{group.path} {amount}")

    def interrupt(group: cgf.Group, amount: int) -> None:
        raise KeyboardInterrupt

    bound.register_resource("numfiles", on_barrier=fail, on_limit=fail)
    one.set_limits("numfiles", 2, 4)
    one.charge("numfiles", 3)
    with pytest.raises(cgf.ChargeRefused):
        one.charge("numfiles", 2)
    assert [str(raised) for raised in unraisable] == ["/web/1 3", "/web/1 2"]
    bound.register_resource("numfiles", on_limit=interrupt)
    with pytest.raises(KeyboardInterrupt):
        one.charge("numfiles", 2)
    assert held(one) == 3
    one.uncharge("numfiles", 3)
    wrong: Any = 7
    with pytest.raises(TypeError):
        bound.register_resource("numfiles", on_limit=wrong)


def test_a_killed_process_holds_nothing(web: cgf.Group, one: cgf.Group, holder: Holder) -> None:
    """R6.7"""
    web.set_limits("numfiles", None, 5)
    process = holder("group.charge('numfiles', 3)")
    assert held(web) == 3
    with pytest.raises(cgf.ChargeRefused):
        one.charge("numfiles", 3)
    with pytest.raises(cgf.GroupBusy):
        one.remove()
    process.send_signal(signal.SIGSTOP)
    one.charge("numfiles", 2)
    with pytest.raises(cgf.ChargeRefused):
        one.charge("numfiles", 1)
    process.kill()
    process.wait(timeout=10)
    one.charge("numfiles", 3)
    assert held(web) == 5
    one.uncharge("numfiles", 5)


def test_what_a_group_keeps(web: cgf.Group, one: cgf.Group, holder: Holder) -> None:
    """R6.7"""
    process = holder("group.charge_kept({'numfiles': 3, 'kmemsize': 7})")
    process.kill()
    process.wait(timeout=10)
    assert (held(web), held(web, "kmemsize")) == (3, 7)
    for options in ({}, {"kill": True}):
        with pytest.raises(cgf.GroupBusy):
            one.remove(**options)
    with pytest.raises(cgf.GroupBusy):
        web.remove(kill=True, recursive=True)
    one.uncharge_many({"numfiles": 3, "kmemsize": 7})
    assert one.snapshot().underflow == 0
    one.remove()


def test_a_forked_child_has_charged_nothing(one: cgf.Group) -> None:
    one.charge("numfiles", 3)
    child = os.fork()
    if child == 0:
        failed = 0
        for use in (
            lambda: one.charge("numfiles", 1),
            lambda: one.uncharge("numfiles", 3),
            lambda: one.charge_many({"numfiles": 1}),
            lambda: one.snapshot(),
            lambda: one.beancounters["numfiles"],
        ):
            try:
                use()
            except cgf.ForkedHandle:
                failed += 1
        os._exit(failed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert held(one) == 3
    one.uncharge("numfiles", 3)


def test_flat(backend: Backend, unique_name: str) -> None:
    """R6.3"""
    subsystems = ["freezer", "signal", "beancounter"]
    hierarchy = cgf.Hierarchy(unique_name, subsystems, backend, flat=True)
    try:
        one = hierarchy.create("web/1")
        web = hierarchy.open("web")
        web.set_limits("numfiles", None, 1)
        one.charge("numfiles", 3)
        assert (held(one), held(web)) == (3, 0)
        one.uncharge("numfiles", 3)
    finally:
        give_back(hierarchy)
        clear(hierarchy)
        hierarchy.unmount()


def test_a_hierarchy_that_does_not_count(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    for use in (
        lambda: group.charge("numfiles", 1),
        lambda: group.charge_kept({"numfiles": 1}),
        lambda: group.snapshot(),
        lambda: len(group.beancounters),
        lambda: hierarchy.resources,
        lambda: hierarchy.register_resource("widgets", "boxes"),
    ):
        with pytest.raises(cgf.CgfError) as raised:
            use()
        assert raised.value.errno == errno.EOPNOTSUPP
    with pytest.raises(cgf.NotFound):
        group["bc.stat"]


def test_a_group_that_is_gone(one: cgf.Group) -> None:
    files = one.beancounters["numfiles"]
    one.charge("numfiles", 1)
    one.uncharge("numfiles", 1)
    one.remove()
    for use in (
        lambda: one.charge("numfiles", 1),
        lambda: one.uncharge("numfiles", 1),
        lambda: one.charge_kept({"numfiles": 1}),
        lambda: one.snapshot(),
        lambda: one.set_limits("numfiles", 1, 1),
        lambda: files.held,
    ):
        with pytest.raises(cgf.GroupVanished):
            use()


def test_signatures() -> None:
    for name in ("charge", "charge_many", "charge_up_to", "charge_kept", "charged"):
        severity = inspect.signature(getattr(cgf.Group, name)).parameters["severity"]
        assert severity.default == cgf.Severity.LIMIT
