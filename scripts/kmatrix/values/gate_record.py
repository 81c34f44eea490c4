"""The record of the gates that a published image has passed, for exactly one digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from kmatrix.values.cells import Finding
from kmatrix.values.names import ImageRef

# Names of gates that code beside the gates themselves refers to.
STATIC_GATE = "static"
BOOT_GATE = "boot"
MOUNT_GATE = "mount"
SECURE_BOOT_GATE = "secure-boot"
# Without these two an image is never published; a profile can leave out the others.
REQUIRED_GATES = (STATIC_GATE, BOOT_GATE)
# Those of a profile that names none; a profile that signs modules has the gate secure-boot too.
DEFAULT_GATES = (*REQUIRED_GATES, MOUNT_GATE)
GATE_NAMES = (*DEFAULT_GATES, SECURE_BOOT_GATE)


@dataclass(frozen=True)
class GatePass:
    """One gate that an image has passed: when (UTC, ISO 8601), and the version of this program that recorded it."""

    at: str
    version: str


@dataclass(frozen=True)
class RecordedModule:
    """The facts about a published module that other cells are compared with, and that reports show.

    Attributes:
        features: the feature macros that it was compiled with, sorted (`KERNEL_HAS_IDMAPPED_MOUNTS`); None if its image
            does not say.
        needs: the CRC that it demands of each symbol; 0 for one that it needs without demanding a CRC.
        namespaces: the symbol namespaces that it imports, sorted.
        licence: as its modinfo has it.
        depends: the modules that it names as needed, sorted; None in a record of an earlier version of this program.
    """

    features: tuple[str, ...] | None
    needs: Mapping[str, int]
    namespaces: tuple[str, ...]
    licence: str
    depends: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TestedKernel:
    """A kernel that an image's module was loaded in.

    Attributes:
        toolkit: the reference, by digest, of the toolkit that the kernel is from.
        vmlinuz: SHA-256 of the kernel's file in the toolkit (`sha256:<hex>`).
        release: what `uname -r` printed in the guest.
    """

    # Not a class of tests, for pytest.
    __test__: ClassVar[bool] = False

    toolkit: str
    vmlinuz: str
    release: str


@dataclass(frozen=True)
class GateRecord:
    """The gates that the image with `digest` has passed.

    Attributes:
        digest: of the image.
        name: the cell's id, or the client version of a bundle.
        cell_key: the key of the recipe that the image was built from; empty for a bundle.
        gates: by name; a gate that is not there has not been passed.
        module: None where the record does not have it: that of a bundle, or of an earlier version of this program.
        kernels: those that the gates booted, a bundle's each once; a plain record has none.
        warnings: the findings of the gates that did not decide the verdict; a plain record has none.
        revision: the commit of the repository whose program ran the gates; empty if it is not known.
    """

    digest: str
    name: str
    cell_key: str
    gates: Mapping[str, GatePass]
    module: RecordedModule | None = None
    kernels: tuple[TestedKernel, ...] = ()
    warnings: tuple[Finding, ...] = ()
    revision: str = ""


@dataclass(frozen=True)
class RecordedImage:
    """A published image, by tag and digest, with this project's record of the gates that it has passed.

    `labels` are the image's own, empty where its configuration was not read.
    """

    ref: ImageRef
    record: GateRecord
    labels: Mapping[str, str] = field(default_factory=dict)
