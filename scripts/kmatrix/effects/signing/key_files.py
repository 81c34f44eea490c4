"""The files of new keys: their names and bounds, and how they are written where nothing is overwritten.

Nothing here needs cryptography, which commands that only look at these files need not load.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kmatrix.effects.disk.files import cannot_write
from kmatrix.values.errors import InputError

IMAGE_KEY, IMAGE_PUBLIC_KEY = "images.key", "images.pub"
MODULE_KEY, MODULE_CERTIFICATE = "modules.key", "modules.pem"
# The form that mokutil and firmware take.
MODULE_CERTIFICATE_DER = "modules.der"
IMAGE_FILES = (IMAGE_KEY, IMAGE_PUBLIC_KEY)
MODULE_FILES = (MODULE_KEY, MODULE_CERTIFICATE_DER, MODULE_CERTIFICATE)
DEFAULT_YEARS = 10
MOST_YEARS = 100
# Of a common name (RFC 5280, ub-common-name).
MOST_NAME = 64
_PRIVATE, _PUBLIC = 0o600, 0o644


@dataclass(frozen=True)
class KeyFile:
    """A file of a new key: its name, its content, and whether nobody else may read it."""

    name: str
    content: bytes
    private: bool = False


def write_key_files(folder: Path, files: Iterable[KeyFile]) -> None:
    """Write new files, all of them or none; the folder is created if need be, for its owner alone.

    Raises:
        InputError: one exists already, and stays as it is, or one cannot be written.
    """
    written: list[Path] = []
    path = folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in files:
            path = folder / file.name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE if file.private else _PUBLIC)
            written.append(path)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(file.content)
    except BaseException as error:
        for each in written:
            each.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise InputError(
                f"{path} exists already, and was not changed",
                "Name another folder: a key in use must not be replaced.",
            ) from error
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise
