"""Watches and monitors: what happens in a hierarchy, and what is done about it (R1.11, R1.12)."""

import asyncio
import doctest
import errno
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import cgf
from cgf import EventKind
from conftest import Backend, Bind, Starter

Seen = list[tuple[EventKind, str]]

# Two children, one after the other, while somebody looks.
SHELL = ["sh", "-c", "sleep 0.2; sleep 0.3; exit 3"]


class Log(cgf.Subsystem):
    """Writes down who is born and who ends, and raises what it was asked to."""

    name = "log"

    def __init__(self, raises: BaseException | None = None) -> None:
        self.told: list[tuple[str, str, int, int]] = []
        self.raises = raises

    def fork(self, group: cgf.Group, parent: int, child: int) -> None:
        self.told.append(("fork", group.path, parent, child))
        raises, self.raises = self.raises, None
        if raises is not None:
            raise raises

    def exit(self, group: cgf.Group, pid: int) -> None:
        self.told.append(("exit", group.path, 0, pid))


def until(watch: cgf.Watch, kind: EventKind, group: str, pid: int | None = None) -> list[cgf.Event]:
    """The events up to one that is meant to come."""
    seen = []
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        event = watch.next(timeout=1.0)
        if event is not None:
            seen.append(event)
            if (event.kind, event.group) == (kind, group) and pid in (None, event.pid):
                return seen
    raise AssertionError(f"no {kind} of {group} in {seen}")


def kinds(events: Iterable[cgf.Event]) -> Seen:
    return [(event.kind, event.group) for event in events]


@pytest.mark.parametrize("where", [cgf.Watch, cgf.Monitor])
def test_the_examples_do_what_they_say(where: type, backend: Backend, unique_name: str) -> None:
    """Word for word, but for where the hierarchy is."""
    example = where.__doc__
    assert example is not None and 'cgf.Hierarchy("jobs"' in example
    example = example.replace('Hierarchy("jobs", [', 'Hierarchy("jobs", subsystems=[')
    example = example.replace('Hierarchy("jobs"', f'Hierarchy("{unique_name}", backend="{backend}"')
    found = doctest.DocTestParser().get_doctest(example, {}, where.__name__, None, None)
    assert len(found.examples) > 5
    said: list[str] = []
    result = doctest.DocTestRunner().run(found, out=said.append)
    assert result.failed == 0, "".join(said)


def test_every_kind_of_the_engine_has_its_name() -> None:
    engine = Path(__file__).parents[3] / "core/src/event.rs"
    names = re.findall(r'EventKind::\w+ => "(.*)"', engine.read_text())
    assert names == [kind.value for kind in EventKind]


def test_what_an_event_says(hierarchy: cgf.Hierarchy) -> None:
    with hierarchy.watch() as watch:
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        group = hierarchy.create("web")
        event = watch.next(timeout=5.0)
        after = time.clock_gettime(time.CLOCK_BOOTTIME)
        directory = group.directory_fd()
        try:
            inode = os.stat(directory).st_ino
        finally:
            os.close(directory)
        assert event is not None and before <= event.time <= after
        assert event == cgf.Event(EventKind.CREATED, "/web", inode, event.time)
        assert hash(event) == hash(cgf.Event(EventKind.CREATED, "/web", inode, event.time))
        assert (event.pid, event.parent, event.status, event.other, event.message) == (None,) * 5
        assert event.figures == {}
        assert watch.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        with pytest.raises(AttributeError):
            event.group = "/"  # type: ignore[misc]


def test_a_group_whose_name_is_no_text(hierarchy: cgf.Hierarchy) -> None:
    with hierarchy.watch() as watch:
        made = hierarchy.create(b"we\xff")
        event = watch.next(timeout=5.0)
        assert event is not None and event.group == made.path and hierarchy.open(event.group) == made


def test_members(hierarchy: cgf.Hierarchy, group: cgf.Group, start: Starter) -> None:
    """Who comes, moves within the hierarchy, and ends."""
    other = hierarchy.create("other")
    with hierarchy.watch(tasks=True) as watch:
        process = start(group)
        until(watch, EventKind.POPULATED, "/web")
        other.attach(process.pid)
        moved = [event for event in until(watch, EventKind.ATTACHED, "/other", process.pid) if event.other]
        assert [(event.kind, event.other) for event in moved] == [
            (EventKind.LEFT, "/other"),
            (EventKind.ATTACHED, "/web"),
        ]
        process.kill()
        process.wait()
        ended = until(watch, EventKind.EXIT, "/other", process.pid)[-1]
        if not watch.lists_tasks:
            assert ended.status is not None
            assert os.waitstatus_to_exitcode(ended.status) == -signal.SIGKILL
        assert hierarchy.watch(tasks=True, listing=True).lists_tasks


def test_a_freeze_is_told(hierarchy: cgf.Hierarchy, group: cgf.Group, start: Starter) -> None:
    start(group)
    with hierarchy.watch() as watch:
        group.freeze()
        until(watch, EventKind.FROZEN, "/web")
        group.thaw()
        until(watch, EventKind.THAWED, "/web")


def test_a_controller_is_told_of_forks_and_exits(bind: Bind) -> None:
    """Of every one of a small tree, in order (R1.12)."""
    log = Log()
    hierarchy = bind(log)
    group = hierarchy.create("web")
    with hierarchy.monitor() as monitor:
        shell = group.spawn(SHELL)
        events = until(monitor, EventKind.EXIT, "/web", shell.pid)
        assert shell.wait() == 3
    children = [child for what, _, parent, child in log.told if what == "fork" and parent == shell.pid]
    assert len(children) == 2
    first, second = children
    assert [told for told in log.told if told[:1] + told[2:] != ("fork", os.getpid(), shell.pid)] == [
        ("fork", "/web", shell.pid, first),
        ("exit", "/web", 0, first),
        ("fork", "/web", shell.pid, second),
        ("exit", "/web", 0, second),
        ("exit", "/web", 0, shell.pid),
    ]
    if not monitor.lists_tasks:
        assert events[-1].status == 3 << 8


@pytest.mark.parametrize(
    ("raised", "number", "said"),
    [
        (KeyError("nobody"), errno.ENOTRECOVERABLE, "KeyError: 'nobody'"),
        (OSError(errno.ENOSPC, "the log is full"), errno.ENOSPC, "the log is full"),
        (OSError(errno.ENODEV, "no such log"), errno.ENODEV, "no such log"),
    ],
)
def test_what_a_fork_raises(bind: Bind, raised: Exception, number: int, said: str) -> None:
    """Next, iteration and run raise it, and go on afterwards. ENODEV is not taken for the end."""
    log = Log()
    hierarchy = bind(log)
    group = hierarchy.create("web")

    async def first(watch: cgf.Watch) -> None:
        async for _ in watch:
            pass

    uses: list[Callable[[cgf.Monitor], object]] = [
        lambda monitor: until(monitor, EventKind.REMOVED, "/"),
        lambda monitor: [None for _ in monitor],
        lambda monitor: monitor.run(timeout=10.0),
        lambda monitor: asyncio.run(first(monitor)),
    ]
    for use in uses:
        log.raises, log.told = raised, []
        with hierarchy.monitor() as monitor:
            shell = group.spawn(SHELL)
            with pytest.raises(cgf.CgfError, match=f"subsystem log, fork: {re.escape(said)}") as refused:
                use(monitor)
            assert refused.value.errno == number and refused.value.__cause__ is raised
            until(monitor, EventKind.EXIT, "/web", shell.pid)
            shell.wait()
        assert ("exit", "/web", 0, shell.pid) in log.told


def test_an_interrupt_in_a_callback(bind: Bind) -> None:
    hierarchy = bind(Log(KeyboardInterrupt()))
    group = hierarchy.create("web")
    with hierarchy.monitor() as monitor:
        shell = group.spawn(SHELL)
        with pytest.raises(KeyboardInterrupt):
            monitor.run(timeout=10.0)
        shell.wait()


def test_a_callback_does_not_wait_for_its_own_monitor(bind: Bind) -> None:
    said: list[BaseException] = []

    class Curious(Log):
        def fork(self, group: cgf.Group, parent: int, child: int) -> None:
            try:
                monitor.next(0)
            except RuntimeError as error:
                said.append(error)

    hierarchy = bind(Curious())
    group = hierarchy.create("web")
    with hierarchy.monitor() as monitor:
        shell = group.spawn(SHELL)
        until(monitor, EventKind.EXIT, "/web", shell.pid)
        shell.wait()
    assert "somebody else is waiting" in str(said[0])


def test_iteration_ends_with_the_hierarchy(backend: Backend, unique_name: str) -> None:
    hierarchy = cgf.Hierarchy(unique_name, backend=backend)
    watches = [hierarchy.watch(), hierarchy.monitor()]

    async def all_of(watch: cgf.Watch) -> list[cgf.Event]:
        return [event async for event in watch]

    hierarchy.create("web")
    assert kinds([next(watches[0])]) == [(EventKind.CREATED, "/web")]
    hierarchy.open("web").remove()
    hierarchy.unmount()
    assert kinds(watches[0])[-1] == (EventKind.REMOVED, "/")
    assert kinds(asyncio.run(all_of(watches[1])))[-1] == (EventKind.REMOVED, "/")
    for watch in watches:
        with pytest.raises(cgf.GroupVanished):
            watch.next()
        assert list(watch) == [] and asyncio.run(all_of(watch)) == []
    assert isinstance(watches[1], cgf.Monitor)
    watches[1].run()


@pytest.mark.parametrize("timeout", [0, 0.15, 0.3])
def test_timeouts(hierarchy: cgf.Hierarchy, timeout: float) -> None:
    with hierarchy.watch(tasks=True) as watch, hierarchy.monitor() as monitor:
        for wait in (watch.next, monitor.next, monitor.run):
            began = time.monotonic()
            assert wait(timeout=timeout) is None
            assert timeout <= time.monotonic() - began < timeout + 0.5
        with pytest.raises(ValueError, match="0 asks once"):
            watch.next(-1)


def test_the_descriptor(hierarchy: cgf.Hierarchy) -> None:
    with hierarchy.watch() as watch:
        assert not os.get_inheritable(watch.fileno())
        hierarchy.create("web")
        assert select.select([watch], [], [], 5.0)[0] == [watch]
        assert kinds([next(watch)]) == [(EventKind.CREATED, "/web")]
    for use in (watch.fileno, watch.next):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert list(watch) == []
    watch.close()


def test_descriptors_are_given_back(hierarchy: cgf.Hierarchy) -> None:
    async def look(watch: cgf.Watch, path: str) -> None:
        asyncio.get_running_loop().call_later(0.05, hierarchy.create, path)
        async for _ in watch:
            return

    before = sorted(os.listdir("/proc/self/fd"))
    for number in range(3):
        with hierarchy.watch(tasks=True) as watch, hierarchy.monitor() as monitor:
            asyncio.run(look(watch, f"{number}"))
            monitor.next(0)
        hierarchy.monitor()
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("how", ["watch.next()", "next(watch)", "watch.run()"])
def test_control_c(backend: Backend, unique_name: str, how: str) -> None:
    """Within a second, and no event is lost by it."""
    program = textwrap.dedent(f"""
        import cgf, time
        jobs = cgf.Hierarchy("{unique_name}", backend="{backend}")
        watch = jobs.monitor()
        print("waiting", flush=True)
        try:
            {how}
        except KeyboardInterrupt:
            print(time.monotonic(), flush=True)
        jobs.create("web")
        assert watch.next(5.0).group == "/web"
        jobs.open("web").remove()
        jobs.unmount()
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "waiting\n"
            time.sleep(0.3)
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert float(process.stdout.readline()) - asked < 1.0
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()


def test_other_threads_run_meanwhile(hierarchy: cgf.Hierarchy) -> None:
    counted, done = 0, False

    def count() -> None:
        nonlocal counted
        while not done:
            counted += 1

    thread = threading.Thread(target=count)
    with hierarchy.watch() as watch:
        thread.start()
        before = counted
        watch.next(timeout=0.09)
        done, meanwhile = True, counted - before
    thread.join()
    assert meanwhile > 1000


@pytest.mark.parametrize("monitors", [False, True])
def test_close_while_another_thread_waits(hierarchy: cgf.Hierarchy, monitors: bool) -> None:
    def wait() -> None:
        try:
            watch.next()
        except ValueError as error:
            said.append(str(error))

    said: list[str] = []
    for _ in range(5):
        watch = hierarchy.monitor() if monitors else hierarchy.watch(tasks=True)
        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        time.sleep(0.02)
        with pytest.raises(RuntimeError, match="somebody else is waiting"):
            watch.next(0)
        watch.close()
        waiting.join(timeout=2.0)
        assert not waiting.is_alive()
    assert said == ["the watch was closed"] * 5


def test_close_ends_the_loops_of_others(hierarchy: cgf.Hierarchy) -> None:
    """Of a thread, and of another task."""
    watch = hierarchy.watch()
    closing = threading.Timer(0.2, watch.close)
    closing.start()
    assert list(watch) == []
    closing.join()

    async def both() -> list[cgf.Event]:
        watch = hierarchy.watch()
        asyncio.get_running_loop().call_later(0.2, watch.close)
        return [event async for event in watch]

    assert asyncio.run(asyncio.wait_for(both(), 5.0)) == []


def test_asyncio(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    """Two tasks, each with a watch of its own, and a third that is not kept from running."""
    other = hierarchy.create("other")

    async def until_removed(watch: cgf.Watch, path: str) -> Seen:
        seen = []
        async for event in watch:
            seen.append((event.kind, event.group))
            if seen[-1] == (EventKind.REMOVED, path):
                break
        return seen

    async def tick() -> float:
        """The longest that the loop kept it waiting."""
        longest = 0.0
        for _ in range(40):
            began = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - began)
        return longest

    async def remove() -> None:
        await asyncio.sleep(0.15)
        group.remove()
        await asyncio.sleep(0.15)
        other.remove()

    async def all_at_once() -> tuple[Seen, Seen, float, None]:
        with hierarchy.watch() as watch, hierarchy.monitor() as monitor:
            return await asyncio.wait_for(
                asyncio.gather(until_removed(watch, "/web"), until_removed(monitor, "/other"), tick(), remove()),
                10.0,
            )

    web, both, longest, _ = asyncio.run(all_at_once())
    assert web == [(EventKind.REMOVED, "/web")]
    assert both == [(EventKind.REMOVED, "/web"), (EventKind.REMOVED, "/other")]
    assert longest < 0.1


def test_asyncio_wakes_at_once(hierarchy: cgf.Hierarchy) -> None:
    """By the descriptor, not by the clock."""

    async def look() -> float:
        with hierarchy.watch() as watch:
            events = watch.__aiter__()
            took = []
            for number in range(8):
                coming = asyncio.ensure_future(events.__anext__())
                await asyncio.sleep(0.01)
                hierarchy.create(f"{number}")
                began = time.monotonic()
                assert (await coming).group == f"/{number}"
                took.append(time.monotonic() - began)
            return min(took)

    assert asyncio.run(asyncio.wait_for(look(), 10.0)) < 0.03


def test_asyncio_has_its_turn(hierarchy: cgf.Hierarchy) -> None:
    """However many events there are, other tasks run between two of them."""

    async def look() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        with hierarchy.watch() as watch:
            for number in range(50):
                hierarchy.create(f"{number}")
            task = asyncio.ensure_future(other())
            left = 50
            async for _ in watch:
                left -= 1
                if left == 0:
                    break
            task.cancel()
            return turns

    assert asyncio.run(asyncio.wait_for(look(), 20.0)) >= 49


def test_a_cancelled_task_loses_no_event(hierarchy: cgf.Hierarchy) -> None:
    async def look() -> str:
        with hierarchy.watch() as watch:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(watch.__aiter__().__anext__(), 0.05)
            hierarchy.create("web")
            async for event in watch:
                return event.group
            return "nothing"

    assert asyncio.run(look()) == "/web"


def test_a_forked_child(hierarchy: cgf.Hierarchy) -> None:
    """ECHILD, from a watch that a thread of the parent's waits for, too."""
    idle, busy = hierarchy.monitor(), hierarchy.watch()
    waiting = threading.Thread(target=lambda: list(busy), daemon=True)
    waiting.start()
    time.sleep(0.05)
    child = os.fork()
    if child == 0:
        os._exit(_as_a_child(hierarchy, idle, busy))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # What the child did has ended nothing here.
    hierarchy.create("web")
    assert kinds([next(idle)]) == [(EventKind.CREATED, "/web")]
    busy.close()
    waiting.join(timeout=5)
    assert not waiting.is_alive()


def _as_a_child(hierarchy: cgf.Hierarchy, idle: cgf.Monitor, busy: cgf.Watch) -> int:
    for use in (idle.next, lambda: next(idle), idle.run, busy.next, hierarchy.watch, hierarchy.monitor):
        try:
            use()
        except cgf.ForkedHandle as error:
            if error.errno != errno.ECHILD:
                return 2
        except BaseException:
            return 3
        else:
            return 4
    idle.close()
    busy.close()
    return 0


def test_the_release_agent_runs_once(hierarchy: cgf.Hierarchy, group: cgf.Group, tmp_path: Path) -> None:
    """For each emptying, however many monitors there are (R1.11)."""
    agent = tmp_path / "agent"
    agent.write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/told\n')
    agent.chmod(0o755)
    hierarchy.root["release_agent"] = str(agent)
    group["notify_on_release"] = "1"
    with hierarchy.monitor() as one, hierarchy.monitor() as two:
        seen: list[cgf.Event] = []
        for _ in range(2):
            assert group.spawn(["true"]).wait() == 0
            for _ in range(4):
                for monitor in (one, two):
                    while (event := monitor.next(timeout=0.05)) is not None:
                        seen.append(event)
    notified = [event for event in seen if event.kind is EventKind.NOTIFIED]
    assert [event.group for event in notified] == ["/web", "/web"]
    assert all(event.pid for event in notified)
    assert (tmp_path / "told").read_text() == "/web\n/web\n"


def test_auto_delete(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    group["auto_delete"] = "1"
    with hierarchy.monitor() as monitor:
        group.spawn(["true"]).wait()
        released = until(monitor, EventKind.RELEASED, "/web")[-1]
    assert "frozen_usec" in released.figures
    assert all(isinstance(value, int) for value in released.figures.values())
    assert hierarchy.groups() == []


def test_an_agent_that_is_none(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    hierarchy.root["release_agent"] = "/nonexistent/agent"
    group["notify_on_release"] = "1"
    with hierarchy.monitor() as monitor:
        group.spawn(["true"]).wait()
        failed = until(monitor, EventKind.RELEASE_FAILED, "/web")[-1]
    assert failed.message is not None and "/nonexistent/agent" in failed.message


def test_what_is_lost_is_told(hierarchy: cgf.Hierarchy) -> None:
    """As an event like any other: the loop over events goes on behind it."""
    keeps = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if keeps > 20_000:
        pytest.skip(f"the kernel keeps {keeps} file events")
    with hierarchy.watch() as watch:
        for number in range(keeps // 2 + 100):
            # No two alike one after the other: those are told as one.
            hierarchy.create("web").remove()
        hierarchy.create("last")
        events = until(watch, EventKind.CREATED, "/last")
        assert (EventKind.LOST, "/") in kinds(events)
        lost = next(event for event in events if event.kind is EventKind.LOST)
        assert lost.message is not None and "max_queued_events" in lost.message
