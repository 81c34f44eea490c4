"""Release payloads, driver toolkits and node images in memory, in the forms that real ones have.

Payloads: openshift/oc, pkg/cli/admin/release/new.go (the last layer holds release-manifests). Toolkits: the Dockerfile
of openshift/driver-toolkit (the release file is a late layer of its own; labels since 4.22). Node images: three eras,
see kmatrix.decide.formats.node_kernel.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.unit.support.fake_registry import digest, layer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
PAYLOADS, COMPONENTS = "openshift-release-dev/ocp-release", "openshift-release-dev/ocp-v4.0-art-dev"
REFERENCES = "release-manifests/image-references"
Part = Literal["payload", "toolkit", "node"]


@dataclass(frozen=True)
class MadeRelease:
    """A release to be made: its toolkit's kernel, and that of its nodes, which is the same unless stated."""

    version: str
    kernel: str
    node_kernel: str = ""
    real_time: bool = False

    @property
    def minor(self) -> int:
        """The minor version: 16 of 4.16.3."""
        return int(self.version.split(".")[1])


@dataclass(frozen=True)
class MadeImage:
    """An image: the digest of its manifest, and all its content by digest."""

    repository: str
    manifest: bytes
    config: bytes
    layers: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """The digest of its manifest."""
        return digest(self.manifest)

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """Configuration and layers."""
        return self.config, *self.layers


@dataclass(frozen=True)
class MadePayload:
    """All images of a release; `extra` is more content of its payload's last layer, by path."""

    release: MadeRelease
    images: Mapping[Part, MadeImage]


@dataclass
class Maker:
    """Makes the images of releases.

    Attributes:
        host: HOST:PORT of their registry.
        sample: a real image-references, whose other tags payloads get; None for the few that are needed.
        filling: more content of the payload's last layer, by path, e.g. the manifests of operators.
        history: bytes that the history of each image's configuration takes.
    """

    host: str
    sample: Mapping[str, Any] | None = None
    filling: Mapping[str, bytes] = field(default_factory=dict)
    history: int = 0

    def payload(
        self, release: MadeRelease, changes: Mapping[Part, Callable[[bytes], bytes]] | None = None
    ) -> MadePayload:
        """Return a release's images; `changes` are those of the manifests of toolkit and node image."""
        toolkit = self._image(COMPONENTS, [{"etc/base": b"base"}, _toolkit_files(release)], _toolkit_labels(release))
        node = self._image(COMPONENTS, *_node(release))
        changes = changes or {}
        if change := changes.get("toolkit"):
            toolkit = replace(toolkit, manifest=change(toolkit.manifest))
        if change := changes.get("node"):
            node = replace(node, manifest=change(node.manifest))
        tags = {"driver-toolkit": toolkit, _os_tag(release): node}
        references = self._references(release, {name: self._pullspec(image) for name, image in tags.items()})
        metadata = {"kind": "cincinnati-metadata-v0", "version": release.version, "previous": []}
        files = {
            **{path: content + release.version.encode() for path, content in self.filling.items()},
            REFERENCES: json.dumps(references).encode(),
            "release-manifests/release-metadata": json.dumps(metadata).encode(),
        }
        labels = {"io.openshift.release": release.version}
        payload = self._image(PAYLOADS, [{"usr/bin/cluster-version-operator": b"program"}, files], labels)
        return MadePayload(release, {"payload": payload, "toolkit": toolkit, "node": node})

    def _image(self, repository: str, layers: list[dict[str, bytes]], labels: Mapping[str, str]) -> MadeImage:
        blobs = tuple(layer(files)[1] for files in layers)
        history = [{"created_by": "x" * self.history}]
        config = {"architecture": "amd64", "os": "linux", "config": {"Labels": dict(labels)}, "history": history}
        return _of_blobs(repository, blobs, json.dumps(config).encode())

    def _pullspec(self, image: MadeImage) -> str:
        return f"{self.host}/{image.repository}@{image.digest}"

    def _references(self, release: MadeRelease, images: Mapping[str, str]) -> dict[str, Any]:
        sample = self.sample or {"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "spec": {"tags": []}}
        others = [tag for tag in sample["spec"]["tags"] if tag["name"] not in images and not _is_os(tag["name"])]
        own = [{"name": name, "from": {"kind": "DockerImage", "name": spec}} for name, spec in images.items()]
        return {**sample, "metadata": {"name": release.version}, "spec": {"tags": [*others, *own]}}


def with_top_layer(image: MadeImage, blob: bytes) -> MadeImage:
    """Return an image that was published with another topmost layer, compressed by gzip."""
    return _of_blobs(image.repository, (*image.layers[:-1], blob), image.config)


def _is_os(tag: str) -> bool:
    return "coreos" in tag or tag == "machine-os-content"


def _os_tag(release: MadeRelease) -> str:
    return "rhel-coreos" if release.minor >= 13 else "machine-os-content"


def _toolkit_files(release: MadeRelease) -> dict[str, bytes]:
    real_time = f"{release.kernel}+rt" if release.real_time else "package kernel-rt-core is not installed"
    content = {"KERNEL_VERSION": release.kernel, "RT_KERNEL_VERSION": real_time, "RHEL_VERSION": _rhel(release.kernel)}
    return {"etc/driver-toolkit-release.json": json.dumps(content).encode()}


def _toolkit_labels(release: MadeRelease) -> dict[str, str]:
    own = {"version": f"v{release.version}"}
    if release.minor < 22:
        return own
    bare = release.kernel.removesuffix(".x86_64")
    real_time = {"kernel-rt-version": bare} if release.real_time else {}
    return {**own, "rhel-stream": "9", "kernel-version": bare, **real_time}


def _rhel(kernel: str) -> str:
    return kernel.split(".el")[1].split(".")[0].replace("_", ".")


def _node(release: MadeRelease) -> tuple[list[dict[str, bytes]], dict[str, str]]:
    """Return the files of each layer of a node image, and its labels."""
    kernel = release.node_kernel or release.kernel
    files: list[dict[str, bytes]] = [{"usr/lib/os-release": b"NAME=RHCOS"}]
    labels = {"com.coreos.rpm.kernel" if release.minor < 12 else "ostree.linux": kernel}
    if release.minor >= 19:
        version, _, rest = kernel.partition("-")
        package = ["kernel-core", "0", version, rest.removesuffix(".x86_64"), "x86_64"]
        meta = {"rpmdb.pkglist": [["bash", "0", "5.1.8", "9.el9", "x86_64"], package]}
        files.append({"usr/share/openshift/base/meta.json": json.dumps(meta).encode()})
        labels = {"io.openshift.metalayer": "true", "ostree.linux": "true"}
    return files, {**labels, "version": release.version}


def _of_blobs(repository: str, blobs: tuple[bytes, ...], config: bytes) -> MadeImage:
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": len(config), "digest": digest(config)},
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": len(blob),
                "digest": digest(blob),
            }
            for blob in blobs
        ],
    }
    return MadeImage(repository, json.dumps(manifest, indent=3).encode(), config, blobs)
