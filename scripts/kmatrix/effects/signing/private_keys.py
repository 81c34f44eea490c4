"""Reads private keys, which are in a file or in an environment variable, and refuses one in the repository."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kmatrix.effects.disk.git import tracks
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import ENV, FILE

_PEM = "-----BEGIN "
# Keys that `cosign generate-key-pair` writes, encrypted in a form of its own (sigstore/cosign, pkg/cosign/keys.go).
_COSIGN = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")


def read_private_key(
    source: str, password_variable: str, root: Path, environment: Mapping[str, str], say: Callable[[str], None]
) -> PrivateKeyTypes:
    """Return the private key that a profile names.

    Args:
        source: `file:PATH`, or `env:VARIABLE` of a variable that holds the PEM, or the path of a file with it (as
            GitLab's variables of type file do).
        password_variable: the environment variable with the password of an encrypted PEM.
        root: the project's folder, where a path starts.
        environment: the variables with keys and passwords (see `take_keys`).
        say: is given a warning where a checkout has the file, and git does not answer whether it tracks it.

    Raises:
        InputError: the key is not there, is no PEM, or its password is wrong or missing; or git tracks its file. No
            message has a part of it.
    """
    pem, where = _pem(source, root, environment, say)
    if any(mark.encode() in pem for mark in _COSIGN):
        raise InputError(
            f"{where}: this key is encrypted in cosign's own form",
            "Create another key pair with `nox -s keys -- new FOLDER`, and list both public keys.",
        )
    password = environment.get(password_variable, "")
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not password:
        raise InputError(
            f"{where}: the key is encrypted, and {password_variable} is not set", "Set it to the password."
        )
    try:
        return load_pem_private_key(pem, password.encode() if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause: a message of the library could quote the key.
        pass
    if encrypted:
        raise InputError(f"{where}: the password in {password_variable} does not open the key", "Correct it.")
    raise InputError(f"{where} holds no private key in PEM", "Write one as `nox -s keys -- new FOLDER` does.")


def _pem(source: str, root: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> tuple[bytes, str]:
    if source.startswith(FILE):
        path, where = root / source.removeprefix(FILE), source.removeprefix(FILE)
    else:
        where = source.removeprefix(ENV)
        value = environment.get(where, "")
        if not value.strip():
            raise InputError(f"{where} is not set: the profile takes a private key from it", f"Export {where}.")
        if _PEM in value:
            return value.strip().encode() + b"\n", where
        named = _file_named(value.strip())
        if named is None:
            raise InputError(
                f"{where} holds neither a key in PEM nor the path of a file with one",
                "Export the complete text, from -----BEGIN to -----END, with its line ends.",
            )
        path = named
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{where}: there is no such file, and the profile takes a private key from it",
            "Put the key there, or name another place in matrix.yaml (file:PATH or env:VARIABLE).",
        ) from None
    except OSError as error:
        raise InputError(f"{where}: cannot read the private key: {error.strerror}", "Check its permissions.") from None
    _refuse_tracked(path, where, say)
    return content, where


def _refuse_tracked(path: Path, where: str, say: Callable[[str], None]) -> None:
    """Refuse a key that whoever clones the repository gets.

    Raises:
        InputError: git tracks it.
    """
    tracked = tracks(path)
    if tracked is None:
        say(f"warning: {where}: git did not answer whether it tracks this private key; keep it outside of the checkout")
    if tracked:
        raise InputError(
            f"{where}: git tracks this private key, so every clone of the repository has it",
            f"Treat it as stolen: create another with `nox -s keys -- new FOLDER`, replace this one as docs/signing.md "
            f"says under Compromise, and run `git rm --cached {shlex.quote(str(path))}`.",
        )


def _file_named(value: str) -> Path | None:
    """Return the file whose path a variable holds; None if it holds something else, such as a key in another form."""
    try:
        path = Path(value)
        return path if path.is_file() else None
    except (OSError, ValueError):
        # The message of the error would show the value: a key in one line is "File name too long".
        return None
