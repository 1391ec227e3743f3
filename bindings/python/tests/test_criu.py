"""Checkpoints by a real CRIU (R4.6). CGF_CRIU names the program, CGF_COUNTER one that counts."""

import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cgf
import cgf.criu
from conftest import missing

Counting = Callable[..., cgf.Process[bytes]]


@pytest.fixture
def criu() -> str:
    program = os.environ.get("CGF_CRIU", "")
    if not os.access(program, os.X_OK):
        missing("CGF_CRIU names no program")
    return program


@pytest.fixture
def counting(group: cgf.Group, tmp_path: Path) -> Iterator[Counting]:
    """Starts a counter in the group, with nothing open that CRIU could not make again."""
    started: list[cgf.Process[bytes]] = []

    def start(*part: str) -> cgf.Process[bytes]:
        command = [os.environ["CGF_COUNTER"], part[0], str(tmp_path / "files"), *part[1:]]
        null = subprocess.DEVNULL
        (tmp_path / "files").mkdir()
        started.append(group.spawn(command, stdin=null, stdout=null, stderr=null, start_new_session=True))
        eventually(lambda: (tmp_path / "files" / "first").exists() and count(tmp_path)[1] > 0)
        return started[-1]

    yield start
    group.thaw()
    group.kill()
    for process in started:
        process.wait(timeout=10)


def eventually(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < end, "waited 20 s"
        time.sleep(0.005)


def count(directory: Path) -> tuple[str, int]:
    """Who counts, and how far."""
    who, reached = ((directory / "files" / "first").read_text() or "- 0").split()
    return who, int(reached)


def goes_on(directory: Path, before: tuple[str, int]) -> None:
    eventually(lambda: count(directory)[1] > before[1])
    assert count(directory)[0] == before[0]


def test_a_crowd_goes_on_from_where_it_was(
    group: cgf.Group, counting: Counting, criu: str, tmp_path: Path
) -> None:
    process = counting("crowd", "8", "20")
    eventually(lambda: len(group.tasks()) == 28)
    cgf.criu.dump(group, tmp_path / "images", criu=criu)
    before = count(tmp_path)
    assert process.wait(timeout=10) == -signal.SIGKILL
    assert group.state is cgf.State.THAWED
    assert not group.populated
    assert cgf.criu.restore(group, tmp_path / "images", criu=criu) == process.pid
    assert len(group.tasks()) == 28
    goes_on(tmp_path, before)


def test_who_is_not_killed_is_left_running_or_frozen(
    group: cgf.Group, counting: Counting, criu: str, tmp_path: Path
) -> None:
    process = counting("alone")
    before = count(tmp_path)
    cgf.criu.dump(group, tmp_path / "running", leave="running", root=process.pid, criu=criu)
    assert group.state is cgf.State.THAWED
    goes_on(tmp_path, before)
    cgf.criu.dump(group, os.fsencode(tmp_path / "frozen"), leave="frozen", criu=criu)
    assert group.state is cgf.State.FROZEN


def test_a_dump_that_fails_changes_nothing(
    group: cgf.Group, counting: Counting, criu: str, tmp_path: Path
) -> None:
    counting("alone")
    images = tmp_path / "images"
    with pytest.raises(cgf.CgfError) as failed:
        cgf.criu.dump(group, images, criu=criu, args=["--no-such-option"])
    assert failed.value.errno == errno.EIO
    assert "CRIU failed" in str(failed.value)
    with pytest.raises(FileNotFoundError):
        cgf.criu.dump(group, images, criu="/no/such/criu")
    with pytest.raises(ProcessLookupError):
        cgf.criu.dump(group, images, criu=criu, root=2**30)
    with pytest.raises(ValueError):
        cgf.criu.dump(group, images, criu=criu, leave="alone")  # type: ignore[arg-type]
    with pytest.raises(cgf.NotFound):
        cgf.criu.restore(group, images, criu=criu)
    assert [entry.name for entry in tmp_path.iterdir()] == ["files"]
    images.mkdir()
    with pytest.raises(cgf.AlreadyThere):
        cgf.criu.dump(group, images, criu=criu)
    with pytest.raises(FileExistsError):
        cgf.criu.dump(group, images, criu=criu)
    assert group.state is cgf.State.THAWED
    goes_on(tmp_path, count(tmp_path))


def test_others_run_meanwhile_and_ctrl_c_ends_it(
    group: cgf.Group, counting: Counting, criu: str, tmp_path: Path
) -> None:
    """The interpreter is released, and a handler that raises ends the dump."""
    counting("large", "200")

    class Enough(Exception):
        pass

    def enough(number: int, frame: object) -> None:
        raise Enough

    def interrupt() -> None:
        # Once CRIU is in the middle: it writes the memory of the process.
        eventually(lambda: any(p.stat().st_size for p in tmp_path.glob(".images.cgf-*/pages-1.img")))
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, enough)
    other = threading.Thread(target=interrupt)
    other.start()
    try:
        with pytest.raises(Enough):
            cgf.criu.dump(group, tmp_path / "images", criu=criu)
            # It was done before anybody could interrupt it.
            other.join()
    finally:
        other.join()
        signal.signal(signal.SIGUSR1, before)
    if not (tmp_path / "images").exists():
        assert group.state is cgf.State.THAWED
        assert [entry.name for entry in tmp_path.iterdir()] == ["files"]
        goes_on(tmp_path, count(tmp_path))
