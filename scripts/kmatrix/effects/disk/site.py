"""A folder of many files that is written beside the one it replaces, so that readers find one of the two, complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from kmatrix.effects.disk.files import cannot_write
from kmatrix.effects.disk.folders import MARK
from kmatrix.values.errors import InputError


def replace_site(folder: Path, files: Iterable[tuple[str, str]]) -> int:
    """Replace the content of a folder with these files.

    Args:
        folder: the folder; one that this program did not write is refused.
        files: path below it, and text.

    Returns:
        how many bytes they have.

    Raises:
        InputError: the folder is not this program's, or cannot be written.
    """
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"refusing to overwrite {folder}: kmatrix did not create it", "Move it away.")
    size = 0
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            new = Path(temporary) / "new"
            new.mkdir(mode=0o755)
            (new / MARK).touch()
            made = {new}
            for path, text in files:
                target = new / path
                if target.parent not in made:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    made.add(target.parent)
                content = text.encode()
                target.write_bytes(content)
                size += len(content)
            if folder.exists():
                shutil.move(folder, Path(temporary) / "old")
            new.rename(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return size
