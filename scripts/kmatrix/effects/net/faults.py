"""Explains why a request failed: the cause in a few words, the next step, and faults of the environment's proxy."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from kmatrix.effects.net.addresses import is_loopback
from kmatrix.values.errors import InputError, ProtocolError

# Raised for an address, or a proxy's address, that cannot be parsed.
MALFORMED = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.LocationParseError,
    ValueError,
)


def cause_of(error: Exception) -> str:
    """Return the cause of a failed request in a few words, or the error's own text if it is none of the usual ones."""
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


def hint_for(url: str) -> str:
    """Return the next step for a service that cannot be reached."""
    if is_loopback(urlsplit(url).netloc):
        return "If this is the lab, `nox -s lab -- status` shows what runs and `nox -s lab -- up` starts it."
    return "Check the network and the address in matrix.yaml (each can be overridden), then run the command again."


def address_error(service: str, url: str, target: str, error: Exception) -> InputError | ProtocolError:
    """Return the error for an address that cannot be parsed, without quoting `error`: it may hold part of a password.

    Args:
        service: its name, for the message ("update graph").
        url: the address that was requested.
        target: the address that failed: `url`, or one that a redirect led to.
        error: one of `MALFORMED`.
    """
    proxy = _proxy_error(target, error)
    if proxy is not None:
        return proxy
    if target != url:
        return ProtocolError(
            f"the {service} at {url} redirects to an address that is not valid", "Ask whoever runs it, or its proxy."
        )
    return InputError(
        f"the address of the {service}, or of the proxy in the environment, is not valid: {url}",
        "Write special characters in a user or a password as % codes (%2F for /, %40 for @, %3A for :, %3F for ?); "
        "check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY too.",
    )


def _proxy_error(url: str, error: Exception) -> InputError | None:
    """Return the error for the environment's proxy for an address, or None if the proxy is not at fault."""
    of_a_proxy = isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.InvalidProxyURL)
    if not of_a_proxy or is_loopback(urlsplit(url).netloc):
        return None
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)) or ""
    where = "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
    if isinstance(error, requests.exceptions.InvalidSchema) and proxy.lower().startswith("socks"):
        return InputError(
            f"the environment names a SOCKS proxy for {url}; only HTTP proxies are supported",
            f"Set {where} to an HTTP proxy (http://HOST:PORT), or list the hosts that need no proxy in NO_PROXY.",
        )
    if isinstance(error, requests.exceptions.InvalidProxyURL) and "://" not in proxy:
        return InputError(
            f"the environment names a proxy for {url} without http:// before its user and host",
            f"Put http:// before it in {where} (some programs, such as curl, do not need it), and write special "
            "characters in the user or the password as % codes (%2F for /, %40 for @, %3A for :).",
        )
    return None
