"""Registry credentials out of a Docker configuration file (or an OpenShift pull secret: the same format)."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from pathlib import Path

import docker.auth
from docker.errors import DockerException

from kmatrix.effects.files import read_text
from kmatrix.values.errors import InputError
from kmatrix.values.names import ImageRef


class Credentials:
    """User and password per registry or per repository path; the longest matching entry wins.

    Never printed: `repr` names only the file.
    """

    def __init__(self, entries: Mapping[str, tuple[str, str]], source: str, helpers: docker.auth.AuthConfig) -> None:
        self._entries = dict(entries)
        self._helpers = helpers
        self.source = source

    def __repr__(self) -> str:
        return f"Credentials({self.source})"

    def pair(self, ref: ImageRef) -> tuple[str, str] | None:
        """Return (user, password) for an image, or None if there is none."""
        name = ref.repository
        while name:
            if name in self._entries:
                return self._entries[name]
            name = name.rpartition("/")[0]
        if not self._helpers.creds_store and ref.host not in self._helpers.cred_helpers:
            return None
        try:
            found = self._helpers.resolve_authconfig(ref.host)
        except DockerException as error:
            raise InputError(f"{self.source}: its credential helper for {ref.host} failed: {error}") from error
        # A helper may also have an identity token, which is of use to the engine's own login alone.
        return (str(found["Username"]), str(found["Password"])) if found and "Password" in found else None

    def basic(self, ref: ImageRef) -> str | None:
        """Return the value of a Basic authorisation for an image, or None."""
        pair = self.pair(ref)
        return base64.b64encode(":".join(pair).encode()).decode() if pair else None

    def for_engine(self, ref: ImageRef) -> dict[str, str] | None:
        """Return what the Docker SDK takes as `auth_config`, or None."""
        pair = self.pair(ref)
        return {"username": pair[0], "password": pair[1]} if pair else None


def load_credentials(authfile: Path | None) -> Credentials:
    """Read `authfile`, or, if None, what Docker and Podman users have: REGISTRY_AUTH_FILE, ~/.docker/config.json.

    Raises:
        InputError: a file that was named cannot be read, or is not of the form.
    """
    named = authfile or (Path(value) if (value := os.environ.get("REGISTRY_AUTH_FILE")) else None)
    default = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    path = named or default
    if named is None and not path.exists():
        return Credentials({}, str(path), docker.auth.AuthConfig({}))
    text = read_text(path, "credential file", "Name another file with --authfile or KMATRIX_AUTHFILE.")
    try:
        content = json.loads(text)
        auths = content.get("auths") or {}
        entries = {_host(name): _decode(entry["auth"]) for name, entry in auths.items() if entry.get("auth")}
    except (ValueError, AttributeError, KeyError, TypeError, binascii.Error) as error:
        # The text itself is never shown: it is a secret.
        raise InputError(
            f"credential file {path}: not of the form "
            f'{{"auths": {{HOST: {{"auth": BASE64}}}}}} ({type(error).__name__})',
            "Write it with `docker login`, or take the cluster's pull secret as it is.",
        ) from error
    helpers = {key: content[key] for key in ("credsStore", "credHelpers") if key in content}
    return Credentials(entries, str(path), docker.auth.AuthConfig(helpers))


def _host(name: str) -> str:
    return name.removeprefix("https://").removeprefix("http://").rstrip("/")


def _decode(value: str) -> tuple[str, str]:
    user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    if not colon:
        raise ValueError("no colon")
    return user, password
