"""The cells of a plan in parts: each cell once, equal sizes, kernels together, within the limits of CI systems."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace

import pytest

from kmatrix.decide.fan_out import (
    HOSTED,
    MOST_CHARACTERS,
    MOST_JOBS,
    fan_out,
    github_matrix,
    in_shard,
    split,
    without_published,
)
from kmatrix.values.errors import InputError
from kmatrix.values.names import BOOTED_ARCHES, Arch
from kmatrix.values.shard import Shard
from tests.unit.support.made_up_cells import made_up_cells, made_up_plan


@pytest.mark.parametrize(("clients", "kernels"), [(1, 1), (2, 4), (3, 7), (5, 1), (3, 100)])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 60])
def test_parts_have_every_cell_once_and_nearly_the_same_size(clients: int, kernels: int, count: int) -> None:
    cells = made_up_cells(clients, kernels)
    parts = split(cells, count)
    assert len(parts) == count
    assert Counter(cell.id for part in parts for cell in part) == Counter(cell.id for cell in cells)
    sizes = [len(part) for part in parts]
    # A kernel's cells are not divided for less than a share.
    assert max(sizes) - min(sizes) <= max(1, min(clients, -(-len(cells) // count)))


def test_the_cells_of_a_kernel_are_in_one_part() -> None:
    """Its toolkit, half a gigabyte, is pulled once then."""
    parts = split(made_up_cells(3, 40), 7)
    homes = Counter(kernel for part in parts for kernel in {cell.kernel for cell in part})
    assert set(homes.values()) == {1}


def test_a_kernel_with_more_than_a_share_is_divided() -> None:
    assert [len(part) for part in split(made_up_cells(8, 1), 4)] == [2, 2, 2, 2]


def test_parts_are_in_the_plans_order_and_do_not_depend_on_chance() -> None:
    cells = made_up_cells(3, 9)
    order = [cell.id for cell in cells]
    for part in split(cells, 4):
        assert [cell.id for cell in part] == sorted((cell.id for cell in part), key=order.index)
    random.seed(1)
    assert split(cells, 4) == split(cells, 4)


def test_the_shards_of_a_plan_are_the_plan() -> None:
    plan = made_up_plan(made_up_cells(2, 4))
    shards = [in_shard(plan, Shard(index, 3)) for index in (1, 2, 3)]
    assert [shard.cells for shard in shards] == [*split(plan.cells, 3)]
    ids = [cell.id for shard in shards for cell in shard.cells]
    assert sorted(ids) == sorted(cell.id for cell in plan.cells)
    assert {row.reason for row in shards[0].rows if row.cell is None} == {"not in shard 1/3"}


def test_published_cells_are_out_with_their_reason() -> None:
    plan = made_up_plan(made_up_cells(1, 3))
    first, *others = (cell.id for cell in plan.cells)
    left = without_published(plan, {first, "unknown"})
    assert [cell.id for cell in left.cells] == others
    assert left.rows[0].reason == "published, and all gates passed"


def test_a_job_has_the_cells_of_one_kernel() -> None:
    jobs = fan_out(made_up_cells(2, 3, BOOTED_ARCHES))
    assert [(job.id, len(job.cells), len(job.kernels)) for job in jobs] == [(f"{n:03}", 2, 1) for n in range(1, 7)]
    assert all(kernel.endswith(job.arch) for job in jobs for kernel in job.kernels)


@pytest.mark.parametrize("arches", [BOOTED_ARCHES, ("x86_64",)])
def test_a_large_plan_has_fewer_jobs_than_github_and_tekton_accept(arches: tuple[str, ...]) -> None:
    cells = made_up_cells(5, 500, [arch for arch in BOOTED_ARCHES if arch in arches])
    jobs = fan_out(cells)
    assert len(jobs) <= MOST_JOBS < 256
    assert sorted(cell for job in jobs for cell in job.cells) == sorted(cell.id for cell in cells)
    sizes = [len(job.cells) for job in jobs]
    assert max(sizes) <= 2 * min(sizes)
    assert len(github_matrix(jobs, {})) <= MOST_CHARACTERS


def test_the_matrix_for_github_has_one_entry_for_each_job() -> None:
    jobs = fan_out(made_up_cells(2, 1, BOOTED_ARCHES))
    include = json.loads(github_matrix(jobs, {}))["include"]
    assert [entry["runner"] for entry in include] == ["ubuntu-24.04", "ubuntu-24.04-arm"] == [*HOSTED.values()]
    assert include[0] == {
        "id": "001",
        "name": "5.14.0-400.1.1.el9_4.x86_64",
        "arch": "x86_64",
        "runner": "ubuntu-24.04",
        "cells": "8.2.0-5.14.0-400.1.1.el9_4.x86_64 8.2.1-5.14.0-400.1.1.el9_4.x86_64",
    }


def test_a_runner_of_ones_own_replaces_the_hosted_one() -> None:
    include = json.loads(github_matrix(fan_out(made_up_cells(1, 1, BOOTED_ARCHES)), {"aarch64": ("big-arm",)}))
    assert [entry["runner"] for entry in include["include"]] == ["ubuntu-24.04", "big-arm"]


def test_a_runner_that_is_known_by_several_labels_must_have_them_all() -> None:
    """`runs-on` takes a list; those of one's own have at least `self-hosted` and their architecture."""
    labels: dict[Arch, tuple[str, ...]] = {"aarch64": ("self-hosted", "ARM64")}
    include = json.loads(github_matrix(fan_out(made_up_cells(1, 1, BOOTED_ARCHES)), labels))
    assert [entry["runner"] for entry in include["include"]] == ["ubuntu-24.04", ["self-hosted", "ARM64"]]


def test_a_plan_without_cells_gives_an_empty_matrix() -> None:
    assert github_matrix(fan_out(()), {}) == '{"include":[]}'


def test_a_matrix_that_github_would_cut_off_is_refused() -> None:
    with pytest.raises(InputError, match="characters") as caught:
        github_matrix(fan_out(made_up_cells(10, 1500)), {})
    assert "--only" in caught.value.hint


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "/2", "a/b", "-1/2", "1/2/3", "01/2", ""])
def test_no_other_form_is_a_shard(text: str) -> None:
    with pytest.raises(ValueError, match="part of a whole"):
        Shard.parse(text)


def test_a_shard_is_written_as_it_is_read() -> None:
    assert str(Shard.parse("2/5")) == "2/5"


def test_the_first_shard_alone_has_the_open_cells() -> None:
    plan = made_up_plan(made_up_cells(1, 3))
    first, *others = plan.rows
    plan = replace(plan, rows=(replace(first, cell=None, open=True), *others))
    states = [in_shard(plan, Shard(index, 2)).rows[0].state for index in (1, 2)]
    assert states == ["open", "out"]
