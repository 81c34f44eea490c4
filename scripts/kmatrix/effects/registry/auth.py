"""Authorizes requests to a registry: Basic, or a token of the token service that the registry names.

A refused credential is never tried again: repeating a wrong password may lock an account.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

import requests

from kmatrix.effects.net import http
from kmatrix.effects.net.addresses import is_loopback
from kmatrix.effects.net.bodies import json_in
from kmatrix.effects.net.encodings import TOKEN_BYTES, content_that
from kmatrix.effects.registry.challenges import Challenge
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.error_bodies import error_detail
from kmatrix.effects.registry.grants import Grant, grant_of
from kmatrix.values.errors import CredentialError, KmatrixError, NotReadableError, ProtocolError
from kmatrix.values.names import ImageRef

_SERVICE = "token service"
_CLIENT = "kmatrix"
# Wider than b64token of RFC 6750, 2.1: whatever a header can hold.
_TOKEN = re.compile(r"[ -~]*[!-~][ -~]*")
_REFUSED = (requests.codes.unauthorized, requests.codes.forbidden)


class RefusedReadError(NotReadableError):
    """A refusal to read, with the grant that the refused request showed, if it showed one."""

    def __init__(self, message: str, hint: str, grant: Grant | None) -> None:
        super().__init__(message, hint)
        self.grant = grant


class Authorizations:
    """The grants that opened repositories, kept for later requests; safe to share between threads.

    Another thread may replace a grant at any time: a refusal is judged by the grant that its own request showed.
    """

    def __init__(self, credentials: Credentials) -> None:
        # Requesting a token twice is harmless, also by POST.
        self._tokens = http.new_session(methods=("GET", "POST"))
        self._credentials = credentials
        self._known: dict[tuple[str, str], Grant] = {}
        self._lock = threading.Lock()

    def known(self, ref: ImageRef) -> Grant | None:
        """Return the grant that opened a repository before, or None."""
        with self._lock:
            return self._known.get((ref.host, ref.path))

    def answer(self, ref: ImageRef, challenges: Sequence[Challenge], push: bool = False) -> Grant:
        """Return a grant for a registry's challenges, and keep it for the repository.

        The first challenge that can be answered is used; public repositories give out tokens without a credential.

        Args:
            ref: the image.
            challenges: from the response's WWW-Authenticate headers.
            push: request the right to push too, whatever the challenge demands. It is also requested if it was before:
                a token that may only pull must not replace the one of another thread that pushes.

        Raises:
            CredentialError: there is no credential, or the token service refuses it.
            ProtocolError: no challenge can be answered, or the token service violates its protocol.
            UnreachableError: the token service could not be reached.
        """
        before = self.known(ref)
        grant = self._first(ref, challenges, push or (before is not None and before.push))
        with self._lock:
            kept = self._known.get((ref.host, ref.path))
            # A kept token that may push can only have arrived in the meantime: it is as new as this one.
            if kept is None or not kept.push or grant.push or not grant.token:
                self._known[(ref.host, ref.path)] = grant
        return grant

    def refusal(self, ref: ImageRef, grant: Grant | None, status: int, detail: str) -> KmatrixError:
        """Return the error for a registry that refuses a read.

        Args:
            ref: the image.
            grant: the grant that the request showed.
            status: of the response.
            detail: the registry's own message, from `error_detail`.
        """
        login = self._credentials.login(ref)
        # Basic has no token service that distinguishes a wrong password: the status does.
        known = grant is not None and (grant.token or status == requests.codes.forbidden)
        if login is None or grant is None or not known or grant.anonymous:
            return refused(ref, self._credentials, detail)
        # 403 is a decision about the account, or its address, that a token does not show.
        if status == requests.codes.unauthorized and grant.may("pull") and grant.actions is not None:
            return ProtocolError(
                f"{ref.host} refuses the token that its own token service issued to pull {ref.path}{detail}",
                "Compare the clocks of the registry and of its token service, or ask whoever runs them.",
            )
        return RefusedReadError(
            f"{ref.repository} does not exist, or the credential in {self._credentials.source(ref)} may not read "
            f"it{detail or ': the registry does not say which'}",
            "If it should exist, check its name, and that the credential's account may read it. If the first push is "
            "to create it, the account must be allowed to create repositories there.",
            grant,
        )

    def unreadable(self, ref: ImageRef) -> NotReadableError:
        """Return the error for a repository that the credential may push to but not read, so its content is unknown."""
        return NotReadableError(
            f"the credential for {ref.host} in {self._credentials.source(ref)} may push to {ref.repository}, but not "
            "read it, so its content cannot be determined",
            "Allow its account to pull as well: published images must be recognised, and a pushed image "
            "is read back before it gets its name.",
        )

    def push_refusal(self, ref: ImageRef, grant: Grant | None, detail: str) -> KmatrixError:
        """Return the error for a registry that refuses a push, with `grant` shown; `detail` is its own message."""
        login = self._credentials.login(ref)
        if login is None or grant is None or grant.anonymous or not grant.token:
            return refused(ref, self._credentials, detail)
        return CredentialError(
            f"{ref.host} does not allow the credential in {self._credentials.source(ref)} to push to "
            f"{ref.path}{detail}",
            "Allow its account to push there, and to create the repository if it does not exist yet.",
        )

    def _first(self, ref: ImageRef, challenges: Sequence[Challenge], push: bool) -> Grant:
        problem: KmatrixError | None = None
        for challenge in challenges:
            if challenge.scheme == "basic":
                basic = self._credentials.basic(ref)
                if basic is not None:
                    return Grant(f"Basic {basic}")
                problem = problem or refused(ref, self._credentials)
            elif challenge.scheme == "bearer":
                try:
                    realm = _realm(ref, challenge)
                except ProtocolError as error:
                    problem = problem or error
                    continue
                return self._token(ref, realm, challenge, push)
        if problem is not None:
            raise problem
        schemes = " or ".join(sorted({challenge.scheme for challenge in challenges})) or "it names no scheme"
        raise ProtocolError(
            f"{ref.host}: demands an unsupported authentication scheme: {schemes}",
            "Basic and Bearer are supported: set up one of them there, or bypass the proxy in between.",
        )

    def _token(self, ref: ImageRef, realm: str, challenge: Challenge, push: bool) -> Grant:
        """Request a token from the service that a Bearer challenge names."""
        service = challenge.parameters.get("service", "")
        scopes = _scopes(ref, challenge, push)
        login = self._credentials.login(ref)
        if login is not None and login.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": login.identity_token,
                "service": service,
                "client_id": _CLIENT,
                "scope": " ".join(scopes),
            }
            found = self._ask(ref, realm, form)
            # The specification lets a service support the older form only; that one needs a password.
            if found is not None or login.pair is None:
                return self._granted(ref, realm, found, push)
        basic = self._credentials.basic(ref)
        query = [*([("service", service)] if service else []), *(("scope", scope) for scope in scopes)]
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        return self._granted(ref, realm, self._ask(ref, url, None, basic), push)

    def _granted(self, ref: ImageRef, realm: str, token: str | None, push: bool) -> Grant:
        if token is None:
            raise ProtocolError(
                f"the token service of {ref.host} at {realm} does not accept an identity token",
                f"Log in with a user and a password, so that {self._credentials.source(ref)} holds them for "
                f"{ref.host}.",
            )
        return grant_of(token, ref.registry[1], push)

    def _ask(self, ref: ImageRef, url: str, form: dict[str, str] | None, basic: str | None = None) -> str | None:
        """Request a token; None if the service does not support this form.

        Forms: distribution/distribution, docs/content/spec/auth/token.md (GET) and oauth.md (POST).
        """
        headers = {"Authorization": f"Basic {basic}"} if basic else {}
        method, data = "GET", None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            method, data = "POST", urlencode(form).encode()
        name = f"the token service of {ref.host} at {url.partition('?')[0]}"
        hint = "Try again later; if this persists, ask whoever runs the registry, or the proxy in front of it."

        def send() -> requests.Response:
            # The form holds a secret: no redirect may carry it elsewhere.
            return http.get(self._tokens, url, _SERVICE, headers, method, data, redirects=form is None)

        def read(response: requests.Response) -> str | None:
            if response.status_code in _REFUSED:
                raise refused(ref, self._credentials, error_detail(response))
            if form is not None and response.status_code in (requests.codes.not_found, 405):
                return None
            if response.status_code != requests.codes.ok:
                raise ProtocolError(f"{name} answers {response.status_code} {response.reason}", hint)
            reply = json_in(content_that(response, limit=TOKEN_BYTES), response.url, name)
            token = reply.get("token") or reply.get("access_token")
            if not isinstance(token, str) or not _TOKEN.fullmatch(token):
                raise ProtocolError(f"{name} sent no token that fits in a header", hint)
            return token

        return http.read_body(send, read, _SERVICE)


def _realm(ref: ImageRef, challenge: Challenge) -> str:
    realm = challenge.parameters.get("realm", "")
    try:
        address = urlsplit(realm)
    except ValueError:
        address = urlsplit("")
    safe = address.scheme == "https" or (address.scheme == "http" and is_loopback(address.netloc))
    if not (address.netloc and safe):
        # Anybody on the network path could read a credential that is sent without TLS.
        raise ProtocolError(
            f"{ref.host}: names the token service {realm!r}, which is not an https address",
            "Set the address of the token service in the registry's configuration to one that begins with https://.",
        )
    return realm


def _scopes(ref: ImageRef, challenge: Challenge, push: bool) -> list[str]:
    """Return the scopes to request: those that the registry demands, and the right to push if it is needed."""
    own = f"repository:{ref.registry[1]}:"
    wanted = challenge.parameters.get("scope", "").split() or [f"{own}pull"]
    if not push or any(scope.startswith(own) and "push" in scope for scope in wanted):
        return wanted
    return [*(scope for scope in wanted if not scope.startswith(own)), f"{own}pull,push"]


def refused(ref: ImageRef, credentials: Credentials, detail: str = "") -> CredentialError:
    """Return the error for a registry that refuses a request: it names the missing or wrong credential.

    Args:
        ref: the image.
        credentials: the run's credentials.
        detail: the registry's own message, from `error_detail`.
    """
    note = credentials.note(ref)
    note = f"; {note}" if note else ""
    if credentials.login(ref) is None:
        sources = credentials.sources
        lacking = f"{sources[0]} has none" if len(sources) == 1 else f"neither {' nor '.join(sources)} has one"
        return CredentialError(
            f"{ref.host} demands a credential for {ref.path}, and {lacking} for it{note}",
            f"Add an entry for {ref.host} to {' or to '.join(sources)} (docker login writes one), or name another file "
            "with --authfile or KMATRIX_AUTHFILE.",
        )
    return CredentialError(
        f"{ref.host} refuses the credential that {credentials.source(ref)} has for {ref.path}{detail}{note}",
        "Check that it is still valid and may use this repository.",
    )
