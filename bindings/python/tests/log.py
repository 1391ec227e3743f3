"""A subsystem that writes down what it is told."""

from typing import Any

import cgf


class Log(cgf.Subsystem):
    """Writes down what it is told, and raises what it was asked to."""

    def __init__(self, name: str = "log", raises: dict[str, BaseException] | None = None) -> None:
        self.name = name
        self.raises = raises or {}
        self.told: list[tuple[Any, ...]] = []

    def _tell(self, what: str, *about: object) -> None:
        self.told.append((what, *about))
        if what in self.raises:
            raise self.raises[what]

    def names(self) -> list[str]:
        return [what for what, *_ in self.told]

    def mount(self, hierarchy: cgf.Hierarchy) -> None:
        self._tell("mount", hierarchy.name)

    def unmount(self, hierarchy: cgf.Hierarchy) -> None:
        self._tell("unmount", hierarchy.name)

    def create(self, group: cgf.Group) -> None:
        self._tell("create", group)

    def destroy(self, group: cgf.Group) -> None:
        self._tell("destroy", group)

    def post_clone(self, group: cgf.Group, parent: cgf.Group) -> None:
        self._tell("post_clone", group, parent)

    def can_attach(self, attach: cgf.Attach) -> None:
        self._tell("can_attach", attach)

    def can_attach_task(self, attach: cgf.Attach, tid: int) -> None:
        self._tell("can_attach_task", attach, tid)

    def cancel_attach(self, attach: cgf.Attach) -> None:
        self._tell("cancel_attach", attach)

    def pre_attach(self, attach: cgf.Attach) -> None:
        self._tell("pre_attach", attach)

    def attach_task(self, attach: cgf.Attach, tid: int) -> None:
        self._tell("attach_task", attach, tid)

    def attach(self, attach: cgf.Attach) -> None:
        self._tell("attach", attach)
