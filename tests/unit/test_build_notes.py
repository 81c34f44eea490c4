"""What a killed run's builds left is removed by its notes: containers first, then images from the last back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.engine.build_notes import BuildNotes, remove_noted
from kmatrix.values.errors import InputError, UnreachableError

ONE, TWO, THREE = "0123456789ab", "123456789abc", "23456789abcd"


class Removing:
    """Notes what it is told to remove; with `away` it cannot be asked."""

    def __init__(self, away: bool = False) -> None:
        self.removed: list[str] = []
        self.away = away

    def remove_container(self, name: str) -> None:
        if self.away:
            raise UnreachableError("container engine", "here", "gone")
        self.removed.append(f"container {name}")

    def remove_step(self, name: str) -> None:
        self.removed.append(f"image {name}")


def noted(path: Path) -> BuildNotes:
    notes = BuildNotes(path)
    notes.note("image", ONE)
    notes.note("container", TWO)
    notes.note("image", THREE)
    return notes


def test_what_is_noted_is_removed_and_then_the_notes(tmp_path: Path) -> None:
    engine: Any = Removing()
    noted(tmp_path / "builds" / "run")
    remove_noted(engine, tmp_path / "builds" / "run")
    assert engine.removed == [f"container {TWO}", f"image {THREE}", f"image {ONE}"]
    assert list((tmp_path / "builds").iterdir()) == []


def test_a_note_that_was_cut_names_nothing(tmp_path: Path) -> None:
    engine: Any = Removing()
    noted(tmp_path / "run")
    with (tmp_path / "run").open("a", encoding="utf-8") as file:
        file.write("image 01234\nimage ../x\nconta")
    remove_noted(engine, tmp_path / "run")
    assert len(engine.removed) == 3


def test_notes_stay_while_the_engine_is_away(tmp_path: Path) -> None:
    engine: Any = Removing(away=True)
    noted(tmp_path / "run")
    with pytest.raises(UnreachableError):
        remove_noted(engine, tmp_path / "run")
    assert (tmp_path / "run").exists()


def test_a_run_that_removed_all_forgets_its_notes(tmp_path: Path) -> None:
    noted(tmp_path / "run").forget()
    assert list(tmp_path.iterdir()) == []
    BuildNotes(tmp_path / "never").forget()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        noted(tmp_path / "file" / "run")
    assert caught.value.hint
