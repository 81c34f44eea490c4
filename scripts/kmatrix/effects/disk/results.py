"""build/results.json and its JUnit sibling: read, and brought up to date after every cell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, fields
from math import isfinite
from pathlib import Path
from typing import Any, get_args

from kmatrix.decide.report.junit import junit
from kmatrix.decide.reuse import abi_classes, sound_abi
from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.disk.state_file import (
    keep_entries,
    known_fields,
    profile_text,
    read_both,
    read_entries,
    read_profiles,
    write_entries,
)
from kmatrix.effects.disk.state_form import StateFile
from kmatrix.values.cells import CellResult, Finding, Verdict
from kmatrix.values.release_result import ReleaseResult, ReleaseState

SCHEMA = 4
_CELL = re.compile(r"[A-Za-z0-9_+~^][A-Za-z0-9._+~^-]{0,199}")


def read_results(path: Path, profile_name: str) -> dict[str, CellResult]:
    """Return the results of earlier runs of a profile by cell id; empty where there are none.

    Raises:
        InputError: the file is there and cannot be read as results.
    """
    return {result.cell: result for result in read_entries(_file(path), profile_name, _result)}


def read_releases(path: Path, profile_name: str) -> tuple[ReleaseResult, ...]:
    """Return the releases of a profile as earlier runs left them; none where there are no results.

    Raises:
        InputError: the file is there and cannot be read as results.
    """
    file = _file(path)
    return tuple(read_entries(file, profile_name, _release, file.beside))


def read_known(path: Path, profile_name: str) -> tuple[tuple[CellResult, ...], tuple[ReleaseResult, ...]]:
    """Return the cells and the releases of a profile as the file has them at one moment; none where it is not there.

    Raises:
        InputError: the file is there and cannot be read as results.
    """
    cells, releases = read_both(_file(path), profile_name, _result, _release)
    # As `read_results` has them: of two entries of one cell, the later one counts.
    return tuple({cell.cell: cell for cell in cells}.values()), tuple(releases)


def result_profiles(path: Path) -> tuple[str, ...]:
    """Return the profiles whose cells the file has.

    Raises:
        InputError: the file is there and cannot be read as results.
    """
    return read_profiles(_file(path))


def results_text(path: Path, profile_name: str) -> str:
    """Return the content of results.json, with this profile's cells in place of those of the last run.

    Raises:
        InputError: the file is there and cannot be read as results.
    """
    return profile_text(_file(path), profile_name)


def write_results(
    path: Path,
    profile_name: str,
    results: Mapping[str, CellResult],
    order: Iterable[str],
    engine: Mapping[str, str] | None = None,
    releases: Iterable[ReleaseResult] | None = None,
) -> None:
    """Put results into results.json, and write results.xml (JUnit) beside it.

    Other cells and other profiles stay as they are on disk now; the caller holds the checkout's lock.

    Args:
        path: of results.json.
        profile_name: whose cells.
        results: the results that this run changed, by cell id.
        order: cell ids in the plan's order; others are left out.
        engine: the container engine of this run, as `EngineInUse.as_dict` has it.
        releases: all releases of the profile; None leaves them as they are on disk.

    Raises:
        InputError: a file cannot be written, or the file there is no results file.
    """
    known = read_releases(path, profile_name) if releases is None else tuple(releases)
    merged = {**read_results(path, profile_name), **results}
    cells = [merged[cell] for cell in order if cell in merged]
    facts = {"engine": dict(engine)} if engine else {}
    beside = [asdict(release) for release in known]
    write_entries(_file(path), profile_name, [_entry(cell) for cell in cells], facts, beside)
    write_atomically(path.with_suffix(".xml"), junit(profile_name, cells, known))


def drop_results(path: Path, profile_name: str, cells: Collection[str]) -> None:
    """Remove cells of a profile from results.json and results.xml; everything else stays as it is.

    The caller holds the checkout's lock.

    Raises:
        InputError: a file cannot be written, or the file there is no results file.
    """
    known = read_results(path, profile_name)
    left = [result for cell, result in known.items() if cell not in cells]
    if len(left) < len(known):
        last = keep_entries(_file(path), profile_name, [_entry(result) for result in left])
        if last == profile_name:
            write_atomically(path.with_suffix(".xml"), junit(profile_name, left, read_releases(path, profile_name)))


def _file(path: Path) -> StateFile:
    hint = "Delete the file. It is regenerated, and published cells are looked up in the registry."
    return StateFile(
        path,
        "results file",
        SCHEMA,
        "cells",
        hint,
        beside="releases",
        shared="features",
        sets="feature_sets",
        summary=_summary,
    )


def _summary(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    modules = (
        ((entry["client"], entry["stream"], entry["arch"], entry["flavour"]), sound_abi(entry["abi"], entry["gates"]))
        for entry in entries
    )
    return {"abi_classes": [asdict(line) for line in abi_classes(modules)]}


def _entry(result: CellResult) -> dict[str, Any]:
    # `asdict` copies each value, which takes seconds for thousands of cells with a hundred features each.
    findings = {name: [asdict(each) for each in getattr(result, name)] for name in ("findings", "warnings")}
    return {**vars(result), **findings}


def _result(entry: Mapping[str, Any]) -> CellResult:
    values = known_fields(CellResult, entry)
    for verdict in (values["verdict"], *values["gates"].values()):
        if verdict not in get_args(Verdict):
            raise ValueError(f"{verdict!r} is no verdict")
    values["gates_at"] = {str(name): str(at) for name, at in values["gates_at"].items()}
    values["releases"] = _texts(values["releases"])
    for name in ("features", "reusable_from", "depends", "namespaces"):
        # A file that an earlier version wrote lacks the later ones.
        values[name] = None if values.get(name) is None else _texts(values[name])
    values["attestations"] = _texts(values.get("attestations", []))
    values["labels"] = {str(name): str(text) for name, text in values.get("labels", {}).items()}
    for name, kind in (("symbols", int), ("signed", bool)):
        if values.get(name) is not None and type(values[name]) is not kind:
            raise TypeError(f"{values[name]!r:.40} is no value of {name}")
    values["stages"] = {str(name): _number(seconds) for name, seconds in values["stages"].items()}
    values["findings"] = _findings(values["findings"])
    values["warnings"] = _findings(values["warnings"])
    _check_texts(CellResult, values)
    if not _CELL.fullmatch(values["cell"]):
        # Logs and pages have its name.
        raise ValueError(f"{values['cell']!r:.80} is no cell's id")
    return CellResult(**values)


def _release(entry: Mapping[str, Any]) -> ReleaseResult:
    values = known_fields(ReleaseResult, entry)
    if values["state"] not in get_args(ReleaseState):
        raise ValueError(f"{values['state']!r} is no state of a release")
    for name in ("streams", "kernels"):
        values[name] = _texts(values[name])
    for name in ("minutes_from_appearance", "minutes_from_discovery"):
        values[name] = None if values.get(name) is None else _number(values[name])
    values["findings"] = _findings(values["findings"])
    _check_texts(ReleaseResult, values)
    return ReleaseResult(**values)


def _check_texts(kind: type, values: Mapping[str, Any]) -> None:
    """Refuse an entry of which a text is none, or cannot be written: JSON can hold half a surrogate pair."""
    for each in fields(kind):
        value = values.get(each.name, "")
        if each.type == "str" and not isinstance(value, str):
            raise TypeError(f"{each.name} is {value!r:.40} instead of a text")
        for text in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
            if isinstance(text, str):
                text.encode()


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise TypeError(f"{value!r:.40} is no number")
    return value


def _findings(entries: Any) -> tuple[Finding, ...]:
    return tuple(Finding(**known_fields(Finding, entry)) for entry in entries)


def _texts(entries: Any) -> tuple[str, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise TypeError(f"{entries!r:.40} is no list of texts")
    return tuple(entries)
