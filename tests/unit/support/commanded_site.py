"""A project whose three cells behave as a test commands, run by the real command line in separate processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.support.made_up_profile import ROOT
from tests.unit.support.projects import write_project

# Seconds: longer than a run needs to end, shorter than it waits for cells that do not.
SOON = 12.0


FAR = 60.0


BUILD = ("build", "--no-boot", "--only", "7.4.6-*", "--jobs", "3", "--target", "registry.invalid/team")


@dataclass
class Site:
    """A project with three cells of client 7.4.6, each with a word for its behaviour."""

    root: Path

    def command(self, steps: str, *arguments: str) -> list[str]:
        (self.root / "steps").write_text(steps, encoding="utf-8")
        program = [sys.executable, "-m", "tests.unit.support.signalled_run", str(self.root)]
        return [*program, *arguments, "--root", str(self.root)]

    @contextmanager
    def started(self, command: list[str], **streams: Any) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(command, text=True, env=ENVIRONMENT, **streams) as run:
            try:
                yield run
            finally:
                run.kill()

    def ended(self, command: list[str], **streams: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, text=True, env=ENVIRONMENT, timeout=FAR, check=False, **streams)

    def go(self) -> None:
        """Let the held cell pass."""
        with (self.root / "go").open("w", encoding="utf-8"):
            pass

    @property
    def verdicts(self) -> list[str]:
        cells = json.loads((self.root / "build" / "results.json").read_text(encoding="utf-8"))["cells"]
        return [cell["verdict"] for cell in cells]


# With Python's default buffering: a stream breaks at its last flush.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("KMATRIX_", "PYTHON"))},
    "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)]),
    "COLUMNS": "200",
}


def make_site(root: Path) -> Site:
    """Write the project into a folder."""
    write_project(root)
    os.mkfifo(root / "go")
    return Site(root)
