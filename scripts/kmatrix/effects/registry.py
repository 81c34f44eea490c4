"""Reads an image registry over its HTTP interface: manifests, configurations, single files out of layers.

Protocol: the OCI distribution specification and Docker's registry API v2, token authentication included.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Literal, cast
from urllib.parse import urlencode

import requests
import zstandard

from kmatrix.effects import http
from kmatrix.effects.credentials import Credentials
from kmatrix.values.errors import CredentialError, ProtocolError, UnreachableError
from kmatrix.values.names import GO_ARCH, Arch, ImageRef

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = ", ".join((*_INDEXES, *_MANIFESTS))
_SERVICE = "image registry"


@dataclass(frozen=True)
class Manifest:
    """An image manifest: its digest, its configuration's digest and its layers (digest, media type, bytes)."""

    ref: ImageRef
    digest: str
    config: str
    layers: tuple[tuple[str, str, int], ...]


class Registry:
    """Read access to every registry, with one set of credentials; safe to share between threads."""

    def __init__(self, credentials: Credentials) -> None:
        self._session = http.new_session()
        self._credentials = credentials
        self._authorization: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def manifest(self, ref: ImageRef, arch: Arch) -> Manifest | None:
        """Return the manifest of an image for `arch`, or None if the registry says there is none.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be told.
        """
        raw = self._raw_manifest(ref)
        if raw is None:
            return None
        content, found = raw
        if "manifests" in content:
            for entry in content["manifests"]:
                platform = entry.get("platform", {})
                if platform.get("architecture") == GO_ARCH[arch] and platform.get("os", "linux") == "linux":
                    return self.manifest(ref.with_digest(entry["digest"]), arch)
            raise ProtocolError(f"{ref}: its manifest list has no image for {arch}")
        try:
            layers = tuple((layer["digest"], layer["mediaType"], int(layer["size"])) for layer in content["layers"])
            return Manifest(ref, found, content["config"]["digest"], layers)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"{ref}: not an image manifest ({error!r} is missing or wrong)") from error

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
        return ref.with_digest(raw[1])

    def config(self, manifest: Manifest) -> dict[str, Any]:
        """Return an image's configuration (its labels are under config.Labels)."""
        response = self._get(manifest.ref, f"blobs/{manifest.config}")
        return self._json(response, manifest.ref)

    def labels(self, manifest: Manifest) -> Mapping[str, str]:
        """Return an image's labels."""
        return cast("dict[str, str]", (self.config(manifest).get("config") or {}).get("Labels") or {})

    def find_file(self, manifest: Manifest, names: Iterable[str], layers_from_top: int) -> dict[str, bytes]:
        """Return files of the topmost layer that holds any of `names` (paths without a leading slash).

        Layers are read one at a time from the top, at most `layers_from_top`, each only until all names
        are found. An empty result means that none of them was in those layers.
        """
        wanted = set(names)
        for digest, media_type, _ in tuple(reversed(manifest.layers))[:layers_from_top]:
            response = self._get(manifest.ref, f"blobs/{digest}")
            url = response.url
            with http.reading(_SERVICE, url), response:
                found = _files_of_layer(response, media_type, wanted, f"{manifest.ref.repository}@{digest}")
            if found:
                return found
        return {}

    def tags(self, repository: ImageRef) -> tuple[str, ...]:
        """Return the tags of a repository; empty if the registry says it does not know it."""
        response = self._get(repository, "tags/list", absent_is_none=True)
        if response is None:
            return ()
        return tuple(self._json(response, repository).get("tags") or ())

    def _raw_manifest(self, ref: ImageRef) -> tuple[dict[str, Any], str] | None:
        reference = ref.digest or ref.tag or "latest"
        response = self._get(ref, f"manifests/{reference}", absent_is_none=True)
        if response is None:
            return None
        raw = http.body(response, _SERVICE)
        found = "sha256:" + hashlib.sha256(raw).hexdigest()
        if ref.digest and found != ref.digest:
            raise ProtocolError(f"{ref}: the registry sent a manifest whose digest is {found}")
        try:
            content = json.loads(raw)
        except ValueError as error:
            raise ProtocolError(f"{ref}: the manifest is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise ProtocolError(f"{ref}: the manifest is not a JSON object")
        return content, found

    def _json(self, response: requests.Response, ref: ImageRef) -> dict[str, Any]:
        raw = http.body(response, _SERVICE)
        try:
            return cast("dict[str, Any]", json.loads(raw))
        except ValueError as error:
            raise ProtocolError(f"{ref}: {response.url} did not send JSON: {error}") from error

    def _get(self, ref: ImageRef, path: str, absent_is_none: bool = False) -> Any:
        scheme = "http" if http.is_loopback(ref.host) else "https"
        url = f"{scheme}://{ref.host}/v2/{ref.path}/{path}"
        key = (ref.host, ref.path)
        headers = {"Accept": _ACCEPT} if path.startswith("manifests/") else {}
        if key in self._authorization:
            headers["Authorization"] = self._authorization[key]
        response = http.get(self._session, url, _SERVICE, headers)
        if response.status_code == requests.codes.unauthorized:
            challenge = response.headers.get("www-authenticate", "")
            response.close()
            headers["Authorization"] = self._authorize(ref, challenge)
            response = http.get(self._session, url, _SERVICE, headers)
        if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            response.close()
            raise refused(ref, self._credentials)
        if response.status_code == requests.codes.not_found and absent_is_none:
            raw = http.body(response, _SERVICE)
            # A proxy's own 404 page says nothing about the image.
            if b"UNKNOWN" not in raw and b"NOT_FOUND" not in raw and b"errors" not in raw:
                raise UnreachableError(_SERVICE, url, "it answers 404 in a form that is no registry's")
            return None
        if response.status_code != requests.codes.ok:
            response.close()
            raise ProtocolError(f"{ref}: {url} answers {response.status_code} {response.reason}")
        return response

    def _authorize(self, ref: ImageRef, challenge: str) -> str:
        """Answer a WWW-Authenticate challenge; the token is kept for the repository."""
        scheme, _, rest = challenge.partition(" ")
        basic = self._credentials.basic(ref)
        if scheme.lower() == "basic":
            if basic is None:
                raise refused(ref, self._credentials)
            authorization = f"Basic {basic}"
        elif scheme.lower() == "bearer":
            fields = dict(re.findall(r'([a-z_]+)="([^"]*)"', rest))
            query = {
                "service": fields.get("service", ""),
                "scope": fields.get("scope", f"repository:{ref.path}:pull"),
            }
            headers = {"Authorization": f"Basic {basic}"} if basic else {}
            url = f"{fields.get('realm', '')}?{urlencode(query)}"
            response = http.get(self._session, url, "token service", headers)
            if response.status_code != requests.codes.ok:
                response.close()
                raise refused(ref, self._credentials)
            reply = self._json(response, ref)
            authorization = f"Bearer {reply.get('token') or reply.get('access_token') or ''}"
        else:
            raise ProtocolError(f"{ref.host}: asks for an authentication that is not known here: {challenge!r}")
        with self._lock:
            self._authorization[(ref.host, ref.path)] = authorization
        return authorization


def refused(ref: ImageRef, credentials: Credentials) -> CredentialError:
    """The error for a registry that refuses: it says which credential is missing or wrong."""
    source = credentials.source
    if credentials.basic(ref) is None:
        return CredentialError(
            f"{ref.host} asks for a credential for {ref.path}, and {source} has none for it",
            f"Add an entry for {ref.host} to {source} (docker login writes one), or name another file with "
            "--authfile or KMATRIX_AUTHFILE.",
        )
    return CredentialError(
        f"{ref.host} refuses the credential that {source} has for {ref.path}",
        "Check that it is still valid and may use this repository.",
    )


def _files_of_layer(response: requests.Response, media_type: str, wanted: set[str], name: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    raw = cast("IO[bytes]", response.raw)
    mode: Literal["r|", "r|gz"] = "r|" if media_type.endswith((".tar", "zstd")) else "r|gz"
    if media_type.endswith("zstd"):
        raw = zstandard.ZstdDecompressor().stream_reader(raw)
    try:
        with tarfile.open(fileobj=raw, mode=mode) as archive:
            for member in archive:
                path = member.name.removeprefix("./").removeprefix("/")
                if path in wanted and member.isfile():
                    file = archive.extractfile(member)
                    found[path] = file.read() if file else b""
                    if len(found) == len(wanted):
                        break
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise ProtocolError(f"{name}: the layer is not a readable archive: {error}") from error
    return found
