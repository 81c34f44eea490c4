"""Files of the boot gate belong to one run: those of a dead run are removed, those of a live run stay."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.decide.boot import Booted
from kmatrix.effects.engine import Engine
from kmatrix.effects.vm.boot_files import KernelFiles, remove_boot_files, run_prefix
from kmatrix.stages import guests as guests_of_boots
from kmatrix.stages.guests import Guests
from kmatrix.stages.subject import Subject
from kmatrix.values.errors import InputError
from kmatrix.values.mount import MountSetup
from tests.unit.support.stand_in_engine import StandInEngine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of boots; an initramfs holds the name of its image."""

    def write(_engine: object, image: str, _kernel: str, _files: object, target: Path, *_: object) -> int:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(image, encoding="utf-8")
        return 1

    boots = tmp_path / "build" / "boot"
    monkeypatch.setattr(
        guests_of_boots,
        "kernel_files",
        lambda *_: KernelFiles(boots / "vmlinuz", boots / "modules", boots / "interfaces"),
    )
    monkeypatch.setattr(guests_of_boots, "write_initramfs", write)
    return boots


def engine(run_id: str) -> Engine:
    return StandInEngine(run_id)


def subject(image: str) -> Subject:
    return Subject("8.3.1-k", image, f"t@sha256:{'a' * 64}", "x86_64", Booted("k", "8.3.1", "S"), ())


def test_two_runs_boot_each_its_own_image_of_a_cell(folder: Path) -> None:
    with Guests(engine("b2"), folder) as others:
        with Guests(engine("a1"), folder) as guests:
            first = guests.guest(subject("sha256:first")).initramfs
            second = others.guest(subject("sha256:second")).initramfs
            assert first
            assert second
            assert first.read_text() == "sha256:first"
        assert not first.exists()
        assert second.read_text() == "sha256:second"
    assert list(folder.iterdir()) == []


def test_every_guest_of_other_content_has_a_file_of_its_own(folder: Path) -> None:
    plain = subject("sha256:a")
    others = [replace(plain, mount=MountSetup("", seconds)) for seconds in (1, 2)]
    with Guests(engine("a1"), folder) as guests:
        made = [guests.guest(each) for each in (plain, *others)] + [guests.guest(plain, interactive=True)]
        assert [guest.interactive for guest in made] == [False, False, False, True]
        assert len({guest.initramfs for guest in made}) == len(made) == len(list(folder.iterdir()))
        assert guests.guest(others[0]) is made[1]
    assert list(folder.iterdir()) == []


def test_a_dead_runs_files_are_removed_and_a_live_runs_and_complete_kernels_stay(folder: Path) -> None:
    dead = Guests(engine("a1"), folder).guest(subject("sha256:dead")).initramfs
    live = Guests(engine("b2"), folder).guest(subject("sha256:live")).initramfs
    kernel = folder / "0123" / "k" / "alone" / "vmlinuz"
    staging = folder / "0123" / "k" / f"{run_prefix('a1')}x" / "modules" / "ib_core.ko"
    for path in (kernel, staging):
        path.parent.mkdir(parents=True)
        path.touch()
    remove_boot_files(folder, "a1")
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted([kernel, cast("Path", live)])
    assert dead != live
    assert not staging.parents[1].exists()


def test_where_nothing_was_booted_there_is_nothing_to_remove(tmp_path: Path) -> None:
    remove_boot_files(tmp_path / "boot", "a1")


def test_a_full_disk_is_reported_with_the_path_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*arguments: Any) -> int:
        arguments[4].parent.mkdir(parents=True, exist_ok=True)
        arguments[4].write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(guests_of_boots, "write_initramfs", write)
    with pytest.raises(InputError, match=r"cannot write .*8\.3\.1-k\.1\.cpio: No space left") as caught:
        Guests(engine("a1"), folder).guest(subject("sha256:x"))
    assert "room" in caught.value.hint
    assert list(folder.iterdir()) == []
