"""build/bundles.json: read it, and update it after every bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from kmatrix.effects.disk.state_file import known_fields, read_entries, read_profiles, write_entries
from kmatrix.effects.disk.state_form import StateFile
from kmatrix.values.bundle import BundleImage, BundleResult
from kmatrix.values.cells import Finding, Verdict
from kmatrix.values.names import ImageRef

SCHEMA = 2


def read_bundles(path: Path, profile_name: str) -> dict[str, BundleResult]:
    """Return a profile's bundles of earlier runs by client version; empty where there are none.

    Raises:
        InputError: the file is not of the form that `write_bundles` writes.
    """
    return {result.client: result for result in read_entries(_file(path), profile_name, _result)}


def bundle_profiles(path: Path) -> tuple[str, ...]:
    """Return the profiles whose bundles the file has.

    Raises:
        InputError: the file is not of the form that `write_bundles` writes.
    """
    return read_profiles(_file(path))


def write_bundles(
    path: Path, profile_name: str, bundles: Iterable[BundleResult], engine: Mapping[str, str] | None = None
) -> None:
    """Write all bundles of a profile; those of other profiles stay. The caller holds the checkout's lock.

    Args:
        path: of bundles.json.
        profile_name: whose bundles.
        bundles: all of them, in order.
        engine: the container engine that booted bundles in this run, as `EngineInUse.as_dict` has it.

    Raises:
        InputError: the file cannot be written, or the present file is malformed.
    """
    facts = {"engine": dict(engine)} if engine else {}
    write_entries(_file(path), profile_name, [asdict(bundle) for bundle in bundles], facts)


def update_bundles(
    path: Path,
    profile_name: str,
    changed: Mapping[str, BundleResult],
    order: Iterable[str],
    engine: Mapping[str, str] | None = None,
) -> None:
    """Write the bundles that this run changed, by client, into bundles.json; clients that `order` lacks are removed.

    Other bundles stay as they are on disk now; the caller holds the checkout's lock. `engine`: see `write_bundles`.

    Raises:
        InputError: the file cannot be written, or the present file is malformed.
    """
    merged = {**read_bundles(path, profile_name), **changed}
    write_bundles(path, profile_name, (merged[client] for client in order if client in merged), engine)


def _file(path: Path) -> StateFile:
    hint = "Delete the file. `nox -s bundle` regenerates it; published bundles are looked up in the registry."
    return StateFile(path, "bundles file", SCHEMA, "bundles", hint)


def _result(entry: Mapping[str, Any]) -> BundleResult:
    values = known_fields(BundleResult, entry)
    if values["verdict"] not in get_args(Verdict):
        raise ValueError(f"{values['verdict']!r} is no verdict")
    for name in ("kernels", "arches", "earlier", "missing", "dropped"):
        values[name] = tuple(values[name])
    values["images"] = tuple(BundleImage(**known_fields(BundleImage, image)) for image in values["images"])
    values["findings"] = tuple(Finding(**known_fields(Finding, finding)) for finding in values["findings"])
    for name in ("kept", "lacking"):
        values[name] = {str(each): str(reason) for each, reason in values[name].items()}
    values["modules"] = {str(kernel): ImageRef.parse(image).pinned for kernel, image in values["modules"].items()}
    return BundleResult(**values)
