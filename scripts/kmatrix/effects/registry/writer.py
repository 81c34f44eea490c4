"""Writes to an image registry over its HTTP interface: blobs, and manifests by digest or under a tag.

Whatever is written has a digest, so writing it twice does no harm: transient faults are met by writing it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import IO, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from kmatrix.decide.formats.compression import DamagedError, decompressed, form_of
from kmatrix.effects.net import http
from kmatrix.effects.registry.client import Registry, base_of, challenges_of
from kmatrix.effects.registry.grants import headers_of
from kmatrix.effects.registry.manifests import digest_of
from kmatrix.effects.registry.own_words import words_of
from kmatrix.effects.retry import retried
from kmatrix.values.errors import ProtocolError, UnreachableError
from kmatrix.values.names import ImageRef

_SERVICE = "image registry"
_BLOCK = 1 << 20
_NOT_ITS_OWN = "Look whether a proxy stands before the registry: what answers there does not keep to its protocol."
T = TypeVar("T")


@dataclass(frozen=True)
class _Answer:
    """A status, and the headers by their names in small letters."""

    status: int
    headers: dict[str, str]


class RegistryWriter(Registry):
    """Read and write access to every registry, with one set of credentials; safe to share between threads."""

    def digest_of(self, ref: ImageRef) -> str | None:
        """Return the digest that a tag names now (of the list, if it names one), or None if there is no such tag.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be told.
        """
        raw = self._raw_manifest(ref)
        return raw.digest if raw else None

    def holds_layer(self, ref: ImageRef, digest: str, diff_id: str) -> bool:
        """Whether a repository has a blob that is, unpacked by gzip, the archive with the digest `diff_id`.

        All of it is read: what a configuration says of a layer, anybody who may write there can have said.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be told.
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
        """Have a file as a blob in a repository; what is there already is not sent.

        Args:
            ref: the repository.
            file: a real file, which is sent from its beginning.
            digest: of all of it.

        Raises:
            UnreachableError: transient faults that did not end.
            CredentialError: the registry refuses.
            ProtocolError: it does not keep to the protocol, or got something else.
        """
        self._retried(ref, lambda: self._put_blob(ref, file, digest))

    def put_blob(self, ref: ImageRef, content: bytes) -> str:
        """Have a blob in a repository and return its digest; what is there already is not sent.

        Raises:
            UnreachableError: transient faults that did not end.
            CredentialError: the registry refuses.
            ProtocolError: it does not keep to the protocol.
        """
        digest = digest_of(content)
        self._retried(ref, lambda: self._put_blob(ref, content, digest))
        return digest

    def put_manifest(self, ref: ImageRef, content: bytes, media_type: str) -> str:
        """Put a manifest under the tag of `ref`, or, if it has none, under its digest alone; returns the digest.

        Raises:
            UnreachableError: transient faults that did not end.
            CredentialError: the registry refuses.
            ProtocolError: it lacks what the manifest lists, or keeps something else.
        """
        digest = digest_of(content)
        url = f"{_base(ref)}/manifests/{ref.tag or digest}"
        headers = {"Content-Type": media_type}
        kept = self._retried(ref, lambda: self._ask("PUT", ref, url, (requests.codes.created,), content, headers))
        found = kept.headers.get("docker-content-digest", digest)
        if found != digest:
            raise ProtocolError(f"{ref}: the registry was sent the manifest {digest} and keeps {found}", _NOT_ITS_OWN)
        self._note_given(ref, digest)
        return digest

    def _put_blob(self, ref: ImageRef, content: bytes | IO[bytes], digest: str) -> None:
        there = f"{_base(ref)}/blobs/{digest}"
        accepted = (requests.codes.ok, requests.codes.not_found)
        if self._ask("HEAD", ref, there, accepted).status == requests.codes.ok:
            return
        start = f"{_base(ref)}/blobs/uploads/"
        place = self._ask("POST", ref, start, (requests.codes.accepted,), b"").headers.get("location", "")
        if not place:
            raise ProtocolError(f"{ref}: the registry takes an upload but does not say where", _NOT_ITS_OWN)
        place = urljoin(start, place)
        url = f"{place}{'&' if urlsplit(place).query else '?'}{urlencode({'digest': digest})}"
        headers = {"Content-Type": "application/octet-stream"}
        self._ask("PUT", ref, url, (requests.codes.created,), content, headers)

    def _ask(
        self,
        method: str,
        ref: ImageRef,
        url: str,
        expected: tuple[int, ...],
        data: bytes | IO[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> _Answer:
        """Send a request whose answer must have one of the statuses expected."""
        same = urlsplit(url)[:2] == urlsplit(_base(ref))[:2]
        # A place to upload to may be another server's: the credential is not for that.
        shown = self._authorizations.known(ref) if same else None
        response = http.get(self._session, url, _SERVICE, {**(headers or {}), **headers_of(shown)}, method, data)
        if response.status_code == requests.codes.unauthorized and same:
            challenges = challenges_of(response)
            response.close()
            # Whoever asks whether a blob is there is about to push it.
            shown = self._authorizations.answer(ref, challenges, push=True)
            response = http.get(self._session, url, _SERVICE, {**(headers or {}), **headers_of(shown)}, method, data)
        with response:
            if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
                if not same:
                    raise ProtocolError(
                        f"{ref}: the place that the registry names for uploads, {url}, answers {response.status_code}",
                        "Ask whoever runs the registry: its storage does not take what it sends there.",
                    )
                raise self._authorizations.push_refusal(ref, shown, words_of(response))
            if response.status_code not in expected:
                said = words_of(response)
                raise ProtocolError(
                    f"{ref}: {url} answers {response.status_code} {response.reason}{said}", _hint(response.status_code)
                )
            return _Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()})

    def _retried(self, ref: ImageRef, write: Callable[[], T]) -> T:
        def ask_something() -> None:
            # A question is asked again as long as a server's Retry-After tells to. Its answer does not matter: who
            # may push may not be let to read, and not every registry lists its tags. So no password is tried.
            known = headers_of(self._authorizations.known(ref))
            with suppress(ProtocolError):
                http.get(self._session, f"{_base(ref)}/tags/list?n=1", _SERVICE, known).close()

        return retried(write, (UnreachableError,), before_retry=ask_something)


def _base(ref: ImageRef) -> str:
    return base_of(ref)


def _hint(status: int) -> str:
    if status == requests.codes.not_found:
        return "Some registries make no repository by a push, Amazon's for one: make it there, then run this again."
    return "See what the registry says; whoever runs it can read more in its log."
