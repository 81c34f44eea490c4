"""Reads an image registry over its HTTP interface: manifests, configurations, single files out of layers.

Protocol: the OCI distribution specification and Docker's registry API v2, token authentication included. Everything
that is asked for by digest is compared with it, whoever stands between here and the registry.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from typing import Any, TypeVar, cast
from urllib.parse import urljoin, urlsplit

import requests

from kmatrix.decide.formats.image_paths import LayerView, find_files
from kmatrix.effects.net import http
from kmatrix.effects.registry.auth import Authorizations, NotReadableError
from kmatrix.effects.registry.challenges import Challenge, parse_challenges
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.encodings import content_of
from kmatrix.effects.registry.grants import Grant, headers_of
from kmatrix.effects.registry.layers import read_layer
from kmatrix.effects.registry.manifests import ACCEPT, RawManifest, digest_of, is_list, manifest_of, of_platform
from kmatrix.effects.registry.manifests import Manifest as Manifest
from kmatrix.effects.registry.manifests import Named as Named
from kmatrix.effects.registry.own_words import words_of
from kmatrix.values.errors import KmatrixError, ProtocolError, UnreachableError
from kmatrix.values.names import ARCHES, GO_ARCH, Arch, ImageRef

_SERVICE = "image registry"
_OTHER = "Something between here and the registry changes what it sends, or its storage is damaged: pull it by hand."
_UNKNOWN = "Ask that address with curl: if it is a proxy's, set the address of the registry itself."
T = TypeVar("T")


class Registry:
    """Read access to every registry, with one set of credentials; safe to share between threads."""

    def __init__(self, credentials: Credentials, pushes_to: str = "") -> None:
        """Open it.

        Args:
            credentials: for all registries.
            pushes_to: HOST/PATH below which this run pushes. Where a registry does not tell there what is not there yet
                from what is not to be read, it is asked for the right to push: with it, it tells, and Quay makes the
                repository. Nothing of the kind is asked for elsewhere.
        """
        self._session = http.new_session()
        self._authorizations = Authorizations(credentials)
        self._given: set[tuple[str, str]] = set()
        self._pushes_to = f"{pushes_to.rstrip('/')}/" if pushes_to else ""

    def manifest(self, ref: ImageRef, arch: Arch) -> Manifest | None:
        """Return the manifest of an image for `arch`, or None if the registry says there is none.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be told.
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
        """The manifest that a list names; that it is gone does not mean that the image was never there."""
        found = self.manifest(ref.with_digest(digest), arch)
        if found is None:
            raise ProtocolError(
                f"{ref}: the registry says that {digest} is not there, though its list names it",
                "Push or mirror the image again, and keep the registry's clean-up from what a list still names.",
            )
        return found

    def named(self, ref: ImageRef) -> Named | None:
        """Return what a name stands for, or None if the registry says there is no such name.

        A list that lacks an architecture is told apart from one that cannot be read.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be told, in whole.
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
            UnreachableError, CredentialError: it could not be told.
        """
        if ref.digest:
            return ref
        raw = self._raw_manifest(ref)
        if raw is None:
            raise ProtocolError(f"{ref}: the registry says there is no such image", "Check the name and the tag.")
        return ref.with_digest(raw.digest)

    def config(self, manifest: Manifest) -> dict[str, Any]:
        """Return an image's configuration (its labels are under config.Labels)."""

        def read(response: requests.Response) -> dict[str, Any]:
            content = content_of(response, manifest.config.removeprefix("sha256:"))
            found = digest_of(content)
            if found != manifest.config:
                raise ProtocolError(
                    f"{manifest.ref}: the registry sent a configuration whose digest is {found}", _OTHER
                )
            return http.json_in(content, response.url, str(manifest.ref))

        return self._fetch(manifest.ref, f"blobs/{manifest.config}", read)

    def labels(self, manifest: Manifest) -> Mapping[str, str]:
        """Return an image's labels."""
        return labels_of(self.config(manifest))

    def content(self, ref: ImageRef, path: str, digest: str = "") -> bytes | None:
        """Return the bytes that a repository has at a path, or None if the registry says there are none.

        They are not compared with a digest: the caller judges them.

        Args:
            ref: the repository.
            path: `manifests/` and a tag, or `blobs/` and a digest.
            digest: of the bytes that are meant, where it is known.

        Raises:
            UnreachableError, CredentialError, ProtocolError: the registry could not be queried.
        """
        return self._fetch_or_none(ref, path, lambda response: content_of(response, digest.removeprefix("sha256:")))

    def find_file(self, manifest: Manifest, names: Iterable[str], layers_from_top: int) -> dict[str, bytes]:
        """Return files of the topmost layer that holds any of `names` (paths without a leading slash).

        Layers are read one at a time from the top, at most `layers_from_top`, each to its end: only then its
        digest says whether its content may be believed. Links are followed, and a file that a layer removes is not
        taken from below it. An empty result means that none of the names was there.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be told.
        """

        def read(digest: str, wanted: Set[str]) -> LayerView:
            name = f"{manifest.ref.repository}@{digest}"

            def view(response: requests.Response) -> LayerView:
                encoding = response.headers.get("content-encoding", "identity").strip().lower()
                if encoding not in ("", "identity"):
                    # Rare, and read whole: only the digest tells whether what came or what it decodes to is the layer.
                    raw: Any = io.BytesIO(content_of(response, digest.removeprefix("sha256:")))
                else:
                    raw = response.raw
                return read_layer(raw, wanted, name, digest)

            return self._fetch(manifest.ref, f"blobs/{digest}", view)

        layers = [digest for digest, _, _ in reversed(manifest.layers)]
        return find_files(layers[:layers_from_top], names, read, str(manifest.ref))

    def _raw_manifest(self, ref: ImageRef) -> RawManifest | None:
        def read(response: requests.Response) -> RawManifest:
            # A tag names no digest, but the registry says which manifest it meant to send.
            meant = ref.digest or response.headers.get("docker-content-digest", "")
            content = content_of(response, meant.removeprefix("sha256:"))
            found = digest_of(content)
            if meant.startswith("sha256:") and found != meant:
                raise ProtocolError(f"{ref}: the registry sent a manifest whose digest is {found}, not {meant}", _OTHER)
            parsed = http.json_in(content, response.url, str(ref))
            # A manifest may leave its own media type out; the registry knows it then.
            media_type = parsed.get("mediaType") or response.headers.get("content-type", "")
            return RawManifest(found, str(media_type), content, parsed)

        return self._fetch_or_none(ref, f"manifests/{ref.digest or ref.tag or 'latest'}", read)

    def _fetch(self, ref: ImageRef, path: str, read: Callable[[requests.Response], T]) -> T:
        found = self._fetch_or_none(ref, path, read)
        if found is None:
            raise ProtocolError(
                f"{ref}: the registry says that {path} is not there, though its manifest names it",
                "Push or mirror the image again, or ask whoever runs the registry what its clean-up removed.",
            )
        return found

    def _fetch_or_none(self, ref: ImageRef, path: str, read: Callable[[requests.Response], T]) -> T | None:
        """Read what is below a repository; None if the registry itself says there is no such thing."""

        def judge(response: requests.Response) -> T | None:
            if response.status_code != requests.codes.not_found:
                return read(response)
            if not _is_registrys_own(response.content):
                # A proxy's own 404 page says nothing about the image.
                what = "it answers 404 in a form that is no registry's"
                raise UnreachableError(_SERVICE, response.url, what, http.hint(response.url))
            return None

        try:
            return http.whole(lambda: self._get(ref, path), judge, _SERVICE)
        except NotReadableError:
            if not self._pushes_to or not f"{ref.repository}/".startswith(self._pushes_to):
                raise
        try:
            return http.whole(lambda: self._get(ref, path, push=True), judge, _SERVICE)
        except NotReadableError as error:
            shown = error.grant
            # Of what lists no actions, only a push can tell whether it may push.
            tells = shown is not None and shown.actions is not None
            may_push = shown is not None and shown.may("push")
            if not may_push or (not tells and not self._takes_uploads(ref, shown)):
                raise
            if tells or (ref.repository, path) in self._given:
                raise self._authorizations.unreadable(ref) from None
            # It may be pushed. Nothing says whether it is there and may not be read, but registries say the same of
            # what is not there yet, and a first push must go on: what it sends is read back before it gets its name.
            return None

    def _note_given(self, ref: ImageRef, digest: str) -> None:
        """Note a manifest that was pushed: that it may not be read does not mean any more that it is not there."""
        self._given.update((ref.repository, f"manifests/{name}") for name in (digest, ref.tag) if name)

    def _takes_uploads(self, ref: ImageRef, shown: Grant | None) -> bool:
        """Whether a repository takes an upload: one is begun and given up, which leaves nothing behind."""
        start = f"{base_of(ref)}/blobs/uploads/"
        headers = headers_of(shown)
        with http.get(self._session, start, _SERVICE, headers, "POST", b"") as response:
            place = urljoin(start, response.headers.get("location", ""))
            taken = response.status_code == requests.codes.accepted
        if taken and urlsplit(place)[:2] == urlsplit(start)[:2]:
            # A registry gives up by itself what is not given up.
            with suppress(KmatrixError):
                http.get(self._session, place, _SERVICE, headers, "DELETE").close()
        return bool(taken)

    def _get(self, ref: ImageRef, path: str, push: bool = False) -> requests.Response:
        url = f"{base_of(ref)}/{path}"
        headers = {"Accept": ACCEPT} if path.startswith("manifests/") else {}
        shown = None if push else self._authorizations.known(ref)
        response = http.get(self._session, url, _SERVICE, headers | headers_of(shown))
        if response.status_code == requests.codes.unauthorized:
            challenges = challenges_of(response)
            response.close()
            shown = self._authorizations.answer(ref, challenges, push)
            response = http.get(self._session, url, _SERVICE, headers | headers_of(shown))
        if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            with response:
                raise self._authorizations.refusal(ref, shown, response.status_code, words_of(response))
        if response.status_code not in (requests.codes.ok, requests.codes.not_found):
            with response:
                said = words_of(response)
            raise ProtocolError(f"{ref}: {url} answers {response.status_code} {response.reason}{said}", _UNKNOWN)
        return response


def labels_of(config: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the labels in an image's configuration."""
    run = config.get("config")
    labels = run.get("Labels") if isinstance(run, dict) else None
    return cast("dict[str, str]", labels) if isinstance(labels, dict) else {}


def base_of(ref: ImageRef) -> str:
    """The address below which a registry has a repository."""
    host, path = ref.registry
    return f"{'http' if http.is_loopback(host) else 'https'}://{host}/v2/{path}"


def challenges_of(response: requests.Response) -> tuple[Challenge, ...]:
    """The ways to be authenticated that an answer offers; each header stands for itself."""
    return parse_challenges(response.raw.headers.getlist("www-authenticate"))


def _is_registrys_own(raw: bytes) -> bool:
    """Whether an error's body is of the form the protocol asks for."""
    try:
        content = json.loads(raw)
    except ValueError:
        return False
    return isinstance(content, dict) and isinstance(content.get("errors"), list) and bool(content["errors"])
