"""Writes to an image registry over its HTTP interface: blobs, and manifests by digest or under a tag.

All content is addressed by digest, so writing it twice is harmless: after a transient fault it is written again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from tempfile import TemporaryFile
from typing import IO
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from kmatrix.decide.formats.compression import DamagedError, decompressed, form_of
from kmatrix.effects.net import http
from kmatrix.effects.net.addresses import origin_of
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.error_bodies import error_detail
from kmatrix.effects.registry.grants import headers_of
from kmatrix.effects.registry.transport import SERVICE, T, base_of, challenges_of
from kmatrix.effects.retry import retried
from kmatrix.values.errors import ProtocolError, UnreachableError
from kmatrix.values.names import ImageRef, digest_of

_BLOCK = 1 << 20
_NOT_ITS_OWN = "Check whether a proxy answers in place of the registry: the response violates the registry's protocol."


@dataclass(frozen=True)
class _Answer:
    """A status, and the headers by their names in lower case."""

    status: int
    headers: dict[str, str]


class RegistryWriter(Registry):
    """Read and write access to every registry, with one set of credentials; safe to share between threads."""

    def digest_of(self, ref: ImageRef) -> str | None:
        """Return the digest that a tag names now (of the list, if it names one), or None if there is no such tag.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be determined.
        """
        raw = self._raw_manifest(ref)
        return raw.digest if raw else None

    def holds_layer(self, ref: ImageRef, digest: str, diff_id: str) -> bool:
        """Return whether a repository has a blob that is, unpacked by gzip, the archive with the digest `diff_id`.

        The complete blob is read: an image's configuration is no proof, as anybody who may push could have written it.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be determined.
        """

        def read(response: requests.Response) -> bool:
            chunks = iter(lambda: response.raw.read(_BLOCK, decode_content=False), b"")
            first = next(chunks, b"")
            if form_of(first) != "gzip":
                return False
            found = hashlib.sha256()
            try:
                for piece in decompressed(chain((first,), chunks)):
                    found.update(piece)
            except DamagedError:
                return False
            return f"sha256:{found.hexdigest()}" == diff_id

        return bool(self._fetch_or_none(ref, f"blobs/{digest}", read))

    def put_file(self, ref: ImageRef, file: IO[bytes], digest: str) -> None:
        """Upload a file as a blob unless the repository has it.

        Args:
            ref: the repository.
            file: a real file, which is sent from its beginning.
            digest: of the complete file.

        Raises:
            UnreachableError: transient faults persisted.
            CredentialError: the registry refuses.
            ProtocolError: the registry violates the protocol, or received other content.
        """
        self._retried(ref, lambda: self._put_blob(ref, file, digest))

    def put_blob(self, ref: ImageRef, content: bytes) -> str:
        """Upload a blob unless the repository has it, and return its digest.

        Raises:
            UnreachableError: transient faults persisted.
            CredentialError: the registry refuses.
            ProtocolError: the registry violates the protocol.
        """
        digest = digest_of(content)
        self._retried(ref, lambda: self._put_blob(ref, content, digest))
        return digest

    def put_manifest(self, ref: ImageRef, content: bytes, media_type: str) -> str:
        """Push a manifest under the tag of `ref`, or, if it has none, under its digest alone; return the digest.

        Raises:
            UnreachableError: transient faults persisted.
            CredentialError: the registry refuses.
            ProtocolError: the registry lacks content that the manifest lists, or stored another manifest.
        """
        self._put_manifest(ref, content, media_type)
        return digest_of(content)

    def put_referrer(self, ref: ImageRef, content: bytes, media_type: str, subject: str) -> bool:
        """Push a manifest under its digest alone, and return whether the registry lists it below its subject.

        A registry that does says so in the header OCI-Subject (opencontainers/distribution-spec, spec.md, "Pushing
        Manifests with Subject").

        Args:
            ref: the repository.
            content: the manifest.
            media_type: of the manifest.
            subject: the digest of the manifest that it names as its subject.

        Raises:
            UnreachableError, CredentialError, ProtocolError: see `put_manifest`.
        """
        answer = self._put_manifest(ref.with_tag(""), content, media_type)
        return answer.headers.get("oci-subject", "").strip() == subject

    def _put_manifest(self, ref: ImageRef, content: bytes, media_type: str) -> _Answer:
        digest = digest_of(content)
        url = f"{base_of(ref)}/manifests/{ref.tag or digest}"
        headers = {"Content-Type": media_type}
        answer = self._retried(ref, lambda: self._send("PUT", ref, url, (requests.codes.created,), content, headers))
        found = answer.headers.get("docker-content-digest", digest)
        if found != digest:
            raise ProtocolError(
                f"{ref}: the manifest {digest} was pushed, but the registry stored {found}", _NOT_ITS_OWN
            )
        self._note_pushed(ref, digest)
        return answer

    def copy_blob(self, ref: ImageRef, source: ImageRef, digest: str) -> None:
        """Bring a blob into a repository that lacks it, from another one of the same registry.

        The registry mounts it there (OCI distribution specification, "Mounting a blob from another repository"); where
        it does not, the blob is read and uploaded.

        Raises:
            UnreachableError: transient faults persisted.
            CredentialError: the registry refuses.
            ProtocolError: the registry lacks the blob, violates the protocol, or sent other content.
        """
        self._retried(ref, lambda: self._copy_blob(ref, source, digest))

    def _copy_blob(self, ref: ImageRef, source: ImageRef, digest: str) -> None:
        if self._has_blob(ref, digest):
            return
        start = f"{base_of(ref)}/blobs/uploads/"
        mount = f"{start}?{urlencode({'mount': digest, 'from': source.registry[1]})}"
        answer = self._send("POST", ref, mount, (requests.codes.created, requests.codes.accepted), b"")
        if answer.status == requests.codes.created:
            return
        with TemporaryFile() as file:

            def read(response: requests.Response) -> str:
                file.seek(0)
                file.truncate()
                found = hashlib.sha256()
                while piece := response.raw.read(_BLOCK, decode_content=False):
                    found.update(piece)
                    file.write(piece)
                return f"sha256:{found.hexdigest()}"

            found = self._fetch(source, f"blobs/{digest}", read)
            if found != digest:
                raise ProtocolError(f"{source}: the registry sent {found} for the blob {digest}", _NOT_ITS_OWN)
            self._upload(ref, start, answer, file, digest)

    def _put_blob(self, ref: ImageRef, content: bytes | IO[bytes], digest: str) -> None:
        if self._has_blob(ref, digest):
            return
        start = f"{base_of(ref)}/blobs/uploads/"
        self._upload(ref, start, self._send("POST", ref, start, (requests.codes.accepted,), b""), content, digest)

    def _has_blob(self, ref: ImageRef, digest: str) -> bool:
        accepted = (requests.codes.ok, requests.codes.not_found)
        return bool(self._send("HEAD", ref, f"{base_of(ref)}/blobs/{digest}", accepted).status == requests.codes.ok)

    def _upload(self, ref: ImageRef, start: str, answer: _Answer, content: bytes | IO[bytes], digest: str) -> None:
        """Upload a blob to the address that the registry named in its answer to a request at `start`."""
        place = answer.headers.get("location", "")
        if not place:
            raise ProtocolError(f"{ref}: the registry accepts an upload but names no address for it", _NOT_ITS_OWN)
        place = urljoin(start, place)
        url = f"{place}{'&' if urlsplit(place).query else '?'}{urlencode({'digest': digest})}"
        headers = {"Content-Type": "application/octet-stream"}
        self._send("PUT", ref, url, (requests.codes.created,), content, headers)

    def _send(
        self,
        method: str,
        ref: ImageRef,
        url: str,
        expected: tuple[int, ...],
        data: bytes | IO[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> _Answer:
        """Send a request whose response must have one of the expected statuses."""
        same = origin_of(url) == origin_of(base_of(ref))
        # An upload address may belong to another server, which must not get the credential.
        shown = self._authorizations.known(ref) if same else None
        response = http.get(self._session, url, SERVICE, {**(headers or {}), **headers_of(shown)}, method, data)
        if response.status_code == requests.codes.unauthorized and same:
            with response:
                challenges = challenges_of(ref, response)
            # Also for HEAD: a blob is only looked up to push it.
            shown = self._authorizations.answer(ref, challenges, push=True)
            response = http.get(self._session, url, SERVICE, {**(headers or {}), **headers_of(shown)}, method, data)
        with response:
            if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
                if not same:
                    raise ProtocolError(
                        f"{ref}: the address that the registry names for uploads, {url}, "
                        f"answers {response.status_code}",
                        "Ask whoever runs the registry: its storage refuses uploads that the registry redirects there.",
                    )
                raise self._authorizations.push_refusal(ref, shown, error_detail(response))
            if response.status_code not in expected:
                answer = f"{response.status_code} {response.reason}{error_detail(response)}"
                raise ProtocolError(f"{ref}: {url} answers {answer}", _hint(response.status_code))
            return _Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()})

    def _retried(self, ref: ImageRef, write: Callable[[], T]) -> T:
        def ask_something() -> None:
            # A GET is repeated for as long as the server's Retry-After demands. Its response does not matter: a
            # credential that may push need not be allowed to read, and not every registry lists tags. So no password
            # is tried.
            known = headers_of(self._authorizations.known(ref))
            with suppress(ProtocolError):
                http.get(self._session, f"{base_of(ref)}/tags/list?n=1", SERVICE, known).close()

        return retried(write, (UnreachableError,), before_retry=ask_something)


def _hint(status: int) -> str:
    if status == requests.codes.not_found:
        return "Some registries (Amazon's, for one) do not create repositories on push: create it there, and run again."
    return "Read the registry's message; whoever runs the registry finds more in its log."
