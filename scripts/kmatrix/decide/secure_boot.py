"""Judge a boot under Secure Boot: the machine, what the kernel made of the module's signature, the load, the mount."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from kmatrix.decide.boot import Booted, judge_boot
from kmatrix.decide.guest_report import no_boot, root_incomplete, section_lines, section_status
from kmatrix.decide.mount import judge_mount, mount_began
from kmatrix.values.boot import BootReport, End, Transcript
from kmatrix.values.cells import Finding
from kmatrix.values.gate_record import SECURE_BOOT_GATE

_ROUNDS = ("1",)
# The one entry that the machine's firmware has (effects/vm/secure_boot.py); edk2 prints this for an image that it does
# not load or start (MdeModulePkg/Library/UefiBootManagerLib/BmBoot.c).
_NOT_STARTED = re.compile(r"BdsDxe: failed to (?:load|start) Boot0000 .*?: ([A-Z][A-Za-z ]+)$")
# The kernel's words about a signature (kernel/module/signing.c, module_sig_check; before 5.13 kernel/module.c).
_REJECTED = (
    ("module-unsigned", "Loading of unsigned module is rejected"),
    ("module-key-unknown", "Loading of module with unavailable key is rejected"),
    ("module-signature-bad", "Loading of module with unsupported crypto is rejected"),
)
# A signature that does not fit the file has no line in the kernel's log: these are the texts of the errors that
# crypto/asymmetric_keys gives for one (EKEYREJECTED, EBADMSG).
_BAD = re.compile(r"could not insert '?beegfs'?: (Key was rejected by service|Bad message)")
# Debian's and Red Hat's kernels (their patch of arch/x86/kernel/setup.c, efi_set_secure_boot) and others say it so.
_SECURE = re.compile(r"[Ss]ecure boot enabled")
# Documentation: security/lockdown/lockdown.c, the file that it makes in securityfs.
_LOCKED = re.compile(r"\[(integrity|confidentiality)\]")


@dataclass(frozen=True)
class Secured:
    """How a boot under Secure Boot went.

    `lines` are those of the serial console; `mounting` is whether the guest was to mount the file system.
    """

    transcript: Transcript
    end: End
    lines: tuple[str, ...]
    mounting: bool


def refused_start(line: str) -> str:
    """Return why the firmware did not start the kernel, if a line of the console says that; else an empty string."""
    found = _NOT_STARTED.search(line.rstrip())
    return found[1] if found else ""


def judge_secure_boot(boot: Secured, expected: Booted, certificate: bytes) -> BootReport:
    """Return the report of a boot under Secure Boot; the first fault gives its code.

    A machine that is not as wanted makes it errored: that says nothing about the module.

    Args:
        boot: how it went.
        expected: the cell's kernel and the facts of its module file.
        certificate: of the module's signature (DER), which the firmware trusts.
    """
    transcript = boot.transcript
    if not transcript.init_ran:
        return _not_started(boot)
    unfit = _machine(transcript, certificate)
    if unfit:
        return unfit
    report = _signature(transcript) or judge_boot(transcript, boot.end, expected, _ROUNDS, trusted=True)
    if boot.mounting and mount_began(transcript):
        mounted = judge_mount(transcript, boot.end, _ROUNDS)
        # A fault of a mount spoils the rest of the report.
        report = report if mounted.verdict == "passed" else mounted
    elif boot.mounting and report.verdict == "passed":
        report = _errored("report-missing", "the guest's report lacks its mount")
    if report.verdict != "passed":
        return of_gate(report)
    done = "loaded, mounted, unmounted and unloaded" if boot.mounting else "loaded and unloaded"
    return BootReport("passed", "secure-booted", f"{done} under Secure Boot, signed by {_subject(certificate)}")


def of_gate(report: BootReport) -> BootReport:
    """Return a report with its findings as this gate's."""
    return replace(report, findings=tuple(replace(each, check=SECURE_BOOT_GATE) for each in report.findings))


def _not_started(boot: Secured) -> BootReport:
    why = next(filter(None, map(refused_start, boot.lines)), "")
    if why:
        return _errored("kernel-refused", f"the firmware does not start the toolkit's vmlinuz: {why}")
    return no_boot(boot.end)


def _machine(transcript: Transcript, certificate: bytes) -> BootReport | None:
    """Return the report of a machine that does not enforce signatures, or does not know the certificate."""
    if section_status(transcript, "whole") not in (0, None):
        return root_incomplete()
    for name in ("secure-boot", "lockdown", "sig-enforce", "keys"):
        if section_status(transcript, name) is None:
            return _errored("report-missing", f"the guest's report lacks {name}")
    lockdown, enforced = (" ".join(section_lines(transcript, name)) for name in ("lockdown", "sig-enforce"))
    words = section_lines(transcript, "secure-boot")
    if not any(_SECURE.search(line) for line in words):
        said = " / ".join(words) or "nothing in its log"
        return _errored("secure-boot-off", f"the kernel does not find Secure Boot enabled: {said}")
    if not _LOCKED.search(lockdown):
        said = lockdown or "no /sys/kernel/security/lockdown"
        return _errored("lockdown-off", f"the kernel is not locked down under Secure Boot: {said}")
    if enforced != "Y":
        return _errored(
            "sig-enforce-off", f"the kernel does not enforce signatures of modules: {enforced or 'nothing'}"
        )
    if not _is_known(certificate, section_lines(transcript, "keys")):
        message = f"the kernel does not know the certificate of {_subject(certificate)}, which the firmware has in db"
        return _errored("certificate-not-enrolled", message)
    return None


def _is_known(certificate: bytes, keys: Iterable[str]) -> bool:
    """Return whether the kernel's list of keys has a certificate.

    It names one by its subject key identifier, or else by its serial number, some kernels without leading zeros
    (crypto/asymmetric_keys/x509_public_key.c, x509_key_preparse).
    """
    # Here: qemu.py imports this module in runs without certificates too, and it takes 8 MB of memory.
    from cryptography import x509

    parsed = x509.load_der_x509_certificate(certificate)
    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        wanted = found.value.digest.hex()
    except x509.ExtensionNotFound:
        wanted = f"{parsed.serial_number:x}"
    names = (word.lstrip("0") for line in keys for word in re.findall(r": ([0-9a-f]+): X509", line))
    return wanted.lstrip("0") in names


def _signature(transcript: Transcript) -> BootReport | None:
    """Return the report of a module that the kernel refuses for its signature."""
    if section_status(transcript, "load-1") in (0, None):
        return None
    log = transcript.log.get("load-1", ())
    for code, words in _REJECTED:
        line = next((line for line in log if words in line), "")
        if line:
            return _failed(code, line)
    found = _BAD.search(" / ".join(section_lines(transcript, "load-1")))
    return _failed("module-signature-bad", found[1]) if found else None


def _failed(code: str, words: str) -> BootReport:
    message = f"the kernel refuses the module's signature: {words}"
    return BootReport("failed", code, message, (Finding(SECURE_BOOT_GATE, code, message, "a load", words),))


def _errored(code: str, message: str) -> BootReport:
    return BootReport("errored", code, message)


def _subject(certificate: bytes) -> str:
    from cryptography import x509

    return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
