"""The folders that shards leave: each has results.json, bundles.json and logs as `build` has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from kmatrix.effects.disk.files import cannot_read, write_atomically
from kmatrix.values.errors import InputError

_NAMES = ("results.json", "bundles.json")


def shard_folders(given: Iterable[Path], say: Callable[[str], None]) -> tuple[Path, ...]:
    """Return the folders with results among these: each itself, its `build`, or the folders in it, in order.

    Args:
        given: folders.
        say: is given a line for each folder that is empty, and for each folder in a folder that has no results.

    Raises:
        InputError: one is no folder, or has something else than results.
    """
    found: list[Path] = []
    for folder in given:
        if not folder.is_dir():
            raise InputError(
                f"{folder} is not a folder", "Name the folders that shards left, or the folder they are in."
            )
        if own := next((each for each in (folder, folder / "build") if _has_results(each)), None):
            found.append(own)
            continue
        content = sorted(folder.iterdir())
        if not content:
            say(f"{folder} is empty: there was no shard, or none left results")
            continue
        inner = [each for each in content if each.is_dir()]
        having = [each for each in inner if _has_results(each)]
        if not having:
            raise InputError(
                f"{folder} has neither {' nor '.join(_NAMES)}, and no folder with one",
                "Name the folders that shards left. A shard that ended before its first cell was done leaves none.",
            )
        for each in inner:
            if each not in having:
                say(f"warning: {each} has no results: its run ended before its first cell was done")
        found += having
    return tuple(dict.fromkeys(found))


def copy_log(root: Path, folder: Path, log: str, profile_name: str) -> bool:
    """Copy a log that a result of a shard names into this checkout; returns whether the shard has it.

    Args:
        root: this checkout.
        folder: the shard's.
        log: the path that the result names, relative to a checkout: `build/logs/PROFILE/…`.
        profile_name: the profile.

    Raises:
        InputError: the path leads elsewhere, or a file cannot be read or written.
    """
    wanted = f"build/logs/{profile_name}/"
    path = folder / log.removeprefix("build/")
    logs = folder / "logs" / profile_name
    if not log.startswith(wanted) or not path.resolve().is_relative_to(logs.resolve()):
        raise InputError(
            f"{folder / 'results.json'} names the log {log!r:.200}, which is not below {wanted}",
            "Name only folders that kmatrix wrote.",
        )
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise cannot_read(path, "log", error) from error
    if path.resolve() != (root / log).resolve():
        write_atomically(root / log, content)
    return True


def _has_results(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _NAMES)
