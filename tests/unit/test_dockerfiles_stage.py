"""dockerfiles/<profile>: one Dockerfile for each cell; one that left the matrix is removed, other files stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmatrix.stages.dockerfiles import check_rendered, foreign_note, write_rendered
from kmatrix.values.errors import InputError
from kmatrix.values.recipe import RENDERED_MARK, Recipe
from tests.unit.support.made_up_profile import profile, recipes


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


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", "README.md", ".gitkeep", "7.4.6-mine/Dockerfile", "7.4.6-mine/more/Dockerfile", "deep/er/notes"),
        *("CELL/notes.txt", "CELL/.Dockerfile.swp", "CELL/Dockerfile~"),
    ],
)
@pytest.mark.parametrize("only", [False, True])
def test_a_file_that_render_did_not_write_stays_and_is_named(
    tmp_path: Path, cells: list[Recipe], name: str, only: bool
) -> None:
    write_rendered(tmp_path, "ocp", cells, complete=True)
    assert foreign_note(tmp_path, "ocp", []) == ""
    # Beside a Dockerfile that goes, too.
    path = tmp_path / "dockerfiles" / "ocp" / name.replace("CELL", cells[0].cell.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"FROM mine\n")
    before = tree(tmp_path)
    write_rendered(tmp_path, "ocp", cells[1:], complete=not only)
    ours = f"dockerfiles/ocp/{cells[0].cell.id}/Dockerfile"
    assert tree(tmp_path) == (before if only else {name: data for name, data in before.items() if name != ours})
    assert str(path.relative_to(tmp_path)) in foreign_note(tmp_path, "ocp", [])
    assert check_rendered(tmp_path, "ocp", cells[1:], complete=not only) == []


def test_a_link_is_nothing_of_ours_and_is_not_followed(tmp_path: Path, cells: list[Recipe]) -> None:
    write_rendered(tmp_path, "ocp", cells, complete=True)
    folder = tmp_path / "dockerfiles" / "ocp"
    elsewhere = (tmp_path / "elsewhere").resolve()
    (folder / cells[0].cell.id).rename(elsewhere)
    (folder / cells[0].cell.id).symlink_to(elsewhere)
    write_rendered(tmp_path, "ocp", cells[1:], complete=True)
    assert (elsewhere / "Dockerfile").is_file()
    assert cells[0].cell.id in foreign_note(tmp_path, "ocp", [])


def test_what_somebody_put_in_a_dockerfiles_place_is_kept_beside_it(tmp_path: Path, cells: list[Recipe]) -> None:
    write_rendered(tmp_path, "ocp", cells, complete=True)
    path = tmp_path / "dockerfiles" / "ocp" / cells[0].cell.id / "Dockerfile"
    for text in (b"FROM mine\n", b"FROM mine:2\n"):
        path.write_bytes(text)
        assert write_rendered(tmp_path, "ocp", cells, complete=True) == 1
        assert path.read_text(encoding="utf-8") == cells[0].dockerfile
    assert path.with_name("Dockerfile.kept").read_bytes() == b"FROM mine\n"
    assert path.with_name("Dockerfile.kept-2").read_bytes() == b"FROM mine:2\n"
    assert "Dockerfile.kept-2" in foreign_note(tmp_path, "ocp", [])


def test_a_rendered_dockerfile_that_was_edited_or_merged_is_written_anew(tmp_path: Path, cells: list[Recipe]) -> None:
    write_rendered(tmp_path, "ocp", cells, complete=True)
    path = tmp_path / "dockerfiles" / "ocp" / cells[0].cell.id / "Dockerfile"
    path.write_text(f"<<<<<<< HEAD\n{cells[0].dockerfile}=======\n", encoding="utf-8")
    assert write_rendered(tmp_path, "ocp", cells, complete=True) == 1
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["Dockerfile"]


@pytest.mark.parametrize("name", [".Dockerfile.x1y_2z3a", ".Dockerfile.kmatrix-x1y_2z3a"])
def test_what_a_killed_run_left_half_written_goes_with_its_cell(tmp_path: Path, cells: list[Recipe], name: str) -> None:
    write_rendered(tmp_path, "ocp", cells, complete=True)
    folder = tmp_path / "dockerfiles" / "ocp" / cells[0].cell.id
    (folder / name).write_text(f"{RENDERED_MARK}by", encoding="utf-8")
    write_rendered(tmp_path, "ocp", cells[1:], complete=True)
    assert not folder.exists()


def test_many_files_of_somebody_else_are_named_in_part(tmp_path: Path) -> None:
    folder = tmp_path / "dockerfiles" / "ocp"
    folder.mkdir(parents=True)
    for number in range(9):
        (folder / f"note-{number}").touch()
    said = foreign_note(tmp_path, "ocp", [])
    assert "note-4 and 4 more" in said
    assert "note-5" not in said


def test_a_folder_that_cannot_be_cleared_is_an_error_with_a_next_step(
    tmp_path: Path, cells: list[Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rendered(tmp_path, "ocp", cells, complete=True)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InputError, match=f"cannot remove .*{cells[0].cell.stream}") as caught:
        write_rendered(tmp_path, "ocp", cells[1:], complete=True)
    assert caught.value.hint
