"""Writes an initramfs: a cpio archive in the `newc` format (the kernel's early-userspace/buffer-format.rst)."""

from __future__ import annotations

import stat
import tarfile
from typing import IO

_CONSOLE = (5, 1)


class InitramfsWriter:
    """Adds entries to an initramfs; missing parents are created, a path that exists is not added again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._number = 0
        self._known: set[str] = set()

    def add_file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Add a regular file at `path` (without a leading slash)."""
        self._entry(path, stat.S_IFREG | mode, content)

    def add_link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._entry(path, stat.S_IFLNK | 0o777, _encoded(target))

    def add_folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder unless it exists."""
        self._entry(path, stat.S_IFDIR | mode, b"")

    def add_member(self, member: tarfile.TarInfo, archive: tarfile.TarFile, path: str) -> None:
        """Add an entry of a tar archive as `path`; devices and the like are skipped, as the guest creates its own."""
        if not path or path == ".":
            return
        if member.isdir():
            self.add_folder(path, member.mode)
        elif member.issym():
            self.add_link(path, member.linkname)
        elif member.islnk():
            # A symbolic link to the file's first name, because a stream cannot be read twice.
            self.add_link(path, f"/{member.linkname.strip('/')}")
        elif member.isfile():
            file = archive.extractfile(member)
            self.add_file(path, file.read() if file else b"", member.mode)

    def finish(self) -> None:
        """Add the console of process 1, and the archive's end."""
        self._entry("dev/console", stat.S_IFCHR | 0o600, b"", _CONSOLE)
        self._write("TRAILER!!!", 0, b"", (0, 0))

    def _entry(self, path: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        parent = path.rpartition("/")[0]
        if parent and parent not in self._known:
            self.add_folder(parent)
        if path in self._known:
            return
        self._known.add(path)
        self._write(path, mode, content, device)

    def _write(self, path: str, mode: int, content: bytes, device: tuple[int, int]) -> None:
        self._number += 1
        name = _encoded(path) + b"\0"
        fields = (self._number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._file.write(_padded(header + name))
        self._file.write(_padded(content))


def _encoded(name: str) -> bytes:
    # As tarfile passes on the bytes of a name that are not UTF-8.
    return name.encode("utf-8", "surrogateescape")


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
