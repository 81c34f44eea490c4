"""Reads registries like `Registry`, and keeps answers about digests on disk, so that no later run asks again."""

from __future__ import annotations

from collections.abc import Iterable

from kmatrix.effects.net.bodies import json_in
from kmatrix.effects.registry.answers import Answers
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.manifests import Manifest, RawManifest
from kmatrix.values.names import ImageRef


class CachedRegistry(Registry):
    """Read access to every registry for facts about images, not about whether a registry still has them."""

    def __init__(self, credentials: Credentials, answers: Answers) -> None:
        """Open the connection pool.

        Args:
            credentials: for all registries.
            answers: those of earlier runs.
        """
        super().__init__(credentials)
        self._answers = answers

    def _raw_manifest(self, ref: ImageRef) -> RawManifest | None:
        kept = self._answers.content("manifest", ref.digest) if ref.digest else None
        if kept is not None:
            media_type, _, content = kept.partition(b"\n")
            return RawManifest(ref.digest, media_type.decode(), content, json_in(content, str(ref), str(ref)))
        found = super()._raw_manifest(ref)
        if found is not None:
            self._answers.keep("manifest", found.digest, found.media_type.encode() + b"\n" + found.content)
        return found

    def _config_content(self, manifest: Manifest) -> bytes:
        kept = self._answers.content("config", manifest.config)
        if kept is not None:
            return kept
        found = super()._config_content(manifest)
        self._answers.keep("config", manifest.config, found)
        return found

    def find_file(self, manifest: Manifest, names: Iterable[str], layers_from_top: int) -> dict[str, bytes]:
        """Return files of the topmost layer that holds any of `names`; see `Registry.find_file`."""
        names = sorted(names)
        key = "\0".join((str(layers_from_top), *names))
        kept = self._answers.files(manifest.digest, key)
        if kept is not None:
            return kept
        found = super().find_file(manifest, names, layers_from_top)
        if found:
            self._answers.keep_files(manifest.digest, key, found)
        return found
