"""The version of this program, as it is installed."""

from __future__ import annotations

import importlib.metadata

from kmatrix.values.errors import InputError


def installed_version() -> str:
    """Return the version of kmatrix.

    Raises:
        InputError: it is not installed, as in a checkout that was never set up.
    """
    try:
        return importlib.metadata.version("kmatrix")
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            "kmatrix is not installed, so its version is unknown", "`./scripts/bootstrap` installs it into .venv."
        ) from error
