"""Runs credential helpers (docker-credential-NAME), the programs that keep logins for `docker`."""

from __future__ import annotations

import json
import shutil
import subprocess

from kmatrix.effects.registry.login import Login, text_field

_IDENTITY_USER = "<token>"
_NOT_FOUND = "credentials not found in native keychain"
_LIMIT_SECONDS = 60


def login_from_helper(program: str, server: str) -> tuple[Login | None, str]:
    """Return a helper's login for a server, and, as a clause that begins with the helper's name, why it failed.

    Args:
        program: name of the helper.
        server: key of the registry, as in a credential file.

    Returns:
        (None, "") if the helper has no login for the server; (None, reason) if it could not be queried.
    """
    if shutil.which(program) is None:
        return None, f"its credential helper {program} is not installed"
    try:
        return _ask(program, server), ""
    except _HelperError as error:
        return None, f"its credential helper {program} {error}"


class _HelperError(Exception):
    """A credential helper gave no answer; the text says how it failed."""


def _ask(program: str, server: str) -> Login | None:
    """Query a credential helper; None if it reports that it has no login.

    The protocol is that of docker/docker-credential-helpers (client/client.go, credentials/error.go): the server on
    standard input, JSON on standard output, and a fixed message for a login that does not exist.
    """
    try:
        # With all of this environment: some read a cloud's credentials there.
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, check=False, timeout=_LIMIT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _HelperError(f"did not finish ({type(error).__name__})") from None
    if done.returncode != 0:
        output = (done.stdout.strip() or done.stderr.strip()).decode("utf-8", "replace")
        if output == _NOT_FOUND:
            return None
        # A helper that fails says why in one line; anything longer may be a secret that it keeps.
        reason = f": {output}" if "{" not in output and len(output) <= 200 else ""
        raise _HelperError(f"failed{reason}")
    try:
        answer = json.loads(done.stdout)
        user, secret = text_field(answer.get("Username")), text_field(answer.get("Secret"))
    except (ValueError, AttributeError, TypeError) as error:
        raise _HelperError(f"answered in an unexpected form ({type(error).__name__})") from None
    # `pass` answers so for a server that it does not know.
    if not secret:
        return None
    return Login(identity_token=secret) if user == _IDENTITY_USER else Login(user, secret)
