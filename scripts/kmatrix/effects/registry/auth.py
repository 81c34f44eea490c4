"""Answers a registry that asks for authorisation: Basic, or a token of the service it names.

Nothing is ever retried here that was refused: a wrong password that is tried again may lock an account.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

import requests

from kmatrix.effects.net import http
from kmatrix.effects.registry.challenges import Challenge
from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.grants import Grant, grant_of
from kmatrix.effects.registry.own_words import words_of
from kmatrix.values.errors import CredentialError, KmatrixError, ProtocolError
from kmatrix.values.names import ImageRef

_SERVICE = "token service"
_CLIENT = "kmatrix"
_REFUSED = (requests.codes.unauthorized, requests.codes.forbidden)


class NotReadableError(CredentialError):
    """A repository is not there, or is not to be read: its registry does not say which, and the login is not wrong.

    `grant` is what the refused request showed, where it showed something.
    """

    def __init__(self, message: str, hint: str, grant: Grant | None = None) -> None:
        super().__init__(message, hint)
        self.grant = grant


class Authorizations:
    """What opened each repository, kept for the next request; safe to share between threads.

    Another thread may replace what is kept at any time: a refusal is judged by what its own request showed.
    """

    def __init__(self, credentials: Credentials) -> None:
        # Asking for a token twice does no harm, also where it is asked for by POST.
        self._tokens = http.new_session(methods=("GET", "POST"))
        self._credentials = credentials
        self._known: dict[tuple[str, str], Grant] = {}
        self._lock = threading.Lock()

    def known(self, ref: ImageRef) -> Grant | None:
        """Return what opened a repository before."""
        with self._lock:
            return self._known.get((ref.host, ref.path))

    def answer(self, ref: ImageRef, challenges: Sequence[Challenge], push: bool = False) -> Grant:
        """Return what answers a registry's challenges, and keep it for the repository.

        The first challenge that can be answered is; a token needs no credential, where everybody may read.

        Args:
            ref: the image.
            challenges: of the answer's WWW-Authenticate headers.
            push: ask for the right to push too, whatever the challenge asks for. It is also asked for where it was
                before: whoever pushes in another thread must not find it replaced by a token that may only pull.

        Raises:
            CredentialError: there is no credential, or the token service refuses it.
            ProtocolError: no challenge can be answered, or the service does not keep to the protocol.
            UnreachableError: the token service could not be asked.
        """
        before = self.known(ref)
        grant = self._first(ref, challenges, push or (before is not None and before.push))
        with self._lock:
            kept = self._known.get((ref.host, ref.path))
            # A token that may push can only have come in the meantime: it is as new as this one.
            if kept is None or not kept.push or grant.push or not grant.token:
                self._known[(ref.host, ref.path)] = grant
        return grant

    def refusal(self, ref: ImageRef, grant: Grant | None, status: int, said: str) -> KmatrixError:
        """The error for a registry that refuses to let something be read.

        Args:
            ref: the image.
            grant: what was shown to the registry.
            status: of its answer.
            said: its own words, from `words_of`.
        """
        login = self._credentials.login(ref)
        # Basic has no token service that told a right password from a wrong one: the status does.
        known = grant is not None and (grant.token or status == requests.codes.forbidden)
        if login is None or grant is None or not known or grant.anonymous:
            return refused(ref, self._credentials, said)
        if grant.may("pull") and grant.actions is not None:
            return ProtocolError(
                f"{ref.host} refuses the token that its own token service gave to pull {ref.path}{said}",
                "Compare the clocks of the registry and of its token service, or ask whoever runs them.",
            )
        return NotReadableError(
            f"{ref.repository} is not there, or the credential that {self._credentials.source} has for it may not read "
            f"it{said or ': the registry does not say which'}",
            "If it is to be there, check its name, and that the credential's account may read it. If it is to be made "
            "by the first push, the account must be allowed to create repositories there.",
            grant,
        )

    def unreadable(self, ref: ImageRef) -> NotReadableError:
        """The error for a repository that may be pushed to and not be read: nothing can tell what is there."""
        return NotReadableError(
            f"the credential that {self._credentials.source} has for {ref.host} may push to {ref.repository}, but not "
            "read it, so this run cannot tell what is there",
            "Its account must be allowed to pull as well: what is published already is left alone, and what was pushed "
            "is read back before it gets its name.",
        )

    def push_refusal(self, ref: ImageRef, grant: Grant | None, said: str) -> KmatrixError:
        """The error for a registry that refuses to take something, with `grant` shown; `said` is in its own words."""
        login = self._credentials.login(ref)
        if login is None or grant is None or grant.anonymous or not grant.token:
            return refused(ref, self._credentials, said)
        return CredentialError(
            f"{ref.host} does not let the credential that {self._credentials.source} has for it push to "
            f"{ref.path}{said}",
            "Its account must be allowed to push there, and to create the repository if it is not there yet.",
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
        asked = " or ".join(sorted({challenge.scheme for challenge in challenges})) or "none that it names"
        raise ProtocolError(
            f"{ref.host}: asks for an authentication that is not known here: {asked}",
            "Known are Basic and Bearer: set up one of them there, or ask without the proxy in between.",
        )

    def _token(self, ref: ImageRef, realm: str, challenge: Challenge, push: bool) -> Grant:
        """Ask the token service that a Bearer challenge names."""
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
            # By its specification a service may know only the older form; that needs a password.
            if found is not None or login.pair is None:
                return self._granted(ref, realm, found, push)
        basic = self._credentials.basic(ref)
        query = [*([("service", service)] if service else []), *(("scope", scope) for scope in scopes)]
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        return self._granted(ref, realm, self._ask(ref, url, None, basic), push)

    def _granted(self, ref: ImageRef, realm: str, token: str | None, push: bool) -> Grant:
        if token is None:
            raise ProtocolError(
                f"the token service of {ref.host} at {realm} does not take an identity token",
                f"Log in with a user and a password, so that {self._credentials.source} has them for {ref.host}.",
            )
        return grant_of(token, ref.registry[1], push)

    def _ask(self, ref: ImageRef, url: str, form: dict[str, str] | None, basic: str | None = None) -> str | None:
        """Get a token; None if the service knows no such form.

        Forms: distribution/distribution, docs/content/spec/auth/token.md (GET) and oauth.md (POST).
        """
        headers = {"Authorization": f"Basic {basic}"} if basic else {}
        method, data = "GET", None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            method, data = "POST", urlencode(form).encode()
        name = f"the token service of {ref.host} at {url.partition('?')[0]}"
        hint = "Try again later; if it stays, ask whoever runs the registry, and the proxy before it, if there is one."

        def send() -> requests.Response:
            # What is posted is secret: it goes nowhere else.
            return http.get(self._tokens, url, _SERVICE, headers, method, data, redirects=form is None)

        def read(response: requests.Response) -> str | None:
            if response.status_code in _REFUSED:
                raise refused(ref, self._credentials, words_of(response))
            if form is not None and response.status_code in (requests.codes.not_found, 405):
                return None
            if response.status_code != requests.codes.ok:
                raise ProtocolError(f"{name} answers {response.status_code} {response.reason}", hint)
            reply = http.json_object(response, name)
            token = reply.get("token") or reply.get("access_token")
            if not isinstance(token, str):
                raise ProtocolError(f"{name} sent no token", hint)
            return token

        return http.whole(send, read, _SERVICE)


def _realm(ref: ImageRef, challenge: Challenge) -> str:
    realm = challenge.parameters.get("realm", "")
    try:
        address = urlsplit(realm)
    except ValueError:
        address = urlsplit("")
    safe = address.scheme == "https" or (address.scheme == "http" and http.is_loopback(address.netloc))
    if not (address.netloc and safe):
        # Anybody on the way could read a credential that is sent without TLS.
        raise ProtocolError(
            f"{ref.host}: names the token service {realm!r}, which is not an https address",
            "Set the address of the token service in the registry's configuration to one that begins with https://.",
        )
    return realm


def _scopes(ref: ImageRef, challenge: Challenge, push: bool) -> list[str]:
    """What a token is asked for: what the registry wants, and the right to push where this program is about to."""
    own = f"repository:{ref.registry[1]}:"
    wanted = challenge.parameters.get("scope", "").split() or [f"{own}pull"]
    if not push or any(scope.startswith(own) and "push" in scope for scope in wanted):
        return wanted
    return [*(scope for scope in wanted if not scope.startswith(own)), f"{own}pull,push"]


def refused(ref: ImageRef, credentials: Credentials, said: str = "") -> CredentialError:
    """The error for a registry that refuses: it says which credential is missing or wrong.

    Args:
        ref: the image.
        credentials: those that there are.
        said: the registry's own words, from `words_of`.
    """
    source, note = credentials.source, credentials.note(ref)
    note = f"; {note}" if note else ""
    if credentials.login(ref) is None:
        return CredentialError(
            f"{ref.host} asks for a credential for {ref.path}, and {source} has none for it{note}",
            f"Add an entry for {ref.host} to {source} (docker login writes one), or name another file with "
            "--authfile or KMATRIX_AUTHFILE.",
        )
    return CredentialError(
        f"{ref.host} refuses the credential that {source} has for {ref.path}{said}{note}",
        "Check that it is still valid and may use this repository.",
    )
