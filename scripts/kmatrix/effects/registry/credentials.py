"""Registry credentials from Docker configuration files, OpenShift pull secrets, and the environment.

All have the format of Docker's config.json (docker/cli, cli/config/types/authconfig.go). Entries apply to images as in
`docker` and in the programs that read auth.json: docker/cli (cli/config/configfile/file.go, cli/config/credentials) and
containers/image (pkg/docker/config/config.go).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker.auth

from kmatrix.effects.disk.files import read_text
from kmatrix.effects.registry.credential_helpers import login_from_helper
from kmatrix.effects.registry.environment import AUTH_CONFIG, take_auth_config
from kmatrix.effects.registry.login import Login as Login
from kmatrix.effects.registry.login import text_field
from kmatrix.values.engine import RegistryLogin
from kmatrix.values.errors import InputError
from kmatrix.values.names import HUB_HOSTS, ImageRef

# The key of Docker Hub under any of its names: an address, unlike other keys.
_HUB_KEY = "https://index.docker.io/v1/"
_LOGIN = "Write it with `docker login`, or use the cluster's pull secret unchanged."


class Credentials:
    """Logins by registry or repository path; safe to share between threads.

    A registry's own helper (credHelpers) is queried, and its answer is final; otherwise the common helper (credsStore)
    is, and then the longest matching entry of the file (auths). A helper that cannot be queried counts as absent: most
    runs need no credential at all, and `note` gives the reason where one is missed. Never printed: `repr` names only
    the source.
    """

    def __init__(
        self,
        entries: Mapping[str, tuple[str, str] | Login],
        source: str,
        helpers: docker.auth.AuthConfig,
        broken: Mapping[str, str] | None = None,
        otherwise: Credentials | None = None,
    ) -> None:
        """Hold credentials.

        Args:
            entries: by registry or repository path, as in a file.
            source: the file or the environment variable, for messages.
            helpers: credsStore and credHelpers.
            broken: faults of entries, by the same keys; an error once such an entry is needed.
            otherwise: used for an image that has no login here.
        """
        logins = {key: each if isinstance(each, Login) else Login(*each) for key, each in entries.items()}
        self._entries: dict[str, Login | str] = {**_by_name(logins), **_by_name(broken or {})}
        self._helpers = helpers
        self._answers: dict[tuple[str, str], tuple[Login | None, str]] = {}
        self._lock = threading.Lock()
        self._source = source
        self._otherwise = otherwise

    def __repr__(self) -> str:
        return f"Credentials({', '.join(self.sources)})"

    @property
    def sources(self) -> tuple[str, ...]:
        """The files and environment variables that were read, for messages, in the order in which they apply."""
        return (self._source, *(self._otherwise.sources if self._otherwise else ()))

    def source(self, ref: ImageRef) -> str:
        """Return where the login for an image stands, for messages; the first source if there is none."""
        return self._found(ref)[2]

    def login(self, ref: ImageRef) -> Login | None:
        """Return the login for an image, or None if there is none.

        Raises:
            InputError: its entry is broken.
        """
        return self._found(ref)[0]

    def note(self, ref: ImageRef) -> str:
        """Return why the helper for an image's registry could not be queried, as one clause; empty if it could."""
        return self._found(ref)[1]

    def pair(self, ref: ImageRef) -> tuple[str, str] | None:
        """Return (user, password) for an image, or None if there is none."""
        login = self.login(ref)
        return login.pair if login else None

    def basic(self, ref: ImageRef) -> str | None:
        """Return the value of a Basic authorization for an image, or None if there is no password."""
        pair = self.pair(ref)
        return base64.b64encode(":".join(pair).encode(errors="surrogateescape")).decode() if pair else None

    def for_engine(self, ref: ImageRef) -> RegistryLogin | None:
        """Return the credential that the container engine is to send to a registry, or None."""
        login = self.login(ref)
        if login is None or not (login.pair or login.identity_token):
            return None
        username, password = login.pair or ("", "")
        return RegistryLogin(username, password, login.identity_token)

    def _found(self, ref: ImageRef) -> tuple[Login | None, str, str]:
        """Return the login for an image, a helper's fault, and the source."""
        login, note = self._own(ref)
        if login is not None or self._otherwise is None:
            return login, note, self._source
        later, later_note, source = self._otherwise._found(ref)
        return later, "; ".join(filter(None, (note, later_note))), source if later else self._source

    def _own(self, ref: ImageRef) -> tuple[Login | None, str]:
        login, note, final = self._from_helper(ref)
        if login is not None or final:
            return login, note
        name = f"{_host_of(ref.host)}/{ref.registry[1]}"
        while name:
            if name in self._entries:
                entry = self._entries[name]
                if isinstance(entry, str):
                    raise InputError(f"{self._source}: the entry for {name} is broken: {entry}", _LOGIN)
                return entry, note
            name = name.rpartition("/")[0]
        return None, note

    def _from_helper(self, ref: ImageRef) -> tuple[Login | None, str, bool]:
        """Return a configured helper's login for a registry, why it could not be queried, and whether that is final."""
        hub = _host_of(ref.host) == HUB_HOSTS[0]
        keys = (_HUB_KEY, *HUB_HOSTS) if hub else (ref.host,)
        own = next((key for key in keys if key in self._helpers.cred_helpers), None)
        suffix = self._helpers.cred_helpers[own] if own else self._helpers.creds_store
        if not suffix:
            return None, "", False
        program = f"docker-credential-{suffix}"
        login, note = self._answer(program, own or keys[0])
        return login, note, not note and (login is not None or own is not None)

    def _answer(self, program: str, server: str) -> tuple[Login | None, str]:
        """Query a helper, once in a run: it may prompt a person, or ask a service that limits requests."""
        with self._lock:
            if (program, server) not in self._answers:
                self._answers[program, server] = login_from_helper(program, server)
            return self._answers[program, server]


def load_credentials(authfile: Path | None) -> Credentials:
    """Read `authfile`, or, if None, the file that REGISTRY_AUTH_FILE names; without either, the sources of `docker`.

    These are DOCKER_AUTH_CONFIG, which holds the content of such a file, and, for registries that it lacks,
    ~/.docker/config.json (docker/cli, cli/config/configfile/file.go: GetCredentialsStore). Unlike there, a variable
    that does not have the form is an error, and it may name helpers, as GitLab Runner permits.

    Raises:
        InputError: the named file cannot be read, or something read does not have the form.
    """
    named = authfile or (Path(value) if (value := os.environ.get("REGISTRY_AUTH_FILE")) else None)
    if named is not None:
        return _read(_text_of(named), f"credential file {named}")
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    # `docker` takes an empty file for one without entries; one that was named is meant to have some.
    text = (_text_of(path) if path.exists() else "").strip() or "{}"
    usual = _read(text, f"credential file {path}")
    value = take_auth_config()
    return _read(value, f"the environment variable {AUTH_CONFIG}", usual) if value.strip() else usual


def _text_of(path: Path) -> str:
    return read_text(path, "credential file", "Name another file with --authfile or KMATRIX_AUTHFILE.")


def _read(text: str, source: str, otherwise: Credentials | None = None) -> Credentials:
    auths: dict[str, Any] = {}
    helpers = docker.auth.AuthConfig({})
    fault = ""
    try:
        content = json.loads(text)
        auths = dict(content.get("auths") or {})
        helpers["credHelpers"] = dict(content.get("credHelpers") or {})
        helpers["credsStore"] = str(content.get("credsStore") or "")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        fault = type(error).__name__
    if fault:
        # Neither in the message nor behind the exception: the text is a secret.
        form = f'does not have the form {{"auths": {{HOST: {{"auth": BASE64}}}}}} ({fault})'
        raise InputError(f"{source}: {form}", _LOGIN)
    entries: dict[str, Login] = {}
    broken: dict[str, str] = {}
    for key, entry in auths.items():
        try:
            login = _login(entry or {})
        except (ValueError, AttributeError, TypeError) as error:
            broken[key] = f'it does not have the form {{"auth": BASE64 of USER:PASSWORD}} ({type(error).__name__})'
            continue
        if login is not None:
            entries[key] = login
    return Credentials(entries, source.removeprefix("credential file "), helpers, broken, otherwise)


def _login(entry: Mapping[str, Any]) -> Login | None:
    """Read an entry; None if it is empty, as `docker login` writes it where a helper keeps the secret."""
    user, password, token = (text_field(entry.get(name)) for name in ("username", "password", "identitytoken"))
    if auth := text_field(entry.get("auth")):
        user, password = _decode(auth)
    return Login(user, password, token) if user or token else None


def _decode(value: str) -> tuple[str, str]:
    try:
        plain = base64.b64decode("".join(value.split()), validate=True).decode(errors="surrogateescape")
    except binascii.Error as error:
        raise ValueError("no base64") from error
    user, colon, password = plain.partition(":")
    if not colon:
        raise ValueError("no colon")
    return user, password.strip("\0")


def _by_name(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return entries by registry or path; an entry whose key is a plain name wins over one whose key is an address."""
    addresses = {key for key in found if "://" in key}
    return {_name_of(key): found[key] for keys in (addresses, set(found) - addresses) for key in sorted(keys)}


def _name_of(key: str) -> str:
    """Return the registry that a key stands for, or, if the key has no scheme, the registry with a path.

    Old versions of `docker login` wrote addresses, with the path of an API (/v1/, /v2/) that names no repository.
    """
    _, scheme, rest = key.rpartition("://")
    host, _, path = rest.rstrip("/").partition("/")
    alone = scheme or not path or path in ("v1", "v2")
    return _host_of(host) if alone else f"{_host_of(host)}/{path}"


def _host_of(host: str) -> str:
    host = host.lower()
    return HUB_HOSTS[0] if host in HUB_HOSTS else host
