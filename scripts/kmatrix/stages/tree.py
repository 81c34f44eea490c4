"""The folder dockerfiles/<profile>: exactly one Dockerfile for each cell of the plan, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from kmatrix.effects.files import write_atomically
from kmatrix.values.recipe import Recipe


def write_rendered(root: Path, profile_name: str, recipes: Iterable[Recipe], complete: bool) -> int:
    """Write each cell's Dockerfile where it is not that already; returns how many changed.

    Args:
        root: the project's folder.
        profile_name: the folder below dockerfiles/.
        recipes: the cells.
        complete: these are all cells of the profile, so the folders of others go.
    """
    wanted = _wanted(root, profile_name, recipes)
    changed = 0
    for path, text in wanted.items():
        if not path.is_file() or path.read_bytes() != text.encode():
            write_atomically(path, text)
            changed += 1
    if complete:
        for folder in _others(root, profile_name, wanted):
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
            else:
                folder.unlink()
            changed += 1
    return changed


def check_rendered(root: Path, profile_name: str, recipes: Iterable[Recipe], complete: bool) -> list[str]:
    """Return the paths below `root` that are not as `write_rendered` would leave them."""
    wanted = _wanted(root, profile_name, recipes)
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_bytes() != text.encode()]
    if complete:
        stale += _others(root, profile_name, wanted)
    return sorted(path.relative_to(root).as_posix() for path in stale)


def _wanted(root: Path, profile_name: str, recipes: Iterable[Recipe]) -> dict[Path, str]:
    folder = root / "dockerfiles" / profile_name
    return {folder / recipe.cell.id / "Dockerfile": recipe.dockerfile for recipe in recipes}


def _others(root: Path, profile_name: str, wanted: Iterable[Path]) -> list[Path]:
    folder = root / "dockerfiles" / profile_name
    known = {path.parent for path in wanted}
    return [path for path in sorted(folder.iterdir()) if path not in known] if folder.is_dir() else []
