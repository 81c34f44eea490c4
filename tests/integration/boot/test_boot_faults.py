"""Modules that pass every static check and must not be published all the same: each does harm once it is loaded.

One run boots them all, with sound cells among them: every fault is a client version of its own. A second run has
faults that the static checks find, put into the image after them.
"""

from __future__ import annotations

from collections.abc import Callable
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
from tests.integration.support.manual_boot import changed_image, vmlinuz_of
from tests.integration.support.project import damaged_modules
from tests.integration.support.project.build_cache import module_of
from tests.integration.support.project.package_roots import PackageFolder
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT, Run, Site, SiteMaker
from tests.integration.support.session import Session


@dataclass(frozen=True)
class Fault:
    """A fault of images/lab-client, the boot gate's code for it, and words that its reason must have."""

    name: str
    code: str
    words: str
    version: str

    def cell(self, kernel: str) -> str:
        """The faulty cell of a kernel."""
        return f"{self.version}-{kernel}"


FAULTS = (
    Fault("init-error", "init-failed", "Invalid argument", "7.98.11"),
    Fault("init-oops", "oops", "NULL pointer dereference", "7.98.12"),
    Fault("init-hang", "hang", "load-1", "7.98.13"),
    Fault("init-panic", "panic", "beegfs: fault init-panic", "7.98.14"),
    Fault("init-warn", "log-dirty", "WARNING: CPU: 0", "7.98.15"),
    Fault("exit-proc-leak", "leak", "/proc/fs/beegfs", "7.98.16"),
    Fault("held-reference", "unload-refused", "Module beegfs is in use", "7.98.17"),
)
# A loop in init is told from a slow machine by this limit alone; the others end long before.
DEADLINE = "60"


def run_with_every_fault(lab: Lab, new_site: SiteMaker, release: Path, sound: list[str]) -> tuple[Site, Run]:
    """Build and boot a project with every fault for the kernel `newer`, and these sound cells beside them."""
    folder = PackageFolder(release, lab)
    for fault in FAULTS:
        folder.make("--fault", fault.name, "--fault-kernels", lab.kernels.newer, version=fault.version)
    kernels = [lab.kernels.newer, lab.kernels.real_time]
    clients = [NEWER_CLIENT, *(fault.version for fault in FAULTS)]
    site = new_site(warm=False, clients=clients, kernels=kernels, packages=str(folder.root))
    cells = [*sound, *(fault.cell(lab.kernels.newer) for fault in FAULTS)]
    only = [word for cell in cells for word in ("--only", cell)]
    return site, site.run("build", *only, "--accel", "tcg", "--boot-deadline", DEADLINE, boot=True)


def test_faults_that_only_a_kernel_shows_each_fail_with_a_code_of_their_own_and_the_rest_is_published(
    lab: Lab, new_site: SiteMaker, tmp_path: Path
) -> None:
    """The rest: a sound client's cell, and a faulty client's cell for a real-time kernel, where it has no fault."""
    newer, real_time = lab.kernels.newer, lab.kernels.real_time
    sound = [f"{NEWER_CLIENT}-{newer}", FAULTS[0].cell(real_time)]
    site, run = run_with_every_fault(lab, new_site, tmp_path / "release", sound)

    assert run.code == 1, run.stderr
    faulty = {fault.cell(newer): fault for fault in FAULTS}
    assert run.verdicts == {**dict.fromkeys(sound, "passed"), **dict.fromkeys(faulty, "failed")}, run.stderr
    codes = {name: {finding["code"] for finding in run.cell(name)["findings"]} for name in faulty}
    assert codes == {name: {fault.code} for name, fault in faulty.items()}
    for name, fault in faulty.items():
        assert run.cell(name)["reason"].startswith(f"boot: {fault.code}: ")
        assert fault.words in run.cell(name)["reason"]
    assert {name: run.cell(name)["gates"] for name in run.verdicts} == {
        **{name: {"static": "passed", "boot": "passed", "mount": "passed"} for name in sound},
        **{name: {"static": "passed", "boot": "failed"} for name in faulty},
    }

    assert site.tags == {image_tag(name) for name in sound}
    digests = {name: site.registry.digest(site.repository, image_tag(name)) for name in sound}
    assert {name: run.cell(name)["digest"] for name in run.verdicts} == {**digests, **dict.fromkeys(faulty, "")}

    serial = {name: (site.root / run.cell(name)["serial"]).read_text(encoding="utf-8") for name in run.verdicts}
    assert {name for name, said in serial.items() if "@kmatrix done" in said} >= set(sound)
    for name, said in serial.items():
        assert f"@kmatrix| {run.cell(name)['kernel']}\n" in said
        assert "@kmatrix step load-1" in said
        assert run.cell(name)["stages"]["boot"] > 0
    assert not list((site.root / "build" / "boot").glob("*.cpio"))


def test_what_the_static_checks_find_the_kernel_finds_too_and_the_rest_is_published(
    lab: Lab, new_site: SiteMaker, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fault is put into its cell between the static checks and the boot."""
    older, newer, real_time = lab.kernels.older, lab.kernels.newer, lab.kernels.real_time
    site = new_site(clients=[OLDER_CLIENT, NEWER_CLIENT], kernels=[older, newer, real_time])

    def with_module(kernel: str, content: Callable[[], bytes]) -> Callable[[Subject], Subject]:
        path = f"/opt/lib/modules/{kernel}/extra/beegfs.ko"
        return lambda subject: replace(subject, image=changed_image(site, subject.image, files={path: content()}))

    def with_the_kernel_of_a_sibling(subject: Subject) -> Subject:
        other = {f"/lib/modules/{real_time}/vmlinuz": vmlinuz_of(lab, "newer", newer)}
        return replace(subject, toolkit=changed_image(site, subject.toolkit, files=other))

    faults: dict[str, tuple[str, str, Callable[[Subject], Subject]]] = {
        f"{NEWER_CLIENT}-{newer}": (
            "load-refused",
            "disagrees about version of symbol",
            with_module(newer, lambda: module_of(session, NEWER_CLIENT, older)),
        ),
        f"{NEWER_CLIENT}-{older}": (
            "load-refused",
            "disagrees about version of symbol register_filesystem",
            with_module(
                older,
                lambda: damaged_modules.with_crc_changed(
                    module_of(session, NEWER_CLIENT, older), "register_filesystem"
                ),
            ),
        ),
        f"{OLDER_CLIENT}-{newer}": ("dependency-missing", "rdma_cm", lambda subject: replace(subject, depends=())),
        f"{OLDER_CLIENT}-{older}": (
            "modprobe-missing",
            "modprobe",
            lambda subject: replace(
                subject, image=changed_image(site, subject.image, "rm -f /sbin/modprobe /usr/sbin/modprobe")
            ),
        ),
        f"{NEWER_CLIENT}-{real_time}": ("wrong-kernel-booted", newer, with_the_kernel_of_a_sibling),
    }
    sound = f"{OLDER_CLIENT}-{real_time}"

    def exchanged(guests: Guests, machines: Machines, subject: Subject, *arguments: Any) -> Boot:
        put_in = faults[subject.name][2] if subject.name in faults else lambda subject: subject
        return boot_guest(guests, machines, put_in(subject), *arguments)

    monkeypatch.setattr(gate_module, "boot_guest", exchanged)
    run = site.run("build", "--accel", "tcg", boot=True)

    assert run.code == 1, run.stderr
    assert run.verdicts == {sound: "passed", **dict.fromkeys(faults, "failed")}, run.stderr
    found = {name: [finding["code"] for finding in run.cell(name)["findings"]] for name in faults}
    assert found == {name: [code] for name, (code, _, _) in faults.items()}
    for name, (_, words, _) in faults.items():
        assert words in run.cell(name)["reason"]
    assert site.tags == {image_tag(sound)}
