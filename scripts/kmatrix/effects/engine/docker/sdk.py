"""The Docker SDK's client, kept from credential files and helpers: this program passes on the credentials itself.

The SDK reads every entry of ~/.docker/config.json when it connects, and asks every helper before each build: one broken
entry, or a helper that is not installed, ends a run that needs no credential (docker-py, docker/api/client.py and
docker/api/build.py, _set_auth_headers).
"""

from __future__ import annotations

from typing import Any

import docker
from docker.constants import DEFAULT_UNIX_SOCKET

_AUTH = ("auths", "credsStore", "credHelpers")


class _Api(docker.APIClient):
    """Keeps the parts of the file that say where the engine is and which proxies builds use."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_general_configs":
            # Never empty: the SDK would read the file by itself then.
            value = {**{key: entry for key, entry in value.items() if key not in _AUTH}, "auths": {}}
        super().__setattr__(name, value)

    def _set_auth_headers(self, headers: dict[str, Any]) -> None:
        """Send no credential along with a build: its bases were pulled before."""


class _Client(docker.DockerClient):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The SDK's own `base_url` is a made-up one for a socket (docker-py, docker/api/client.py).
        self.address = str(kwargs.get("base_url") or DEFAULT_UNIX_SOCKET).removeprefix("http+")
        self.api = _Api(*args, **kwargs)


def connect(timeout: int, max_pool_size: int) -> tuple[docker.APIClient, str]:
    """Connect to the engine that DOCKER_HOST or the Docker context names, or to the local one.

    Args:
        timeout: of a request, in seconds.
        max_pool_size: connections that are kept.

    Returns:
        the client, and the address that it is connected to.

    Raises:
        docker.errors.DockerException: no engine answers.
    """
    client = _Client.from_env(timeout=timeout, max_pool_size=max_pool_size)
    return client.api, client.address
