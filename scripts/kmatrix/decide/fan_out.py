"""Split the cells of a plan into parts of equal size, for the jobs of a CI system or for shards of plain shells.

The cells of one kernel stay together where that leaves the parts equal, so that a toolkit is pulled once. The same plan
always gives the same parts, so machines that have the same lock need not talk to each other.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from kmatrix.decide.plan import Plan
from kmatrix.values.cells import Cell
from kmatrix.values.errors import InputError
from kmatrix.values.names import Arch
from kmatrix.values.shard import Shard

# GitHub generates at most 256 jobs from a matrix (docs.github.com, Actions limits), and Tekton accepts as many
# combinations (tektoncd/pipeline, config/config-defaults.yaml, default-max-matrix-combinations-count).
MOST_JOBS = 250
# Outputs of a job may have 1 MB, counted in UTF-16 (docs.github.com, Passing information between jobs), which is two
# bytes for each character. Some room is left for the other outputs of the job.
MOST_CHARACTERS = 500_000
# By version: another image brings another engine.
HOSTED: dict[Arch, str] = {"x86_64": "ubuntu-24.04", "aarch64": "ubuntu-24.04-arm"}


@dataclass(frozen=True)
class Job:
    """One job: its part of the plan's cells, all of one architecture.

    Attributes:
        number: from 1 on, different for each job of a plan.
        arch: the architecture of its cells, and of the machine that builds them fastest.
        cells: cell ids, in the plan's order.
        kernels: their kernel releases, in the plan's order.
    """

    number: int
    arch: Arch
    cells: tuple[str, ...]
    kernels: tuple[str, ...]

    @property
    def id(self) -> str:
        """A short name that is safe in paths and in names of artifacts."""
        return f"{self.number:03}"

    @property
    def name(self) -> str:
        """A name for people."""
        more = f" and {len(self.kernels) - 1} more" if len(self.kernels) > 1 else ""
        return f"{self.kernels[0]}{more}"


def fan_out(cells: Iterable[Cell], most: int = MOST_JOBS) -> tuple[Job, ...]:
    """Return one job for each kernel, or `most` jobs of about equal size where there are more kernels.

    Args:
        cells: the cells to build.
        most: the largest number of jobs; at least one for each architecture.
    """
    by_arch: dict[Arch, list[Cell]] = {}
    for cell in cells:
        by_arch.setdefault(cell.arch, []).append(cell)
    kernels = {arch: len({cell.kernel for cell in own}) for arch, own in by_arch.items()}
    total = sum(kernels.values())
    parts: list[tuple[Arch, tuple[Cell, ...]]] = []
    for arch, own in by_arch.items():
        if total <= most:
            parts += [(arch, group) for group in _by_kernel(own)]
        else:
            parts += [(arch, part) for part in split(own, max(1, most * kernels[arch] // total)) if part]
    return tuple(
        Job(
            number,
            arch,
            tuple(cell.id for cell in part),
            tuple(dict.fromkeys(cell.kernel for cell in part)),
        )
        for number, (arch, part) in enumerate(parts, 1)
    )


def split(cells: Iterable[Cell], count: int) -> tuple[tuple[Cell, ...], ...]:
    """Split cells into `count` parts whose sizes differ by little; a part may be empty if there are few cells.

    The cells of a kernel are divided only if they are more than an equal share.
    """
    cells = tuple(cells)
    place = {cell.id: index for index, cell in enumerate(cells)}
    share = max(1, -(-len(cells) // count))
    pieces = [group[start : start + share] for group in _by_kernel(cells) for start in range(0, len(group), share)]
    # The largest first, each to the part that has least: within a third of the best possible (Graham 1969).
    pieces.sort(key=lambda piece: (-len(piece), place[piece[0].id]))
    parts: list[list[Cell]] = [[] for _ in range(count)]
    sizes = [(0, index) for index in range(count)]
    for piece in pieces:
        size, index = heapq.heappop(sizes)
        parts[index] += piece
        heapq.heappush(sizes, (size + len(piece), index))
    return tuple(tuple(sorted(part, key=lambda cell: place[cell.id])) for part in parts)


def in_shard(plan: Plan, shard: Shard) -> Plan:
    """Return the plan with only the cells of one shard in; the shards of a plan have each of its cells once.

    The first shard also has the open ones, which nobody can build.
    """
    own = {cell.id for cell in split(plan.cells, shard.count)[shard.index - 1]}
    if shard.index == 1:
        own |= {row.id for row in plan.rows if row.open}
    others = {row.id for row in plan.rows if row.state != "out"} - own
    return _without(plan, others, f"not in shard {shard}")


def without_published(plan: Plan, published: Collection[str]) -> Plan:
    """Return the plan with the cells out that are published and have passed every gate."""
    return _without(plan, published, "published, and all gates passed")


def github_matrix(jobs: Iterable[Job], runners: Mapping[Arch, tuple[str, ...]]) -> str:
    """Return jobs as the JSON text that `strategy.matrix: ${{ fromJSON(…) }}` takes, on one line.

    Args:
        jobs: the jobs.
        runners: by architecture, the labels that a runner must have all, in place of those that GitHub hosts.

    Raises:
        InputError: GitHub would not take it as the output of a job.
    """
    include = [
        {
            "id": job.id,
            "name": job.name,
            "arch": job.arch,
            "runner": _runs_on(runners.get(job.arch, (HOSTED[job.arch],))),
            "cells": " ".join(job.cells),
        }
        for job in jobs
    ]
    text = json.dumps({"include": include}, separators=(",", ":"))
    if len(text) > MOST_CHARACTERS:
        raise InputError(
            f"the matrix has {len(text)} characters, and the output of a job of GitHub has room for {MOST_CHARACTERS}",
            "Divide the cells among several workflows, with --only or with --shard.",
        )
    return text


def _runs_on(labels: tuple[str, ...]) -> str | list[str]:
    return labels[0] if len(labels) == 1 else list(labels)


def _by_kernel(cells: Iterable[Cell]) -> list[tuple[Cell, ...]]:
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.arch, cell.kernel), []).append(cell)
    return [tuple(group) for group in groups.values()]


def _without(plan: Plan, cells: Collection[str], reason: str) -> Plan:
    gone = set(cells)
    rows = (
        replace(row, cell=None, open=False, reason=reason) if row.state != "out" and row.id in gone else row
        for row in plan.rows
    )
    return replace(plan, rows=tuple(rows))
