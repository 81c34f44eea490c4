"""HTTP with one policy: transient faults are retried a few times, all other faults are reported at once.

Transient are: no connection, a reset (also in the middle of a body), a time-out, and the statuses 429 (its Retry-After
is obeyed), 500, 502, 503 and 504.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import ConnectionPool
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from kmatrix.effects.net.addresses import is_loopback, origin_of
from kmatrix.effects.net.faults import MALFORMED, address_error, cause_of, hint_for
from kmatrix.effects.retry import ATTEMPTS, retried
from kmatrix.values.errors import ProtocolError, UnreachableError

_REDIRECTS = 5
_FIRST_PAUSE_SECONDS = 0.3
# To connect, and without a byte. A write may be answered late: a registry reads and stores a large blob first.
_TIMEOUT_SECONDS = (10, 30)
_TIMEOUT_SECONDS_OF_WRITES = (10, 60)
_LONGEST_PAUSE = 60
_TRANSIENT = (429, 500, 502, 503, 504)
T = TypeVar("T")


class _Retry(Retry):
    """Give up early where trying again is pointless or takes too long.

    That is at once where a server asks for a longer pause than the limit, because asking sooner would ignore its
    request; and after a time-out of any attempt but the first, because each takes longer than all pauses together.
    """

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
        again = self.total is not True and (self.total or 0) < ATTEMPTS - 1
        # A refused connection is a NewConnectionError, which is a time-out by its class alone.
        late = isinstance(error, urllib3.exceptions.TimeoutError) and not isinstance(
            error, urllib3.exceptions.NewConnectionError
        )
        if late and again and _pool is not None:
            raise urllib3.exceptions.MaxRetryError(_pool, url or "", error)
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def parse_retry_after(self, retry_after: str) -> float:
        """Return the seconds that a server asks to wait; 0, which means the usual pauses, for a malformed value."""
        try:
            return super().parse_retry_after(retry_after)
        except urllib3.exceptions.InvalidHeader:
            return 0


class _Session(requests.Session):
    """A session that leaves redirects to `get`, and does not look ahead to where one leads.

    Looking ahead would read the redirect's body, however long, and raise for its address as if it were the first one.
    """

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        """Return nothing."""
        return iter(())


def new_session(pool: int = 16, methods: tuple[str, ...] = ("GET", "HEAD")) -> requests.Session:
    """Return a session with the retry policy; thread-safe for simple requests.

    Args:
        pool: connections kept open per server.
        methods: the methods that are repeated automatically after a transient fault.
    """
    session = _Session()
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
    # A ~/.netrc must not add credentials to requests that bring their own.
    session.auth = lambda request: request
    # Bodies are compared with digests and sizes of the content as it was published.
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
    """Send one request; the caller streams the body of the response.

    Args:
        session: from `new_session`.
        url: the address.
        service: its name, for messages ("update graph").
        headers: request headers.
        method: only the session's `methods` are repeated automatically after a transient fault.
        data: the request's body; a file is sent from its beginning each time.
        redirects: whether to follow them; otherwise they are returned as the response.

    Raises:
        UnreachableError: the service cannot be reached, or answers with transient errors only.
        InputError: the address, or a proxy's, is not valid.
        ProtocolError: the service redirects to an address that is not valid.
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
                timeout=_TIMEOUT_SECONDS if method in ("GET", "HEAD") else _TIMEOUT_SECONDS_OF_WRITES,
                proxies={"http": "", "https": ""} if is_loopback(urlsplit(target).netloc) else None,
                allow_redirects=False,
            )
            if not (redirects and response.is_redirect):
                break
            response.close()
            before, target = target, _next_address(service, target, response.headers["location"])
            if origin_of(before) != origin_of(target):
                # A credential is meant for one server only; later redirects do not get it back either.
                sent = {name: value for name, value in sent.items() if name.lower() != "authorization"}
    except requests.exceptions.InvalidHeader:
        # Without the cause: a header of the request may be at fault, and hold a credential.
        raise ProtocolError(
            f"the {service} at {url} sends, or makes this program send, a header that is not valid",
            "Fetch that address with curl: if a proxy answers, set the address of the service itself.",
        ) from None
    except MALFORMED as error:
        # Without the cause: its text may hold part of a password.
        raise address_error(service, url, target, error) from None
    except requests.RequestException as error:
        raise UnreachableError(service, url, cause_of(error), hint_for(url)) from error
    if response.status_code in _TRANSIENT:
        response.close()
        pause = response.headers.get("retry-after", "")
        asked = f" and asks to wait (Retry-After: {pause})" if pause else ""
        answer = f"it answers {response.status_code} {response.reason}{asked}"
        raise UnreachableError(service, url, answer, hint_for(url))
    return response


def _next_address(service: str, before: str, location: str) -> str:
    try:
        return urljoin(before, location)
    except ValueError as error:
        raise address_error(service, before, location, error) from None


class _BrokenOffError(UnreachableError):
    """The body of a response broke off."""


@contextmanager
def _reading(service: str, url: str) -> Iterator[None]:
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _BrokenOffError(service, url, cause_of(error), hint_for(url)) from error


def read_body(send: Callable[[], requests.Response], read: Callable[[requests.Response], T], service: str) -> T:
    """Send a request and read the body of its response; repeat both, a few times, if the body breaks off.

    Args:
        send: sends the request (see `get`, which has its own retries).
        read: reads the body of the response it is given; may be called several times.
        service: its name, for messages.

    Raises:
        UnreachableError: every body broke off, or `send` could not reach the service.
    """

    def attempt() -> T:
        response = send()
        with _reading(service, response.url), response:
            return read(response)

    return retried(attempt, (_BrokenOffError,), first_pause_seconds=_FIRST_PAUSE_SECONDS)
