"""Modules that pass every static check and still must not be published: each does harm only once it is loaded.

One run boots them all, with sound cells among them: every fault is a client version of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.labs import Lab
from integration.package_roots import PackageFolder
from integration.sites import NEWER_CLIENT, Run, Site, SiteMaker
from kmatrix.values.names import image_tag

pytestmark = pytest.mark.engine


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
DEADLINE = "30"


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
    """The rest: a sound client's cell, and a faulty client's for a real-time kernel, which it has no fault for."""
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
    assert {name: run.cell(name)["booted"] for name in run.verdicts} == {
        **dict.fromkeys(sound, True),
        **dict.fromkeys(faulty, False),
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
