"""The exceptions, forks, and what `doctor` says."""

import asyncio
import copy
import errno
import gc
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cgf
from conftest import Backend

README = Path(__file__).parent.parent / "README.md"


def test_errors_are_os_errors() -> None:
    kinds = [getattr(cgf, name) for name in cgf.__all__]
    kinds = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseException)]
    assert len(kinds) == 14
    for kind in kinds:
        assert issubclass(kind, cgf.CgfError) and issubclass(kind, OSError)
        error = kind(errno.EIO, "why")
        assert (error.errno, error.strerror, error.blockers, str(error)) == (errno.EIO, "why", [], "[Errno 5] why")


def test_errors_travel_between_processes() -> None:
    blocker = cgf.Blocker(4242, 4243, "cat", "D", "request_wait_answer", "proved")
    error = cgf.FreezeTimeout(errno.EBUSY, "why")
    error.blockers = [blocker]
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is cgf.FreezeTimeout
        assert (twin.errno, twin.strerror, twin.blockers) == (errno.EBUSY, "why", [blocker])
    with pytest.raises(AttributeError):
        blocker.pid = 1  # type: ignore[misc]


def test_a_forked_child_has_to_open_again(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    share = group.frozen()
    with share:
        pid = os.fork()
        if pid == 0:
            os._exit(_as_a_child(hierarchy, group))
        _, status = os.waitpid(pid, 0)
        assert status == 0
        # What the child did has not let go of anything.
        assert group.state is cgf.State.FROZEN
    assert group.state is cgf.State.THAWED


def _as_a_child(hierarchy: cgf.Hierarchy, group: cgf.Group) -> int:
    for use in (group.procs, group.thaw, hierarchy.groups, lambda: hierarchy.root, lambda: group.state):
        try:
            use()
        except ChildProcessError as error:
            if not isinstance(error, cgf.ForkedHandle) or error.errno != errno.ECHILD:
                return 2
        else:
            return 3
    again = cgf.Hierarchy(hierarchy.name, backend=hierarchy.backend)
    return 0 if again.open("web") == group and again.open("web").state is cgf.State.FROZEN else 4


def test_no_descriptor_is_left(hierarchy: cgf.Hierarchy) -> None:
    name, backend = hierarchy.name, hierarchy.backend

    def use_everything() -> None:
        hierarchy = cgf.Hierarchy(name, backend=backend)
        group = hierarchy.create("web")
        with group.spawn(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            group.attach(process.pid)
            hierarchy.group_of(process.pid)
            with group.frozen(), group.frozen():
                group["freezer.state"]
                with group.checkpoint(root=process.pid), pytest.raises(cgf.GroupBusy):
                    group.thaw()
            with pytest.raises(cgf.GroupBusy):
                group.remove()
            group.kill()
        with pytest.raises(FileNotFoundError):
            group.spawn(["/nosuch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with pytest.raises(cgf.GroupExists):
            hierarchy.create("web")
        group.remove()
        with pytest.raises(cgf.GroupVanished):
            group.frozen().__enter__()

    use_everything()
    gc.collect()
    before = descriptors()
    for _ in range(3):
        use_everything()
    gc.collect()
    assert descriptors() == before


def descriptors() -> dict[str, str]:
    """What is open, except for the directory that is read to find out."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            pass
    return found


def test_doctor() -> None:
    findings = cgf.doctor()
    assert [finding.backend for finding in findings] == ["cgroup2", "cgroup1", "embedded"]
    for finding in findings:
        assert finding.works == (finding.reason is None)
        assert finding.place is not None or not finding.works


def test_the_version_is_the_packages() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", cgf.__version__)


def test_the_readme_does_what_it_says(
    backend: Backend, unique_name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example, apart, counting, telling = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert 'cgf.Hierarchy("jobs")' in example
    example = example.replace('"jobs"', f'"{unique_name}", backend="{backend}"')
    exec(compile(example, str(README), "exec"), {})
    assert apart.count('cgf.Hierarchy("apart", ') == 2
    apart = apart.replace('cgf.Hierarchy("apart", ', f'cgf.Hierarchy("{unique_name}", backend="{backend}", ')
    # It forks: not within the process of the tests.
    subprocess.run([sys.executable, "-c", f"import os, signal, cgf\n{apart}"], check=True, timeout=60)
    names: dict[str, Any] = {"cgf": cgf}
    exec(compile(counting, str(README), "exec"), names)
    exec(compile(telling, str(README), "exec"), names)
    counted = cgf.Hierarchy(unique_name, ["freezer", "signal", "beancounter"], backend)
    names["count"](counted)
    assert capsys.readouterr().out.endswith("/web connections 64 80\n1\n")
    counted.open("web").uncharge("connections", 1)
    counted.open("web").remove()
    counted.unmount()
    jobs = cgf.Hierarchy(unique_name, backend=backend)
    jobs.create("told")
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(names["tell_for_a_second"](jobs))
    jobs.open("told").remove()
    jobs.unmount()
