"""The Python surface's driver for the contract table: lines in, lines out."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import unquote_to_bytes

import cgf


class Driver:
    def __init__(self) -> None:
        self.hierarchy: cgf.Hierarchy | None = None
        self.groups: dict[bytes, cgf.Group] = {}
        self.references: dict[bytes, cgf.Reference] = {}
        # Of one group the oldest first: one that was ended by force, and the next.
        self.checkpoints: list[tuple[bytes, cgf.Checkpoint]] = []
        self.children: list[subprocess.Popen[bytes]] = []

    def answer(self, words: list[bytes]) -> str:
        verb, *args = words
        name = verb.decode()
        if name == "hierarchy":
            self.hierarchy = opened(args)
            return ""
        if name == "try_hierarchy":
            opened(args)
            return ""
        if name == "fds":
            return str(len(os.listdir("/proc/self/fd")) - 1)
        if name == "forget":
            self.groups.clear()
            self.references.clear()
            self.checkpoints.clear()
            for child in self.children:
                # A process keeps its group for a last look at its own end.
                child._cgf_group = None  # type: ignore[attr-defined]
            return ""
        assert self.hierarchy is not None
        if name == "unmount":
            self.hierarchy.unmount()
            return ""
        if name == "group_of":
            return self.hierarchy.group_of(int(args[0])).path
        if name == "clone":
            return self.hierarchy.clone(args[1], int(args[0])).path
        if name in ("reference", "unreference", "checkpoint", "verify", "woken", "end"):
            return getattr(self, name)(*args)  # type: ignore[no-any-return]
        if name == "create":
            self.groups[args[0]] = self.hierarchy.create(args[0])
            return ""
        if name == "open":
            self.groups[args[0]] = self.hierarchy.open(args[0])
            return ""
        if args[0] not in self.groups:
            self.groups[args[0]] = self.hierarchy.open(args[0])
        return str(getattr(self, name)(self.groups[args[0]], *args[1:]) or "")

    def remove(self, group: cgf.Group, *flags: bytes) -> None:
        group.remove(kill=b"kill" in flags, recursive=b"recursive" in flags)

    def rename(self, group: cgf.Group, name: bytes) -> None:
        renamed = group.rename(name)
        self.groups[os.fsencode(renamed.path).strip(b"/")] = renamed

    def groups_below(self, group: cgf.Group) -> str:
        return " ".join(group.groups())

    def attach(self, group: cgf.Group, pid: bytes, *flags: bytes) -> None:
        group.attach(int(pid), frozen=b"frozen" in flags)

    def attach_task(self, group: cgf.Group, tid: bytes, *_: bytes) -> None:
        group.attach_task(int(tid))

    def attach_gone(self, group: cgf.Group) -> None:
        child = subprocess.Popen(["true"])
        pidfd = os.pidfd_open(child.pid)
        child.wait()
        try:
            group.attach_pidfd(pidfd)
        finally:
            os.close(pidfd)

    def spawn(self, group: cgf.Group, *argv: bytes) -> str:
        child = group.spawn(list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.children.append(child)
        return str(child.pid)

    def reference(self, path: bytes) -> str:
        assert self.hierarchy is not None
        group = self.groups.get(path) or self.hierarchy.open(path)
        self.references[path] = group.reference()
        return ""

    def unreference(self, path: bytes) -> str:
        self.references.pop(path).release()
        return ""

    def checkpoint(self, path: bytes, root: bytes, *flags: bytes) -> str:
        assert self.hierarchy is not None
        group = self.groups.get(path) or self.hierarchy.open(path)
        begun = group.checkpoint(int(root) or None, external=b"external" in flags, wakeups=b"wakeups" in flags)
        self.checkpoints.append((path, begun))
        return ""

    def verify(self, path: bytes) -> str:
        self.oldest(path).verify()
        return ""

    def woken(self, path: bytes) -> str:
        return " ".join(map(str, self.oldest(path).verify().woken))

    def end(self, path: bytes) -> str:
        ending = self.oldest(path)
        self.checkpoints.remove((path, ending))
        ending.end()
        return ""

    def oldest(self, path: bytes) -> cgf.Checkpoint:
        return next(begun for of, begun in self.checkpoints if of == path)

    def break_checkpoint(self, group: cgf.Group) -> None:
        group.break_checkpoint()

    def attribute(self, group: cgf.Group, name: bytes) -> str:
        return group.attributes.get(name.decode(), "")

    def set_attribute(self, group: cgf.Group, name: bytes, value: bytes) -> None:
        group.attributes[name.decode()] = value.decode()

    def remove_attribute(self, group: cgf.Group, name: bytes) -> None:
        try:
            del group.attributes[name.decode()]
        except KeyError:
            pass

    def files(self, group: cgf.Group) -> str:
        return " ".join(group.control_files())

    def procs(self, group: cgf.Group) -> str:
        return " ".join(map(str, group.procs()))

    def tasks(self, group: cgf.Group) -> str:
        return " ".join(map(str, group.tasks()))

    def freeze(self, group: cgf.Group, ms: bytes, *flags: bytes) -> None:
        timeout = None if int(ms) < 0 else int(ms) / 1000
        group.freeze(timeout, rollback=b"rollback" in flags, with_caller=b"with_caller" in flags)

    def thaw(self, group: cgf.Group) -> None:
        group.thaw()

    def state(self, group: cgf.Group) -> str:
        return group.state.name

    def kill(self, group: cgf.Group, signal: bytes) -> None:
        group.kill(int(signal))

    def read(self, group: cgf.Group, file: bytes) -> str:
        return group[file.decode()]

    def write(self, group: cgf.Group, file: bytes, text: bytes) -> None:
        group[file.decode()] = text.decode()


def opened(args: list[bytes]) -> cgf.Hierarchy:
    """The option string as keyword arguments, which is what Python has."""
    tokens = [token.split("=", 1) for token in args[1].decode().split(",")] if args[1:] else []
    options = {token[0]: token[1] for token in tokens if len(token) == 2}
    subsystems = tuple(token[0] for token in tokens if len(token) == 1)
    return cgf.Hierarchy(
        args[0],
        subsystems=subsystems,
        backend=options.get("backend", "auto"),  # type: ignore[arg-type]
        state=options.get("state"),
        deadline=float(options.get("deadline", "10000")) / 1000,
    )


def failure(error: cgf.CgfError) -> str:
    blockers = ",".join(f"{each.pid}:{each.tid}:{each.evidence}" for each in getattr(error, "blockers", []))
    return f"error {error.errno} {blockers or '-'} {encode(error.strerror or '')}"


def encode(text: str) -> str:
    return text.replace("%", "%25").replace("\n", "%0a")


def main() -> None:
    driver = Driver()
    while line := sys.stdin.buffer.readline():
        words = [unquote_to_bytes(word) for word in line.rstrip(b"\n").split(b" ") if word]
        # The first is the dictionary of handles here, the second a word of Python's.
        words[0] = {b"groups": b"groups_below", b"break": b"break_checkpoint"}.get(words[0], words[0])
        try:
            said = "ok " + encode(driver.answer(words))
        except cgf.CgfError as error:
            said = failure(error)
        sys.stdout.buffer.write(os.fsencode(said) + b"\n")
        sys.stdout.buffer.flush()


main()
