"""What callbacks of subsystems raise (R1.6)."""

import errno
import sys

import pytest

import cgf
from conftest import Backend, Bind, clear
from log import Log


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
