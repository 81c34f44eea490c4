"""Faults of the virtual machine, not of the module: no verdict is reached, and nothing is published."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kmatrix.effects.vm.cpio import InitramfsWriter
from kmatrix.effects.vm.qemu import Guest, GuestEnd, Machines
from kmatrix.stages import boot as boot_stage
from kmatrix.stages import guests as guests_of_boots
from kmatrix.stages.guests import Guests
from kmatrix.stages.subject import Subject
from tests.integration.support.lab import Lab
from tests.integration.support.manual_boot import BootOutput, ManualBoot, at_serial_line, emulators
from tests.integration.support.project.site import NEWER_CLIENT, Site, SiteMaker


@pytest.fixture(scope="module")
def manual(lab: Lab, module_sites: SiteMaker) -> ManualBoot:
    """A sound image: tests change the machine."""
    return ManualBoot(module_sites(kernels=[lab.kernels.newer]), lab.kernels.newer)


@pytest.fixture
def site(lab: Lab, new_site: SiteMaker) -> Site:
    """A project with a cell of each of two kernels."""
    return new_site(kernels=[lab.kernels.older, lab.kernels.newer])


@pytest.fixture
def boots(monkeypatch: pytest.MonkeyPatch) -> list[GuestEnd]:
    """How each machine that was booted ended."""
    ends: list[GuestEnd] = []
    boot = Machines.boot

    def counting(
        self: Machines, guest: Guest, boot_seconds: float, seconds: float, on_line: Callable[[str], None]
    ) -> GuestEnd:
        ends.append(boot(self, guest, boot_seconds, seconds, on_line))
        return ends[-1]

    monkeypatch.setattr(Machines, "boot", counting)
    return ends


def other_guest(patch: pytest.MonkeyPatch, **files: Path | None) -> None:
    """Boot other files than the prepared ones."""
    prepare = Guests.guest

    def prepared(self: Guests, subject: Subject, *, interactive: bool = False) -> Guest:
        return replace(prepare(self, subject, interactive=interactive), **files)  # type: ignore[arg-type]

    patch.setattr(Guests, "guest", prepared)


def assert_errored(shown: BootOutput, code: str) -> None:
    assert (shown.run.code, shown.verdict, shown.code) == (3, "errored", code), shown.run.stderr


def left_behind(site: Site) -> list[str]:
    """Return machines that still run, and initramfs files."""
    return [str(each) for each in (*emulators(str(site.root)), *(site.root / "build" / "boot").glob("*.cpio"))]


def test_without_an_emulator_no_cell_is_published_and_the_way_on_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = site.run("build", "--accel", "tcg", boot=True)
    assert run.code == 3, run.stderr
    assert set(run.verdicts.values()) == {"errored"}
    for cell in run.results["cells"]:
        assert cell["reason"] == "qemu-system-x86_64 is not installed"
        log = (site.root / cell["log"]).read_text(encoding="utf-8")
        assert "`./scripts/bootstrap --arch x86_64` installs it" in log
    assert not site.tags
    assert not left_behind(site)


def test_a_machine_that_is_killed_leaves_its_cell_without_a_verdict_and_the_others_alone(
    site: Site, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = (f"{NEWER_CLIENT}-{kernel}" for kernel in (lab.kernels.older, lab.kernels.newer))

    def kill() -> None:
        (process,) = emulators(f"-{newer}.")
        os.kill(process, signal.SIGKILL)

    at_serial_line(monkeypatch, newer, "@kmatrix step load-1", kill)
    run = site.run("build", "--accel", "tcg", boot=True)
    assert run.code == 3, run.stderr
    assert run.verdicts == {older: "passed", newer: "errored"}
    assert run.cell(newer)["reason"].startswith("boot: guest-killed: ")
    assert [run.cell(cell)["gates"]["boot"] for cell in (older, newer)] == ["passed", "errored"]
    assert site.tags == {older}
    assert not left_behind(site)


def test_ctrl_c_ends_every_machine_and_nothing_is_published(
    site: Site, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def interrupt() -> None:
        if not seen:
            seen.extend(emulators(str(site.root)))
            os.kill(os.getpid(), signal.SIGINT)

    for kernel in (lab.kernels.older, lab.kernels.newer):
        at_serial_line(monkeypatch, f"{NEWER_CLIENT}-{kernel}", "@kmatrix init", interrupt)
    run = site.run("build", "--accel", "tcg", boot=True)
    assert seen
    assert run.code == 130, run.stderr
    assert not left_behind(site)
    assert not site.tags


def test_a_kernel_that_is_slow_to_reach_init_is_tried_twice(
    manual: ManualBoot, boots: list[GuestEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_stage, "BOOT_SECONDS", 0.3)
    assert_errored(manual.boot(), "no-boot")
    assert [end.end for end in boots] == ["no-boot", "no-boot"]


def test_a_root_that_the_kernel_finds_no_init_in_is_tried_twice(
    manual: ManualBoot, boots: list[GuestEnd], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "empty.cpio").open("wb") as file:
        InitramfsWriter(file).finish()
    other_guest(monkeypatch, initramfs=tmp_path / "empty.cpio")
    shown = manual.boot()
    assert_errored(shown, "no-boot")
    assert "Kernel panic" in shown.run.stderr
    assert len(boots) == 2


def test_a_file_that_is_no_kernel_gives_the_emulator_s_own_words(
    manual: ManualBoot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "vmlinuz").touch()
    other_guest(monkeypatch, vmlinuz=tmp_path / "vmlinuz", unpacked=None)
    shown = manual.boot()
    assert shown.run.code == 3
    assert re.search(r"error: QEMU failed \(1\): .*kernel", shown.run.stderr)


def test_an_unpacked_kernel_that_the_emulator_does_not_take_is_booted_as_it_came(
    manual: ManualBoot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "vmlinux").write_bytes(b"no kernel")
    other_guest(monkeypatch, unpacked=tmp_path / "vmlinux")
    shown = manual.boot()
    assert (shown.run.code, shown.code) == (0, "booted"), shown.run.stderr


def test_a_host_without_the_memory_gives_the_emulator_s_own_words(
    manual: ManualBoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests_of_boots, "_LEAST_MEMORY_MB", 200 * 2**20)
    shown = manual.boot()
    assert shown.run.code == 3
    assert re.search(r"error: QEMU failed \(1\): .*[Cc]annot (allocate|set up).*memory", shown.run.stderr)
    assert not left_behind(manual.site)


def test_a_kvm_that_hangs_costs_its_limit_and_the_boot_goes_on_without(
    manual: ManualBoot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The stand-in hangs as such a KVM does; without KVM it is the emulator itself."""
    real, path = os.environ["PATH"], tmp_path / "qemu-system-x86_64"
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *accel=kvm*) echo . >>{tmp_path}/probed; exec sleep 1000 ;; esac\n'
        f'PATH={real}\nexec qemu-system-x86_64 "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{real}")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **o: path == "/dev/kvm" or access(path, mode, **o))
    monkeypatch.setattr("kmatrix.effects.vm.qemu._PROBE_SECONDS", 0.5)
    shown = manual.boot(accel="auto")
    assert (shown.run.code, shown.code) == (0, "booted"), shown.run.stderr
    assert (tmp_path / "probed").read_text(encoding="utf-8") == ".\n"
