"""What every part of the bench starts from: the project, its lab, the engine, and how to run the tool as people do."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import Chosen
from kmatrix.effects.engine import Engine
from kmatrix.effects.process.measured import Ended, run_program
from kmatrix.lab.layout import Layout, layout_of
from kmatrix.values.errors import ToolError

PROFILE = "bench"


@dataclass(frozen=True)
class Setting:
    """`call` is for this project and profile lab, `jobs` the cells at a time, `weight` the stand-in's extra units."""

    call: Invocation
    chosen: Chosen
    engine: Engine
    jobs: int
    weight: int

    @property
    def layout(self) -> Layout:
        """The lab's."""
        return layout_of(self.chosen.profile, self.call.root)

    @property
    def name(self) -> str:
        """What the bench of this checkout gives to everything it makes in the engine."""
        return f"kmatrix-bench-{self.layout.id}"

    @property
    def folder(self) -> Path:
        """Everything the bench makes for itself; gone at the end."""
        return self.call.root / "build" / "bench"

    @property
    def logs(self) -> Path:
        """What the programs said that were measured; stays."""
        return self.call.root / "build" / "logs" / "bench"

    def say(self, text: str) -> None:
        """A line for people."""
        self.call.say(f"bench: {text}")

    def tool(self, name: str, *arguments: str, root: Path) -> Ended:
        """Run `python -m kmatrix …` in a process of its own, on another project, and return how it ended.

        Raises:
            ToolError: its exit code is not 0.
        """
        # What overrides this project's addresses is not meant for the bench's own projects.
        clean = {key: value for key, value in os.environ.items() if not key.startswith("KMATRIX_")}
        command = (sys.executable, "-m", "kmatrix", *arguments, "--profile", PROFILE, "--root", str(root))
        return self._run(name, command, root, clean)

    def nox(self, name: str, *arguments: str) -> Ended:
        """Run nox in this project as the README says, and return how it ended.

        Raises:
            ToolError: its exit code is not 0.
        """
        return self._run(name, (sys.executable, "-m", "nox", *arguments), self.call.root, os.environ)

    def _run(self, name: str, command: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> Ended:
        # Sessions call `python`: it must be this environment's.
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
        log = self.logs / f"{name}.log"
        ended = run_program(command, folder, {**environment, "PATH": path}, log)
        if ended.status != 0:
            tail = "\n  ".join(ended.output.strip().splitlines()[-8:])
            raise ToolError(
                f"{' '.join(command)} ended with {ended.status}:\n  {tail}",
                f"All it said is in {log}; mend that first.",
            )
        return ended
