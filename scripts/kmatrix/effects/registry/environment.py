"""Takes registry credentials out of this process's environment, so that no program that it starts inherits them."""

from __future__ import annotations

import os

# The content of a config.json, as CI services keep it: docker/cli, cli/config/configfile/file.go, and GitLab Runner.
AUTH_CONFIG = "DOCKER_AUTH_CONFIG"
_taken: dict[str, str] = {}


def take_auth_config() -> str:
    """Return the value of DOCKER_AUTH_CONFIG, which the first call removes from the environment; empty if unset."""
    value = os.environ.pop(AUTH_CONFIG, None)
    if value is not None:
        _taken[AUTH_CONFIG] = value
    return _taken.get(AUTH_CONFIG, "")
