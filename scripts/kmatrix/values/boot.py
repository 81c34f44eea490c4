"""The boot gate's values: what a guest left on its serial line, and what that means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kmatrix.values.cells import Finding

End = Literal["powered-off", "deadline", "no-boot", "killed"]


@dataclass(frozen=True)
class Section:
    """The output of one command in the guest and its exit status; None if the guest ended before it did."""

    lines: tuple[str, ...]
    status: int | None


@dataclass(frozen=True)
class Transcript:
    """A guest's serial line, read.

    Attributes:
        init_ran: whether the kernel came up as far as our init.
        done: whether our init came to its end.
        step: the step under way when the guest ended ("load-1").
        sections: by name.
        console: what the kernel itself wrote on the line, from our init's start on.
        log: the kernel log by step, as far as the guest could tell it.
    """

    init_ran: bool
    done: bool
    step: str
    sections: Mapping[str, Section]
    console: tuple[str, ...]
    log: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class BootReport:
    """What a boot showed. `verdict` errored means that it says nothing about the module."""

    verdict: Literal["passed", "failed", "errored"]
    code: str
    message: str
    findings: tuple[Finding, ...] = ()
