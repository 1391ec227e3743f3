"""`async for event in watch`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from cgf._errors import GroupVanished

if TYPE_CHECKING:
    from cgf._event import Event
    from cgf._native import Watch


class Events(AsyncIterator["Event"]):
    """The events of a watch, in the event loop of whoever asks for one."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def __anext__(self) -> Event:
        # However much happens, the loop's other tasks have their turn. A task that is
        # cancelled here or below has no event yet: none is lost.
        await asyncio.sleep(0)
        try:
            while (event := self._watch.next(0)) is None:
                await self._readable()
        except ValueError:  # The watch is closed.
            raise StopAsyncIteration from None
        except GroupVanished as error:
            if error.__cause__ is not None:  # A callback's own.
                raise
            raise StopAsyncIteration from None
        return event

    async def _readable(self) -> None:
        """Waits until there may be an event, or for as long as a `close` may go unnoticed."""
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Of our own: the number stays ours when the watch is closed, and when another
        # task waits for the same one.
        fd = os.dup(self._watch.fileno())
        try:
            loop.add_reader(fd, ready.set)
            # Not asyncio.wait_for, which in CPython 3.11 swallows a cancellation that
            # comes together with the end of its own time.
            later = loop.call_later(0.1, ready.set)
            try:
                await ready.wait()
            finally:
                later.cancel()
                loop.remove_reader(fd)
        finally:
            os.close(fd)
