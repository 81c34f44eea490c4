"""HTTP with one policy: transient faults are retried with a bound, everything else is told at once.

Transient are: no connection, a reset, a time-out, 429 (its Retry-After is obeyed), 500, 502, 503, 504.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from kmatrix.effects.files import write_atomically
from kmatrix.values.errors import ProtocolError, UnreachableError

_ATTEMPTS = 4
_TIMEOUT_SECONDS = (10, 60)
_LONGEST_RETRY_AFTER_SECONDS = 60
_TRANSIENT = (429, 500, 502, 503, 504)


def is_loopback(host: str) -> bool:
    """Whether HOST[:PORT] is this machine; such servers speak plain HTTP, as the engine assumes too."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def new_session(pool: int = 16) -> requests.Session:
    """A session with the retry policy; thread-safe for simple requests."""
    session = requests.Session()
    retry = Retry(
        total=_ATTEMPTS - 1,
        backoff_factor=0.3,
        status_forcelist=_TRANSIENT,
        allowed_methods=("GET", "HEAD"),
        respect_retry_after_header=True,
        retry_after_max=_LONGEST_RETRY_AFTER_SECONDS,
        raise_on_status=False,
    )
    adapter = HTTPAdapter(max_retries=retry, pool_maxsize=pool)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    # A ~/.netrc must not slip credentials into requests that bring their own.
    session.auth = lambda request: request
    return session


def get(
    session: requests.Session,
    url: str,
    service: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
) -> requests.Response:
    """Send one request whose body is streamed by the caller.

    Args:
        session: from `new_session`.
        url: the address.
        service: what it is, for the error ("update graph").
        headers: request headers.
        method: GET or HEAD.

    Raises:
        UnreachableError: it cannot be asked, or only answers with transient errors.
    """
    proxies = {"http": "", "https": ""} if is_loopback(urlsplit(url).netloc) else None
    try:
        response = session.request(
            method,
            url,
            headers=headers,
            stream=True,
            timeout=_TIMEOUT_SECONDS,
            proxies=proxies,
            allow_redirects=False,
        )
        for _ in range(5):
            if not response.is_redirect:
                break
            response = _follow(session, response, headers or {}, method)
    except requests.RequestException as error:
        raise UnreachableError(service, url, _cause(error), _hint(url)) from error
    if response.status_code in _TRANSIENT:
        response.close()
        raise UnreachableError(service, url, f"it answers {response.status_code} {response.reason}", _hint(url))
    return response


def _follow(
    session: requests.Session, response: requests.Response, headers: dict[str, str], method: str
) -> requests.Response:
    """Follow one redirect; a credential is for the host it was given for and goes to no other."""
    target = requests.compat.urljoin(response.url, response.headers["location"])
    if urlsplit(target).netloc != urlsplit(response.url).netloc:
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    response.close()
    return session.request(
        method, target, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS, allow_redirects=False
    )


@contextmanager
def reading(service: str, url: str) -> Iterator[None]:
    """Turn a fault while a body is read into an `UnreachableError`."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise UnreachableError(service, url, _cause(error), _hint(url)) from error


def body(response: requests.Response, service: str) -> bytes:
    """Read a whole body.

    Raises:
        UnreachableError: the connection broke.
    """
    with reading(service, response.url), response:
        return response.content


def download(session: requests.Session, url: str, target: Path, sha256: str, service: str) -> None:
    """Bring a file to `target`, unless it is there already, and only if it has this SHA-256.

    Raises:
        UnreachableError: it could not be asked, or broke off, several times in a row.
        ProtocolError: it is not there, or its content is another.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        response = get(session, url, service)
        if response.status_code != requests.codes.ok:
            response.close()
            raise ProtocolError(f"{service}: {url} answers {response.status_code} {response.reason}")
        try:
            data = body(response, service)
        except UnreachableError:
            if attempt == _ATTEMPTS:
                raise
            time.sleep(0.3 * 2**attempt)
            continue
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise ProtocolError(
                f"{url}: its SHA-256 is {found}, the pin says {sha256}",
                "If the file was replaced on purpose, run `nox -s discover` and look at what changed.",
            )
        write_atomically(target, data)
        return


def _cause(error: Exception) -> str:
    text = str(error)
    for words, cause in (
        ("Connection refused", "connection refused"),
        ("Name or service not known", "its host name cannot be resolved"),
        ("Failed to resolve", "its host name cannot be resolved"),
        ("Connection reset", "connection reset"),
        ("Remote end closed", "it closed the connection"),
        ("timed out", "time-out"),
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
    ):
        if words in text:
            return cause
    return text


def _hint(url: str) -> str:
    if is_loopback(urlsplit(url).netloc):
        return "If this is the lab, `nox -s lab -- status` shows what runs and `nox -s lab -- up` starts it."
    return "Check the network and the address in matrix.yaml (each can be overridden), then run the command again."
