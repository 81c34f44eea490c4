"""Registry credentials out of a Docker configuration file (or an OpenShift pull secret: the same format).

Which entry is for which image is as `docker` and the programs that read auth.json have it: docker/cli
(cli/config/configfile/file.go, cli/config/credentials) and containers/image (pkg/docker/config/config.go).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.auth

from kmatrix.effects.disk.files import read_text
from kmatrix.values.engine import RegistryLogin
from kmatrix.values.errors import InputError
from kmatrix.values.names import HUB_HOSTS, ImageRef

# Docker Hub's key, which is an address, for whatever name a person gives it.
_HUB_KEY = "https://index.docker.io/v1/"
_IDENTITY_USER = "<token>"
_HELPER_HAS_NONE = "credentials not found in native keychain"
_HELPER_SECONDS = 60
_LOGIN = "Write it with `docker login`, or take the cluster's pull secret as it is."


@dataclass(frozen=True, repr=False)
class Login:
    """What a registry is given: a user's password, or an identity token for its token service, which then goes first.

    Never printed. Bytes that are no UTF-8 are kept as Python keeps them in file names (surrogateescape).
    """

    user: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return "Login(***)"

    @property
    def pair(self) -> tuple[str, str] | None:
        """User and password, or None: a user without a password is a dummy, as beside an identity token."""
        return (self.user, self.password) if self.user and self.password else None


class Credentials:
    """A login per registry or per repository path; safe to share between threads.

    A helper of the registry's own (credHelpers) is asked, and has the last word; else the one for all (credsStore), and
    then the longest entry of the file that matches (auths). A helper that cannot be asked is none: most runs need no
    credential at all, and `note` says it where one is missed. Never printed: `repr` names only the file.
    """

    def __init__(
        self,
        entries: Mapping[str, tuple[str, str] | Login],
        source: str,
        helpers: docker.auth.AuthConfig,
        broken: Mapping[str, str] | None = None,
    ) -> None:
        """Hold credentials.

        Args:
            entries: by registry or repository path, as in a file.
            source: the file, for messages.
            helpers: credsStore and credHelpers.
            broken: by the same keys, what is wrong with an entry; an error for whoever needs it.
        """
        logins = {key: each if isinstance(each, Login) else Login(*each) for key, each in entries.items()}
        self._entries: dict[str, Login | str] = {**_by_name(logins), **_by_name(broken or {})}
        self._helpers = helpers
        self._answers: dict[tuple[str, str], tuple[Login | None, str]] = {}
        self._lock = threading.Lock()
        self.source = source

    def __repr__(self) -> str:
        return f"Credentials({self.source})"

    def login(self, ref: ImageRef) -> Login | None:
        """Return the login for an image, or None if there is none.

        Raises:
            InputError: its entry is broken.
        """
        return self._found(ref)[0]

    def note(self, ref: ImageRef) -> str:
        """Return why the helper for an image's registry could not be asked, as one clause; empty if it could."""
        return self._found(ref)[1]

    def pair(self, ref: ImageRef) -> tuple[str, str] | None:
        """Return (user, password) for an image, or None if there is none."""
        login = self.login(ref)
        return login.pair if login else None

    def basic(self, ref: ImageRef) -> str | None:
        """Return the value of a Basic authorisation for an image, or None."""
        pair = self.pair(ref)
        return base64.b64encode(":".join(pair).encode(errors="surrogateescape")).decode() if pair else None

    def for_engine(self, ref: ImageRef) -> RegistryLogin | None:
        """Return the credential that the container engine is to send to a registry, or None."""
        login = self.login(ref)
        if login is None or not (login.pair or login.identity_token):
            return None
        username, password = login.pair or ("", "")
        return RegistryLogin(username, password, login.identity_token)

    def _found(self, ref: ImageRef) -> tuple[Login | None, str]:
        asked, note, final = self._from_helper(ref)
        if asked is not None or final:
            return asked, note
        name = f"{_host_of(ref.host)}/{ref.registry[1]}"
        while name:
            if name in self._entries:
                entry = self._entries[name]
                if isinstance(entry, str):
                    raise InputError(f"credential file {self.source}: the entry for {name} is broken: {entry}", _LOGIN)
                return entry, note
            name = name.rpartition("/")[0]
        return None, note

    def _from_helper(self, ref: ImageRef) -> tuple[Login | None, str, bool]:
        """What a configured helper has for a registry, why it could not be asked, and whether that is the last word."""
        hub = _host_of(ref.host) == HUB_HOSTS[0]
        keys = (_HUB_KEY, *HUB_HOSTS) if hub else (ref.host,)
        own = next((key for key in keys if key in self._helpers.cred_helpers), None)
        suffix = self._helpers.cred_helpers[own] if own else self._helpers.creds_store
        if not suffix:
            return None, "", False
        program = f"docker-credential-{suffix}"
        login, note = self._asked(program, own or keys[0])
        return login, note, not note and (login is not None or own is not None)

    def _asked(self, program: str, server: str) -> tuple[Login | None, str]:
        """What a helper has for a registry, and why it could not be asked; it is asked once in a run.

        A helper may ask a person, or a service that counts.
        """
        with self._lock:
            if (program, server) not in self._answers:
                login, note = None, ""
                if shutil.which(program) is None:
                    note = f"its credential helper {program} is not installed"
                else:
                    try:
                        login = _ask(program, server)
                    except _HelperError as error:
                        note = f"its credential helper {program} {error}"
                self._answers[program, server] = login, note
            return self._answers[program, server]


class _HelperError(Exception):
    """A credential helper gave no answer; the text says how it failed."""


def _ask(program: str, server: str) -> Login | None:
    """Ask a credential helper; None if it says that it has nothing.

    The protocol is docker/docker-credential-helpers' (client/client.go, credentials/error.go): the server on standard
    input, JSON on standard output, and words of its own for what is not there.
    """
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, check=False, timeout=_HELPER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _HelperError(f"did not run to its end ({type(error).__name__})") from None
    if done.returncode != 0:
        said = (done.stdout.strip() or done.stderr.strip()).decode("utf-8", "replace")
        if said == _HELPER_HAS_NONE:
            return None
        # A helper that fails says why in a line; anything longer may be what it keeps.
        words = f": {said}" if "{" not in said and len(said) <= 200 else ""
        raise _HelperError(f"failed{words}")
    try:
        answer = json.loads(done.stdout)
        user, secret = _text(answer.get("Username")), _text(answer.get("Secret"))
    except (ValueError, AttributeError, TypeError) as error:
        raise _HelperError(f"answered in another form ({type(error).__name__})") from None
    # `pass` answers so for a server it does not know.
    if not secret:
        return None
    return Login(identity_token=secret) if user == _IDENTITY_USER else Login(user, secret)


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
        auths = dict(content.get("auths") or {})
        helpers = docker.auth.AuthConfig({"credHelpers": dict(content.get("credHelpers") or {})})
        helpers["credsStore"] = str(content.get("credsStore") or "")
    except (ValueError, AttributeError, TypeError) as error:
        # The text itself is never shown: it is a secret.
        raise InputError(
            f"credential file {path}: not of the form "
            f'{{"auths": {{HOST: {{"auth": BASE64}}}}}} ({type(error).__name__})',
            _LOGIN,
        ) from error
    entries: dict[str, Login] = {}
    broken: dict[str, str] = {}
    for key, entry in auths.items():
        try:
            login = _login(entry or {})
        except (ValueError, AttributeError, TypeError) as error:
            broken[key] = f'not of the form {{"auth": BASE64 of USER:PASSWORD}} ({type(error).__name__})'
            continue
        if login is not None:
            entries[key] = login
    return Credentials(entries, str(path), helpers, broken)


def _login(entry: Mapping[str, Any]) -> Login | None:
    """Read an entry; None for one that holds nothing, which `docker login` leaves where a helper has the secret."""
    user, password, token = (_text(entry.get(name)) for name in ("username", "password", "identitytoken"))
    if auth := _text(entry.get("auth")):
        user, password = _decode(auth)
    return Login(user, password, token) if user or token else None


def _text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError("no text")
    return value or ""


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
    """Entries by what they are for; one whose key is a plain name goes before one whose key is an address."""
    addresses = {key for key in found if "://" in key}
    return {_name_of(key): found[key] for keys in (addresses, set(found) - addresses) for key in sorted(keys)}


def _name_of(key: str) -> str:
    """What an entry is for: a registry, or, of a key without a scheme, also a path in it.

    Addresses are of old `docker login`s, with the path of an interface (/v1/, /v2/) that names no repository.
    """
    _, scheme, rest = key.rpartition("://")
    host, _, path = rest.rstrip("/").partition("/")
    alone = scheme or not path or path in ("v1", "v2")
    return _host_of(host) if alone else f"{_host_of(host)}/{path}"


def _host_of(host: str) -> str:
    host = host.lower()
    return HUB_HOSTS[0] if host in HUB_HOSTS else host
