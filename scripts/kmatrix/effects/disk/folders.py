"""Generated folders: read and replaced as a unit."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from kmatrix.effects.disk.files import cannot_write, read_text
from kmatrix.values.errors import InputError

# Marks every folder that `replace_folder` wrote, and may therefore replace.
MARK = ".written-by-kmatrix"


def read_folder(folder: Path, what: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Return the texts of the files below a folder that have one of the suffixes, by path.

    Raises:
        InputError: there are none, or one cannot be read.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.name.endswith(suffixes) and path.is_file()]
    if not paths:
        raise InputError(f"{what} {folder} does not exist or is incomplete", "Restore it from version control.")
    return {path.relative_to(folder).as_posix(): read_text(path, what) for path in paths}


def read_written(folder: Path) -> dict[str, str]:
    """Return the current texts by path of a folder that `replace_folder` wrote; empty for any other folder."""
    if not (folder / MARK).is_file():
        return {}
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MARK]
    return {path.relative_to(folder).as_posix(): read_text(path, "file") for path in paths}


def replace_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Replace the content of a folder with exactly these files, atomically.

    Raises:
        InputError: this program did not create the folder's content, or it cannot be written.
    """
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"refusing to overwrite {folder}: kmatrix did not create it", "Name another folder with --out."
        )
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
