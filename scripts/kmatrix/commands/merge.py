"""merge: put the results of shards, each built in a checkout of its own, into those of this checkout."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from kmatrix.commands.fan_out import published
from kmatrix.commands.feature_comparison import compared_features, planned
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import pins_for
from kmatrix.commands.profile import SelectedProfile, select_profile
from kmatrix.commands.run import alone
from kmatrix.decide.kept_results import keep_known, keep_published
from kmatrix.decide.merged_results import merge as merge_entries
from kmatrix.decide.plan import Plan, make_plan
from kmatrix.decide.release_times import open_results, releases_of
from kmatrix.effects.clock import utc_now
from kmatrix.effects.disk.bundles import bundle_profiles, read_bundles, update_bundles
from kmatrix.effects.disk.results import read_releases, read_results, result_profiles, write_results
from kmatrix.effects.disk.shards import copy_log, shard_folders
from kmatrix.stages.cell import skipped_result
from kmatrix.stages.gates import gates_of_profile
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import CredentialError, Exit, InputError, KmatrixError, UnreachableError
from kmatrix.values.lock import ProfileLock

# The ends of the names of a cell's consoles, which reports show.
CONSOLES = (".serial.log", ".alone.serial.log", ".secure-boot.serial.log")
_SHOWN = 10


def merge(call: Invocation) -> Exit:
    """Merge the results, bundles and logs of shards into build/; the verdicts do not change the exit code.

    Raises:
        UnreachableError, CredentialError: the registry cannot be queried; the shards are merged all the same.
        InputError: a folder has no results, none of this profile, or damaged ones; nothing is merged then.
    """
    chosen = select_profile(call)
    pins = pins_for(call, chosen)
    found = make_plan(chosen.name, chosen.effective, pins)
    folders = shard_folders(call.folders, call.warn)
    with alone(call):
        # Everything is read before anything is written.
        known = read_results(call.results_path, chosen.name)
        results = [_results(call, folder, chosen.name) for folder in folders]
        bundles = [_bundles(call, folder, chosen.name) for folder in folders]
        earlier = [each for folder in folders for each in read_releases(folder / call.results_path.name, chosen.name)]
        earlier += read_releases(call.results_path, chosen.name)
        merged = merge_entries(known, results, lambda result: result.at, keep_known)
        images = merge_entries(
            read_bundles(call.bundles_path, chosen.name), bundles, lambda result: result.seen, keep_published
        )
        for each in merged.values():
            if each.source is not None:
                _copy_logs(call, folders[each.source], each.entry, chosen.name)
        cells = {cell: each.entry for cell, each in merged.items()} | _open_cells(found, known)
        fault: KmatrixError | None = None
        if call.published:
            own = {cell for cell, each in merged.items() if each.source is not None}
            # Files are written either way: a registry that is down costs no result of a shard.
            try:
                elsewhere = _published_elsewhere(call, chosen, pins, found, cells, own)
                call.say(f"the registry has {len(elsewhere)} more published cells")
                cells |= elsewhere
            except (UnreachableError, CredentialError) as error:
                fault = error
        order = [row.id for row in found.rows if row.state != "out"]
        # As any run does, it drops what was known here of cells that left the plan; what a shard has is never dropped.
        unknown = [cell for cell, each in merged.items() if each.source is not None and cell not in set(order)]
        order += unknown
        cells |= compared_features(call, chosen, planned(found, cells), cells)
        releases = releases_of(found, pins, cells.values(), gates_of_profile(chosen.effective), earlier)
        if cells or any(release.findings for release in releases):
            write_results(call.results_path, chosen.name, cells, order, releases=releases)
        if images:
            entries = {client: each.entry for client, each in images.items()}
            update_bundles(call.bundles_path, chosen.name, entries, list(entries))
    new = sum(each.source is not None for each in merged.values())
    call.conclude(f"merged {new} cells of {len(folders)} shards into build/results.json")
    if missing := [cell.id for cell in found.cells if cell.id not in cells]:
        call.warn(f"no shard has a result of {_listed(missing)}")
    if unknown:
        call.warn(f"kept, although the plan does not have them: {_listed(unknown)}")
    call.say(f"{call.next('report', chosen.name)} shows them.")
    if fault:
        raise fault
    return Exit.OK


def _published_elsewhere(
    call: Invocation,
    chosen: SelectedProfile,
    pins: ProfileLock,
    found: Plan,
    known: Mapping[str, CellResult],
    own: Collection[str],
) -> dict[str, CellResult]:
    """Return, as skipped, the cells that the registry has and no result has as published.

    They were pushed by another machine, or by a job whose results were lost; no job of a later night has them.

    Args:
        call: the command line.
        chosen: the profile.
        pins: its pins.
        found: its plan.
        known: the merged results.
        own: the cells of which a shard has a result: that stays as it is.
    """
    unknown = {cell.id for cell in found.cells}.difference(own)
    unknown -= {cell for cell, each in known.items() if each.digest and each.verdict in ("passed", "skipped")}
    rows = tuple(row for row in found.rows if row.id in unknown)
    images = published(call, chosen, pins, replace(found, rows=rows))
    now, gates = utc_now(), gates_of_profile(chosen.effective)
    return {
        recipe.cell.id: replace(
            keep_known(skipped_result(recipe, image, gates), known.get(recipe.cell.id), now), at=now
        )
        for recipe, image in images
    }


def _open_cells(found: Plan, known: Mapping[str, CellResult]) -> dict[str, CellResult]:
    """Return the results of the cells that nobody can build, which are in no job; a known one keeps its time."""
    now = utc_now()
    cells = {}
    for result in open_results(found.rows, found.open):
        before = known.get(result.cell)
        at = before.at if before and before.verdict == result.verdict else now
        cells[result.cell] = replace(keep_known(result, before, now), at=at)
    return cells


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _results(call: Invocation, folder: Path, profile_name: str) -> dict[str, CellResult]:
    path = folder / call.results_path.name
    if path.exists():
        _refuse_other_profile(path, result_profiles(path), profile_name)
    return read_results(path, profile_name)


def _bundles(call: Invocation, folder: Path, profile_name: str) -> dict[str, BundleResult]:
    path = folder / call.bundles_path.name
    if path.exists():
        _refuse_other_profile(path, bundle_profiles(path), profile_name)
    return read_bundles(path, profile_name)


def _refuse_other_profile(path: Path, profiles: tuple[str, ...], profile_name: str) -> None:
    if profile_name not in profiles:
        raise InputError(
            f"{path} has results of profile {', '.join(profiles)}, and none of {profile_name}",
            f"Name the profile with --profile, or leave {path.parent} out.",
        )


def _copy_logs(call: Invocation, folder: Path, result: CellResult, profile_name: str) -> None:
    for log in (result.log, result.serial):
        if log and not copy_log(call.root, folder, log, profile_name):
            call.warn(f"{result.cell}: {folder} does not have its log {log}")
    for ending in CONSOLES:
        # A result names one console; there are others only where gates booted apart.
        copy_log(call.root, folder, f"build/logs/{profile_name}/{result.cell}{ending}", profile_name)
