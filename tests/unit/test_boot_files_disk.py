"""A disk that is too full for a kernel's files is named, with the next step, and no partial kernel stays."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.vm import boot_files
from kmatrix.effects.vm.boot_files import KernelFiles, kernel_files
from kmatrix.values.errors import InputError
from tests.unit.support.stand_in_engine import StandInEngine


class HasKernel(StandInEngine):
    """An engine whose toolkit has a kernel and no modules."""

    def read_tree(self, container: str, path: str) -> dict[str, bytes]:
        return {"kmatrix-boot/vmlinuz": b"kernel"}


def full(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(folder: Path) -> KernelFiles:
    return kernel_files(HasKernel(), "t@sha256:0", "k", (), folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "boot" / "k"


@pytest.mark.parametrize("what", ["Path.mkdir", "mkdtemp", "TemporaryDirectory", "unpack_kernel"])
def test_a_full_disk_is_told_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    place: Any = {"Path.mkdir": Path, "unpack_kernel": boot_files}.get(what, tempfile)
    with monkeypatch.context() as patch:
        patch.setattr(place, what.rpartition(".")[2], full)
        with pytest.raises(InputError, match="No space left on device") as caught:
            read(folder)
    assert caught.value.message.startswith(f"cannot write {folder}")
    assert "Make room" in caught.value.hint
    left = [path.name for path in folder.rglob("*") if path.is_file()]
    assert left in ([], ["vmlinuz"]), "a kernel is whole, or not there"
    assert not list(folder.rglob("run-*"))
    assert read(folder).vmlinuz.read_bytes() == b"kernel"


def test_a_place_that_something_else_has_is_told(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*/boot/k/with-interfaces: File exists") as caught:
        read(folder)
    assert "Move away" in caught.value.hint


def test_a_kernel_that_cannot_be_read_again_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = read(folder)
    files.vmlinuz.touch()
    vmlinux = files.vmlinuz.with_name("vmlinux")
    os.utime(vmlinux, (1, 1))

    def broken(_: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(InputError, match=r"Input/output error"):
        read(folder)
