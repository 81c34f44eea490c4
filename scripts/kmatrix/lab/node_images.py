"""The lab's OS images: small stand-ins that state the node's kernel as those of OpenShift's releases do.

No node boots from them; a release names them beside its toolkits. The forms, and where each was read:

- `rpm-label`, up to 4.11: the label `com.coreos.rpm.kernel` has the kernel release of the nodes. coreos-assembler sets
  `com.coreos.rpm.<package>=<EVR>.<arch>` for a few packages and writes `/pkglist.txt` (src/oscontainer.py); real values
  are in docs/faq.md of openshift/os: `com.coreos.rpm.kernel=4.18.0-305.17.1.el8_4.x86_64`. The image's tag in a
  release is `machine-os-content`.
- `ostree-label`, 4.12 to 4.18: the label `ostree.linux` has the kernel release, as `uname -r` prints it. libostree
  finds it below usr/lib/modules (src/libostree/ostree-repo-os.c, METADATA_KEY_LINUX), and ostree-rs-ext makes a label
  of it (ostree-ext/src/container/encapsulate.rs in containers/bootc).
- `meta-layer`, from 4.19 on: with the label `io.openshift.metalayer=true`, the last layer has `META`, a list of the
  packages (Containerfile and scripts/generate-metadata of openshift/os: `rpmdb.pkglist`, each name, epoch, version,
  release and architecture; the epoch is the number 0 where a package has none, else text). Before packages were added
  above the base image, that image's own `ostree.linux` shows through.
- `meta-layer-below`, some of 4.22 and 5.0: the same with a further layer on top, usr/share/buildinfo; the Containerfile
  sets `ostree.linux=true` there, which is no kernel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kmatrix.values.names import Arch

NodeForm = Literal["rpm-label", "ostree-label", "meta-layer", "meta-layer-below"]
META = "usr/share/openshift/base/meta.json"
# The root of images of the engine's own architecture; for another one an image without files is.
SCRATCH = "scratch"
_EXTENSIONS = "usr/share/rpm-ostree/extensions.json"
_BUILD_INFO = "usr/share/buildinfo/labels.json"


@dataclass(frozen=True)
class ImageDefinition:
    """An image to build: its Dockerfile, the files that it copies by path, its labels."""

    dockerfile: str
    files: Mapping[str, bytes]
    labels: Mapping[str, str]


def node_image(
    kernel: str, form: NodeForm, stream_class: str, arch: Arch = "x86_64", root: str = SCRATCH
) -> ImageDefinition:
    """Return the OS image of nodes that run a kernel.

    Args:
        kernel: what `uname -r` prints on the node. Debian's names have no rpm architecture, so in the list of packages
            version and release alone are the kernel release: `6.1.0` and `56-amd64`.
        form: how the image states it.
        stream_class: the label `io.openshift.os.streamclass` (rhel-9), which the machine-config-operator reads
            (pkg/osimagestream).
        arch: of the node.
        root: the image that it is built on.
    """
    if form == "rpm-label":
        packages = {"pkglist.txt": f"kernel-{kernel}\n".encode()}
        return _image(
            [packages], root, {"com.coreos.rpm.kernel": kernel, "com.coreos.rpm.systemd": f"239-45.el8_4.3.{arch}"}
        )
    tree = {f"usr/lib/modules/{kernel}/README": b"A stand-in: this is where a node has its kernel.\n"}
    labels = {"ostree.linux": kernel, "ostree.bootable": "true", "containers.bootc": "1"}
    if form == "ostree-label":
        return _image([tree], root, labels)
    labels |= {"io.openshift.metalayer": "true", "io.openshift.os.streamclass": stream_class}
    layers = [tree, {META: json.dumps({"rpmdb.pkglist": _packages(kernel, arch)}).encode()}]
    if form == "meta-layer-below":
        labels["ostree.linux"] = "true"
        layers.append({_BUILD_INFO: b'{"name": "openshift/ose-rhel-coreos"}\n'})
    return _image(layers, root, labels)


def extensions_image(kernel: str, stream_class: str, root: str = SCRATCH) -> ImageDefinition:
    """Return the image of extensions that a release names beside an OS image: RPM packages, of which this has none.

    Its labels are those that the machine-config-operator tells it from an OS image by (pkg/osimagestream).
    """
    labels = {"io.openshift.os.extensions": "true", "io.openshift.os.streamclass": stream_class}
    return _image([{_EXTENSIONS: json.dumps({"kernel-devel": kernel}).encode()}], root, labels)


def _packages(kernel: str, arch: Arch) -> list[list[str | int]]:
    version, _, release = kernel.partition("-")
    return [
        ["bash", 0, "5.1.8", "9.el9", arch],
        ["kernel", 0, version, release, arch],
        ["kernel-core", 0, version, release, arch],
        ["kernel-modules-core", 0, version, release, arch],
        ["shadow-utils", "2", "4.9", "10.el9", arch],
    ]


def _image(layers: list[dict[str, bytes]], root: str, labels: Mapping[str, str]) -> ImageDefinition:
    """Return an image with one layer for each group of files, the last one on top."""
    files = {f"layer{index}/{path}": text for index, layer in enumerate(layers) for path, text in layer.items()}
    copies = "".join(f"COPY layer{index}/ /\n" for index in range(len(layers)))
    return ImageDefinition(f"FROM {root}\n{copies}", files, labels)
