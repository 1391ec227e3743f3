"""`Group.spawn`: a subprocess.Popen whose child is in the group."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import cgf
from conftest import Backend, Starter


def test_it_is_a_popen(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    with group.spawn(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert isinstance(process, subprocess.Popen) and isinstance(process, cgf.Process)
        assert process.args == ["cat"]
        assert group.procs() == [process.pid]
        assert hierarchy.group_of(process.pid) == group
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.01)
        assert process.communicate(b"text", timeout=10) == (b"text", b"")
    assert process.returncode == 0


def test_it_is_in_the_group_before_it_runs(hierarchy: cgf.Hierarchy, group: cgf.Group) -> None:
    """R1.5"""
    program = (
        "import os, sys, cgf\n"
        "print(cgf.Hierarchy(sys.argv[1], backend=sys.argv[2]).group_of(os.getpid()).path)\n"
    )
    command = [sys.executable, "-c", program, hierarchy.name, hierarchy.backend]
    for _ in range(3):
        with group.spawn(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.communicate(timeout=10)[0] == "/web\n"


def test_text(group: cgf.Group) -> None:
    with group.spawn(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="latin-1") as process:
        assert process.communicate("é\n", timeout=10)[0] == "é\n"
    with group.spawn(["echo", "é"], stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "é\n"


def test_all_kinds_of_commands(group: cgf.Group, tmp_path: Path) -> None:
    def output(args: object, **kwargs: object) -> bytes:
        with group.spawn(args, stdout=subprocess.PIPE, **kwargs) as process:  # type: ignore[call-overload]
            found = process.communicate(timeout=10)[0]
        assert isinstance(found, bytes)
        return found

    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho ran $0 $1\n")
    script.chmod(0o755)
    assert output("pwd") == output(["pwd"]) == output(b"pwd") == os.fsencode(os.getcwd()) + b"\n"
    assert output(script) == output(os.fsencode(script)) == b"ran %s\n" % os.fsencode(script)
    assert output([script, b"na\xffme"]) == b"ran %s na\xffme\n" % os.fsencode(script)
    assert output("echo $0 a; echo b", shell=True) == b"/bin/sh a\nb\n"
    assert output(["echo $0 $1", "zero", "one"], shell=True) == b"zero one\n"
    assert output("echo $0", shell=True, executable="/bin/bash") == b"/bin/bash\n"
    assert output(["zero", "-c", "echo $0"], executable="/bin/sh") == b"zero\n"
    assert output(["./script", "x"], cwd=tmp_path) == b"ran ./script x\n"
    with pytest.raises(TypeError):
        output(script, shell=True)
    with pytest.raises(TypeError):
        output(["echo", 1])
    with pytest.raises(ValueError):
        output(["echo", "a\0b"])


def test_environment(group: cgf.Group, monkeypatch: pytest.MonkeyPatch) -> None:
    def variables(**kwargs: object) -> list[str]:
        with group.spawn(["/usr/bin/env"], stdout=subprocess.PIPE, text=True, **kwargs) as process:  # type: ignore[call-overload]
            return sorted(process.communicate(timeout=10)[0].splitlines())

    monkeypatch.setenv("CGF_TEST", "inherited")
    assert "CGF_TEST=inherited" in variables()
    assert variables(env={}) == []
    assert variables(env={"A": "1", "B": os.fsdecode(b"\xff").encode(errors="surrogateescape")}, errors="replace") == [
        "A=1",
        "B=\ufffd",
    ]
    with pytest.raises(ValueError):
        variables(env={"A=B": "1"})


def test_without_a_path_the_default_one_counts(
    group: cgf.Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with Popen: our own PATH is nothing to a child that has none."""
    program = tmp_path / "only-here"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with group.spawn(["only-here"]) as process:
        assert process.wait(timeout=10) == 0
    for start in (subprocess.Popen, group.spawn):
        with pytest.raises(FileNotFoundError):
            start(["only-here"], env={})
    with group.spawn(["true"], env={}) as process:
        assert process.wait(timeout=10) == 0


def test_descriptors(group: cgf.Group, tmp_path: Path) -> None:
    def opened(**kwargs: object) -> set[int]:
        command = [sys.executable, "-c", "import os; print(*os.listdir('/proc/self/fd'))"]
        with group.spawn(command, stdout=subprocess.PIPE, **kwargs) as process:  # type: ignore[call-overload]
            return set(map(int, process.communicate(timeout=10)[0].split()))

    read, write = os.pipe()
    try:
        os.set_inheritable(write, True)
        # One more is the directory that is being listed.
        plain = opened()
        assert {0, 1, 2} <= plain and len(plain) == 4
        assert write in opened(close_fds=False) and read not in opened(close_fds=False) - {3}
        assert read in opened(pass_fds=[read])
        with group.spawn(["sh", "-c", f"echo x >/proc/self/fd/{write}"], pass_fds=[write]) as process:
            assert process.wait(timeout=10) == 0
        assert os.read(read, 10) == b"x\n"
    finally:
        os.close(read)
        os.close(write)
    with pytest.raises(OSError) as raised:
        group.spawn(["true"], pass_fds=[read])
    assert raised.value.errno == errno.EBADF


def test_redirections(group: cgf.Group, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file:
        with group.spawn("echo out; echo err >&2", shell=True, stdout=file, stderr=subprocess.STDOUT) as process:
            assert process.wait(timeout=10) == 0
    assert (tmp_path / "out").read_bytes() == b"out\nerr\n"
    with group.spawn("cat; echo err >&2", shell=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.communicate(timeout=10)[1] == b"err\n"


def test_signals(group: cgf.Group) -> None:
    """Python ignores SIGPIPE; a program that it starts must not."""
    command = "trap '' USR1; kill -PIPE $$; echo still here"
    with group.spawn(command, shell=True, stdout=subprocess.PIPE) as process:
        assert process.communicate(timeout=10)[0] == b""
    assert process.returncode == -signal.SIGPIPE
    with group.spawn(command, shell=True, stdout=subprocess.PIPE, restore_signals=False) as process:
        assert process.communicate(timeout=10)[0] == b"still here\n"
    with group.spawn(["sleep", "300"]) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM
        # It has been waited for: nobody else must be hit.
        process.send_signal(signal.SIGTERM)


def test_session(group: cgf.Group, backend: Backend) -> None:
    for asked in (False, True):
        with group.spawn(["cat"], stdin=subprocess.PIPE, start_new_session=asked) as process:
            own = os.getsid(process.pid) == process.pid
            assert own == (asked or backend == "embedded")


@pytest.mark.parametrize(
    "arguments",
    [{"preexec_fn": print}, {"user": 0}, {"group": 0}, {"extra_groups": [0]}, {"umask": 0}, {"process_group": 0}],
)
def test_what_is_not_supported_is_refused(group: cgf.Group, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not supported"):
        group.spawn(["true"], **arguments)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        group.spawn(["true"], nosuch=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        group.spawn()  # type: ignore[call-overload]


def test_a_program_that_cannot_be_executed(
    group: cgf.Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails as Popen does, and leaves nothing."""
    # A place that we may not look into would make it EACCES.
    monkeypatch.setenv("PATH", os.defpath)
    before = children()
    (tmp_path / "file").write_text("")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    cases = [
        (["nosuch-program"], None, FileNotFoundError, "nosuch-program"),
        (["/nosuch/program"], None, FileNotFoundError, "/nosuch/program"),
        ([str(tmp_path / "file")], None, PermissionError, str(tmp_path / "file")),
        (["true"], "/nosuch/directory", FileNotFoundError, "/nosuch/directory"),
        (["true"], str(tmp_path / "file"), NotADirectoryError, str(tmp_path / "file")),
    ]
    for start in (subprocess.Popen, group.spawn):
        for args, cwd, kind, filename in cases:
            with pytest.raises(kind) as raised:
                start(args, cwd=cwd, **pipes)  # type: ignore[call-overload]
            assert raised.value.filename == filename
            assert raised.value.errno == {
                FileNotFoundError: errno.ENOENT,
                PermissionError: errno.EACCES,
                NotADirectoryError: errno.ENOTDIR,
            }[kind]
            assert start is subprocess.Popen or isinstance(raised.value, cgf.CgfError)
    assert group.procs() == []
    assert children() == before


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def test_into_a_group_that_is_not_thawed(group: cgf.Group, start: Starter) -> None:
    group.freeze()
    with pytest.raises(cgf.GroupBusy) as raised:
        start(group)
    assert raised.value.errno == errno.EBUSY and raised.value.filename is None
    assert group.procs() == []


def test_a_freeze_in_between_does_not_hang(hierarchy: cgf.Hierarchy, backend: Backend) -> None:
    impatient = cgf.Hierarchy(hierarchy.name, backend=backend, deadline=0.2)
    group = impatient.create("web")
    enough = threading.Event()

    def freeze_and_thaw() -> None:
        while not enough.is_set():
            with group.frozen(timeout=10):
                pass

    disturber = threading.Thread(target=freeze_and_thaw)
    disturber.start()
    try:
        for _ in range(30):
            try:
                with group.spawn(["true"]) as process:
                    assert process.wait(timeout=10) == 0
            except cgf.GroupBusy:
                pass
    finally:
        enough.set()
        disturber.join()
    assert group.state is cgf.State.THAWED


def test_after_a_kill(group: cgf.Group, start: Starter) -> None:
    for _ in range(3):
        process = start(group)
        assert process.poll() is None
        group.kill()
        assert process.wait(timeout=10) == -9


def test_into_a_group_that_is_gone(group: cgf.Group) -> None:
    group.remove()
    with pytest.raises(cgf.GroupVanished):
        group.spawn(["true"])


def test_what_outlives_the_program_stays_in_the_group(group: cgf.Group) -> None:
    process = group.spawn(["sh", "-c", "sleep 60 & sleep 60 &"], stdout=subprocess.DEVNULL)
    assert process.wait(timeout=20) == 0
    assert len(group.procs()) == 2
    polled = group.spawn(["sh", "-c", "sleep 60 &"], stdout=subprocess.DEVNULL)
    while polled.poll() is None:
        time.sleep(0.001)
    assert len(group.procs()) == 3
    group.kill()
    assert group.procs() == []
