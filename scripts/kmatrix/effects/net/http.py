"""HTTP with one policy: transient faults are retried with a bound, everything else is told at once.

Transient are: no connection, a reset (in the middle of a body too), a time-out, 429 (its Retry-After is obeyed), 500,
502, 503, 504.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import ConnectionPool
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from kmatrix.decide.formats.payload import json_object as parsed_object
from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.registry.encodings import content_of
from kmatrix.effects.retry import ATTEMPTS, retried
from kmatrix.values.errors import InputError, ProtocolError, UnreachableError

_REDIRECTS = 5
_FIRST_PAUSE_SECONDS = 0.3
_TIMEOUT_SECONDS = (10, 60)
_LONGEST_PAUSE = 60
_TRANSIENT = (429, 500, 502, 503, 504)
_NO_SERVICE = "Ask that address with curl: if it is a proxy's or a sign-in page, set the address of the service itself."
T = TypeVar("T")


_MALFORMED = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.LocationParseError,
    ValueError,
)


class _Retry(Retry):
    """Gives up at once where a server asks for a longer pause than anybody waits for; asking sooner is rude."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if response is not None and _pool is not None and (self.get_retry_after(response) or 0) > _LONGEST_PAUSE:
            raise urllib3.exceptions.MaxRetryError(_pool, url or "")
        return super().increment(method, url, response, error, _pool, _stacktrace)


def is_loopback(host: str) -> bool:
    """Whether [USER@]HOST[:PORT] is this machine; such servers speak plain HTTP, as the engine assumes too.

    The engine takes 127.0.0.0/8 and ::1 so, by their values and not by their spelling (moby/moby,
    daemon/pkg/registry/config.go).
    """
    host = host.rpartition("@")[2]
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    # An IPv4 address in the form of IPv6 is what it stands for.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def new_session(pool: int = 16, methods: tuple[str, ...] = ("GET", "HEAD")) -> requests.Session:
    """A session with the retry policy; thread-safe for simple requests.

    Args:
        pool: connections kept per server.
        methods: those that may be sent again by themselves after a transient fault.
    """
    session = requests.Session()
    retry = _Retry(
        total=ATTEMPTS - 1,
        backoff_factor=_FIRST_PAUSE_SECONDS,
        status_forcelist=_TRANSIENT,
        allowed_methods=methods,
        respect_retry_after_header=True,
        raise_on_status=False,
    )
    adapter = HTTPAdapter(max_retries=retry, pool_maxsize=pool)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    # A ~/.netrc must not slip credentials into requests that bring their own.
    session.auth = lambda request: request
    # What comes is compared with digests and sizes, which are those of the content as it was published.
    session.headers["Accept-Encoding"] = "identity"
    return session


def get(
    session: requests.Session,
    url: str,
    service: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    data: bytes | IO[bytes] | None = None,
    redirects: bool = True,
) -> requests.Response:
    """Send one request; the body of its answer is streamed by the caller.

    Args:
        session: from `new_session`.
        url: the address.
        service: what it is, for the error ("update graph").
        headers: request headers.
        method: only GET and HEAD are sent again by themselves after a transient fault.
        data: the request's own body; a file is sent from its beginning, each time.
        redirects: whether they are followed; else the caller gets them as the answer.

    Raises:
        UnreachableError: it cannot be asked, or only answers with transient errors.
        InputError: the address, or a proxy's, is none.
    """
    sent = dict(headers or {})
    target = url
    try:
        for _ in range(_REDIRECTS + 1):
            if data is not None and not isinstance(data, bytes):
                data.seek(0)
            response = session.request(
                method,
                target,
                headers=sent,
                data=data,
                stream=True,
                timeout=_TIMEOUT_SECONDS,
                proxies={"http": "", "https": ""} if is_loopback(urlsplit(target).netloc) else None,
                allow_redirects=False,
            )
            if not (redirects and response.is_redirect):
                break
            response.close()
            before, target = target, urljoin(target, response.headers["location"])
            if _origin(before) != _origin(target):
                # A credential is for the server it was given for; further on it stays away too.
                sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
    except _MALFORMED as error:
        # What these say may be a piece of a password.
        proxy = _proxy_fault(target, error)
        if proxy is not None:
            raise proxy from None
        if target != url:
            raise ProtocolError(
                f"the {service} at {url} sends on to something that is no address", "Ask whoever runs it, or its proxy."
            ) from None
        raise InputError(
            f"the address of the {service}, or of the proxy in the environment, cannot be read as one: {url}",
            "Write % codes for what is special in a user or a password (%2F for /, %40 for @, %3A for :, %3F for ?); "
            "look at HTTP_PROXY, HTTPS_PROXY and ALL_PROXY too.",
        ) from None
    except requests.RequestException as error:
        raise UnreachableError(service, url, _cause(error), hint(url)) from error
    if response.status_code in _TRANSIENT:
        response.close()
        pause = response.headers.get("retry-after", "")
        asked = f" and asks to wait (Retry-After: {pause})" if pause else ""
        raise UnreachableError(service, url, f"it answers {response.status_code} {response.reason}{asked}", hint(url))
    return response


def _proxy_fault(url: str, error: Exception) -> InputError | None:
    """What is wrong with the environment's proxy for an address, where that is what an error is about."""
    of_a_proxy = isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.InvalidProxyURL)
    if not of_a_proxy or is_loopback(urlsplit(url).netloc):
        return None
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)) or ""
    where = "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
    if isinstance(error, requests.exceptions.InvalidSchema) and proxy.lower().startswith("socks"):
        return InputError(
            f"the environment names a SOCKS proxy for {url}, and only HTTP proxies can be used here",
            f"Set {where} to an HTTP proxy (http://HOST:PORT), or name the hosts that need none in NO_PROXY.",
        )
    if isinstance(error, requests.exceptions.InvalidProxyURL) and "://" not in proxy:
        return InputError(
            f"the environment names a proxy for {url} without http:// before its user and its host",
            f"Put http:// before it in {where}, which not every program needs (curl does not), and write % codes for "
            "what is special in the user or the password (%2F for /, %40 for @, %3A for :).",
        )
    return None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


class _BrokenOffError(UnreachableError):
    """The body of a response broke off."""


@contextmanager
def _reading(service: str, url: str) -> Iterator[None]:
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _BrokenOffError(service, url, _cause(error), hint(url)) from error


def whole(send: Callable[[], requests.Response], read: Callable[[requests.Response], T], service: str) -> T:
    """Send a request and read its body; a body that breaks off is asked for again, with a bound.

    Args:
        send: sends the request (see `get`, which has its own retries).
        read: is given the response, whose body is still to be read; may be called again.
        service: what it is, for the error.

    Raises:
        UnreachableError: every body broke off, or `send` could not ask.
    """

    def attempt() -> T:
        response = send()
        with _reading(service, response.url), response:
            return read(response)

    return retried(attempt, (_BrokenOffError,), first_pause_seconds=_FIRST_PAUSE_SECONDS)


def content(response: requests.Response) -> bytes:
    """The whole body, to give to `whole`."""
    return response.content


def json_object(response: requests.Response, name: str) -> dict[str, Any]:
    """The body as a JSON object; `name` says in errors what sent it.

    Raises:
        ProtocolError: it is none.
    """
    return json_in(response.content, response.url, name)


def json_in(content: bytes, url: str, name: str) -> dict[str, Any]:
    """What came from an address as a JSON object; `name` says in errors what sent it.

    Raises:
        ProtocolError: it is none.
    """
    what = f"{name}: what {url} sent"
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{what} is not JSON: {error}", _NO_SERVICE) from None
    return parsed_object(text, what, _NO_SERVICE)


def download(session: requests.Session, url: str, target: Path, sha256: str, service: str) -> None:
    """Bring a file to `target`, whatever is there, and only if it has this SHA-256.

    Raises:
        UnreachableError: it could not be asked, or broke off, several times in a row.
        ProtocolError: it is not there, or its content is another.
    """

    def send() -> requests.Response:
        response = get(session, url, service)
        if response.status_code != requests.codes.ok:
            response.close()
            raise ProtocolError(
                f"{service}: {url} answers {response.status_code} {response.reason}",
                "Look whether the file is there under another name; "
                "`nox -s discover` for the same profile pins it anew.",
            )
        return response

    data = whole(send, lambda response: content_of(response, sha256), service)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ProtocolError(
            f"{service}: {url} has the SHA-256 {found}, the pin says {sha256}",
            "If the file was replaced on purpose, run `nox -s discover` for the same profile and look at what changed.",
        )
    write_atomically(target, data)


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


def hint(url: str) -> str:
    """What to do about a service that cannot be asked."""
    if is_loopback(urlsplit(url).netloc):
        return "If this is the lab, `nox -s lab -- status` shows what runs and `nox -s lab -- up` starts it."
    return "Check the network and the address in matrix.yaml (each can be overridden), then run the command again."
