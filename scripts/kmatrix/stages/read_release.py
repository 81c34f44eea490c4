"""One release: payload → image-references → toolkits and node images → kernels, as pins, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import ValidationError

from kmatrix.decide.formats.node_kernel import (
    META_FILE,
    as_toolkit_spells,
    has_meta_file,
    kernel_of_labels,
    kernel_of_meta,
)
from kmatrix.decide.formats.payload import Toolkit, read_toolkits
from kmatrix.decide.formats.toolkit_kernels import ToolkitKernels, kernels_of_labels, read_toolkit_kernels
from kmatrix.decide.releases import Node
from kmatrix.effects.registry.client import Manifest, Registry, labels_of
from kmatrix.values.errors import CredentialError, InputError, KmatrixError, ProtocolError, UnreachableError
from kmatrix.values.matrix import Profile, mirrored
from kmatrix.values.names import Arch, ImageRef
from kmatrix.values.pins import KernelPin, Obstacle, ReleasePin

_REFERENCES = "release-manifests/image-references"
_TOOLKIT_RELEASE = "etc/driver-toolkit-release.json"
# The facts stand in the last layer of a payload and near the top of a toolkit; a few more cost nothing when they do.
_LAYERS = 6
# The next layers of a node image are its operating system, of hundreds of megabytes.
_META_LAYERS = 3


@dataclass(frozen=True)
class Unresolved:
    """The reason why a release has no pins.

    Attributes:
        error: as it was met; its text may differ from one attempt to the next.
        obstacle: the kind of fault.
        reason: one line, the same for the same fault.
        credential: the repository (HOST/PATH) that a credential is needed for, or empty.
        toolkits: those that the payload names, if it could be read.
    """

    error: KmatrixError
    obstacle: Obstacle
    reason: str
    credential: str = ""
    toolkits: tuple[ImageRef, ...] = ()


@dataclass
class _Reading:
    """What is being read: the image, for a fault's reason, and the toolkits that are known by then."""

    image: ImageRef
    toolkits: list[ImageRef] = field(default_factory=list)


def read_release(node: Node, arch: Arch, profile: Profile, registry: Registry) -> tuple[ReleasePin, ...] | Unresolved:
    """Return the pins of a release, one for each toolkit it has, or why it has none.

    Args:
        node: the release; a graph may name its payload by tag, the pins never do.
        arch: the architecture.
        profile: with overrides.
        registry: payload, toolkits and node images are read from it.

    Raises:
        InputError: a setting, such as a credential file, is malformed: no fault of the release.
    """
    reading = _Reading(mirrored(node.payload, profile.mirrors))
    try:
        return tuple(_pins(node, arch, profile, registry, reading))
    except InputError:
        raise
    except UnreachableError as error:
        # The cause changes from one attempt to the next: a time-out here, a reset there.
        reason = f"the {error.service} at {reading.image.host} could not be queried for {reading.image.repository}"
        return Unresolved(error, "unreachable", reason, "", tuple(reading.toolkits))
    except CredentialError as error:
        # Its message names a file of this machine.
        reason = f"{reading.image.repository} cannot be read without a credential that may pull from it"
        return Unresolved(error, "credential", reason, reading.image.repository, tuple(reading.toolkits))
    except KmatrixError as error:
        # It may quote the image, line ends and all.
        return Unresolved(error, "malformed", " ".join(error.message.split()), "", tuple(reading.toolkits))


def _pins(node: Node, arch: Arch, profile: Profile, registry: Registry, reading: _Reading) -> Iterator[ReleasePin]:
    named = node.payload.with_digest(registry.resolve(reading.image).digest)
    payload = _manifest(registry, mirrored(named, profile.mirrors), arch, "release payload")
    toolkits = read_toolkits(_file(registry, payload, _REFERENCES, "release payload"), str(node.version))
    reading.toolkits += [toolkit.image for toolkit in toolkits]
    for toolkit in toolkits:
        reading.image = mirrored(toolkit.image, profile.mirrors)
        manifest = _manifest(registry, reading.image, arch, "driver toolkit")
        kernels = _kernels(node, arch, profile, registry, manifest, toolkit)
        names = [name for name, _ in kernels.kernels]
        node_kernel = None
        if toolkit.os_image:
            reading.image = mirrored(toolkit.os_image, profile.mirrors)
            node_kernel = _node_kernel(registry, reading.image, arch)
        with _valid(f"release {node.version}"):
            yield ReleasePin(
                version=node.version,
                arch=arch,
                channels=node.channels,
                payload=named,
                toolkit=toolkit.image.with_digest(manifest.digest),
                rhel=kernels.rhel,
                kernels=tuple(KernelPin(release=name, flavour=flavour) for name, flavour in kernels.kernels),
                node_kernel=node_kernel and as_toolkit_spells(node_kernel, names, arch),
            )


def _kernels(
    node: Node, arch: Arch, profile: Profile, registry: Registry, manifest: Manifest, toolkit: Toolkit
) -> ToolkitKernels:
    labels = labels_of(registry.config(manifest))
    found = kernels_of_labels(labels, arch, str(toolkit.image), node.version, profile.flavours)
    if found is not None:
        return found
    text = _file(registry, manifest, _TOOLKIT_RELEASE, "driver toolkit")
    return read_toolkit_kernels(text, arch, str(toolkit.image), node.version, profile.flavours)


def _node_kernel(registry: Registry, image: ImageRef, arch: Arch) -> str | None:
    """Return the kernel that a node image states, or None where it states none."""
    manifest = _manifest(registry, image, arch, "node image")
    labels = labels_of(registry.config(manifest))
    if has_meta_file(labels):
        return kernel_of_meta(_file(registry, manifest, META_FILE, "node image", _META_LAYERS), str(image))
    return kernel_of_labels(labels)


def _manifest(registry: Registry, ref: ImageRef, arch: Arch, kind: str) -> Manifest:
    manifest = registry.manifest(ref, arch)
    if manifest is None:
        raise ProtocolError(
            f"{kind} {ref}: the registry has no such image",
            "If this site mirrors images, set `mirrors` in matrix.yaml, --mirrors or KMATRIX_MIRRORS.",
        )
    return manifest


def _file(registry: Registry, manifest: Manifest, path: str, kind: str, layers: int = _LAYERS) -> str:
    found = registry.find_file(manifest, [path], layers)
    if path not in found:
        raise ProtocolError(
            f"{kind} {manifest.ref}: {path} is not in its uppermost {layers} layers",
            f"Check that it is a {kind}; if not, leave out the release with `excludes` in matrix.yaml.",
        )
    return found[path].decode("utf-8", "replace")


@contextmanager
def _valid(what: str) -> Iterator[None]:
    """Turn a value that no pin may have into a fault of its service.

    Raises:
        ProtocolError: a value is malformed.
    """
    try:
        yield
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(map(str, detail["loc"]))
        raise ProtocolError(f"{what}: {key}: {detail['msg']}", "Report it to the release's publisher.") from error
