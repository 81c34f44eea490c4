"""Define the boot gate's values: its options, the transcript of a guest's serial line, and the report of a boot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kmatrix.values.cells import Finding
from kmatrix.values.gate_record import TestedKernel

# `refused`: the firmware of a machine with Secure Boot did not start the kernel.
End = Literal["powered-off", "deadline", "no-boot", "killed", "refused"]
# How QEMU runs the guest: with KVM, or emulated.
Accel = Literal["auto", "kvm", "tcg"]
ACCELS: tuple[Accel, ...] = ("auto", "kvm", "tcg")


@dataclass(frozen=True)
class BootOptions:
    """Options of the boot gate: the accelerator, and the seconds that init may take from its start to its end."""

    accel: Accel = "auto"
    deadline_seconds: float = 120.0


@dataclass(frozen=True)
class Section:
    """The output of one command in the guest and its exit status; None if the guest ended before it did."""

    lines: tuple[str, ...]
    status: int | None


@dataclass(frozen=True)
class Transcript:
    """A guest's serial line, read.

    Attributes:
        init_ran: whether the kernel started this project's init.
        done: whether that init finished.
        step: the step under way when the guest ended ("load-1").
        sections: by name.
        console: the kernel's own lines, from the start of the init on.
        log: the kernel log by step, as far as the guest reported it.
    """

    init_ran: bool
    done: bool
    step: str
    sections: Mapping[str, Section]
    console: tuple[str, ...]
    log: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class BootReport:
    """The outcome of a boot; the verdict `errored` says nothing about the module.

    `code` is a finding code (docs/findings.md), or for a pass `booted`, `mounted` or `secure-booted`. `kernel` is
    the kernel that answered in the guest; None where none did, or where the report is not about one boot alone.
    """

    verdict: Literal["passed", "failed", "errored"]
    code: str
    message: str
    findings: tuple[Finding, ...] = ()
    kernel: TestedKernel | None = None
