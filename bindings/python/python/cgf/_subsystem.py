"""Subsystems: what is bound to a hierarchy and has a say in what happens there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cgf._native import Attach, Group, Hierarchy


@dataclass(frozen=True)
class ControlFile:
    """A control file of a subsystem: what it is called and what it does.

    It is `SUBSYSTEM.name` in a group. A file that cannot be read, or not written, says
    so (`NotPermitted`).
    """

    name: str
    """At most 64 visible ASCII characters without a slash."""

    read: Callable[[Group], str] | None = None
    """What a read answers: lines, each with a newline at its end."""

    write: Callable[[Group, str], object] | None = None
    """What a write does. The text comes without the newline at its end, and has at most
    4096 bytes. What is returned does not matter."""

    root: bool = False
    """Whether only the root group has it."""


class Subsystem:
    """Something that is bound to hierarchies and called about their groups: derive from
    it, override what it has to say, and `register` one.

    >>> import errno
    >>> import cgf
    >>> class Members(cgf.Subsystem):
    ...     '''At most so many processes in a group: `members.max`.'''
    ...
    ...     name = "members"
    ...
    ...     def can_attach(self, attach: cgf.Attach) -> None:
    ...         group = attach.group
    ...         most = group.attributes.get("members.max")
    ...         if most is not None and len(group.procs()) >= int(most):
    ...             raise OSError(errno.ENOSPC, f"{group.path} is full with {most}")
    ...
    ...     def files(self) -> list[cgf.ControlFile]:
    ...         return [cgf.ControlFile("max", read=self.read_max, write=self.write_max)]
    ...
    ...     def read_max(self, group: cgf.Group) -> str:
    ...         return group.attributes.get("members.max", "max") + "\\n"
    ...
    ...     def write_max(self, group: cgf.Group, text: str) -> None:
    ...         if not text.isdecimal():
    ...             raise OSError(errno.EINVAL, f"{text!r} is no number")
    ...         group.attributes["members.max"] = text
    >>> cgf.register(Members())
    >>> jobs = cgf.Hierarchy("jobs", ["freezer", "signal", "members"])
    >>> web = jobs.create("web")
    >>> web["members.max"] = "1"
    >>> first = web.spawn(["sleep", "60"])
    >>> second = web.spawn(["sleep", "60"])
    Traceback (most recent call last):
        ...
    cgf._errors.CgfError: [Errno 28] subsystem members, can_attach: /web is full with 1
    >>> web.remove(kill=True)
    >>> first.wait()
    -9
    >>> jobs.unmount()
    >>> cgf.unregister("members")

    A callback refuses, or fails, by raising. What raises depends on what:

    * OSError with an errno, `CgfError` too: the call that the callback is part of
      raises `CgfError` with that errno and what it says.
    * Any other `Exception`: `CgfError` with ENOTRECOVERABLE, which names it. To return
      anything but None is a TypeError of this kind.
    * KeyboardInterrupt and what else is no `Exception`: the call fails as after the
      others, and raises that itself.

    The exception that was raised is the `__cause__` of the `CgfError`. One that the
    library goes on without, as from `cancel_attach`, goes to `sys.unraisablehook`.

    Callbacks run in the process and the thread that does something with a group, as part
    of it; so state that every process must agree on belongs in `Group.attributes` and not
    in the subsystem. They run with no lock of the library held, may call it, and may run
    in several threads at once: two attaches that are each allowed may together be one too
    many. In a child that was forked they run as in its parent, on the child's own copy of
    the subsystem. Once the interpreter is ending, they are not run, and what they are part
    of fails with ECANCELED.

    A subsystem that keeps a handle of a hierarchy that it is bound to, or of a group in
    one, keeps itself.
    """

    name: str
    """What it is called in options and before the names of its control files: lower-case
    letters, digits and "_", a letter first, 32 at most."""

    controllers: Sequence[str] = ()
    """The controllers of control groups that it works by ("pids", "cpuset"). The hierarchy
    then spans the kernel trees that have them, where there are any; `Group.controller_fd`
    says where."""

    def files(self) -> Iterable[ControlFile]:
        """Its control files. Asked once, by `register`."""
        return ()

    def mount(self, hierarchy: Hierarchy) -> None:
        """A hierarchy that it is bound to was opened by this process; an error is the
        opener's."""

    def unmount(self, hierarchy: Hierarchy) -> None:
        """A hierarchy that it is bound to was ended by this process. Its handle raises
        `GroupVanished` by now."""

    def create(self, group: Group) -> None:
        """A group was made. After an error it is gone again."""

    def destroy(self, group: Group) -> None:
        """A group was removed, or its making failed later. Its handle raises
        `GroupVanished` by now, but still has its path, and equals those from before."""

    def post_clone(self, group: Group, parent: Group) -> None:
        """A group was made as a copy of its parent. Attributes of the parent have been
        copied; this is for what is kept elsewhere."""

    def can_attach(self, attach: Attach) -> None:
        """A process is to come. An error refuses it. May take its time."""

    def can_attach_task(self, attach: Attach, tid: int) -> None:
        """One of its threads is to come; 0 for that of a process not born yet."""

    def cancel_attach(self, attach: Attach) -> None:
        """It does not come, though this subsystem had agreed in `can_attach`."""

    def pre_attach(self, attach: Attach) -> None:
        """All have agreed; the move comes next. An error refuses it still."""

    def attach_task(self, attach: Attach, tid: int) -> None:
        """One of its threads has come. An error takes the whole process back."""

    def attach(self, attach: Attach) -> None:
        """The process has come. An error takes it back. May take its time."""

    def fork(self, group: Group, parent: int, child: int) -> None:
        """A member made a child, in the same group. From a monitor, afterwards: the child
        may have gone already."""

    def exit(self, group: Group, pid: int) -> None:
        """A member ended. From a monitor, afterwards."""
