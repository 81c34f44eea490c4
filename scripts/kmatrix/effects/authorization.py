"""Answers a registry that asks for authorisation: Basic, or a token of the service it names.

Nothing is ever retried here that was refused: a wrong password that is tried again may lock an account.
"""

from __future__ import annotations

import re
import threading
from urllib.parse import urlencode, urlsplit

import requests

from kmatrix.effects import http
from kmatrix.effects.credentials import Credentials
from kmatrix.values.errors import CredentialError, ProtocolError
from kmatrix.values.names import ImageRef

_SERVICE = "token service"
_PARAMETER = re.compile(r'([A-Za-z_]+)=(?:"([^"]*)"|([^\s",]+))')


class Authorizations:
    """What opened each repository, kept for the next request; safe to share between threads."""

    def __init__(self, session: requests.Session, credentials: Credentials) -> None:
        self._session = session
        self._credentials = credentials
        self._known: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def known(self, ref: ImageRef) -> dict[str, str]:
        """Return the headers that opened a repository before."""
        with self._lock:
            found = self._known.get((ref.host, ref.path))
        return {"Authorization": found} if found else {}

    def answer(self, ref: ImageRef, challenge: str) -> dict[str, str]:
        """Return the headers that answer a WWW-Authenticate challenge, and keep them for the repository.

        Raises:
            CredentialError: there is no credential, or the token service refuses it.
            ProtocolError: the challenge cannot be answered, or the service does not keep to the protocol.
            UnreachableError: the token service could not be asked.
        """
        scheme, _, rest = challenge.partition(" ")
        basic = self._credentials.basic(ref)
        if scheme.lower() == "basic":
            if basic is None:
                raise self.refusal(ref)
            authorization = f"Basic {basic}"
        elif scheme.lower() == "bearer":
            authorization = f"Bearer {self._token(ref, rest, basic)}"
        else:
            raise ProtocolError(f"{ref.host}: asks for an authentication that is not known here: {challenge!r}")
        with self._lock:
            self._known[(ref.host, ref.path)] = authorization
        return {"Authorization": authorization}

    def refusal(self, ref: ImageRef) -> CredentialError:
        """The error for a registry that refuses."""
        return refused(ref, self._credentials)

    def _token(self, ref: ImageRef, challenge: str, basic: str | None) -> str:
        """Ask the token service that a Bearer challenge names."""
        fields = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(challenge)}
        realm = fields.get("realm", "")
        address = urlsplit(realm)
        safe = address.scheme == "https" or (address.scheme == "http" and http.is_loopback(address.netloc))
        if not (address.netloc and safe):
            # Anybody on the way could read a credential that is sent without TLS.
            raise ProtocolError(f"{ref.host}: names the token service {realm!r}, which is not an https address")
        query = {
            "service": fields.get("service", ""),
            "scope": fields.get("scope", f"repository:{ref.path}:pull"),
        }
        url = f"{realm}{'&' if address.query else '?'}{urlencode(query)}"
        headers = {"Authorization": f"Basic {basic}"} if basic else {}
        name = f"the token service of {ref.host} at {realm}"

        def read(response: requests.Response) -> str:
            if response.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
                raise self.refusal(ref)
            if response.status_code != requests.codes.ok:
                raise ProtocolError(f"{name} answers {response.status_code} {response.reason}")
            reply = http.json_object(response, name)
            token = reply.get("token") or reply.get("access_token")
            if not isinstance(token, str):
                raise ProtocolError(f"{name} sent no token")
            return token

        return http.whole(lambda: http.get(self._session, url, _SERVICE, headers), read, _SERVICE)


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
