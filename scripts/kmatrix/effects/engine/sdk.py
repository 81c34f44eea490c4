"""The Docker SDK's client, kept from credential files and helpers: this program hands over what a registry asks for.

The SDK reads every entry of ~/.docker/config.json when it connects, and asks every helper before each build: one broken
entry, or a helper that is not installed, ends a run that needs no credential (docker-py, docker/api/client.py and
docker/api/build.py, _set_auth_headers).
"""

from __future__ import annotations

from typing import Any

import docker

_AUTH = ("auths", "credsStore", "credHelpers")


class _Api(docker.APIClient):
    """Keeps the parts of the file that say where the engine is and which proxies builds use."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_general_configs":
            # Never empty: the SDK would read the file by itself then.
            value = {**{key: entry for key, entry in value.items() if key not in _AUTH}, "auths": {}}
        super().__setattr__(name, value)

    def _set_auth_headers(self, headers: dict[str, Any]) -> None:
        """Send nothing along with a build: what it stands on was pulled before."""


class _Client(docker.DockerClient):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.api = _Api(*args, **kwargs)


def connect(timeout: int, max_pool_size: int) -> docker.APIClient:
    """Connect to the engine that DOCKER_HOST or the Docker context names, or the local one.

    Args:
        timeout: of a request, in seconds.
        max_pool_size: connections that are kept.

    Raises:
        docker.errors.DockerException: no engine answers.
    """
    return _Client.from_env(timeout=timeout, max_pool_size=max_pool_size).api
