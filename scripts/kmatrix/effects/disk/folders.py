"""Folders that this program writes: read as a whole, replaced as a whole."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from kmatrix.effects.disk.files import cannot_write, read_text
from kmatrix.values.errors import InputError

# Lies in every folder that `replace_folder` wrote, and says that it may replace it.
MARK = ".written-by-kmatrix"


def read_folder(folder: Path, what: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Return the texts below a folder by path, only those with one of the suffixes.

    Raises:
        InputError: there are none, or one cannot be read.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.name.endswith(suffixes) and path.is_file()]
    if not paths:
        raise InputError(f"{what} {folder}: there is none", "Take it from version control.")
    return {path.relative_to(folder).as_posix(): read_text(path, what) for path in paths}


def read_written(folder: Path) -> dict[str, str]:
    """Return the texts by path that `replace_folder` wrote, or whoever changed them since; none if it wrote none."""
    if not (folder / MARK).is_file():
        return {}
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MARK]
    return {path.relative_to(folder).as_posix(): read_text(path, "file") for path in paths}


def replace_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Make a folder hold exactly these files; it is never there in part.

    Raises:
        InputError: it holds what this program did not write, or it cannot be written.
    """
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds other things, and would be replaced", "Name another folder with --out.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            for path, text in {**files, MARK: ""}.items():
                (new / path).parent.mkdir(parents=True, exist_ok=True)
                (new / path).write_text(text, encoding="utf-8")
            if folder.exists():
                folder.rename(old)
            try:
                new.rename(folder)
            except OSError:
                if old.exists():
                    old.rename(folder)
                raise
    except OSError as error:
        raise cannot_write(folder, error) from error
