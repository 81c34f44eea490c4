"""Signs with the identity of a CI job, by the program cosign: no key, but a certificate and a public log."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from kmatrix.effects.process.environment import child_environment
from kmatrix.effects.signing.environment import GITHUB_IDENTITY, IDENTITY_TOKEN, take_identity
from kmatrix.values.attestation import Statement
from kmatrix.values.engine import RegistryLogin
from kmatrix.values.errors import InputError, ToolError
from kmatrix.values.names import HUB_HOSTS, ImageRef

_PROGRAM = "cosign"
# cosign's own limit is three minutes (doc/cosign.md, --timeout).
_LIMIT_SECONDS = 240
# The key of Docker Hub in a credential file (docker/cli, cli/config/configfile).
_HUB_KEY = "https://index.docker.io/v1/"
# Since version 3 it writes signatures in a form that CRI-O does not read, unless told otherwise
# (cmd/cosign/cli/options/sign.go).
_CLASSIC = ("--new-bundle-format=false", "--use-signing-config=false")
_TOKEN_TEXT = re.compile(r"\beyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def require_cosign() -> None:
    """Refuse a machine where cosign cannot sign with an identity.

    Raises:
        InputError: cosign is not installed, or the environment offers no identity.
    """
    identity = take_identity()
    if shutil.which(_PROGRAM) is None:
        raise InputError(
            "image_signing.keyless: cosign, which makes these signatures, is not installed",
            "Install cosign, or set keyless: false in matrix.yaml.",
        )
    if not identity.get(IDENTITY_TOKEN) and not all(identity.get(name) for name in GITHUB_IDENTITY):
        raise InputError(
            f"image_signing.keyless: no CI job's identity is here: neither {IDENTITY_TOKEN} nor "
            f"{' and '.join(GITHUB_IDENTITY)} is set",
            "On GitHub, give the job the permission `id-token: write`; on GitLab, an id_tokens entry "
            f"{IDENTITY_TOKEN} with the audience sigstore. Elsewhere, set keyless: false in matrix.yaml.",
        )


def sign_keyless(ref: ImageRef, login: RegistryLogin | None) -> None:
    """Sign an image by its digest, in the classic form that CRI-O reads.

    Args:
        ref: the image, with its digest.
        login: for its registry; None where it needs none.

    Raises:
        ToolError: cosign failed.
    """
    _run(["sign", "--yes", *(_CLASSIC if _major() >= 3 else ()), ref.pinned], ref, login)


def attest_keyless(ref: ImageRef, statement: Statement, login: RegistryLogin | None) -> None:
    """Attach a statement's predicate to an image, signed.

    Args:
        ref: the image, with its digest.
        statement: the statement about it.
        login: for its registry; None where it needs none.

    Raises:
        ToolError: cosign failed.
    """
    with TemporaryDirectory(prefix="kmatrix-") as folder:
        predicate = Path(folder) / "predicate.json"
        predicate.write_text(json.dumps(statement.predicate), encoding="utf-8")
        arguments = ["--type", statement.predicate_type, "--predicate", str(predicate)]
        _run(["attest", "--yes", *arguments, ref.pinned], ref, login)


def _major() -> int:
    """Return the major version of cosign."""
    text = _output([_PROGRAM, "version", "--json"], child_environment())
    try:
        return int(str(json.loads(text)["gitVersion"]).removeprefix("v").split(".")[0])
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"`cosign version --json` does not name its version ({type(error).__name__})",
            "Install a release of cosign.",
        ) from None


def _run(arguments: Sequence[str], ref: ImageRef, login: RegistryLogin | None) -> None:
    with TemporaryDirectory(prefix="kmatrix-") as folder:
        # By a file, as command lines can be read by every process. cosign looks for it as docker does
        # (google/go-containerregistry, pkg/authn/keychain.go).
        file = Path(folder) / "config.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"auths": _auths(ref, login)}), encoding="utf-8")
        _output([_PROGRAM, *arguments], {**child_environment(), **take_identity(), "DOCKER_CONFIG": folder})


def _auths(ref: ImageRef, login: RegistryLogin | None) -> dict[str, dict[str, str]]:
    if login is None:
        return {}
    host = _HUB_KEY if ref.host in HUB_HOSTS else ref.host
    pair = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    return {host: {"identitytoken": login.identity_token} if login.identity_token else {"auth": pair}}


def _output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    what = f"cosign {command[1]}"
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_LIMIT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{what} did not finish ({type(error).__name__})", "Run the command again.") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        said = _TOKEN_TEXT.sub("***", lines[-1])[:500]
        raise ToolError(
            f"{what} ended with status {done.returncode}: {said}",
            "Run the command again when Fulcio, Rekor and the registry answer: cosign needs all of them.",
        )
    return done.stdout
