"""Reads a registry's lists page by page: tags, and the manifests that have a digest as their subject.

Protocol: opencontainers/distribution-spec, spec.md ("Content Discovery", "Listing Referrers").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from kmatrix.effects.net import http
from kmatrix.effects.net.bodies import json_in
from kmatrix.effects.net.encodings import DOCUMENT_BYTES, FILE_BYTES, content_that
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.error_bodies import error_detail
from kmatrix.effects.registry.grants import Grant, headers_of
from kmatrix.effects.registry.transport import SERVICE, Transport, base_of, challenges_of
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import ImageRef

_NEXT = re.compile(r'<([^>]*)>\s*(?:;[^,]*)?;\s*rel="?next"?', re.IGNORECASE)
INDEX = "application/vnd.oci.image.index.v1+json"
# google/go-containerregistry, pkg/v1/remote/referrers.go, by which cosign reads, takes 400 and 406 so, too.
NO_REFERRERS = (
    requests.codes.not_found,
    requests.codes.method_not_allowed,
    requests.codes.bad_request,
    requests.codes.not_acceptable,
)
_MOST_PAGES = 10_000
# More attestations of one image than anybody has a use for.
_MOST_REFERRERS = 10_000
NOT_A_LIST = "Fetch that address with curl: if a proxy answers, set the address of the registry itself."


class Pages(Transport):
    """Read access to the lists of every registry; safe to share between threads."""

    def __init__(self, credentials: Credentials, pushes_to: str = "") -> None:
        """Open the connection pool; the arguments are those of `Transport`."""
        super().__init__(credentials, pushes_to)
        self._without_referrers: set[tuple[str, str]] = set()

    def referrer_entries(self, ref: ImageRef) -> tuple[Any, ...] | None:
        """Return the registry's own list of the manifests whose subject is the digest of `ref`, as it sent them.

        None for a registry without such lists: there a tag names them (spec.md, "Referrers Tag Schema"). A repository
        is asked once whether it has them.

        Raises:
            TooLargeError: a page is larger than manifests may be.
            UnreachableError, CredentialError, ProtocolError: it could not be determined.
        """
        if ref.registry in self._without_referrers:
            return None
        found: list[Any] = []
        listed = False
        for page in self._pages(ref, f"referrers/{ref.digest}", NO_REFERRERS, INDEX):
            listed = True
            entries = page.get("manifests") or []
            if not isinstance(entries, list):
                raise ProtocolError(f"{ref}: the registry's list of referrers is malformed", NOT_A_LIST)
            found += entries
            if len(found) >= _MOST_REFERRERS:
                break
        if not listed:
            self._without_referrers.add(ref.registry)
            return None
        return tuple(found)

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

    def _pages(
        self, ref: ImageRef, path: str, absent: tuple[int, ...] = (), kind: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Yield the pages of an answer: each names the next one in its Link header (RFC 5988).

        Without a wanted number of entries, because registries have limits of their own and some refuse a larger one.
        No page means that the first answer had a status of `absent`, or another media type than `kind`.
        """
        wanted: str | None = path
        seen = set[str]()
        while wanted is not None:
            if wanted in seen or len(seen) >= _MOST_PAGES:
                raise ProtocolError(f"{ref.repository}: the registry's pages of {path} do not end", NOT_A_LIST)
            seen.add(wanted)
            found = self._page(ref, wanted, absent if wanted == path else (), kind)
            if found is None:
                if wanted != path:
                    raise ProtocolError(f"{ref.repository}: the registry lost page {wanted}", "Run the command again.")
                return
            page, link = found
            yield page
            wanted = _next(ref, wanted, link)

    def _page(self, ref: ImageRef, path: str, absent: tuple[int, ...], kind: str) -> tuple[dict[str, Any], str] | None:
        def read(response: requests.Response) -> tuple[dict[str, Any], str]:
            content = content_that(response, limit=DOCUMENT_BYTES if kind else FILE_BYTES)
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
                    f"{ref}: {url} answers {response.status_code} {response.reason}{detail}", NOT_A_LIST
                )
            return response

        def judge(reply: requests.Response) -> tuple[dict[str, Any], str] | None:
            sent = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
            # Some servers answer 200 with a page for every address that they do not know.
            return None if reply.status_code in absent or (kind and sent != kind) else read(reply)

        return http.read_body(send, judge, SERVICE)


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
            f"{ref.repository}: the registry names {url} as the next page of {plain}, which is elsewhere", NOT_A_LIST
        )
    query = urlsplit(url).query
    return f"{plain}?{query}" if query else plain
