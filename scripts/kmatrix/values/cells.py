"""A cell, the findings about it, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kmatrix.values.names import Arch, ClientVersion, Flavour, ImageRef, image_tag
from kmatrix.values.text import plain_line

Verdict = Literal["passed", "failed", "errored", "skipped"]


@dataclass(frozen=True)
class Cell:
    """One (client version, kernel release): the unit that is built, checked and published.

    `toolkit` is pinned by digest; `releases` are the OpenShift releases that run this kernel, oldest
    first; `stream` is the RHEL major of the kernel (el9), which picks the vendor's packages.
    """

    client: ClientVersion
    kernel: str
    arch: Arch
    flavour: Flavour
    stream: str
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

    `code` is stable and machine-readable (`crc-mismatch`); `check` names the group of checks (`symbols`); `message` is
    one human-readable line; `expected` and `actual` are the two sides, empty where there is none.
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
    """The result of one cell, as build/results.json has it.

    `next_step` is a sentence on how to fix the reason; empty where no error had one. `arch`, `flavour` and `stream`
    (the RHEL major, el9) are those of the kernel.
    `image` is the name in the registry, `digest` the manifest's digest there (empty if not pushed), `image_id`
    the container engine's id of the image that was tested; `stages` are seconds; `log` and `serial` (the guest's
    console) are relative to the project.
    `gates` has the verdict of each gate that was run, or that a record beside the published image says was passed;
    `gates_at` the time of the last pass of each. A gate that is in neither has not been run.
    `vmlinuz` is the SHA-256 of the kernel file that the image was booted with (`sha256:<hex>`), empty if it was not.
    `warnings` are findings that did not decide the verdict. `features` are the feature macros that the module was
    compiled with, None where they are not known. `abi` identifies the symbols that the module needs with their CRCs, so
    that cells with one value have interchangeable modules; `reusable_from` are the published cells of the same client
    whose modules would load in this kernel, None where no run compared them. Nothing is published by either.
    `labels` are the image's own OCI labels (see `labels.reported_labels`), empty if they are not known. `depends` are
    the in-tree modules that the module needs, `symbols` is how many kernel symbols it needs, and `namespaces` are the
    symbol namespaces that it imports; None where they are not known.
    `signed` is whether the published image has a signature by the profile's image key, or by both keys while one
    replaces the other; None if no run asked; `attestations` are the kinds that are known to be attached
    (`attestation.KINDS`).
    `at` is when the run reached the verdict.
    `seen` is when the registry last reported that it has `digest`, or that it has none; `pushed` when a run of this
    project pushed it. Times are UTC in ISO 8601, and empty where they are not known. A run that did not look leaves
    them as they were.
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
    gates: dict[str, Verdict] = field(default_factory=dict)
    gates_at: dict[str, str] = field(default_factory=dict)
    image_id: str = ""
    srcversion: str = ""
    at: str = ""
    seen: str = ""
    pushed: str = ""
    next_step: str = ""
    arch: str = ""
    flavour: str = ""
    stream: str = ""
    warnings: tuple[Finding, ...] = ()
    features: tuple[str, ...] | None = None
    abi: str = ""
    reusable_from: tuple[str, ...] | None = None
    vmlinuz: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    depends: tuple[str, ...] | None = None
    symbols: int | None = None
    namespaces: tuple[str, ...] | None = None
    signed: bool | None = None
    attestations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Keep the reason, the next step and the text of the module and the image as one plain line each."""
        for name in ("reason", "next_step", "srcversion"):
            object.__setattr__(self, name, plain_line(getattr(self, name)))
        for name in ("depends", "namespaces"):
            texts = getattr(self, name)
            object.__setattr__(self, name, None if texts is None else tuple(map(plain_line, texts)))
        lines = {plain_line(name): plain_line(text) for name, text in self.labels.items()}
        object.__setattr__(self, "labels", lines)
