"""Define the outcome of a client version's bundle, as `build/bundles.json` holds it."""

from __future__ import annotations

from dataclasses import dataclass, field

from kmatrix.values.cells import Finding, Verdict
from kmatrix.values.names import Arch


@dataclass(frozen=True)
class BundleImage:
    """The bundle of one architecture.

    `kernels` has, oldest first, the compressed bytes of each kernel's own layer, which a node pulls for one more
    kernel; `bytes` are those of all layers; `toolkit_bytes` those of the newest kernel's toolkit, 0 if unknown.
    """

    arch: Arch
    digest: str
    bytes: int
    kernels: dict[str, int]
    toolkit_bytes: int


@dataclass(frozen=True)
class BundleResult:
    """The outcome of one bundle.

    `image` is its name in the registry and `digest` that of its manifest, or of its manifest list for several
    architectures; empty if nothing was published. `missing` are the cells of the plan that it lacks because they are
    not published; `lacking` those that it lacks although they are published, each with the gates that its record lacks;
    `dropped` the kernels that the published bundle has and this one lacks. `kept` has the kernels taken over from the
    published bundle, as no rule drops them, each with the reason why its cell's image did not provide it.
    `modules` has, by kernel, the image from which Kernel Module Management takes the kernel's module, named by digest;
    it is empty if the bundle is not published, and also if these images alone are at fault. The bundle is then
    published all the same, has its `digest`, and is errored, with a finding of the check `module-images`.
    `seen` is when the registry last reported `digest` (UTC, ISO 8601). A run that published nothing leaves it, and the
    facts of the published bundle, unchanged: `image`, `digest`, `kernels`, `arches`, `images`, `modules`.
    """

    client: str
    image: str
    verdict: Verdict
    reason: str
    digest: str = ""
    kernels: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    lacking: dict[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    kept: dict[str, str] = field(default_factory=dict)
    images: tuple[BundleImage, ...] = ()
    findings: tuple[Finding, ...] = ()
    modules: dict[str, str] = field(default_factory=dict)
    seen: str = ""

    @property
    def is_published(self) -> bool:
        """Whether `image` has `digest` in the registry, and each of its kernels was booted."""
        return bool(self.digest) and self.verdict != "failed"
