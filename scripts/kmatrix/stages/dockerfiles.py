"""The folder dockerfiles/<profile>: one Dockerfile for each cell of the plan; files of others stay."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from kmatrix.effects.disk.files import write_atomically
from kmatrix.values.errors import InputError
from kmatrix.values.recipe import RENDERED_MARK, Recipe

_NAME = "Dockerfile"
# A killed run leaves such a file beside the one it wrote; an editor's has another form of name.
_UNFINISHED = re.compile(r"\.Dockerfile\.(?:kmatrix-)?[a-z0-9_]{8}")


def write_rendered(root: Path, profile_name: str, recipes: Iterable[Recipe], complete: bool) -> int:
    """Write each cell's Dockerfile unless it is up to date; returns how many changed.

    A file that somebody else put in a Dockerfile's place is kept beside it as `Dockerfile.kept`.

    Args:
        root: the project's folder.
        profile_name: the folder below dockerfiles/.
        recipes: the cells.
        complete: these are all cells of the profile, so Dockerfiles of others are removed.

    Raises:
        InputError: a file cannot be written or removed.
    """
    wanted = _wanted(root, profile_name, recipes)
    changed = 0
    for path, text in wanted.items():
        if not _is(path, text):
            _keep(path)
            write_atomically(path, text)
            changed += 1
    for folder in _left(root, profile_name, wanted) if complete else ():
        _remove(folder)
        changed += 1
    return changed


def check_rendered(root: Path, profile_name: str, recipes: Iterable[Recipe], complete: bool) -> list[str]:
    """Return the paths below `root` that `write_rendered` would change."""
    wanted = _wanted(root, profile_name, recipes)
    stale = [path for path, text in wanted.items() if not _is(path, text)]
    if complete:
        stale += _left(root, profile_name, wanted)
    return sorted(path.relative_to(root).as_posix() for path in stale)


def foreign_note(root: Path, profile_name: str, recipes: Iterable[Recipe]) -> str:
    """Name the files below dockerfiles/<profile> that `write_rendered` did not write; empty where there is none.

    Args:
        root: the project's folder.
        profile_name: the folder below dockerfiles/.
        recipes: the cells whose Dockerfiles were just written or compared.
    """
    folder = root / "dockerfiles" / profile_name
    wanted = _wanted(root, profile_name, recipes)
    found = [
        path.relative_to(root).as_posix()
        for path in sorted(folder.rglob("*"))
        if path not in wanted and (path.is_symlink() or not path.is_dir()) and not _is_ours(path)
    ]
    if not found:
        return ""
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return (
        f"dockerfiles/{profile_name} has files that `render` did not write; they stay: {', '.join(found[:5])}{more}. "
        "Move them elsewhere: this folder is for rendered files only."
    )


def _wanted(root: Path, profile_name: str, recipes: Iterable[Recipe]) -> dict[Path, str]:
    folder = root / "dockerfiles" / profile_name
    return {folder / recipe.cell.id / _NAME: recipe.dockerfile for recipe in recipes}


def _left(root: Path, profile_name: str, wanted: Iterable[Path]) -> list[Path]:
    """Return the folders of other cells that hold a file of ours."""
    folder = root / "dockerfiles" / profile_name
    known = {path.parent for path in wanted}
    others = (path for path in sorted(folder.iterdir()) if path not in known) if folder.is_dir() else ()
    return [path for path in others if _ours(path)]


def _ours(folder: Path) -> list[Path]:
    """Return the files directly below a cell's folder that `write_rendered` wrote; follows no link."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if _is_ours(path)]


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file() or not (path.name == _NAME or _UNFINISHED.fullmatch(path.name)):
        return False
    try:
        content = path.read_bytes()
    except OSError:
        # A file that cannot be read may be somebody else's: it is left alone.
        return False
    return any(line.startswith(RENDERED_MARK.encode()) for line in content.splitlines())


def _is(path: Path, text: str) -> bool:
    try:
        return path.is_file() and path.read_bytes() == text.encode()
    except OSError:
        return False


def _keep(path: Path) -> None:
    if not os.path.lexists(path) or _is_ours(path):
        return
    beside = path.with_name(f"{_NAME}.kept")
    count = 1
    while os.path.lexists(beside):
        count += 1
        beside = path.with_name(f"{_NAME}.kept-{count}")
    try:
        path.rename(beside)
    except OSError as error:
        raise _cannot("move", path, error) from error


def _remove(folder: Path) -> None:
    try:
        for path in _ours(folder):
            path.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise _cannot("remove", folder, error) from error


def _cannot(verb: str, path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot {verb} {path}: {error.strerror or error}",
        "Make it writable, or remove it manually.",
    )
