"""The Python surface's driver for the contract table: lines in, lines out."""

from __future__ import annotations

import contextlib
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
        # What the callbacks of resources were told.
        self.calls: list[str] = []

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
            return " ".join(descriptors())
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
        if name in PLAIN:
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

    def register(self, name: bytes, unit: bytes) -> str:
        assert self.hierarchy is not None
        return str(self.hierarchy.register_resource(name.decode(), unit.decode()))

    def resources(self) -> str:
        assert self.hierarchy is not None
        return " ".join(f"{known.name}:{known.unit}" for known in self.hierarchy.resources)

    def on_barrier(self, name: bytes) -> str:
        assert self.hierarchy is not None

        def hit(group: cgf.Group, amount: int) -> None:
            self.calls.append(f"barrier:{group.path}:{name.decode()}:{amount}")

        self.hierarchy.register_resource(name.decode(), on_barrier=hit)
        return ""

    def on_limit(self, name: bytes, path: bytes, frees: bytes) -> str:
        assert self.hierarchy is not None
        hierarchy = self.hierarchy

        def hit(group: cgf.Group, amount: int) -> bool:
            self.calls.append(f"limit:{group.path}:{name.decode()}:{amount}")
            if not frees.isdigit():
                return True
            if int(frees):
                hierarchy.open(path).uncharge(name.decode(), int(frees))
            return int(frees) > 0

        self.hierarchy.register_resource(name.decode(), on_limit=hit)
        return ""

    def called(self) -> str:
        calls, self.calls = self.calls, []
        return " ".join(calls)

    def charge(self, group: cgf.Group, resource: bytes, amount: bytes, severity: bytes = b"limit") -> None:
        group.charge(named(resource), int(amount), insistence(severity))

    def uncharge(self, group: cgf.Group, resource: bytes, amount: bytes) -> None:
        group.uncharge(named(resource), int(amount))

    def charge_up_to(self, group: cgf.Group, resource: bytes, amount: bytes, severity: bytes = b"limit") -> str:
        return str(group.charge_up_to(named(resource), int(amount), insistence(severity)))

    def charge_many(self, group: cgf.Group, severity: bytes, *amounts: bytes) -> None:
        group.charge_many(several(amounts), insistence(severity))

    def uncharge_many(self, group: cgf.Group, *amounts: bytes) -> None:
        group.uncharge_many(several(amounts))

    def charge_kept(self, group: cgf.Group, severity: bytes, *amounts: bytes) -> None:
        group.charge_kept(several(amounts), insistence(severity))

    def set_limits(self, group: cgf.Group, resource: bytes, barrier: bytes, limit: bytes) -> None:
        group.set_limits(named(resource), *(None if bound == b"max" else int(bound) for bound in (barrier, limit)))

    def snapshot(self, group: cgf.Group, resource: bytes) -> str:
        found = group.snapshot()[resource.decode()]
        figures = (found.held, found.maxheld, found.minheld, found.barrier, found.limit, found.failcnt)
        return " ".join("max" if figure is None else str(figure) for figure in figures)

    def underflow(self, group: cgf.Group) -> str:
        return str(group.snapshot().underflow)

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

    def spawn_in(self, group: cgf.Group, kinds: bytes, *argv: bytes) -> str:
        null = subprocess.DEVNULL
        child = group.spawn(list(argv), stdin=null, stdout=null, namespaces=kinds.decode().split(","))
        self.children.append(child)
        return str(child.pid)

    def enter(self, group: cgf.Group, kinds: bytes) -> None:
        group.enter(kinds.decode().split(","))

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


# Dictionaries and lists here, and a word of Python's own.
PYTHONS = {b"groups": b"groups_below", b"calls": b"called", b"break": b"break_checkpoint"}

# What is not about a group, or finds its own.
PLAIN = (
    *("reference", "unreference", "checkpoint", "verify", "woken", "end"),
    *("register", "resources", "on_barrier", "on_limit", "called"),
)


def descriptors() -> list[str]:
    """What our descriptors are of, a word each."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        # The one that lists them is gone by now.
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}").replace(" ", "_"))
    return found


def named(resource: bytes) -> str | int:
    return int(resource) if resource.isdigit() else resource.decode()


def several(amounts: tuple[bytes, ...]) -> dict[str | int, int]:
    pairs = [amount.split(b"=") for amount in amounts]
    return {named(resource): int(amount) for resource, amount in pairs}


def insistence(severity: bytes) -> cgf.Severity:
    return cgf.Severity[severity.decode().upper()]


def opened(args: list[bytes]) -> cgf.Hierarchy:
    """The option string as keyword arguments, which is what Python has."""
    tokens = [token.split("=", 1) for token in args[1].decode().split(",")] if args[1:] else []
    options = {token[0]: token[1] for token in tokens if len(token) == 2}
    words = [token[0] for token in tokens if len(token) == 1]
    subsystems = tuple(word for word in words if word != "flat")
    return cgf.Hierarchy(
        args[0],
        subsystems=subsystems,
        backend=options.get("backend", "auto"),  # type: ignore[arg-type]
        state=options.get("state"),
        deadline=float(options.get("deadline", "10000")) / 1000,
        flat="flat" in words,
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
        words[0] = PYTHONS.get(words[0], words[0])
        try:
            said = "ok " + encode(driver.answer(words))
        except cgf.CgfError as error:
            said = failure(error)
        sys.stdout.buffer.write(os.fsencode(said) + b"\n")
        sys.stdout.buffer.flush()


main()
