"""The results of a run over cells and of earlier ones: each is kept, and written, as soon as it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kmatrix.commands.feature_comparison import compared_features, planned
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile
from kmatrix.decide.kept_results import keep_known
from kmatrix.decide.plan import Plan
from kmatrix.decide.release_times import releases_of
from kmatrix.effects.clock import utc_now
from kmatrix.effects.disk.results import write_results
from kmatrix.effects.engine import Engine
from kmatrix.stages.gates import gates_of_profile
from kmatrix.stages.progress import Progress
from kmatrix.values.cells import CellResult
from kmatrix.values.lock import ProfileLock
from kmatrix.values.recipe import Recipe
from kmatrix.values.release_result import ReleaseResult


@dataclass(frozen=True)
class Job:
    """The inputs of a run; `recipes` are those of the cells that it is about."""

    call: Invocation
    chosen: SelectedProfile
    engine: Engine
    pins: ProfileLock
    recipes: list[Recipe]
    target: str


@dataclass
class Recorder:
    """The results of this run and of earlier ones, written after every cell.

    `plan` is the complete one; `unpublished` are the cells of which the registry reported, before this run built them,
    that no image of their present inputs is published.
    """

    job: Job
    progress: Progress
    plan: Plan
    known: Mapping[str, CellResult]
    releases: tuple[ReleaseResult, ...]
    unpublished: frozenset[str] = frozenset()
    changed: dict[str, CellResult] = field(default_factory=dict)
    engine: Mapping[str, str] | None = None

    def record(self, *results: CellResult) -> None:
        """Record results of cells, and show them."""
        if results:
            self.keep(*results)
        for result in results:
            self.progress.done(self.changed[result.cell])

    def keep(self, *results: CellResult) -> None:
        """Write results of cells, and the releases as they are with them."""
        now = utc_now()
        for result in results:
            known = self.known.get(result.cell)
            kept = keep_known(result, known, now, asked=result.cell in self.unpublished)
            self.changed[result.cell] = replace(kept, at=now)
        self._write()

    def compare_features(self) -> None:
        """Compare the features of this run's cells with those of all, now that every module is known."""
        known = planned(self.plan, {**self.known, **self.changed})
        changed = compared_features(self.job.call, self.job.chosen, known, self.changed)
        if changed:
            self.changed.update(changed)
            self._write()

    def _write(self) -> None:
        names = gates_of_profile(self.job.chosen.effective)
        merged = {**self.known, **self.changed}.values()
        self.releases = releases_of(self.plan, self.job.pins, merged, names, self.releases)
        path, order = self.job.call.results_path, [row.id for row in self.plan.rows if row.state != "out"]
        write_results(path, self.job.chosen.name, self.changed, order, self.engine, self.releases)
