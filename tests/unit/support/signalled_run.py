"""The real command line with cells that behave as a test says: for tests that send signals or break our outputs.

Run as `python -m tests.unit.support.signalled_run FOLDER ARGUMENT...`. There is no engine. The file FOLDER/steps
has a word for each cell, in the plan's order:

- `ends`: passes at once;
- `fails`: does not compile;
- `held`: passes when the test opens the pipe FOLDER/go for writing;
- `listens`: ends without a verdict when the run is told to stop;
- `stuck`: never ends;
- `spoils`: passes, and leaves a folder in the place of build/results.json, so that no result can be saved.

`STOPPING` on standard error says that the run is told to stop.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from kmatrix import cli
from kmatrix.commands import build as build_command
from kmatrix.commands import run as run_command
from kmatrix.stages import cell as cell_stage
from kmatrix.stages.run_context import CellContext, RunContext, cell_result
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import InterruptedRunError
from kmatrix.values.recipe import Recipe
from tests.unit.support.stand_in_engine import StandInEngine

TOLD = threading.Event()


class ToldEngine(StandInEngine):
    """An engine that reports when it is told to stop."""

    @property
    def stopping(self) -> bool:
        return TOLD.is_set()

    def stop(self) -> None:
        sys.stderr.write("STOPPING\n")
        sys.stderr.flush()
        TOLD.set()


def main(folder: Path, arguments: list[str]) -> int:
    """Run the command line."""
    words = iter((folder / "steps").read_text(encoding="utf-8").split())
    steps: dict[str, str] = {}

    def all_of_them(_: RunContext, recipes: list[Recipe], __: object) -> list[Recipe]:
        steps.update({recipe.cell.id: next(words) for recipe in recipes})
        return recipes

    def work(run: CellContext) -> CellResult:
        cell = run.recipe.cell.id
        with run.stage("build"):
            run.line(f"{cell} is built")
        match steps[cell]:
            case "fails":
                return cell_result(run.recipe, "failed", "compile-error: no such field")
            case "held":
                (folder / "go").read_text(encoding="utf-8")
            case "listens":
                TOLD.wait()
                raise InterruptedRunError
            case "spoils":
                results = folder / "build" / "results.json"
                results.unlink(missing_ok=True)
                results.mkdir(parents=True)
            case "stuck":
                threading.Event().wait()
        return cell_result(run.recipe, "passed", "every check passed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_command, "DockerEngine", ToldEngine)
        patch.setattr(build_command, "split_published", all_of_them)
        patch.setattr(cell_stage, "_build_check_push", work)
        return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
