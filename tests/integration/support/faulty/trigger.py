"""Trigger an action at a defined point of a run (event-driven, never timed)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kmatrix.commands import build as build_command
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.stages.progress import PlainProgress
from kmatrix.stages.run import default_jobs
from kmatrix.values.engine import RunOutput
from tests.integration.support.project.site import JOBS

Action = Callable[[], None]


class _Once:
    """An action that only its first call performs, from whichever thread."""

    def __init__(self, action: Action) -> None:
        self._action = action
        self._lock = threading.Lock()
        self._done = False

    def __call__(self) -> None:
        with self._lock:
            if not self._done:
                self._done = True
                self._action()


def one_at_a_time(patch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Return the option for one cell at a time, and keep make's number of jobs, on which the engine's cache depends."""
    jobs = max(1, default_jobs() // int(JOBS))
    patch.setattr(build_command, "default_jobs", lambda: jobs)
    return ("--jobs", "1")


def at_stage(patch: pytest.MonkeyPatch, stage: str, cell: str, action: Action) -> None:
    """Act once, when a cell enters a stage, before the stage begins."""
    enter, act = PlainProgress.stage, _Once(action)

    def entering(self: PlainProgress, which: str, name: str) -> None:
        if (which, name) == (cell, stage):
            act()
        enter(self, which, name)

    patch.setattr(PlainProgress, "stage", entering)


def at_line(patch: pytest.MonkeyPatch, pattern: str, action: Action) -> None:
    """Act once, when a build prints a line that matches `pattern`."""
    build, act = DockerEngine.build, _Once(action)

    def building(self: DockerEngine, context: bytes, *, on_line: Callable[[str], None], **options: Any) -> str:
        def saying(line: str) -> None:
            on_line(line)
            if re.search(pattern, line):
                act()

        return build(self, context, on_line=saying, **options)

    patch.setattr(DockerEngine, "build", building)


def at_container(patch: pytest.MonkeyPatch, action: Action) -> None:
    """Act once, when a container of this run is created and not yet started."""
    run, act = DockerEngine.run, _Once(action)

    def running(self: DockerEngine, container: str, timeout_seconds: int = 120) -> RunOutput:
        act()
        return run(self, container, timeout_seconds)

    patch.setattr(DockerEngine, "run", running)
