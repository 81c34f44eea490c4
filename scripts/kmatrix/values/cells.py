"""A cell, what was found out about it, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kmatrix.values.names import Arch, ClientVersion, Flavour, ImageRef, image_tag
from kmatrix.values.text import plain_line

Verdict = Literal["passed", "failed", "errored", "skipped"]


@dataclass(frozen=True)
class Cell:
    """One (client version, kernel release): the unit that is built, checked and published.

    `toolkit` is pinned by digest; `releases` are the OpenShift releases that run this kernel, oldest
    first; `line` is the RHEL line of the kernel (el9), which picks the vendor's packages.
    """

    client: ClientVersion
    kernel: str
    arch: Arch
    flavour: Flavour
    line: str
    toolkit: ImageRef
    releases: tuple[str, ...]

    @property
    def id(self) -> str:
        """The one spelling used in paths, logs, tests and reports."""
        return f"{self.client}-{self.kernel}"

    @property
    def tag(self) -> str:
        """The cell's image tag."""
        return image_tag(self.id)


@dataclass(frozen=True)
class Finding:
    """One observation of a check.

    `code` is stable and for programs (`crc-mismatch`); `check` names the gate (`symbols`); `message` is
    one line for people; `expected` and `actual` are the two sides, empty where there is none.
    """

    check: str
    code: str
    message: str
    expected: str = ""
    actual: str = ""

    def __post_init__(self) -> None:
        """Keep text of modules, images and logs as one plain line each."""
        for name in ("code", "message", "expected", "actual"):
            object.__setattr__(self, name, plain_line(getattr(self, name)))


@dataclass(frozen=True)
class CellResult:
    """How one cell ended; what `build/results.json` holds per cell.

    `next_step` is what to do about the reason, in a sentence; empty where no error told one.
    `image` is the name in the registry, `digest` the manifest's digest there (empty if not pushed), `image_id`
    the engine's id of the image that was tested; `booted` is whether its module was loaded in its own kernel;
    `stages` are seconds; `log` and `serial` (the guest's console) are relative to the project.
    `seen` is when the registry last told that it has `digest`, or that it has none; `booted_at` when the module was
    last loaded; both UTC in ISO 8601, empty where that is not known. A run that did not look leaves both as they were.
    """

    cell: str
    client: str
    kernel: str
    releases: tuple[str, ...]
    verdict: Verdict
    reason: str
    image: str = ""
    digest: str = ""
    findings: tuple[Finding, ...] = ()
    stages: dict[str, float] = field(default_factory=dict)
    log: str = ""
    serial: str = ""
    booted: bool = False
    image_id: str = ""
    srcversion: str = ""
    seen: str = ""
    booted_at: str = ""
    next_step: str = ""

    def __post_init__(self) -> None:
        """Keep the reason, what to do, and what a module says of itself, as one plain line each."""
        for name in ("reason", "next_step", "srcversion"):
            object.__setattr__(self, name, plain_line(getattr(self, name)))
