"""Holding a group still while an image is taken: `with group.checkpoint():`"""

import errno
import fcntl
import gc
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import cgf
from conftest import Starter

HOLDER = """
import os, sys, time, cgf
checkpoint = cgf.Hierarchy(sys.argv[1], backend=sys.argv[2]).open("web").checkpoint()
child = os.fork()
if child == 0:
    time.sleep(300)
print(child, flush=True)
time.sleep(300)
"""

SPIN = (sys.executable, "-c", "while True: pass")


@pytest.fixture
def sleeper(group: cgf.Group, start: Starter) -> cgf.Process[bytes]:
    """In the group, which is FROZEN."""
    process = start(group)
    group.freeze()
    return process


def thaw_behind_its_back(hierarchy: cgf.Hierarchy, group: cgf.Group, pid: int) -> None:
    """As who does not know libcgf; returns when the process has run."""
    before = runs(pid)
    if hierarchy.backend == "embedded":
        os.kill(pid, signal.SIGCONT)
    else:
        file, word = {"cgroup2": ("cgroup.freeze", "0"), "cgroup1": ("freezer.state", "THAWED")}[hierarchy.backend]
        (Path(hierarchy.directory) / group.path.lstrip("/") / file).write_text(word)
    while runs(pid) == before:
        pass


def runs(pid: int) -> int:
    """How often it was given a CPU."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[2])


def test_everybody_is_kept_out(hierarchy: cgf.Hierarchy, group: cgf.Group, sleeper: cgf.Process[bytes]) -> None:
    """R4.1"""
    other = hierarchy.create("other")
    with group.checkpoint(root=sleeper.pid) as checkpoint:
        assert isinstance(checkpoint, cgf.Checkpoint) and checkpoint.group is group
        assert group.state is cgf.State.CHECKPOINTING
        assert group["freezer.state"] == "CHECKPOINTING"
        again = hierarchy.open("web")
        for use in (
            again.thaw,
            again.freeze,
            again.kill,
            again.checkpoint,
            lambda: again.remove(kill=True),
            lambda: again.attach(os.getpid(), frozen=True),
            lambda: other.attach(sleeper.pid),
            lambda: again.write("freezer.state", "THAWED"),
        ):
            with pytest.raises(cgf.CgfError) as raised:
                use()
            assert raised.value.errno == errno.EBUSY
        assert checkpoint.verify() == cgf.Stillness([])
        assert "web" in repr(checkpoint) and "ended" not in repr(checkpoint)
    assert "ended" in repr(checkpoint)
    assert group.state is cgf.State.FROZEN
    assert sleeper.poll() is None


def test_it_ends_once(group: cgf.Group, sleeper: cgf.Process[bytes]) -> None:
    checkpoint = group.checkpoint()
    assert checkpoint.end() == cgf.Stillness([])
    assert group.state is cgf.State.FROZEN
    for use in (checkpoint.end, checkpoint.verify, checkpoint.__enter__):
        with pytest.raises(cgf.CgfError) as raised:
            use()
        assert raised.value.errno == errno.EINVAL
    with group.checkpoint() as checkpoint:
        checkpoint.end()
        assert group.state is cgf.State.FROZEN


def test_it_ends_with_the_object(group: cgf.Group, sleeper: cgf.Process[bytes]) -> None:
    checkpoint = group.checkpoint()
    assert group.state is cgf.State.CHECKPOINTING
    del checkpoint
    gc.collect()
    assert group.state is cgf.State.FROZEN


def test_what_cannot_be_checkpointed(group: cgf.Group, start: Starter) -> None:
    """R4.1, R4.2"""

    def refused(root: int | None = None) -> int | None:
        with pytest.raises(cgf.CgfError) as raised:
            group.checkpoint(root)
        return raised.value.errno

    assert refused() == errno.EINVAL
    group.freeze()
    assert refused(0) == refused(-1) == errno.EINVAL
    assert refused(0x3FFFFFFF) == errno.ESRCH
    with pytest.raises(TypeError):
        group.checkpoint(root="1")  # type: ignore[arg-type]
    for timeout in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError):
            group.checkpoint(timeout=timeout)
    assert group.state is cgf.State.FROZEN
    group.checkpoint(timeout=0).end()
    group.checkpoint(timeout=5.0).end()
    group.remove()
    with pytest.raises(cgf.GroupVanished):
        group.checkpoint()
    with pytest.raises(cgf.GroupVanished):
        group.break_checkpoint()


def test_strays_are_named(
    hierarchy: cgf.Hierarchy, group: cgf.Group, sleeper: cgf.Process[bytes], start: Starter
) -> None:
    """R4.2"""
    stray = start(hierarchy.create("other"))
    with pytest.raises(cgf.CgfError) as raised:
        group.checkpoint(root=stray.pid)
    assert raised.value.errno == errno.EXDEV
    assert [(task.pid, task.evidence) for task in raised.value.blockers] == [(stray.pid, "outside")]
    assert group.state is cgf.State.FROZEN


def test_a_task_that_ran_is_told(hierarchy: cgf.Hierarchy, group: cgf.Group, start: Starter) -> None:
    """R4.4"""
    spinner = start(group, *SPIN)
    group.freeze()
    with pytest.raises(cgf.CheckpointTorn) as raised:
        with group.checkpoint(root=spinner.pid) as checkpoint:
            thaw_behind_its_back(hierarchy, group, spinner.pid)
            with pytest.raises(cgf.CheckpointTorn):
                checkpoint.verify()
    assert raised.value.errno == errno.ESTALE
    evidence = "thawed" if hierarchy.backend == "cgroup2" else "ran"
    assert [(task.pid, task.evidence) for task in raised.value.blockers] == [(spinner.pid, evidence)]
    with pytest.raises(cgf.CgfError) as over:
        checkpoint.end()
    assert over.value.errno == errno.EINVAL


def test_the_body_s_exception_wins(
    hierarchy: cgf.Hierarchy, group: cgf.Group, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(str(unraisable.exc_value)))
    spinner = start(group, *SPIN)
    group.freeze()
    with pytest.raises(KeyError) as raised:
        with group.checkpoint():
            thaw_behind_its_back(hierarchy, group, spinner.pid)
            raise KeyError
    # Before Python 3.11 there are no notes.
    (note,) = getattr(raised.value, "__notes__", told)
    assert str(spinner.pid) in note
    group.freeze()
    with pytest.raises(KeyError) as raised:
        with group.checkpoint():
            raise KeyError
    assert not getattr(raised.value, "__notes__", told[1:])
    assert group.state is cgf.State.FROZEN


def test_a_wake_up_is_reported_and_does_no_harm(
    hierarchy: cgf.Hierarchy, group: cgf.Group, start: Starter
) -> None:
    """R4.4"""
    listen = "import signal, time; signal.signal(signal.SIGUSR1, print); print(flush=True); time.sleep(300)"
    with group.spawn([sys.executable, "-c", listen], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        group.freeze()
        with group.checkpoint(root=process.pid, wakeups=True) as checkpoint:
            os.kill(process.pid, signal.SIGUSR1)
            while hierarchy.backend == "cgroup2" and not checkpoint.verify().woken:
                pass
            woken = checkpoint.end().woken
        assert woken == ([process.pid] if hierarchy.backend == "cgroup2" else [])
        group.thaw()
        process.kill()


def test_a_tool_may_thaw(group: cgf.Group, start: Starter) -> None:
    """R4.5"""
    spinner = start(group, *SPIN)
    group.freeze()
    with group.checkpoint(external=True):
        before = runs(spinner.pid)
        group.thaw()
        assert group.state is cgf.State.CHECKPOINTING
        while runs(spinner.pid) == before:
            pass
    assert group.state is cgf.State.FROZEN


def test_it_is_broken_by_force(group: cgf.Group, sleeper: cgf.Process[bytes]) -> None:
    """R4.1"""
    with pytest.raises(cgf.NotFound):
        group.break_checkpoint()
    broken = group.checkpoint()
    group.break_checkpoint()
    assert group.state is cgf.State.FROZEN
    with group.checkpoint():
        with pytest.raises(cgf.CheckpointTorn) as raised:
            broken.end()
        assert raised.value.blockers == []
        assert group.state is cgf.State.CHECKPOINTING


def test_the_last_holder_may_leave_meanwhile(group: cgf.Group, start: Starter) -> None:
    """The thaw that it would have done comes with the end."""
    start(group)
    with group.frozen():
        checkpoint = group.checkpoint()
    assert group.state is cgf.State.CHECKPOINTING
    checkpoint.end()
    assert group.state is cgf.State.THAWED


@pytest.fixture
def holder(
    hierarchy: cgf.Hierarchy, group: cgf.Group, sleeper: cgf.Process[bytes]
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process, which checkpoints the group, and its forked child."""
    command = [sys.executable, "-c", HOLDER, hierarchy.name, hierarchy.backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        yield process, child
        process.kill()
        os.kill(child, signal.SIGKILL)


def test_it_ends_with_its_holder(group: cgf.Group, holder: tuple[subprocess.Popen[str], int]) -> None:
    """R4.3: also while a forked child of the holder lives."""
    process, child = holder
    with pytest.raises(cgf.GroupBusy) as raised:
        group.thaw()
    assert str(process.pid) in str(raised.value)
    process.kill()
    process.wait()
    os.kill(child, 0)
    assert group.state is cgf.State.FROZEN
    with group.checkpoint():
        pass
    group.thaw()
    assert group.state is cgf.State.THAWED


def test_a_forked_child_has_no_share(group: cgf.Group, sleeper: cgf.Process[bytes]) -> None:
    with group.checkpoint() as checkpoint:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = _as_a_child(group, checkpoint)
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        assert status == 0
        assert group.state is cgf.State.CHECKPOINTING
    assert group.state is cgf.State.FROZEN


def _as_a_child(group: cgf.Group, checkpoint: cgf.Checkpoint) -> int:
    for use in (group.checkpoint, group.break_checkpoint, checkpoint.verify, checkpoint.end, checkpoint.end):
        try:
            use()
        except cgf.ForkedHandle as error:
            if error.errno != errno.ECHILD:
                return 2
        else:
            return 3
    return 0


def test_threads_share_a_checkpoint(group: cgf.Group, sleeper: cgf.Process[bytes]) -> None:
    """Other threads run meanwhile, and verify while one ends it."""
    outcomes: list[object] = []
    checkpoint = group.checkpoint()
    ready = threading.Barrier(3, timeout=10)

    def verify() -> None:
        ready.wait()
        try:
            while True:
                outcomes.append(checkpoint.verify())
        except cgf.CgfError as error:
            outcomes.append(error.errno)

    threads = [threading.Thread(target=verify) for _ in range(2)]
    for thread in threads:
        thread.start()
    ready.wait()
    assert checkpoint.end() == cgf.Stillness([])
    for thread in threads:
        thread.join(timeout=10)
    assert [outcome for outcome in outcomes if outcome != cgf.Stillness([])] == [errno.EINVAL] * 2
    assert group.state is cgf.State.FROZEN


def test_a_parent_holds_what_is_made_with_one(hierarchy: cgf.Hierarchy) -> None:
    """A word that is none raises; a path of one name has no room for a parent."""
    with pytest.raises(ValueError):
        cgf.Hierarchy(hierarchy.name, backend=hierarchy.backend, hold="child")  # type: ignore[arg-type]
    held = cgf.Hierarchy(hierarchy.name, backend=hierarchy.backend, hold="parent")
    with pytest.raises(cgf.CgfError) as caught:
        held.create("web")
    assert caught.value.errno == errno.EINVAL
    group = held.create("web/1")
    group.freeze()
    assert hierarchy.open("web").state is cgf.State.FROZEN
    group.thaw()
    group.remove()
    assert hierarchy.groups() == []


def test_ctrl_c_ends_the_wait_to_begin(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    """Somebody has the bytes locked by which others say that they act upon the group."""
    group.freeze()
    name = "cgroup.freeze" if hierarchy.backend == "cgroup2" else "freezer.state"
    file = os.open(Path(hierarchy.directory) / group.path.lstrip("/") / name, os.O_RDONLY)
    F_OFD_SETLK = 37
    fcntl.fcntl(file, F_OFD_SETLK, struct.pack("@hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 1 << 60, 2, 0))
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            group.checkpoint(timeout=60.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(file)
    assert group.state is cgf.State.FROZEN
    group.checkpoint().end()


def interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
