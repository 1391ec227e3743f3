"""Freezing and thawing."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

import cgf
from conftest import Starter
from stuck import Stuck


def test_freeze_and_thaw(group: cgf.Group, start: Starter) -> None:
    """R3.1, R3.2, R3.8, R3.9"""
    process = start(group)
    assert group.state is cgf.State.THAWED
    group.freeze(timeout=5.0)
    assert group.state is cgf.State.FROZEN
    group.freeze()
    time.sleep(0.02)
    group.thaw()
    group.thaw()
    assert group.state is cgf.State.THAWED
    assert 0.02 <= group.frozen_time < 60
    assert process.poll() is None


def test_a_frozen_process_does_not_run(group: cgf.Group) -> None:
    count = "import itertools, sys\nfor n in itertools.count(): print(n, flush=True)"
    with group.spawn([sys.executable, "-c", count], stdout=subprocess.PIPE, pipesize=4096) as process:
        assert process.stdout is not None
        process.stdout.readline()
        group.freeze()
        os.set_blocking(process.stdout.fileno(), False)
        while process.stdout.read(1 << 16):
            pass
        time.sleep(0.05)
        assert not process.stdout.read(1)
        group.thaw()
        os.set_blocking(process.stdout.fileno(), True)
        assert process.stdout.read(1)
        process.kill()


def test_states_are_numbers_and_words() -> None:
    assert [state.value for state in cgf.State] == [0, 1, 2, 3]
    assert [str(state) for state in cgf.State] == ["THAWED", "FREEZING", "FROZEN", "CHECKPOINTING"]
    assert f"{cgf.State.FROZEN}" == "FROZEN" and cgf.State.FROZEN == 2


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), float("-inf")])
def test_a_time_that_is_none(group: cgf.Group, timeout: float) -> None:
    for use in (group.freeze, group.frozen):
        with pytest.raises(ValueError):
            use(timeout=timeout)
    with pytest.raises(TypeError):
        group.freeze(timeout="5")  # type: ignore[arg-type]
    assert group.state is cgf.State.THAWED


@pytest.mark.parametrize("timeout", [5, None, float("inf"), 1e300])
def test_a_time_of_any_length(group: cgf.Group, start: Starter, timeout: float | None) -> None:
    start(group)
    group.freeze(timeout)
    assert group.state is cgf.State.FROZEN


def test_asking_once(group: cgf.Group, start: Starter) -> None:
    """R3.2, R3.3"""
    start(group)
    try:
        group.freeze(timeout=0)
    except cgf.FreezeTimeout:
        assert group.state in (cgf.State.FREEZING, cgf.State.FROZEN)
    group.freeze()
    assert group.state is cgf.State.FROZEN


def test_a_freeze_that_misses_its_deadline(group: cgf.Group, start: Starter, stuck: Stuck) -> None:
    """R3.2, R3.3, R3.7"""
    start(group)
    culprit = start(group, "cat", stuck.file)
    stuck.wait_for_victim()
    with pytest.raises(cgf.FreezeTimeout) as raised:
        group.freeze(timeout=0.1)
    assert raised.value.errno == errno.EBUSY
    assert isinstance(raised.value, TimeoutError) and isinstance(raised.value, OSError)
    (blocker,) = raised.value.blockers
    assert (blocker.pid, blocker.tid, blocker.command, blocker.state) == (culprit.pid, culprit.pid, "cat", "D")
    assert blocker.waits_in in ("", "request_wait_answer")
    assert blocker.evidence in ("proved", "state")
    assert str(culprit.pid) in str(raised.value)
    assert group.state is cgf.State.FREEZING
    stuck.let_go()
    group.freeze()
    assert group.state is cgf.State.FROZEN


def test_a_blocker_beside_a_group_below(
    hierarchy: cgf.Hierarchy, group: cgf.Group, start: Starter, stuck: Stuck
) -> None:
    """R3.2: the kernel's word for a group with tasks and groups is not enough."""
    start(hierarchy.create("web/1"))
    culprit = start(group, "cat", stuck.file)
    stuck.wait_for_victim()
    with pytest.raises(cgf.FreezeTimeout) as raised:
        group.freeze(timeout=0.1)
    assert [blocker.pid for blocker in raised.value.blockers] == [culprit.pid]
    assert group.state is cgf.State.FREEZING


def test_rollback(group: cgf.Group, start: Starter, stuck: Stuck) -> None:
    """R3.2"""
    start(group, "cat", stuck.file)
    stuck.wait_for_victim()
    with pytest.raises(cgf.FreezeTimeout):
        group.freeze(timeout=0.1, rollback=True)
    assert group.state is cgf.State.THAWED
    with pytest.raises(cgf.FreezeTimeout):
        with group.frozen(timeout=0.1):
            pytest.fail("it cannot have frozen")
    assert group.state is cgf.State.THAWED


def test_other_threads_run_while_a_freeze_waits(group: cgf.Group, start: Starter, stuck: Stuck) -> None:
    start(group, "cat", stuck.file)
    stuck.wait_for_victim()

    def end_the_wait() -> None:
        until(lambda: group.state is cgf.State.FREEZING)
        stuck.let_go()

    helper = threading.Thread(target=end_the_wait)
    helper.start()
    # It would never return, were the other thread kept from running.
    group.freeze(timeout=None)
    helper.join()


@pytest.mark.parametrize("way", ["kept", "rollback", "frozen"])
def test_ctrl_c_ends_a_freeze(group: cgf.Group, start: Starter, stuck: Stuck, way: str) -> None:
    start(group, "cat", stuck.file)
    stuck.wait_for_victim()

    def press() -> None:
        until(lambda: group.state is cgf.State.FREEZING)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    helper = threading.Thread(target=press)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        if way == "frozen":
            group.frozen(timeout=None).__enter__()
        else:
            group.freeze(timeout=None, rollback=way == "rollback")
    helper.join()
    assert group.state is (cgf.State.FREEZING if way == "kept" else cgf.State.THAWED)


def test_a_freeze_that_meets_a_thaw(group: cgf.Group, start: Starter, stuck: Stuck) -> None:
    """R3.2"""
    start(group, "cat", stuck.file)
    stuck.wait_for_victim()

    def thaw() -> None:
        until(lambda: group.state is cgf.State.FREEZING)
        group.thaw()

    helper = threading.Thread(target=thaw)
    helper.start()
    with pytest.raises(cgf.CgfError) as raised:
        group.freeze(timeout=10)
    helper.join()
    assert raised.value.errno == errno.ECANCELED


def test_freezing_nests(hierarchy: cgf.Hierarchy, group: cgf.Group, start: Starter) -> None:
    """R3.6"""
    below = hierarchy.create("web/1")
    start(below)
    group.freeze()
    assert below.state is cgf.State.FROZEN
    assert (below["freezer.self_freezing"], below["freezer.parent_freezing"]) == ("0", "1")
    below.thaw()
    assert below.state is cgf.State.FROZEN
    group.thaw()
    assert below.state is cgf.State.THAWED


def test_the_caller_is_not_frozen_by_mistake(group: cgf.Group) -> None:
    """R3.5: in a process of its own, which joins the group and tries."""
    program = (
        "import sys, cgf\n"
        "g = cgf.Hierarchy(sys.argv[1], backend=sys.argv[2]).open('web')\n"
        "try: g.freeze(timeout=1)\n"
        "except cgf.CgfError as error: print(error.errno, g.state)\n"
    )
    name, backend = repr(group).split("'")[3], "auto"
    with group.spawn([sys.executable, "-c", program, name, backend], stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate(timeout=10)
    assert output == f"{errno.EDEADLK} THAWED\n"


def test_kill_ends_all_and_keeps_the_state(hierarchy: cgf.Hierarchy, group: cgf.Group, start: Starter) -> None:
    """R5.1, R5.2"""
    started = [start(group), start(hierarchy.create("web/1"))]
    group.kill(0)
    group.kill(signal.SIGCONT)
    group.freeze()
    group.kill()
    assert [process.wait(timeout=10) for process in started] == [-9, -9]
    assert group.state is cgf.State.FROZEN
    assert not group.populated


def test_a_signal_for_all(group: cgf.Group, start: Starter) -> None:
    started = [start(group), start(group)]
    group.kill(sig=signal.SIGTERM)
    assert [process.wait(timeout=10) for process in started] == [-15, -15]
    for number in (-1, 65):
        with pytest.raises(cgf.CgfError) as raised:
            group.kill(number)
        assert raised.value.errno == errno.EINVAL


def until(is_so: Callable[[], bool]) -> None:
    """Waits for what another thread is about to do."""
    for _ in range(10_000):
        if is_so():
            return
        time.sleep(0.001)
    raise AssertionError("it did not become so within 10 seconds")
