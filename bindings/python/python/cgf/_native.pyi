"""The compiled half; `cgf` has all of it that is public."""

import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Literal, TypeAlias, TypeVar, final, overload

from typing_extensions import Self, disjoint_base

from cgf._beancounter import BeanCounters, ResourceInfo, Severity, Snapshot
from cgf._checkpoint import Stillness
from cgf._doctor import Finding
from cgf._event import Event
from cgf._process import Process
from cgf._state import State
from cgf._subsystem import Subsystem

__all__ = [
    "Attach",
    "Attributes",
    "Charged",
    "Checkpoint",
    "Frozen",
    "Group",
    "Hierarchy",
    "Monitor",
    "Reference",
    "Watch",
    "__version__",
    "criu_dump",
    "criu_restore",
    "doctor",
    "register",
    "unregister",
]

__version__: str

_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Command: TypeAlias = _Path | Sequence[_Path]
_Namespaces: TypeAlias = str | Iterable[str]
_Environment: TypeAlias = Mapping[str, _Path] | Mapping[bytes, _Path]
_File: TypeAlias = None | int | IO[Any]
_Backend: TypeAlias = Literal["auto", "cgroup2", "cgroup1", "embedded"]
_Stop: TypeAlias = Literal["signal", "ptrace"]

_Resource: TypeAlias = str | int
_Amounts: TypeAlias = Mapping[str, int] | Mapping[int, int] | Mapping[_Resource, int]

_Default = TypeVar("_Default")

def criu_dump(
    group: Group,
    images: _Path,
    *,
    root: int | None,
    leave: str,
    timeout: float | None,
    criu: _Path,
    args: Sequence[_Path],
) -> None: ...
def criu_restore(
    group: Group, images: _Path, *, timeout: float | None, criu: _Path, args: Sequence[_Path]
) -> int: ...
def doctor() -> list[Finding]: ...
def register(subsystem: Subsystem) -> None: ...
def unregister(name: str) -> None: ...
@final
class Hierarchy:
    def __new__(
        cls,
        name: _Path,
        subsystems: Sequence[str] = (),
        backend: _Backend = "auto",
        root: _Path | None = None,
        state: _Path | None = None,
        deadline: float = 10.0,
        stop: _Stop = "signal",
        hold: Literal["parent"] | None = None,
        flat: bool = False,
    ) -> Hierarchy: ...
    @staticmethod
    def adopt(
        path: _Path,
        *,
        subsystems: Sequence[str] = (),
        backend: _Backend = "auto",
        deadline: float = 10.0,
        stop: _Stop = "signal",
    ) -> Hierarchy: ...
    @staticmethod
    def adopt_group_of(
        pid: int,
        *,
        subsystems: Sequence[str] = (),
        backend: _Backend = "auto",
        deadline: float = 10.0,
        stop: _Stop = "signal",
    ) -> Hierarchy: ...
    def create(self, path: _Path) -> Group: ...
    def open(self, path: _Path) -> Group: ...
    def clone(self, name: _Path, pid: int = 0) -> Group: ...
    @property
    def root(self) -> Group: ...
    def group_of(self, pid: int) -> Group: ...
    def groups(self) -> list[str]: ...
    def unmount(self) -> None: ...
    def register_resource(
        self,
        name: str,
        unit: str | None = None,
        *,
        on_barrier: Callable[[Group, int], object] | None = None,
        on_limit: Callable[[Group, int], object] | None = None,
    ) -> int: ...
    @property
    def resources(self) -> list[ResourceInfo]: ...
    def watch(self, *, tasks: bool = False, listing: bool = False) -> Watch: ...
    def monitor(self, *, tasks: bool = False, listing: bool = False) -> Monitor: ...
    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> Literal["cgroup2", "cgroup1", "embedded"]: ...
    @property
    def directory(self) -> str: ...
    @property
    def subsystems(self) -> list[str]: ...

@final
class Group:
    @property
    def path(self) -> str: ...
    # The types of subprocess.Popen: which of the arguments make it text.
    @overload
    def spawn(
        self,
        args: _Command,
        *,
        bufsize: int = -1,
        executable: _Path | None = None,
        stdin: _File = None,
        stdout: _File = None,
        stderr: _File = None,
        close_fds: bool = True,
        shell: bool = False,
        cwd: _Path | None = None,
        env: _Environment | None = None,
        universal_newlines: bool | None = None,
        restore_signals: bool = True,
        start_new_session: bool = False,
        pass_fds: Collection[int] = (),
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        pipesize: int = -1,
        namespaces: _Namespaces = (),
    ) -> Process[str]: ...
    @overload
    def spawn(
        self,
        args: _Command,
        *,
        bufsize: int = -1,
        executable: _Path | None = None,
        stdin: _File = None,
        stdout: _File = None,
        stderr: _File = None,
        close_fds: bool = True,
        shell: bool = False,
        cwd: _Path | None = None,
        env: _Environment | None = None,
        universal_newlines: bool | None = None,
        restore_signals: bool = True,
        start_new_session: bool = False,
        pass_fds: Collection[int] = (),
        text: bool | None = None,
        encoding: str,
        errors: str | None = None,
        pipesize: int = -1,
        namespaces: _Namespaces = (),
    ) -> Process[str]: ...
    @overload
    def spawn(
        self,
        args: _Command,
        *,
        bufsize: int = -1,
        executable: _Path | None = None,
        stdin: _File = None,
        stdout: _File = None,
        stderr: _File = None,
        close_fds: bool = True,
        shell: bool = False,
        cwd: _Path | None = None,
        env: _Environment | None = None,
        universal_newlines: Literal[False] | None = None,
        restore_signals: bool = True,
        start_new_session: bool = False,
        pass_fds: Collection[int] = (),
        text: Literal[False] | None = None,
        encoding: None = None,
        errors: None = None,
        pipesize: int = -1,
        namespaces: _Namespaces = (),
    ) -> Process[bytes]: ...
    @overload
    def spawn(
        self,
        args: _Command,
        *,
        bufsize: int = -1,
        executable: _Path | None = None,
        stdin: _File = None,
        stdout: _File = None,
        stderr: _File = None,
        close_fds: bool = True,
        shell: bool = False,
        cwd: _Path | None = None,
        env: _Environment | None = None,
        universal_newlines: bool | None = None,
        restore_signals: bool = True,
        start_new_session: bool = False,
        pass_fds: Collection[int] = (),
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        pipesize: int = -1,
        namespaces: _Namespaces = (),
    ) -> Process[Any]: ...
    def _start(
        self,
        program: bytes,
        args: Sequence[bytes],
        *,
        env: Sequence[tuple[bytes, bytes]] | None,
        cwd: bytes | None,
        fds: Sequence[tuple[int, int]],
        close_fds: bool,
        session: bool,
        restore_signals: bool,
        namespaces: str | Sequence[str],
    ) -> int: ...
    def enter(self, namespaces: str | Sequence[str]) -> None: ...
    def attach(self, pid: int, *, frozen: bool = False) -> None: ...
    def attach_task(self, tid: int) -> None: ...
    def attach_pidfd(self, fd: int, *, frozen: bool = False) -> None: ...
    def procs(self) -> list[int]: ...
    def tasks(self) -> list[int]: ...
    def groups(self) -> list[str]: ...
    def freeze(
        self, timeout: float | None = 5.0, *, rollback: bool = False, with_caller: bool = False
    ) -> None: ...
    def thaw(self) -> None: ...
    def frozen(self, timeout: float | None = 5.0) -> Frozen: ...
    def checkpoint(
        self,
        root: int | None = None,
        *,
        timeout: float | None = None,
        external: bool = False,
        wakeups: bool = False,
    ) -> Checkpoint: ...
    def break_checkpoint(self) -> None: ...
    @property
    def state(self) -> State: ...
    @property
    def frozen_time(self) -> float: ...
    @property
    def populated(self) -> bool: ...
    def kill(self, sig: int = 9) -> None: ...
    def remove(self, *, kill: bool = False, recursive: bool = False) -> None: ...
    def rename(self, name: _Path) -> Group: ...
    def directory_fd(self) -> int: ...
    def controller_fd(self, controller: str) -> int: ...
    def reference(self) -> Reference: ...
    @property
    def attributes(self) -> Attributes: ...
    def charge(
        self, resource: _Resource, amount: int, severity: Severity = Severity.LIMIT
    ) -> None: ...
    def uncharge(self, resource: _Resource, amount: int) -> None: ...
    def charge_many(self, amounts: _Amounts, severity: Severity = Severity.LIMIT) -> None: ...
    def uncharge_many(self, amounts: _Amounts) -> None: ...
    def charge_up_to(
        self, resource: _Resource, amount: int, severity: Severity = Severity.LIMIT
    ) -> int: ...
    def charge_kept(self, amounts: _Amounts, severity: Severity = Severity.LIMIT) -> None: ...
    def charged(
        self, resource: _Resource, amount: int, severity: Severity = Severity.LIMIT
    ) -> Charged: ...
    def set_limits(
        self, resource: _Resource, barrier: int | None, limit: int | None
    ) -> None: ...
    def snapshot(self) -> Snapshot: ...
    @property
    def beancounters(self) -> BeanCounters: ...
    def _resources(self) -> list[str]: ...
    def _has_resource(self, name: str) -> bool: ...
    def control_files(self) -> list[str]: ...
    def read(self, file: str) -> str: ...
    def write(self, file: str, text: str) -> None: ...
    def __getitem__(self, file: str, /) -> str: ...
    def __setitem__(self, file: str, text: str, /) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Frozen:
    def __enter__(self) -> Group: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Charged:
    def __enter__(self) -> Group: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Checkpoint:
    @property
    def group(self) -> Group: ...
    def verify(self) -> Stillness: ...
    def end(self) -> Stillness: ...
    def __enter__(self) -> Checkpoint: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Reference:
    def release(self) -> None: ...
    def __enter__(self) -> Reference: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Attributes:
    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: _Default) -> str | _Default: ...
    def __getitem__(self, name: str, /) -> str: ...
    def __setitem__(self, name: str, value: str, /) -> None: ...
    def __delitem__(self, name: str, /) -> None: ...
    def __contains__(self, name: str, /) -> bool: ...

@final
class Attach:
    @property
    def group(self) -> Group: ...
    @property
    def pid(self) -> int: ...
    @property
    def from_(self) -> str | None: ...
    @property
    def threads(self) -> list[int]: ...
    @property
    def is_birth(self) -> bool: ...
    @property
    def may_freeze(self) -> bool: ...

@disjoint_base
class Watch:
    def next(self, timeout: float | None = None) -> Event | None: ...
    def __iter__(self) -> Watch: ...
    def __next__(self) -> Event: ...
    def __aiter__(self) -> AsyncIterator[Event]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    @property
    def boot_id(self) -> str: ...
    @property
    def lists_tasks(self) -> bool: ...

@final
class Monitor(Watch):
    def run(self, timeout: float | None = None) -> None: ...
