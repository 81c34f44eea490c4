"""Network addresses: which of them are this machine's, and which belong to the same server."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

_PORTS = {"http": ":80", "https": ":443"}


def is_loopback(host: str) -> bool:
    """Return whether [USER@]HOST[:PORT] is this machine; its servers speak plain HTTP, as the engine assumes too.

    The container engine accepts 127.0.0.0/8 and ::1, by value and not by spelling (moby/moby,
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
    # An IPv4-mapped IPv6 address stands for its IPv4 address.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def origin_of(url: str) -> tuple[str, str]:
    """Return the scheme and the server (with user and port) of an address, spelled alike for the same server."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower().removesuffix(_PORTS.get(parts.scheme, ":"))
