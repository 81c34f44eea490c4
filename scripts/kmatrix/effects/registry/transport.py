"""Sends requests for the content of repositories, with the credential that each needs, and judges the responses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests

from kmatrix.effects.net import http
from kmatrix.effects.net.addresses import is_loopback, origin_of
from kmatrix.effects.net.faults import hint_for
from kmatrix.effects.registry.auth import Authorizations, RefusedReadError
from kmatrix.effects.registry.challenges import Challenge, parse_challenges
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.error_bodies import error_detail, is_error
from kmatrix.effects.registry.grants import Grant, headers_of
from kmatrix.effects.registry.manifests import ACCEPT
from kmatrix.values.errors import KmatrixError, ProtocolError, UnreachableError
from kmatrix.values.names import ImageRef

SERVICE = "image registry"
_UNKNOWN = "Fetch that address with curl: if a proxy answers, set the address of the registry itself."
T = TypeVar("T")


class Transport:
    """Requests to every registry, with one set of credentials; safe to share between threads."""

    def __init__(self, credentials: Credentials, pushes_to: str = "") -> None:
        """Open the connection pool.

        Args:
            credentials: for all registries.
            pushes_to: HOST/PATH below which this run pushes. Where a registry does not distinguish a repository that is
                missing from one that may not be read, the right to push is requested there: with it, the registry
                distinguishes them, and Quay creates the repository. It is requested nowhere else.
        """
        self._session = http.new_session()
        self._authorizations = Authorizations(credentials)
        self._pushed: set[tuple[str, str]] = set()
        self._pushes_to = f"{pushes_to.rstrip('/')}/" if pushes_to else ""

    def _fetch(self, ref: ImageRef, path: str, read: Callable[[requests.Response], T]) -> T:
        """Read a blob or manifest that exists.

        Raises:
            ProtocolError: the registry reports that it is missing.
        """
        found = self._fetch_or_none(ref, path, read)
        if found is None:
            raise ProtocolError(
                f"{ref}: the registry reports that {path} does not exist, but the image's manifest names it",
                "Push or mirror the image again, or ask whoever runs the registry whether a clean-up removed it.",
            )
        return found

    def _fetch_or_none(self, ref: ImageRef, path: str, read: Callable[[requests.Response], T]) -> T | None:
        """Read a blob or a manifest; None if the registry itself, and not a proxy, reports that it is missing."""

        def judge(response: requests.Response) -> T | None:
            if response.status_code != requests.codes.not_found:
                return read(response)
            if not is_error(response):
                # A proxy's own 404 page says nothing about the image.
                cause = "it answers 404 in a form that no registry uses"
                raise UnreachableError(SERVICE, response.url, cause, hint_for(response.url))
            return None

        try:
            return http.read_body(lambda: self._get(ref, path), judge, SERVICE)
        except RefusedReadError:
            if not self._pushes_to or not f"{ref.repository}/".startswith(self._pushes_to):
                raise
        try:
            return http.read_body(lambda: self._get(ref, path, push=True), judge, SERVICE)
        except RefusedReadError as error:
            shown = error.grant
            # A token that lists no actions: only an upload shows whether it may push.
            lists_actions = shown is not None and shown.actions is not None
            may_push = shown is not None and shown.may("push")
            if not may_push or (not lists_actions and not self._takes_uploads(ref, shown)):
                raise
            if lists_actions or (ref.repository, path) in self._pushed:
                raise self._authorizations.unreadable(ref) from None
            # Pushing is allowed. The image may be missing, or may exist and not be readable: registries answer alike.
            # A first push must proceed; its content is read back before it gets its name.
            return None

    def _note_pushed(self, ref: ImageRef, digest: str) -> None:
        """Note a pushed manifest: from now on a refusal to read it no longer means that it may be missing."""
        self._pushed.update((ref.repository, f"manifests/{name}") for name in (digest, ref.tag) if name)

    def _takes_uploads(self, ref: ImageRef, shown: Grant | None) -> bool:
        """Return whether a repository accepts an upload: one is started and cancelled, which leaves nothing behind."""
        start = f"{base_of(ref)}/blobs/uploads/"
        headers = headers_of(shown)
        with http.get(self._session, start, SERVICE, headers, "POST", b"") as response:
            place = urljoin(start, response.headers.get("location", ""))
            taken = response.status_code == requests.codes.accepted
        if taken and urlsplit(place)[:2] == urlsplit(start)[:2]:
            # A registry drops an upload that is not cancelled after some time.
            with suppress(KmatrixError):
                http.get(self._session, place, SERVICE, headers, "DELETE").close()
        return bool(taken)

    def _get(self, ref: ImageRef, path: str, push: bool = False) -> requests.Response:
        url = f"{base_of(ref)}/{path}"
        headers = {"Accept": ACCEPT} if path.startswith("manifests/") else {}
        shown = None if push else self._authorizations.known(ref)
        response = http.get(self._session, url, SERVICE, headers | headers_of(shown))
        if response.status_code == requests.codes.unauthorized:
            with response:
                challenges = challenges_of(ref, response)
            shown = self._authorizations.answer(ref, challenges, push)
            response = http.get(self._session, url, SERVICE, headers | headers_of(shown))
        if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            with response:
                raise self._authorizations.refusal(ref, shown, response.status_code, error_detail(response))
        if response.status_code not in (requests.codes.ok, requests.codes.not_found):
            with response:
                detail = error_detail(response)
            raise ProtocolError(f"{ref}: {url} answers {response.status_code} {response.reason}{detail}", _UNKNOWN)
        return response


def base_of(ref: ImageRef) -> str:
    """Return the address of a repository in its registry's API."""
    host, path = ref.registry
    return f"{'http' if is_loopback(host) else 'https'}://{host}/v2/{path}"


def challenges_of(ref: ImageRef, response: requests.Response) -> tuple[Challenge, ...]:
    """Return the challenges of a registry's response; each WWW-Authenticate header is parsed on its own.

    A challenge decides where the registry's credential is sent, so that of a server that a redirect led to does not
    count. `docker` and containers/image take the challenges of the registry's own /v2/ alone
    (containers/image, docker/docker_client.go: setupRequestAuth).

    Raises:
        ProtocolError: the response is another server's.
    """
    if origin_of(response.url) != origin_of(base_of(ref)):
        raise ProtocolError(
            f"{ref.host} redirects to {response.url}, which demands a credential",
            "The registry's credential is sent to no other server. Ask whoever runs the registry why its storage does "
            "not accept the address; it may have expired.",
        )
    return parse_challenges(response.raw.headers.getlist("www-authenticate"))
