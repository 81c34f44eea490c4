"""The judgement of a boot under Secure Boot: one good console, and every fault as one change of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509

from kmatrix.decide.formats.transcript import read_transcript
from kmatrix.decide.secure_boot import Secured, judge_secure_boot, refused_start
from kmatrix.values.boot import BootReport, End
from tests.unit.support.module_keys import module_key
from tests.unit.test_judge_boot import EXPECTED, KERNEL, cycle, section

CERTIFICATE = module_key().der
# As the lab's firmware and kernel printed it.
REFUSAL = 'BdsDxe: failed to load Boot0000 "kmatrix" from \\vmlinuz.efi: Access Denied'
KEY = "2e8226da I------     1 perm 1f010000     0     0 asymmetri {}: X509.rsa cd31a07e []"


def identifier(certificate: bytes = CERTIFICATE) -> str:
    return f"{x509.load_der_x509_certificate(certificate).serial_number:x}"


GOOD = (
    'BdsDxe: starting Boot0000 "kmatrix" from \\vmlinuz.efi\n@kmatrix init\n'
    + section("uname", KERNEL)
    + section("whole")
    + section("modprobe", "/usr/sbin/modprobe")
    + section("secure-boot", "[    0.000000] secureboot: Secure boot enabled")
    + section("securityfs")
    + section("lockdown", "none [integrity] confidentiality")
    + section("sig-enforce", "Y")
    + section("keys", KEY.format("Debian Secure Boot CA: 6ccece7e"), KEY.format(f"module key: {identifier()}"))
    + section("tainted-0", "0")
    + cycle(1).replace("(OE)", "(O)").replace("taint=OE", "taint=O").replace("12288", "4096")
    + "@kmatrix step end\n"
    + section(
        "log",
        "[    4.500000] kmatrix: step load-1",
        "[    4.600000] beegfs: loading out-of-tree module taints kernel.",
        "[    4.800000] kmatrix: step unload-1",
        "[    5.100000] kmatrix: step end",
    )
    + "@kmatrix done\n"
)


def judge(text: str, end: End = "powered-off", mounting: bool = False) -> BootReport:
    lines = tuple(text.splitlines())
    boot = Secured(read_transcript(lines), end, lines, mounting)
    return judge_secure_boot(boot, EXPECTED, CERTIFICATE)


def refused(modprobe: str, kernel: str = "") -> str:
    """Return the console of a guest whose first load fails with these words."""
    head, _, tail = GOOD.partition(section("load-1"))
    log = f"kmatrix: step load-1\n@kmatrix| [    4.550000] {kernel}" if kernel else "kmatrix: step load-1"
    rest = tail[tail.index("@kmatrix step end") :].replace("kmatrix: step load-1", log)
    return head + section("load-1", f"modprobe: ERROR: could not insert 'beegfs': {modprobe}", status=1) + rest


def test_one_signed_load_passes_and_names_the_signer() -> None:
    report = judge(GOOD)
    assert (report.verdict, report.code) == ("passed", "secure-booted"), report
    assert report.message == "loaded and unloaded under Secure Boot, signed by CN=module key"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("secureboot: Secure boot enabled", "secureboot: Secure boot disabled", "secure-boot-off"),
        ("none [integrity] confidentiality", "[none] integrity confidentiality", "lockdown-off"),
        (section("sig-enforce", "Y"), section("sig-enforce", "N"), "sig-enforce-off"),
        (identifier(), "00aa", "certificate-not-enrolled"),
        (section("keys", KEY.format("Debian Secure Boot CA: 6ccece7e")), "", "certificate-not-enrolled"),
    ],
    ids=["off", "not locked", "not enforced", "another number", "no key"],
)
def test_a_machine_that_is_not_as_wanted_is_errored_even_if_the_module_loads(old: str, new: str, code: str) -> None:
    changed = GOOD.replace(old, new) if old in GOOD else GOOD.replace(f"module key: {identifier()}", "module key: ff")
    assert changed != GOOD
    report = judge(changed)
    assert (report.verdict, report.code) == ("errored", code), report


def test_a_certificate_is_known_by_its_number_with_leading_zeros_too() -> None:
    assert judge(GOOD.replace(f": {identifier()}:", f": 00{identifier()}:")).verdict == "passed"


@pytest.mark.parametrize("name", ["secure-boot", "lockdown", "sig-enforce", "keys"])
def test_a_report_without_the_machines_state_is_errored(name: str) -> None:
    report = judge(GOOD.replace(f"@kmatrix end {name} 0\n", ""))
    assert (report.verdict, report.code) == ("errored", "report-missing")


@pytest.mark.parametrize(
    ("modprobe", "kernel", "code"),
    [
        ("Key was rejected by service", "Loading of unsigned module is rejected", "module-unsigned"),
        ("Key was rejected by service", "Loading of module with unavailable key is rejected", "module-key-unknown"),
        (
            "Key was rejected by service",
            "Loading of module with unsupported crypto is rejected",
            "module-signature-bad",
        ),
        ("Key was rejected by service", "", "module-signature-bad"),
        ("Bad message", "", "module-signature-bad"),
    ],
)
def test_a_refusal_for_the_signature_has_the_code_of_the_kernels_words(modprobe: str, kernel: str, code: str) -> None:
    report = judge(refused(modprobe, kernel), mounting=True)
    assert (report.verdict, report.code) == ("failed", code), report
    assert (kernel or modprobe) in report.message
    assert [(each.check, each.code) for each in report.findings] == [("secure-boot", code)]


def test_another_refusal_has_the_code_of_the_gate_boot_and_is_this_gates_finding() -> None:
    words = "beegfs: disagrees about version of symbol module_layout"
    report = judge(refused("Invalid argument", words))
    assert (report.verdict, report.code) == ("failed", "load-refused"), report
    assert [each.check for each in report.findings] == ["secure-boot"]


def test_a_module_whose_signature_was_not_accepted_taints_and_fails() -> None:
    report = judge(GOOD.replace("taint=O", "taint=OE"))
    assert (report.verdict, report.code) == ("failed", "taint")
    assert judge(GOOD.replace(section("tainted-1", "4096"), section("tainted-1", "12288"))).code == "taint"


def test_a_mount_that_is_missing_from_the_report_never_counts_as_good() -> None:
    report = judge(GOOD, mounting=True)
    assert (report.verdict, report.code) == ("errored", "report-missing")


def test_a_fault_of_the_mount_is_the_outcome() -> None:
    """The interface is missing, and nothing was mounted."""
    without = GOOD.replace("@kmatrix step load-1\n", "@kmatrix step interface\n" + section("interface", status=1), 1)
    text = without.replace("@kmatrix step unload-1\n", "@kmatrix step mount-1\n" + section("mount-1", status=1), 1)
    report = judge(text, mounting=True)
    assert (report.verdict, report.code) == ("errored", "mount-interface-missing"), report


def test_a_kernel_that_the_firmware_refuses_is_errored_with_the_firmwares_words() -> None:
    report = judge(f"{REFUSAL}\n", "refused")
    assert (report.verdict, report.code) == ("errored", "kernel-refused")
    assert report.message.endswith(": Access Denied")


@pytest.mark.parametrize(("end", "code"), [("no-boot", "no-boot"), ("killed", "guest-killed")])
def test_a_machine_that_does_not_come_up_says_nothing_about_the_module(end: End, code: str) -> None:
    report = judge("BdsDxe: loading Boot0000\n", end)
    assert (report.verdict, report.code) == ("errored", code)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (REFUSAL, "Access Denied"),
        (REFUSAL.replace("load", "start").replace("Access Denied", "Security Violation") + "\r", "Security Violation"),
        (REFUSAL.replace("Boot0000", "Boot0002"), ""),
        ('BdsDxe: loading Boot0000 "kmatrix" from \\vmlinuz.efi', ""),
    ],
)
def test_only_the_firmwares_words_about_the_kernel_are_a_refusal(line: str, why: str) -> None:
    assert refused_start(line) == why


def test_a_subject_key_identifier_names_a_certificate_that_has_one() -> None:
    other = module_key("with an identifier", identified=True)
    extension = other.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    text = GOOD.replace(identifier(), extension.value.digest.hex())
    lines = tuple(text.splitlines())
    boot = Secured(read_transcript(lines), "powered-off", lines, False)
    assert judge_secure_boot(boot, EXPECTED, other.der).verdict == "passed"
    assert judge_secure_boot(replace(boot, mounting=False), EXPECTED, CERTIFICATE).code == "certificate-not-enrolled"
