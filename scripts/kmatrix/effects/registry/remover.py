"""Lists what a repository has and deletes from it, over the registry's HTTP interface.

Protocol: opencontainers/distribution-spec, spec.md ("Content Discovery", "Content Management", "Listing Referrers").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from kmatrix.effects.net import http
from kmatrix.effects.net.bodies import json_in
from kmatrix.effects.net.faults import hint_for
from kmatrix.effects.registry.auth import refused
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.error_bodies import error_detail, is_error
from kmatrix.effects.registry.grants import Grant, headers_of
from kmatrix.effects.registry.manifests import RawManifest
from kmatrix.effects.registry.transport import SERVICE, base_of, challenges_of
from kmatrix.effects.retry import retried
from kmatrix.values.errors import CredentialError, ProtocolError, ToolError, UnreachableError
from kmatrix.values.names import ImageRef

_NEXT = re.compile(r'<([^>]*)>\s*(?:;[^,]*)?;\s*rel="?next"?', re.IGNORECASE)
_DELETED = (requests.codes.ok, requests.codes.accepted, requests.codes.no_content)
_NO_REFERRERS = (requests.codes.not_found, requests.codes.method_not_allowed)
_MOST_PAGES = 10_000
_NOT_A_LIST = "Fetch that address with curl: if a proxy answers, set the address of the registry itself."


class RegistryRemover(Registry):
    """Reads repositories completely, and deletes from them; safe to share between threads."""

    def __init__(self, credentials: Credentials) -> None:
        """Open the connection pool, with credentials for all registries."""
        super().__init__(credentials)
        self._credentials = credentials

    def tags(self, ref: ImageRef) -> tuple[str, ...]:
        """Return every tag of a repository, page by page; none if the registry reports that it has no such repository.

        Raises:
            UnreachableError, CredentialError, ProtocolError: they could not be determined completely.
        """
        found: dict[str, None] = {}
        for page in self._pages(ref, "tags/list"):
            # Docker's registry sends null for a repository without tags.
            tags = page.get("tags") or []
            try:
                found.update(dict.fromkeys(ImageRef.parse(f"{ref.repository}:{tag}").tag for tag in tags))
            except (TypeError, ValueError) as error:
                raise ProtocolError(
                    f"{ref.repository}: the list of its tags is malformed: {error}", _NOT_A_LIST
                ) from None
        return tuple(found)

    def raw_manifest(self, ref: ImageRef) -> RawManifest | None:
        """Return the manifest, or the list of manifests, that a tag or digest names; None if there is no such name.

        Raises:
            UnreachableError, CredentialError, ProtocolError: it could not be determined.
        """
        return self._raw_manifest(ref)

    def referrers(self, ref: ImageRef) -> tuple[str, ...]:
        """Return the digests of the manifests that name the digest of `ref` as their subject.

        None for a registry without this interface: there a tag names them (spec.md, "Referrers Tag Schema").

        Raises:
            UnreachableError, CredentialError, ProtocolError: they could not be determined.
        """
        found = []
        for page in self._pages(ref, f"referrers/{ref.digest}", absent=_NO_REFERRERS):
            entries = page.get("manifests") or []
            try:
                found += [ref.with_digest(entry["digest"]).digest for entry in entries]
            except (KeyError, TypeError, ValueError) as error:
                raise ProtocolError(
                    f"{ref}: the registry's list of referrers is malformed ({error!r})", _NOT_A_LIST
                ) from error
        return tuple(dict.fromkeys(found))

    def delete(self, ref: ImageRef) -> bool:
        """Delete the manifest with the digest of `ref`, and with it every tag that names it.

        Returns:
            whether it was there.

        Raises:
            UnreachableError: transient faults persisted.
            CredentialError: the registry refuses the credential.
            ToolError: the registry deletes nothing.
            ProtocolError: it answers otherwise.
        """
        return retried(lambda: self._delete(ref), (UnreachableError,))

    def _delete(self, ref: ImageRef) -> bool:
        url = f"{base_of(ref)}/manifests/{ref.digest}"
        response, shown = self._authorized(ref, url, "DELETE")
        with response:
            status = response.status_code
            if status in _DELETED:
                return True
            if status == requests.codes.not_found:
                if not is_error(response):
                    cause = "it answers 404 in a form that no registry uses"
                    raise UnreachableError(SERVICE, url, cause, hint_for(url))
                return False
            detail = error_detail(response)
            if status in (requests.codes.unauthorized, requests.codes.forbidden):
                if shown is None or shown.anonymous:
                    raise refused(ref, self._credentials, detail)
                raise CredentialError(
                    f"{ref.host} does not allow the credential in {self._credentials.source(ref)} to delete from "
                    f"{ref.path}{detail}",
                    "Allow its account to delete images there, or name another file with --authfile or "
                    "KMATRIX_AUTHFILE.",
                )
            if status == requests.codes.method_not_allowed:
                raise ToolError(
                    f"{ref.host} deletes no images over its interface: DELETE answers 405{detail}",
                    "Enable that in the registry's configuration (storage.delete.enabled of Docker's), or remove the "
                    "images that this command lists with the registry's own means.",
                )
            raise ProtocolError(
                f"{ref.repository}@{ref.digest}: DELETE answers {status} {response.reason}{detail}",
                "Read the registry's message; whoever runs the registry finds more in its log.",
            )

    def _authorized(self, ref: ImageRef, url: str, method: str) -> tuple[requests.Response, Grant | None]:
        """Send a request with the right that the registry demands; return its response, and the grant that it showed.

        For a DELETE that is `delete` (distribution/distribution, registry/handlers/app.go, appendAccessRecords) or
        `push` (quay/quay, endpoints/v2/manifest.py).
        """
        # What another server deletes, or answers to it, is not this registry's word.
        reads = method == "GET"
        shown = self._authorizations.known(ref)
        response = http.get(self._session, url, SERVICE, headers_of(shown), method, redirects=reads)
        if response.status_code == requests.codes.unauthorized:
            challenges = challenges_of(ref, response)
            response.close()
            shown = self._authorizations.answer(ref, challenges)
            response = http.get(self._session, url, SERVICE, headers_of(shown), method, redirects=reads)
        return response, shown

    def _pages(self, ref: ImageRef, path: str, absent: tuple[int, ...] = ()) -> Iterator[dict[str, Any]]:
        """Yield the pages of an answer: each names the next one in its Link header (RFC 5988).

        Without a wanted number of entries, because registries have limits of their own and some refuse a larger one.
        """
        wanted: str | None = path
        seen = set[str]()
        while wanted is not None:
            if wanted in seen or len(seen) >= _MOST_PAGES:
                raise ProtocolError(f"{ref.repository}: the registry's pages of {path} do not end", _NOT_A_LIST)
            seen.add(wanted)
            found = self._page(ref, wanted, absent if wanted == path else ())
            if found is None:
                if wanted != path:
                    raise ProtocolError(f"{ref.repository}: the registry lost page {wanted}", "Run the command again.")
                return
            page, link = found
            yield page
            wanted = _next(ref, wanted, link)

    def _page(self, ref: ImageRef, path: str, absent: tuple[int, ...]) -> tuple[dict[str, Any], str] | None:
        def read(response: requests.Response) -> tuple[dict[str, Any], str]:
            content = response.content
            return json_in(content, response.url, ref.repository), response.headers.get("link", "")

        if not absent:
            return self._fetch_or_none(ref, path, read)
        url = f"{base_of(ref)}/{path}"

        def send() -> requests.Response:
            response, shown = self._authorized(ref, url, "GET")
            if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
                with response:
                    raise self._authorizations.refusal(ref, shown, response.status_code, error_detail(response))
            if response.status_code not in (requests.codes.ok, *absent):
                with response:
                    detail = error_detail(response)
                raise ProtocolError(
                    f"{ref}: {url} answers {response.status_code} {response.reason}{detail}", _NOT_A_LIST
                )
            return response

        return http.read_body(send, lambda reply: None if reply.status_code in absent else read(reply), SERVICE)


def _next(ref: ImageRef, path: str, link: str) -> str | None:
    """Return the path of the next page, below the repository's address; None after the last one.

    Only its query counts: a registry behind a proxy may name itself by another scheme or host than it is reached by
    (quay/quay, endpoints/v2/__init__.py, writes its configured address), and no other server is asked.
    """
    match = _NEXT.search(link)
    if match is None:
        return None
    base = f"{base_of(ref)}/"
    url = urljoin(base + path, match[1])
    plain = path.partition("?")[0]
    if urlsplit(url).path != urlsplit(base + plain).path:
        raise ProtocolError(
            f"{ref.repository}: the registry names {url} as the next page of {plain}, which is elsewhere", _NOT_A_LIST
        )
    query = urlsplit(url).query
    return f"{plain}?{query}" if query else plain
