"""dockerfiles/<profile>: one Dockerfile for each cell, what is gone from the matrix is gone here."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_render import profile, recipes

from kmatrix.stages.tree import check_rendered, write_rendered
from kmatrix.values.recipe import Recipe


@pytest.fixture(name="cells", scope="module")
def _cells() -> list[Recipe]:
    return list(recipes(profile()).values())


def test_writing_again_changes_nothing(tmp_path: Path, cells: list[Recipe]) -> None:
    assert write_rendered(tmp_path, "ocp", cells, complete=True) == len(cells)
    assert write_rendered(tmp_path, "ocp", cells, complete=True) == 0
    assert check_rendered(tmp_path, "ocp", cells, complete=True) == []


def test_a_cell_that_left_the_matrix_leaves_the_tree(tmp_path: Path, cells: list[Recipe]) -> None:
    write_rendered(tmp_path, "ocp", cells, complete=True)
    assert check_rendered(tmp_path, "ocp", cells[1:], complete=True) == [f"dockerfiles/ocp/{cells[0].cell.id}"]
    write_rendered(tmp_path, "ocp", cells[1:], complete=True)
    assert not (tmp_path / "dockerfiles" / "ocp" / cells[0].cell.id).exists()


def test_a_part_of_the_cells_leaves_the_others_alone(tmp_path: Path, cells: list[Recipe]) -> None:
    write_rendered(tmp_path, "ocp", cells, complete=True)
    write_rendered(tmp_path, "ocp", cells[:1], complete=False)
    assert check_rendered(tmp_path, "ocp", cells, complete=True) == []


def test_a_changed_and_a_missing_file_are_both_named(tmp_path: Path, cells: list[Recipe]) -> None:
    write_rendered(tmp_path, "ocp", cells, complete=True)
    paths = [tmp_path / "dockerfiles" / "ocp" / recipe.cell.id / "Dockerfile" for recipe in cells[:2]]
    paths[0].write_text("FROM scratch\n", encoding="utf-8")
    paths[1].unlink()
    assert check_rendered(tmp_path, "ocp", cells, complete=True) == sorted(str(p.relative_to(tmp_path)) for p in paths)
