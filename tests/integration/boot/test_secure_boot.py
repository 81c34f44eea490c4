"""The gate secure-boot with a real firmware and a real signed kernel: a pass, and what each of them refuses.

The controls are copies of one image, whose module is unsigned, signed with another key, or changed after its signing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from kmatrix.decide.boot import Booted
from kmatrix.decide.formats.elf import read_module
from kmatrix.decide.formats.elf_form import split_signature
from kmatrix.effects.engine import Engine
from kmatrix.effects.vm.boot_files import boot_folder, remove_boot_files
from kmatrix.effects.vm.qemu import Machines
from kmatrix.stages.guests import Guests
from kmatrix.stages.secure_boot import SecureReport, boot_secured
from kmatrix.stages.subject import Subject
from kmatrix.values.module import certificate_path, module_path
from tests.integration.support.lab import Lab
from tests.integration.support.manual_boot import changed_image
from tests.integration.support.project.signing_keys import MODULES
from tests.integration.support.project.site import NEWER_CLIENT, Run, Site, SiteMaker
from tests.unit.support.module_keys import module_key, signed

DEADLINE = 60.0


@dataclass
class Bench:
    """A published image with a signed module, and copies of it with another."""

    site: Site
    run: Run
    engine: Engine
    subject: Subject
    module: bytes
    certificate: bytes

    def boot(self, module: bytes | None = None, lines: list[str] | None = None) -> SecureReport:
        """Boot the image under Secure Boot, with another module if one is given."""
        subject = self.subject
        if module is not None:
            path = module_path(subject.module.kernel)
            subject = replace(subject, image=changed_image(self.site, subject.image, files={path: module}))
        take = (lines if lines is not None else []).append
        folder = boot_folder(self.site.root)
        try:
            with Guests(self.engine, folder) as guests:
                return boot_secured(guests, Machines("tcg"), subject, self.certificate, DEADLINE, take)
        finally:
            assert not list(folder.glob("*.secure-boot"))
            remove_boot_files(folder, self.engine.run_id)


@pytest.fixture(scope="module")
def bench(lab: Lab, module_sites: SiteMaker, engine: Engine) -> Bench:
    """A cell whose build passed every gate."""
    kernel = lab.kernels.newer
    site = module_sites(kernels=[kernel], signed=[MODULES])
    run = site.run("build", "--accel", "tcg", boot=True)
    assert run.code == 0, run.stderr
    image = f"{site.target}/beegfs-client@{run.cell(f'{NEWER_CLIENT}-{kernel}')['digest']}"
    engine.pull(image, None)
    with engine.container(image) as container:
        module = engine.read_file(container, module_path(kernel))
        certificate = engine.read_file(container, certificate_path(kernel))
    assert module
    assert certificate
    facts = read_module(module)
    booted = Booted(kernel, facts.first("version") or "", facts.first("srcversion") or "")
    toolkit = lab.toolkits["newer"]
    return Bench(
        site, run, engine, Subject("secured", image, toolkit, "x86_64", booted, facts.depends), module, certificate
    )


def test_a_signed_module_passes_the_gate_and_the_firmware_started_the_kernel_itself(bench: Bench) -> None:
    (cell,) = bench.run.results["cells"]
    assert cell["gates"] == dict.fromkeys(("static", "boot", "mount", "secure-boot"), "passed")
    serial = (bench.site.root / cell["serial"]).read_text(encoding="utf-8")
    assert cell["serial"].endswith(f"{cell['cell']}.secure-boot.serial.log")
    assert 'BdsDxe: starting Boot0000 "kmatrix"' in serial
    assert "@kmatrix| none [integrity] confidentiality\n" in serial
    assert "@kmatrix step umount-1\n" in serial
    assert "@kmatrix step load-2\n" not in serial


CONTROLS: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "unsigned": (
        lambda module: split_signature(module)[0],
        "module-unsigned",
        "Loading of unsigned module is rejected",
    ),
    "another key": (
        lambda module: signed(split_signature(module)[0], module_key("nobody's")),
        "module-key-unknown",
        "Loading of module with unavailable key is rejected",
    ),
    # Within the file's own text of its description: ELF and every table stay as they are.
    "changed": (
        lambda module: module.replace(b"license=GPL", b"licence=GPL", 1),
        "module-signature-bad",
        "Key was rejected by service",
    ),
}


@pytest.mark.parametrize("fault", CONTROLS)
def test_the_kernel_refuses_a_module_for_its_signature_in_its_own_words(bench: Bench, fault: str) -> None:
    change, code, words = CONTROLS[fault]
    changed = change(bench.module)
    assert changed != bench.module
    report = bench.boot(changed).report
    assert (report.verdict, report.code) == ("failed", code), report
    assert words in report.message
    assert [finding.check for finding in report.findings] == ["secure-boot"]


def test_the_firmware_refuses_a_kernel_whose_signer_it_does_not_trust(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kmatrix.effects.vm.firmware._DISTRIBUTIONS", ("fedora",))
    lines: list[str] = []
    report = bench.boot(lines=lines).report
    assert (report.verdict, report.code) == ("errored", "kernel-refused"), report
    assert report.message.endswith(": Access Denied")
    assert not any("@kmatrix" in line for line in lines)
