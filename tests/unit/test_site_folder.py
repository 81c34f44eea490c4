"""The folder of a site is replaced in one step; a run that was killed, and a full disk, cost nothing."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmatrix.effects.disk.site import replace_site
from kmatrix.values.errors import InputError

OLD, NEW = [("index.html", "old"), ("cells/gone.html", "old")], [("index.html", "new")]


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    replace_site(folder, OLD)
    return folder


def content(folder: Path) -> dict[str, str]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in paths}


def test_a_reader_finds_the_old_or_the_new_site_at_every_moment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rename of the replacement is preceded and followed by a look."""
    seen: list[str] = []
    rename, library = Path.rename, ctypes.CDLL(None, use_errno=True)

    def look() -> None:
        seen.append((folder / "index.html").read_text(encoding="utf-8"))

    def renamed(path: Path, target: Path) -> Path:
        look()
        moved = rename(path, target)
        look()
        return moved

    class Library:
        @staticmethod
        def renameat2(*arguments: object) -> int:
            look()
            code = int(library.renameat2(*arguments))
            look()
            return code

    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library)
    replace_site(folder, NEW)
    assert seen == ["old", "new", "new", "new"]


@pytest.mark.parametrize("code", [None, errno.EINVAL, errno.ENOSYS])
def test_a_system_that_cannot_exchange_names_replaces_it_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    class Library:
        if code is not None:

            @staticmethod
            def renameat2(*_: object) -> int:
                ctypes.set_errno(code or 0)
                return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library)
    replace_site(folder, NEW)
    assert content(folder) == {".written-by-kmatrix": "", "index.html": "new"}
    assert [path.name for path in folder.parent.iterdir()] == ["report"]


def test_what_a_killed_run_left_is_removed_by_the_next(folder: Path) -> None:
    left = folder.parent / ".report.kmatrix-abc" / "new"
    left.mkdir(parents=True)
    (left / "index.html").touch()
    (folder.parent / ".report-of-somebody").mkdir()
    replace_site(folder, NEW)
    assert sorted(path.name for path in folder.parent.iterdir()) == [".report-of-somebody", "report"]


def test_a_second_run_waits_for_the_first_and_leaves_its_files_alone(folder: Path) -> None:
    first = os.open(folder.parent, os.O_RDONLY)
    half = folder.parent / ".report.kmatrix-first"
    half.mkdir()
    began = threading.Event()

    def files() -> Iterator[tuple[str, str]]:
        began.set()
        yield from NEW

    fcntl.flock(first, fcntl.LOCK_EX)
    second = threading.Thread(target=replace_site, args=(folder, files()))
    second.start()
    try:
        assert (half.is_dir(), began.is_set()) == (True, False)
        half.rmdir()
    finally:
        os.close(first)
        second.join()
    assert content(folder)["index.html"] == "new"


def test_a_full_disk_is_an_error_with_the_next_step_and_the_old_site_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(folder)

    def full(path: Path, _: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"cannot write .*report: No space left on device") as caught:
        replace_site(folder, NEW)
    assert "Make room" in caught.value.hint
    assert content(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["report"]


def test_an_exchange_that_is_refused_leaves_the_old_site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def renameat2(*_: object) -> int:
            ctypes.set_errno(errno.EACCES)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library)
    with pytest.raises(InputError, match="Permission denied"):
        replace_site(folder, NEW)
    assert content(folder)["index.html"] == "old"
