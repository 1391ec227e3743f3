"""A file system that answers nobody: who opens a file on it sleeps so that the
kernel cannot freeze it, until the file system is taken away."""

import ctypes
import os
import select
import struct
from pathlib import Path

_INIT = 26
_MNT_DETACH = 2


class Stuck:
    """Mounted on a directory from its making until `let_go`."""

    def __init__(self, directory: Path) -> None:
        self._directory = os.fsencode(directory)
        self._server: int | None = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self.file = directory / "file"
        options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % self._server
        _checked(_libc.mount(b"cgf-stuck", self._directory, b"fuse", 0, options))
        opcode, unique = self._request()
        assert opcode == _INIT
        # Version 7.31 and no features; the lengths are those of fuse_init_out.
        body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0)
        os.write(self._server, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)

    def wait_for_victim(self) -> None:
        """Returns when somebody waits for an answer."""
        self._request()

    def let_go(self) -> None:
        """Whoever waits gets an error and goes on."""
        if self._server is not None:
            os.close(self._server)
            self._server = None
            _checked(_libc.umount2(self._directory, _MNT_DETACH))

    def _request(self) -> tuple[int, int]:
        assert self._server is not None
        ready, _, _ = select.select([self._server], [], [], 10)
        assert ready, "nobody came within 10 seconds"
        _, opcode, unique = struct.unpack_from("<IIQ", os.read(self._server, 1 << 17))
        return opcode, unique


_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
