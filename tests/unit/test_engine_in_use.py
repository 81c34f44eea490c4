"""The engine of a run is reported once, before anything is done with it, and kept in results.json."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from kmatrix.commands import run as run_command
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.run import marked_engine
from kmatrix.effects.disk.results import read_results, results_text, write_results
from kmatrix.values.engine import EngineInUse
from kmatrix.values.errors import UnreachableError
from tests.unit.support.stand_in_engine import IN_USE, StandInEngine
from tests.unit.test_results import PASSED

SHOWN = "engine: Stand-in 1.0 at unix:///no-engine.sock, image store none\n"


def test_a_run_reports_its_engine_once_and_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()

    class ClearingEngine(StandInEngine):
        def remove_leftovers(self, run_id: str = "") -> None:
            assert said.getvalue() == SHOWN

    monkeypatch.setattr(run_command, "DockerEngine", ClearingEngine)
    call = Invocation(tmp_path, Console(file=said, width=40))
    for _ in range(2):
        said.truncate(0)
        said.seek(0)
        with marked_engine(call):
            pass
        assert said.getvalue() == SHOWN


def test_an_engine_that_cannot_be_asked_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class SilentEngine(StandInEngine):
        def in_use(self) -> EngineInUse:
            raise UnreachableError("container engine", "there", "gone")

    monkeypatch.setattr(run_command, "DockerEngine", SilentEngine)
    with pytest.raises(UnreachableError), marked_engine(Invocation(tmp_path, Console(file=io.StringIO()))):
        pytest.fail("the run began")


def test_an_address_is_shown_without_its_user() -> None:
    engine = EngineInUse("Docker", "28.5.2", "ssh://robot:secret@builder.example", "overlay2")
    assert "builder.example" in str(engine)
    assert "secret" not in f"{engine}{engine.as_dict()}"


def test_results_have_the_engine_of_the_last_run_of_their_profile(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results = {PASSED.cell: PASSED}
    write_results(path, "lab", results, [PASSED.cell], IN_USE.as_dict())
    expected = {"name": "Stand-in", "version": "1.0", "address": "unix:///no-engine.sock", "store": "none"}
    assert json.loads(path.read_text())["engine"] == expected
    assert json.loads(results_text(path, "lab"))["engine"] == expected
    assert read_results(path, "lab") == results
    write_results(path, "okd", {}, [], {**expected, "version": "2.0"})
    assert json.loads(path.read_text())["engine"]["version"] == "2.0"
    assert "engine" not in json.loads(results_text(path, "lab")), "that is the engine of another profile's run"
    assert read_results(path, "lab") == results


def test_results_name_no_engine_that_they_are_not_of(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, "lab", {}, [], IN_USE.as_dict())
    write_results(path, "lab", {}, [])
    assert "engine" not in json.loads(path.read_text())
