"""How the bundle of a client version ended; what `build/bundles.json` holds of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from kmatrix.values.cells import Finding, Verdict
from kmatrix.values.names import Arch


@dataclass(frozen=True)
class BundleImage:
    """The bundle of one architecture.

    `kernels` has, oldest first, the compressed bytes of each kernel's own layer: what a node pulls for one more
    kernel; `bytes` are those of all layers; `toolkit_bytes` those of the newest kernel's toolkit,
    0 where its registry did not tell.
    """

    arch: Arch
    digest: str
    bytes: int
    kernels: dict[str, int]
    toolkit_bytes: int


@dataclass(frozen=True)
class BundleResult:
    """How one bundle ended.

    `image` is its name in the registry and `digest` what that name has there: a manifest, or a list of them where
    there are several architectures; empty where nothing was published. `missing` are the cells of the plan that are
    not in it, because they are not published; `dropped` the kernels that the published bundle has and this one has not.
    `kept` has the kernels that were taken over from the published bundle, as nothing says that they may go, each with
    the reason why its cell's image did not bring it.
    `modules` has, by kernel, the image from which Kernel Module Management takes the kernel's module, named by digest;
    it is empty where the bundle is not published, and of a bundle that an earlier version of this program published.
    It is also empty where something is wrong with these images alone. Then the bundle is published all the same, has
    its `digest`, and is errored, with a finding of the check `module-images`.
    `seen` is when the registry last told that it has `digest` (UTC, ISO 8601). A run that published nothing leaves that
    and what it says of the published bundle as they were: `image`, `digest`, `kernels`, `arches`, `images`, `modules`.
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
    dropped: tuple[str, ...] = ()
    kept: dict[str, str] = field(default_factory=dict)
    images: tuple[BundleImage, ...] = ()
    findings: tuple[Finding, ...] = ()
    modules: dict[str, str] = field(default_factory=dict)
    seen: str = ""

    @property
    def is_published(self) -> bool:
        """Whether `image` has `digest` in the registry, and every kernel of it was booted."""
        return bool(self.digest) and self.verdict != "failed"
