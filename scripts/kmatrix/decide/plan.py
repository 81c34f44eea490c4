"""Turn matrix and lock into cells: every client with every kernel, in or out, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Literal

from kmatrix.decide.excludes import Kernel, excluded, fits, kernels_of, nearest, useless_excludes
from kmatrix.decide.open_releases import OpenRelease, open_releases_of, without_toolkit
from kmatrix.decide.reuse import abi_classes, sound_abi
from kmatrix.values.cells import Cell, CellResult
from kmatrix.values.command_lines import command
from kmatrix.values.errors import InputError, Problem
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import Profile
from kmatrix.values.names import Arch, ClientVersion, Flavour
from kmatrix.values.pins import ReleasePin

SCHEMA = 3
State = Literal["in", "out", "open"]


@dataclass(frozen=True)
class Row:
    """One candidate: a client with a kernel.

    `cell` is None unless it is in. An open candidate should be in, but no toolkit has its kernel. `releases` are those
    that run the kernel, after excludes by release if any are left; `exclude` is the index of the exclude that removed
    it.
    """

    id: str
    client: ClientVersion
    kernel: str
    arch: Arch
    flavour: Flavour
    stream: str
    releases: tuple[str, ...]
    reason: str
    cell: Cell | None = None
    exclude: int | None = None
    open: bool = False

    @property
    def state(self) -> State:
        """Whether it is in, out, or open."""
        return "in" if self.cell else "open" if self.open else "out"


@dataclass(frozen=True)
class Plan:
    """The decisions about a run, complete before anything runs; rows and cells are in order.

    `open` has every release whose kernels are not known, or whose toolkit is not that of its nodes.
    """

    profile: str
    rows: tuple[Row, ...]
    open: tuple[OpenRelease, ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that are in."""
        return tuple(row.cell for row in self.rows if row.cell)


def make_plan(profile_name: str, profile: Profile, pins: ProfileLock, only: tuple[str, ...] = ()) -> Plan:
    """Decide every cell.

    Args:
        profile_name: for messages.
        profile: the profile of matrix.yaml.
        pins: its part of the lock.
        only: globs over cell ids; none means all.

    Raises:
        InputError: an exclude or an --only glob matches nothing, or a pin is missing; all at once.
    """
    kernels = kernels_of(pins.releases)
    available = {(pin.version, pin.stream, pin.arch) for pin in pins.clients}
    unavailable = {(pin.client, pin.stream, pin.arch): pin.reason for pin in pins.unavailable}
    used: set[int] = set()
    unpinned: set[str] = set()
    rows = []
    for client in sorted(profile.clients):
        excludes = [
            (index, exclude) for index, exclude in enumerate(profile.excludes) if fits(exclude.client, str(client))
        ]
        for kernel in kernels:
            left, taken, hits = excluded(kernel, excludes)
            used |= hits
            row = _row(client, kernel, left or kernel.pins)
            streams = dict.fromkeys((row.stream, profile.base_stream))
            lacks = [key for stream in streams if (key := (client, stream, kernel.arch)) not in available]
            known = [key for key in lacks if key in unavailable]
            if kernel.flavour not in profile.flavours:
                rows.append(_out(row, f"flavour {kernel.flavour} is not in profiles.{profile_name}.flavours"))
            elif kernel.arch not in profile.arches:
                rows.append(_out(row, f"architecture {kernel.arch} is not in profiles.{profile_name}.arches"))
            elif taken is not None:
                reason = f"excluded by excludes[{taken}]: {profile.excludes[taken].reason}"
                rows.append(_out(row, reason, taken))
            elif not kernel.toolkits:
                rows.append(replace(row, reason=without_toolkit(left), open=True))
            elif known:
                where = f"{known[0][1]} {kernel.arch}"
                rows.append(_out(row, f"client {client} has no packages for {where}: {unavailable[known[0]]}"))
            elif lacks:
                unpinned.update(f"client {client} on {stream} {arch}" for _, stream, arch in lacks)
            else:
                rows.append(_in(row, left, kernel.toolkits))
    problems = [Problem(profile.lock, f"has no packages for {each}") for each in sorted(unpinned)]
    open_releases, silenced = open_releases_of(profile_name, profile, pins)
    problems += useless_excludes(profile_name, profile, kernels, used | silenced)
    rows, useless = _only(rows, only)
    problems += useless
    if problems:
        raise InputError(
            f"there is no plan for profile {profile_name}",
            f"Correct the problems above; if pins are missing, run {command('discover', profile_name)}.",
            tuple(problems),
        )
    return Plan(profile_name, tuple(rows), open_releases)


def plan_json(plan: Plan, results: Mapping[str, CellResult] = MappingProxyType({})) -> dict[str, Any]:
    """Return the plan as JSON-able data, in a stable order.

    Args:
        plan: the plan.
        results: the latest results of cells, by cell id, for what is known about their modules. `abi` and
            `reusable_from` are None where no run has found them out.
    """
    known = (
        ((str(cell.client), cell.stream, cell.arch, cell.flavour), _abi(results[cell.id]))
        for cell in plan.cells
        if cell.id in results
    )
    cells: list[dict[str, Any]] = []
    out: list[dict[str, Any]] = []
    open_cells: list[dict[str, Any]] = []
    for row in plan.rows:
        entry: dict[str, Any] = {
            "cell": row.id,
            "client": str(row.client),
            "kernel": row.kernel,
            "arch": row.arch,
            "flavour": row.flavour,
            "stream": row.stream,
            "releases": list(row.releases),
            "reason": row.reason,
        }
        if row.cell:
            modules = _about_module(results.get(row.id))
            cells.append({**entry, "tag": row.cell.tag, "toolkit": str(row.cell.toolkit), **modules})
        elif row.open:
            open_cells.append(entry)
        else:
            out.append({**entry, "exclude": row.exclude})
    return {
        "schema": SCHEMA,
        "profile": plan.profile,
        "cells": cells,
        "open": open_cells,
        "out": out,
        "releases": [asdict(release) for release in plan.open],
        "abi_classes": [asdict(line) for line in abi_classes(known)],
    }


def _about_module(result: CellResult | None) -> dict[str, Any]:
    abi = _abi(result) if result else ""
    others = result.reusable_from if result else None
    return {"abi": abi or None, "reusable_from": None if others is None else list(others)}


def _abi(result: CellResult) -> str:
    return sound_abi(result.abi, result.gates)


def _row(client: ClientVersion, kernel: Kernel, pins: tuple[ReleasePin, ...]) -> Row:
    releases = tuple(dict.fromkeys(str(pin.version) for pin in pins))
    name = f"{client}-{kernel.release}"
    return Row(name, client, kernel.release, kernel.arch, kernel.flavour, pins[0].stream, releases, "")


def _out(row: Row, reason: str, exclude: int | None = None) -> Row:
    return replace(row, reason=reason, exclude=exclude)


def _in(row: Row, pins: tuple[ReleasePin, ...], toolkits: tuple[ReleasePin, ...]) -> Row:
    # An exclude by release removes no toolkit that another release needs.
    oldest = next((pin for pin in pins if pin in toolkits), toolkits[0])
    cell = Cell(row.client, row.kernel, row.arch, row.flavour, row.stream, oldest.toolkit, row.releases)
    marks = {str(pin.version): f" (gone from the graph since {pin.gone}; kept)" for pin in pins if pin.gone}
    word = "release" if len(row.releases) == 1 else "releases"
    named = ", ".join(f"{release}{marks.get(release, '')}" for release in row.releases)
    return replace(row, reason=f"in: {word} {named}", cell=cell)


def _only(rows: list[Row], only: tuple[str, ...]) -> tuple[list[Row], list[Problem]]:
    if not only:
        return rows, []
    problems = []
    for glob in only:
        hits = [row for row in rows if fnmatchcase(row.id, glob)]
        if not hits:
            ids = [row.id for row in rows if row.cell]
            problems.append(Problem(f"--only {glob}", f"matches no cell; {nearest(glob, ids)}"))
        elif all(row.state == "out" for row in hits):
            problems.append(Problem(f"--only {glob}", f"matches only excluded cells: {hits[0].id}: {hits[0].reason}"))
    selected = [
        row
        if row.state == "out" or any(fnmatchcase(row.id, glob) for glob in only)
        else replace(row, reason="not selected by --only", cell=None, open=False)
        for row in rows
    ]
    return selected, problems
