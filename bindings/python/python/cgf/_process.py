"""A `subprocess.Popen` whose child is born in a group."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, AnyStr

from cgf._errors import CgfError, GroupBusy, GroupVanished

if TYPE_CHECKING:
    from cgf._native import Group

# What Popen does in the child between fork and exec by running Python code, or
# with ids that the engine does not change; and the value that asks for nothing.
_UNSUPPORTED: dict[str, Any] = {
    "preexec_fn": None,
    "user": None,
    "group": None,
    "extra_groups": None,
    "umask": -1,
    "process_group": None,
}


class Process(subprocess.Popen[AnyStr]):
    """A program that was started in a group. Made by `Group.spawn`.

    It is a `subprocess.Popen` in every respect but how the child is made: in the
    group before it executes the program, and within the hierarchy's deadline.
    """

    def __init__(self, group: "Group", args: Any, /, **kwargs: Any) -> None:
        for name, nothing in _UNSUPPORTED.items():
            if kwargs.get(name, nothing) != nothing:
                raise ValueError(f"{name}= is not supported by Group.spawn; start a program that does it itself")
        self._cgf_group: Group | None = group
        # Where this one stands among Popen's private arguments differs between versions.
        self._cgf_session = bool(kwargs.get("start_new_session", False))
        kinds: str | Iterable[str] = kwargs.pop("namespaces", ())
        self._cgf_namespaces = kinds if isinstance(kinds, str) else list(kinds)
        super().__init__(args, **kwargs)

    def _execute_child(
        self,
        args: Any,
        executable: Any,
        preexec_fn: Any,
        close_fds: bool,
        pass_fds: Iterable[int],
        cwd: Any,
        env: Mapping[Any, Any] | None,
        startupinfo: Any,
        creationflags: int,
        shell: bool,
        p2cread: int,
        p2cwrite: int,
        c2pread: int,
        c2pwrite: int,
        errread: int,
        errwrite: int,
        restore_signals: bool,
        *rest: Any,
    ) -> None:
        """What Popen.__init__ calls to make the child."""
        if isinstance(args, (str, bytes)):
            args = [args]
        elif isinstance(args, os.PathLike):
            if shell:
                raise TypeError("path-like args is not allowed when shell is true")
            args = [args]
        else:
            args = list(args)
        if shell:
            args = ["/bin/sh", "-c", *args]
            if executable:
                args[0] = executable
        if executable is None:
            executable = args[0]
        sys.audit("subprocess.Popen", executable, args, cwd, env)

        redirected = [(p2cread, 0), (c2pwrite, 1), (errwrite, 2)]
        try:
            assert self._cgf_group is not None
            self.pid = self._cgf_group._start(
                _encoded(_program(executable, env)),
                [_encoded(arg) for arg in args],
                env=None if env is None else _variables(env),
                cwd=None if cwd is None else _encoded(cwd),
                fds=[pair for pair in redirected if pair[0] != -1] + [(int(fd), int(fd)) for fd in pass_fds],
                close_fds=bool(close_fds),
                session=self._cgf_session,
                restore_signals=bool(restore_signals),
                namespaces=self._cgf_namespaces,
            )
        except (GroupBusy, GroupVanished):
            raise
        except CgfError as error:
            # What a subsystem raised is not about the program.
            if error.__cause__ is None:
                error.filename = executable if _can_enter(cwd) else cwd
            raise
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


    def poll(self) -> int | None:
        self._see_what_is_left(os.WNOHANG)
        return super().poll()

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """What `wait` and `communicate` come down to."""
        self._see_what_is_left(wait_flags & os.WNOHANG)
        return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]

    def _see_what_is_left(self, no_hang: int) -> None:
        """Looks at the group once the child is dead and before that is taken note of.

        Without control groups, what a child leaves behind is found by the child, and a
        look at the group records it.
        """
        group = self._cgf_group
        if group is None or self.returncode is not None:
            return
        try:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | no_hang) is None:
                return
            group.procs()
        except (ChildProcessError, CgfError):
            # Somebody else has waited for it, or the group is gone: nothing to see.
            pass
        # Looked at once, and its descriptor is not kept open any longer.
        self._cgf_group = None


def _encoded(text: Any) -> bytes:
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


def _variables(env: Mapping[Any, Any]) -> list[tuple[bytes, bytes]]:
    variables = [(_encoded(name), _encoded(value)) for name, value in env.items()]
    if any(b"=" in name for name, _ in variables):
        raise ValueError("illegal environment variable name")
    return variables


def _program(executable: Any, env: Mapping[Any, Any] | None) -> Any:
    """Popen looks in the default path if the child has no PATH, and not in ours."""
    name = os.fsencode(executable)
    if env is None or not name or b"/" in name or "PATH" in env or b"PATH" in env:
        return executable
    places = [os.path.join(os.fsencode(place), name) for place in os.defpath.split(os.pathsep)]
    return next((place for place in places if os.path.exists(place)), places[0])


def _can_enter(cwd: Any) -> bool:
    return cwd is None or (os.path.isdir(cwd) and os.access(cwd, os.X_OK))
