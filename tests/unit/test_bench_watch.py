"""The bench's part `watch` measures up to the last push, and takes its releases out of the lab however it ends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import watch as part
from bench.setting import Setting
from bench.site import CLIENTS, Site
from kmatrix.effects.process.measured import Ended
from kmatrix.values.errors import ToolError


@dataclass
class Runs:
    """Stands in for the tool and nox: a run that builds publishes `cells` at a moment after its start."""

    root: Path
    seconds: dict[str, float]
    cells: int = len(CLIENTS)
    published: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def tool(self, name: str, *arguments: str, root: Path) -> Ended:
        self.told.append(arguments[0])
        if name in self.seconds:
            self.published += [f"{name}-{number}" for number in range(self.cells)]
            self.write(time.time() + self.seconds[name])
        return Ended(0, 99.0, 0, f"{root}\nbuilds: 4, pulls: 1.")

    def nox(self, name: str, *arguments: str) -> Ended:
        self.told.append(" ".join(arguments[3:]))
        released = sum(word == "release" for word in self.told)
        return Ended(0, 1.0, 0, f"{name}\nlab: published 4.97.{released} in stable-4.97: 6.12.9\n4.97.{released}\n")

    def write(self, at: float) -> None:
        path = self.root / "build" / "results.json"
        path.parent.mkdir(exist_ok=True)
        cells = [{"cell": cell, "digest": "sha256:1"} for cell in self.published]
        path.write_text(json.dumps({"cells": [*cells, {"cell": "open", "digest": ""}]}), encoding="utf-8")
        os.utime(path, (at, at))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    @contextmanager
    def site(_: object) -> Iterator[Site]:
        yield Site(tmp_path, tmp_path, ())

    monkeypatch.setattr(part, "cold_site", site)
    monkeypatch.setattr(part, "replace", lambda setting, **_: setting)
    made = Runs(tmp_path, {"watch-build": 100.0, "watch-watch": 110.0})
    made.write(time.time())
    return made


def setting_of(runs: Runs) -> Setting:
    made: Any = SimpleNamespace(tool=runs.tool, nox=runs.nox, say=lambda _: None, jobs=2)
    setting: Setting = made
    return setting


def test_the_ratio_is_that_of_the_times_to_the_last_push(runs: Runs) -> None:
    measures, raw = part.measure_watch(setting_of(runs))
    assert measures.watch_ratio == pytest.approx(1.1, abs=0.01)
    assert raw["watch"]["cells"] == [f"watch-watch-{number}" for number in range(len(CLIENTS))]
    retracted = [f"retract --release 4.97.{number}" for number in (1, 2)]
    assert runs.told == ["watch", "release", "discover", "build", "release", "watch", *retracted]


def test_other_work_than_that_of_one_kernel_is_no_measure(runs: Runs) -> None:
    runs.cells = 1
    with pytest.raises(ToolError, match="build published watch-build-0 instead of 2 cells of one kernel"):
        part.measure_watch(setting_of(runs))
    assert runs.told[-1] == "retract --release 4.97.1"
