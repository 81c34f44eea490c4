"""The evidence of a boot: which kernel file was booted, and the release that answered in the guest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmatrix.decide.boot import Booted
from kmatrix.effects.vm.boot_files import KernelFiles
from kmatrix.effects.vm.qemu import Guest, Machines
from kmatrix.stages import boot as boot_stage
from kmatrix.stages import guests
from kmatrix.stages.boot import boot_image
from kmatrix.stages.subject import Subject
from kmatrix.values.boot import BootReport
from kmatrix.values.errors import InputError
from kmatrix.values.gate_record import TestedKernel
from kmatrix.values.names import digest_of
from tests.unit.support.stand_in_engine import StandInEngine

TOOLKIT = f"quay.io/okd/driver-toolkit@sha256:{'a' * 64}"
SUBJECT = Subject("cell", "sha256:1", TOOLKIT, "x86_64", Booted("6.1.0-56-amd64", "8.98.1", "S"), ())
ANSWER = ("@kmatrix init", "@kmatrix begin uname", "@kmatrix| 6.1.0-56-amd64", "@kmatrix end uname 0", "@kmatrix done")


@pytest.fixture
def booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BootReport]:
    """Boot a kernel file, with a guest that prints these lines."""
    vmlinuz = tmp_path / "vmlinuz"
    vmlinuz.write_bytes(b"a kernel")
    files = KernelFiles(vmlinuz, tmp_path / "modules", tmp_path / "interfaces", tmp_path / "vmlinux")
    monkeypatch.setattr(guests, "kernel_files", lambda *_: files)
    monkeypatch.setattr(guests, "write_initramfs", lambda *_: 1)
    monkeypatch.setattr(boot_stage, "judge_boot", lambda *_: BootReport("passed", "booted", "loaded"))

    def boot(*lines: str) -> BootReport:
        def run(_: Guest, __: float, ___: float, take: Callable[[str], None]) -> Any:
            for line in lines:
                take(line)
            return SimpleNamespace(end="powered-off")

        machines = cast("Machines", SimpleNamespace(boot=run))
        return boot_image(StandInEngine("a1"), machines, SUBJECT, tmp_path, 1.0, lambda _: None)

    return boot


def test_a_report_has_the_kernel_file_and_the_release_that_answered(booted: Callable[..., BootReport]) -> None:
    assert booted(*ANSWER).kernel == TestedKernel(TOOLKIT, digest_of(b"a kernel"), "6.1.0-56-amd64")


def test_a_guest_that_names_no_release_is_no_evidence(booted: Callable[..., BootReport]) -> None:
    assert booted("@kmatrix init", "@kmatrix done").kernel is None


def test_a_kernel_file_that_cannot_be_read_ends_the_boot(booted: Callable[..., BootReport], tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").unlink()
    with pytest.raises(InputError, match="vmlinuz"):
        booted(*ANSWER)
    assert not list(tmp_path.glob("*.cpio"))
