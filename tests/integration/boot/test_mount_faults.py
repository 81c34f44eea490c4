"""Modules that load and unload as they should, and must not be published all the same: each fails at a mount.

Every fault goes the real way: a package of images/lab-client, a build, the gates. One run has them all, with a sound
cell among them, and a sound client on a kernel without any interface to mount with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.vm.qemu import Machines
from kmatrix.stages.boot import Boot, boot_guest
from kmatrix.stages.gates import gate as gate_module
from kmatrix.stages.guests import Guests
from kmatrix.stages.subject import Subject
from kmatrix.values.names import image_tag
from tests.integration.support.lab import Lab
from tests.integration.support.manual_boot import changed_image
from tests.integration.support.project.package_roots import PackageFolder
from tests.integration.support.project.site import NEWER_CLIENT, PROFILE, Run, Site, SiteMaker


@dataclass(frozen=True)
class Fault:
    """A fault of images/lab-client, the mount gate's code for it, and words that its reason must have.

    `of_module` is whether the module has it: such a fault is limited to one kernel, one of the template is not.
    `mounts` is whether the client mounts all the same.
    """

    name: str
    code: str
    words: str
    version: str
    of_module: bool = True
    mounts: bool = False


FAULTS = (
    Fault("mount-error", "mount-refused", "Input/output error", "7.98.21"),
    Fault("mount-hang", "mount-hang", "stays in the kernel even when killed", "8.98.22"),
    Fault("mount-oops", "mount-oops", "NULL pointer dereference", "7.98.23"),
    Fault("mount-thread-left", "threads-left", "beegfs_Flusher", "8.98.24"),
    Fault("mount-proc-left", "mount-proc-left", "/proc/fs/beegfs/", "7.98.25"),
    Fault("umount-hang", "umount-hang", "stays in the kernel even when killed", "7.98.26"),
    Fault("config-key-unknown", "config-key-unknown", "sysMountSanityCheckMS", "8.98.27", of_module=False, mounts=True),
    Fault("config-rejected", "config-rejected", "connNoSuchKey", "7.98.28", of_module=False),
)
# A quarter of it is the limit of the calls that never return.
DEADLINE = "60"
NO_INTERFACE = """
find /lib/modules -name 'dummy.ko*' -o -name 'veth.ko*' -o -name 'bridge.ko*' -o -name 'ifb.ko*' | xargs rm
for kernel in /lib/modules/*; do depmod "${kernel##*/}"; done
"""


@dataclass(frozen=True)
class Gated:
    """A build of all faults: its project, its run, and the cells of it."""

    site: Site
    run: Run
    faulty: dict[str, Fault]
    sound: str
    without_interface: str

    def serial(self, cell: str) -> str:
        """Return the output of a cell's guest that mounts."""
        return self._log(f"{cell}.serial.log").read_text(encoding="utf-8")

    def serial_without_mounts(self, cell: str) -> str:
        """Return the output of the second boot of a cell; empty if there was none."""
        log = self._log(f"{cell}.alone.serial.log")
        return log.read_text(encoding="utf-8") if log.exists() else ""

    def _log(self, name: str) -> Path:
        return self.site.root / "build" / "logs" / PROFILE / name


@pytest.fixture(scope="module")
def gated(lab: Lab, module_sites: SiteMaker, tmp_path_factory: pytest.TempPathFactory) -> Gated:
    """Package, build and gate every fault for the kernel `newer`."""
    newer, real_time = lab.kernels.newer, lab.kernels.real_time
    folder = PackageFolder(tmp_path_factory.mktemp("packages") / "release", lab)
    for fault in FAULTS:
        kernels = ("--fault-kernels", newer) if fault.of_module else ()
        folder.make("--fault", fault.name, *kernels, version=fault.version)
    clients = [NEWER_CLIENT, *(fault.version for fault in FAULTS)]
    site = module_sites(warm=False, clients=clients, kernels=[newer, real_time], packages=str(folder.root))
    faulty = {f"{fault.version}-{newer}": fault for fault in FAULTS}
    sound, without_interface = f"{FAULTS[0].version}-{real_time}", f"{NEWER_CLIENT}-{newer}"

    def on_its_kernel(guests: Guests, machines: Machines, subject: Subject, *others: Any) -> Boot:
        if subject.name == without_interface:
            subject = replace(subject, toolkit=changed_image(site, subject.toolkit, NO_INTERFACE))
        return boot_guest(guests, machines, subject, *others)

    only = [word for cell in (sound, without_interface, *faulty) for word in ("--only", cell)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate_module, "boot_guest", on_its_kernel)
        run = site.run("build", *only, "--accel", "tcg", "--boot-deadline", DEADLINE, boot=True)
    return Gated(site, run, faulty, sound, without_interface)


def the(fault: Fault) -> str:
    return fault.name


@pytest.mark.parametrize("fault", FAULTS, ids=the)
def test_a_fault_of_mounts_fails_by_the_gate_of_mounts_alone_with_a_code_of_its_own(
    gated: Gated, lab: Lab, fault: Fault
) -> None:
    cell = gated.run.cell(f"{fault.version}-{lab.kernels.newer}")
    assert cell["verdict"] == "failed", cell["reason"]
    assert cell["reason"].startswith(f"mount: {fault.code}: ")
    assert fault.words in cell["reason"]
    assert {finding["code"] for finding in cell["findings"]} == {fault.code}
    assert {finding["check"] for finding in cell["findings"]} == {"mount"}
    assert cell["gates"] == {"static": "passed", "boot": "passed", "mount": "failed"}
    assert cell["digest"] == ""


def test_a_kernel_without_an_interface_for_a_mount_is_no_verdict_on_the_client(gated: Gated) -> None:
    cell = gated.run.cell(gated.without_interface)
    assert cell["verdict"] == "errored", cell["reason"]
    assert cell["reason"].startswith("mount: mount-interface-missing: ")
    assert cell["gates"] == {"static": "passed", "boot": "passed", "mount": "errored"}
    assert cell["digest"] == ""


def test_the_boot_gate_judges_the_loading_of_a_module_whose_mounts_went_wrong_by_a_boot_without_them(
    gated: Gated,
) -> None:
    wrong = {cell for cell, fault in gated.faulty.items() if not fault.mounts}
    second = {cell: gated.serial_without_mounts(cell) for cell in (*gated.faulty, gated.sound, gated.without_interface)}
    assert {cell for cell, output in second.items() if output} == wrong
    for cell in wrong:
        assert "@kmatrix begin left-2" in second[cell]
        assert "@kmatrix done" in second[cell]
        assert "@kmatrix step mount-" not in second[cell]


def test_the_rest_is_published_after_two_mounts(gated: Gated) -> None:
    """The rest: a faulty client's cell for a kernel to which its fault is not limited."""
    cell = gated.run.cell(gated.sound)
    assert gated.run.code == 1, gated.run.stderr
    assert cell["verdict"] == "passed", cell["reason"]
    assert cell["gates"] == {"static": "passed", "boot": "passed", "mount": "passed"}
    assert gated.site.tags == {image_tag(gated.sound)}
    serial = gated.serial(gated.sound)
    for name in ("mounted-1", "held-1", "unmounted-1", "mounted-2", "unmounted-2"):
        assert f"@kmatrix begin {name}" in serial
    assert not list((gated.site.root / "build" / "boot").glob("*.cpio"))
