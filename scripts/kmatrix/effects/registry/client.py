"""Reads an image registry over its HTTP interface: manifests, configurations, single files out of layers.

Protocol: the OCI distribution specification and Docker's registry API v2, token authentication included. All content
that is requested by digest is compared with it, so no proxy or mirror on the path has to be trusted.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Set
from typing import Any, cast

import requests

from kmatrix.decide.formats.image_paths import LayerView, find_files
from kmatrix.effects.net.bodies import json_in
from kmatrix.effects.net.encodings import DOCUMENT_BYTES, FILE_BYTES, content_of
from kmatrix.effects.registry.layers import read_layer
from kmatrix.effects.registry.manifests import Manifest as Manifest
from kmatrix.effects.registry.manifests import Named as Named
from kmatrix.effects.registry.manifests import RawManifest, is_list, manifest_of, of_platform
from kmatrix.effects.registry.pages import Pages
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import ARCHES, GO_ARCH, Arch, ImageRef, digest_of

_OTHER = (
    "A proxy between this machine and the registry changes the content, or the registry's storage is damaged: "
    "pull the image manually to find out which."
)


class Registry(Pages):
    """Read access to every registry, with one set of credentials; safe to share between threads."""

    def manifest(self, ref: ImageRef, arch: Arch) -> Manifest | None:
        """Return the manifest of an image for `arch`, or None if the registry reports that there is no such image.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be determined.
        """
        raw = self._raw_manifest(ref)
        if raw is None:
            return None
        if not is_list(raw):
            return manifest_of(ref, raw)
        digest = of_platform(ref, raw, arch)
        if digest is None:
            raise ProtocolError(
                f"{ref}: its manifest list has no image for {arch}", f"Name an image that is also built for {arch}."
            )
        return self._listed(ref, digest, arch)

    def _listed(self, ref: ImageRef, digest: str, arch: Arch) -> Manifest:
        """Return the manifest that a list names; its absence does not mean that the image was never published."""
        found = self.manifest(ref.with_digest(digest), arch)
        if found is None:
            raise ProtocolError(
                f"{ref}: the registry reports that {digest} does not exist, but the image's manifest list names it",
                "Push or mirror the image again, and exclude manifests that a list names from the registry's clean-up.",
            )
        return found

    def named(self, ref: ImageRef) -> Named | None:
        """Return the digest and manifests behind a name, or None if the registry reports that there is no such name.

        A list that lacks an architecture is not an error, unlike one that cannot be read.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be determined completely.
        """
        raw = self._raw_manifest(ref)
        if raw is None:
            return None
        if not is_list(raw):
            manifest = manifest_of(ref, raw)
            built_for = self.config(manifest).get("architecture")
            return Named(raw.digest, {arch: manifest for arch in ARCHES if GO_ARCH[arch] == built_for})
        found: dict[Arch, Manifest] = {}
        for arch in ARCHES:
            digest = of_platform(ref, raw, arch)
            if digest is None:
                continue
            found[arch] = self._listed(ref, digest, arch)
        return Named(raw.digest, found)

    def resolve(self, ref: ImageRef) -> ImageRef:
        """Return `ref` pinned to the digest its tag names now (a manifest list keeps its own digest).

        Raises:
            ProtocolError: the registry has no such image.
            UnreachableError, CredentialError: it could not be determined.
        """
        if ref.digest:
            return ref
        raw = self._raw_manifest(ref)
        if raw is None:
            raise ProtocolError(f"{ref}: the registry has no such image", "Check the name and the tag.")
        return ref.with_digest(raw.digest)

    def config(self, manifest: Manifest) -> dict[str, Any]:
        """Return an image's configuration (its labels are under config.Labels)."""
        return json_in(self._config_content(manifest), f"{manifest.config} of its registry", str(manifest.ref))

    def _config_content(self, manifest: Manifest) -> bytes:
        def read(response: requests.Response) -> bytes:
            content = content_of(response, manifest.config.removeprefix("sha256:"), DOCUMENT_BYTES)
            found = digest_of(content)
            if found != manifest.config:
                raise ProtocolError(
                    f"{manifest.ref}: the registry sent a configuration whose digest is {found}", _OTHER
                )
            return content

        return self._fetch(manifest.ref, f"blobs/{manifest.config}", read)

    def labels(self, manifest: Manifest) -> Mapping[str, str]:
        """Return an image's labels."""
        return labels_of(self.config(manifest))

    def raw_manifest(self, ref: ImageRef) -> RawManifest | None:
        """Return the manifest, or the list of manifests, that a tag or digest names; None if there is no such name.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be determined.
        """
        return self._raw_manifest(ref)

    def content(self, ref: ImageRef, path: str, digest: str = "", limit: int = FILE_BYTES) -> bytes | None:
        """Return the bytes that a repository has at a path, or None if the registry says there are none.

        They are not compared with a digest: the caller judges them.

        Args:
            ref: the repository.
            path: `manifests/` and a tag, or `blobs/` and a digest.
            digest: of the bytes that are meant, where it is known.
            limit: the largest number of bytes that they may have.

        Raises:
            TooLargeError: they are more.
            UnreachableError, CredentialError, ProtocolError: the registry could not be queried.
        """
        meant = digest.removeprefix("sha256:")
        return self._fetch_or_none(ref, path, lambda response: content_of(response, meant, limit))

    def find_file(self, manifest: Manifest, names: Iterable[str], layers_from_top: int) -> dict[str, bytes]:
        """Return files of the topmost layer that holds any of `names` (paths without a leading slash).

        Layers are read one at a time from the top, at most `layers_from_top`, each to its end: only then can its
        content be compared with its digest. Links are followed, and a file that a layer removes is not
        read from a layer below it. An empty result means that none of the names exists.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be determined.
        """

        def read(layer: tuple[str, str, int], wanted: Set[str]) -> LayerView:
            digest, _, size = layer
            name = f"{manifest.ref.repository}@{digest}"

            def view(response: requests.Response) -> LayerView:
                encoding = response.headers.get("content-encoding", "identity").strip().lower()
                if encoding not in ("", "identity"):
                    # Rare, and read at once: the digest decides whether the body or its decoded form is the layer.
                    raw: Any = io.BytesIO(content_of(response, digest.removeprefix("sha256:")))
                else:
                    raw = response.raw
                return read_layer(raw, wanted, name, digest, size)

            return self._fetch(manifest.ref, f"blobs/{digest}", view)

        return find_files(manifest.layers[::-1][:layers_from_top], names, read, str(manifest.ref))

    def _raw_manifest(self, ref: ImageRef) -> RawManifest | None:
        def read(response: requests.Response) -> RawManifest:
            # A tag names no digest, but the registry states which manifest it meant to send.
            meant = ref.digest or response.headers.get("docker-content-digest", "")
            content = content_of(response, meant.removeprefix("sha256:"), DOCUMENT_BYTES)
            found = digest_of(content)
            if meant.startswith("sha256:") and found != meant:
                raise ProtocolError(f"{ref}: the registry sent a manifest whose digest is {found}, not {meant}", _OTHER)
            parsed = json_in(content, response.url, str(ref))
            # A manifest may omit its own media type; then the registry's header has it.
            media_type = parsed.get("mediaType") or response.headers.get("content-type", "")
            return RawManifest(found, str(media_type), content, parsed)

        return self._fetch_or_none(ref, f"manifests/{ref.digest or ref.tag or 'latest'}", read)


def labels_of(config: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the labels in an image's configuration."""
    run = config.get("config")
    labels = run.get("Labels") if isinstance(run, dict) else None
    return cast("dict[str, str]", labels) if isinstance(labels, dict) else {}
