"""The initramfs archive, read back by the kernel's own description of the form (buffer-format.rst)."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from dataclasses import dataclass

from kmatrix.effects.vm.cpio import InitramfsWriter

_HEADER = 110
_FIELDS = 13


@dataclass(frozen=True)
class Entry:
    """An entry as the kernel reads it."""

    name: str
    inode: int
    mode: int
    links: int
    device: tuple[int, int]
    content: bytes


def written(fill: Callable[[InitramfsWriter], None]) -> list[Entry]:
    """Return every entry up to the trailer, after which there must be nothing."""
    file = io.BytesIO()
    writer = InitramfsWriter(file)
    fill(writer)
    writer.finish()
    data, at, entries = file.getvalue(), 0, list[Entry]()
    while True:
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        digits = data[at + 6 : at + _HEADER]
        assert digits == digits.upper()
        fields = [int(digits[8 * i : 8 * i + 8], 16) for i in range(_FIELDS)]
        inode, mode, uid, gid, links, _, size, *_, major, minor, name_size, check = fields
        assert (uid, gid, check) == (0, 0, 0)
        name = data[at + _HEADER : at + _HEADER + name_size]
        assert name.endswith(b"\0")
        start = at + _HEADER + name_size
        padding = -start % 4
        assert not data[start : start + padding].strip(b"\0")
        start += padding
        content = data[start : start + size]
        assert len(content) == size
        at = start + size
        padding = -at % 4
        assert data[at : at + padding] == b"\0" * padding
        at += padding
        if name == b"TRAILER!!!\0":
            assert at == len(data)
            return entries
        entries.append(Entry(name[:-1].decode(), inode, mode, links, (major, minor), content))


def archive_of(*members: tuple[tarfile.TarInfo, bytes]) -> tarfile.TarFile:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return tarfile.open(fileobj=io.BytesIO(file.getvalue()))


def member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, linkname, mode
    return made


def copied(*members: tuple[tarfile.TarInfo, bytes]) -> dict[str, Entry]:
    def fill(writer: InitramfsWriter) -> None:
        with archive_of(*members) as archive:
            for each in archive:
                writer.add_member(each, archive, each.name.strip("/"))

    return {entry.name: entry for entry in written(fill)}


def test_a_file_is_read_back_whatever_its_length() -> None:
    contents = {f"file-{length}{'n' * length}": b"x" * length for length in range(6)}

    def fill(writer: InitramfsWriter) -> None:
        for name, content in contents.items():
            writer.add_file(name, content, 0o640)

    found = {entry.name: entry for entry in written(fill)}
    assert {name: found[name].content for name in contents} == contents
    assert {found[name].mode for name in contents} == {stat.S_IFREG | 0o640}


def test_parents_come_before_what_is_in_them_and_once() -> None:
    def fill(writer: InitramfsWriter) -> None:
        writer.add_file("a/b/c", b"")
        writer.add_file("a/b/d", b"")
        writer.add_folder("a/b", 0o700)

    names = [entry.name for entry in written(fill)]
    assert names == ["a", "a/b", "a/b/c", "a/b/d", "dev", "dev/console"]


def test_what_came_first_at_a_path_stays() -> None:
    """The image's own /init must not take the place of ours."""

    def fill(writer: InitramfsWriter) -> None:
        writer.add_file("init", b"ours", 0o755)
        writer.add_file("init", b"another")
        writer.add_link("init", "/bin/sh")

    entries = [entry for entry in written(fill) if entry.name == "init"]
    assert [entry.content for entry in entries] == [b"ours"]
    assert entries[0].mode == stat.S_IFREG | 0o755


def test_a_link_has_its_target_as_content() -> None:
    found = copied((member("sbin", tarfile.SYMTYPE, "usr/sbin"), b""))
    assert (found["sbin"].mode, found["sbin"].content) == (stat.S_IFLNK | 0o777, b"usr/sbin")


def test_the_second_name_of_a_file_becomes_a_link_from_the_root() -> None:
    found = copied((member("usr/bin/one"), b"content"), (member("usr/bin/two", tarfile.LNKTYPE, "usr/bin/one"), b""))
    assert found["usr/bin/one"].content == b"content"
    assert (found["usr/bin/two"].mode, found["usr/bin/two"].content) == (stat.S_IFLNK | 0o777, b"/usr/bin/one")


def test_a_name_that_is_no_text_keeps_its_bytes() -> None:
    """File names are bytes to Linux; tarfile passes on those that are no UTF-8 as lone surrogates."""
    name = os.fsdecode(b"caf\xe9")
    file = io.BytesIO()
    writer = InitramfsWriter(file)
    with archive_of((member(name), b"x"), (member("second", tarfile.SYMTYPE, name), b"")) as archive:
        for each in archive:
            writer.add_member(each, archive, each.name)
    assert file.getvalue().count(b"caf\xe9") == 2


def test_folders_and_files_of_an_image_keep_their_mode() -> None:
    found = copied((member("tmp/", tarfile.DIRTYPE, mode=0o1777), b""), (member("./usr/run", mode=0o4755), b"x"))
    assert found["tmp"].mode == stat.S_IFDIR | 0o1777
    assert next(e.mode for name, e in found.items() if name.endswith("usr/run")) == stat.S_IFREG | 0o4755


def test_devices_of_an_image_and_its_root_are_left_out() -> None:
    nodes = [(member("null", tarfile.CHRTYPE), b""), (member("pipe", tarfile.FIFOTYPE), b"")]
    found = copied((member("./", tarfile.DIRTYPE), b""), *nodes)
    assert set(found) == {"dev", "dev/console"}


def test_process_1_has_a_console() -> None:
    console = written(lambda _: None)[-1]
    assert (console.name, console.mode, console.device) == ("dev/console", stat.S_IFCHR | 0o600, (5, 1))


def test_each_entry_is_a_file_of_its_own() -> None:
    """Two with one number would be one file to the kernel if they had more than one link."""

    def fill(writer: InitramfsWriter) -> None:
        for name in "abc":
            writer.add_file(name, b"")

    entries = written(fill)
    assert len({entry.inode for entry in entries}) == len(entries)
    assert {entry.links for entry in entries} == {1}
