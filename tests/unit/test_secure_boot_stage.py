"""A boot under Secure Boot from its files to its report, with stand-ins for engine, firmware and machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.decide.boot import Booted
from kmatrix.effects.vm.boot_files import KernelFiles
from kmatrix.effects.vm.firmware import Firmware
from kmatrix.effects.vm.qemu import Guest, GuestEnd
from kmatrix.stages import guests as guests_of_boots
from kmatrix.stages import secure_boot
from kmatrix.stages.guests import Guests
from kmatrix.stages.secure_boot import SecureReport, boot_secured
from kmatrix.stages.subject import Subject
from kmatrix.values.errors import ToolError
from kmatrix.values.mount import MountSetup
from tests.unit.support.module_keys import module_key
from tests.unit.support.stand_in_engine import StandInEngine
from tests.unit.test_judge_boot import EXPECTED
from tests.unit.test_judge_secure_boot import GOOD, REFUSAL
from tests.unit.test_pe import image

KERNEL = EXPECTED.kernel
SUBJECT = Subject("cell", "sha256:1", f"r.example/toolkit@sha256:{'a' * 64}", "x86_64", EXPECTED, ("ib_core",))


class Machine:
    """Prints a console, and notes what the guests had.

    `seen` are their disks' files, `written` the mounts of each initramfs, and `arguments` the kernels' command lines.
    """

    def __init__(self) -> None:
        self.console, self.end = GOOD, "powered-off"
        self.guests: list[Guest] = []
        self.seen: list[dict[str, bytes]] = []
        self.written: list[MountSetup | None] = []
        self.arguments: list[str] = []

    def boot(self, guest: Guest, _: float, __: float, on_line: Callable[[str], None]) -> GuestEnd:
        self.guests.append(guest)
        assert guest.secure_boot
        paths = (guest.secure_boot.variables, *guest.secure_boot.disk.iterdir())
        self.seen.append({path.name: path.read_bytes() for path in paths})
        for line in self.console.splitlines():
            on_line(line)
        return GuestEnd(cast("Any", self.end), "")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "vmlinuz").write_bytes(image())
    (kept / "variables.fd").write_bytes(b"enrolled")
    files = KernelFiles(kept / "vmlinuz", kept, kept, kept / "vmlinux")

    made = Machine()

    def write(*arguments: Any) -> int:
        made.written.append(arguments[6])
        return int(arguments[4].write_bytes(b"root"))

    def variables(*arguments: Any) -> Path:
        made.arguments.append(arguments[3])
        return kept / "variables.fd"

    monkeypatch.setattr(guests_of_boots, "kernel_files", lambda *_: files)
    monkeypatch.setattr(guests_of_boots, "write_initramfs", write)
    monkeypatch.setattr(secure_boot, "find_firmware", lambda: Firmware(Path("code.fd"), Path("vars.fd")))
    monkeypatch.setattr(secure_boot, "enrolled_variables", variables)
    return made


def boot(machine: Machine, folder: Path, subject: Subject = SUBJECT, certificate: bytes = b"") -> SecureReport:
    with Guests(StandInEngine("a1"), folder) as guests:
        return secured(machine, guests, subject, certificate or module_key().der)


def secured(machine: Machine, guests: Guests, subject: Subject, certificate: bytes) -> SecureReport:
    return boot_secured(guests, cast("Any", machine), subject, certificate, 60.0, lambda _: None)


def test_the_firmware_gets_the_kernel_as_it_is_and_variables_of_the_guests_own(
    machine: Machine, tmp_path: Path
) -> None:
    found = boot(machine, tmp_path)
    assert (found.report.verdict, found.report.code) == ("passed", "secure-booted")
    assert found.kernel
    assert (found.kernel.release, found.kernel.toolkit) == (KERNEL, SUBJECT.toolkit)
    (guest,) = machine.guests
    assert (guest.unpacked, guest.initramfs, guest.memory_mb) == (None, None, 512)
    assert machine.seen == [{"variables.fd": b"enrolled", "vmlinuz.efi": image(), "initramfs": b"root"}]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"], "nothing of the guest stays"
    assert [line.partition(" -- ")[2] for line in machine.arguments] == ["secure-boot"], "init is told"


def test_the_boot_shares_the_initramfs_of_the_other_gates_and_leaves_it_whole(machine: Machine, tmp_path: Path) -> None:
    mounting = replace(SUBJECT, mount=MountSetup("a = b", 10))
    with Guests(StandInEngine("a1"), tmp_path) as guests:
        shared = guests.guest(mounting).initramfs
        assert shared
        secured(machine, guests, mounting, module_key().der)
        assert machine.written == [mounting.mount]
        assert shared.read_bytes() == b"root"
        guests.guest(SUBJECT)
        assert machine.written == [mounting.mount, None]
        assert shared.read_bytes() == b"root", "another subject has a file of its own"
    assert not [*tmp_path.glob("*.cpio")]


def test_a_refused_kernel_is_not_tried_again(machine: Machine, tmp_path: Path) -> None:
    machine.console, machine.end = REFUSAL, "refused"
    found = boot(machine, tmp_path)
    assert (found.report.verdict, found.report.code, found.kernel) == ("errored", "kernel-refused", None)
    assert len(machine.guests) == 1


def test_a_machine_that_does_not_come_up_is_started_once_more(machine: Machine, tmp_path: Path) -> None:
    machine.console, machine.end = "", "no-boot"
    assert boot(machine, tmp_path).report.code == "no-boot"
    assert len(machine.guests) == 2


def test_an_unsigned_kernel_is_not_booted(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "kept" / "vmlinuz").write_bytes(image(size=0))
    report = boot(machine, tmp_path).report
    assert (report.verdict, report.code) == ("errored", "kernel-unsigned")
    assert not machine.guests


def test_another_architecture_or_no_certificate_boots_nothing(machine: Machine, tmp_path: Path) -> None:
    assert boot(machine, tmp_path, replace(SUBJECT, arch="aarch64")).report.code == "secure-boot-arch"
    nothing = secured(machine, Guests(StandInEngine("a1"), tmp_path), SUBJECT, b"")
    assert (nothing.report.verdict, nothing.report.code) == ("errored", "certificate-missing")
    assert not machine.guests


def test_a_failure_leaves_nothing_of_the_guest(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> int:
        raise ToolError("no busybox", "Install one.")

    monkeypatch.setattr(guests_of_boots, "write_initramfs", fail)
    with pytest.raises(ToolError):
        boot(machine, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_another_kernel_than_the_cells_is_a_fault(machine: Machine, tmp_path: Path) -> None:
    other = replace(SUBJECT, module=Booted("6.12", EXPECTED.version, EXPECTED.srcversion))
    assert boot(machine, tmp_path, other).report.code == "wrong-kernel-booted"
