"""The setting of the bench: the project, its lab, the container engine, and ways to run the tool as users do."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile
from kmatrix.effects.engine import Engine
from kmatrix.effects.process.measured import Ended, run_program
from kmatrix.lab.layout import Layout, layout_of
from kmatrix.values.errors import ToolError

PROFILE = "bench"


@dataclass(frozen=True)
class Setting:
    """`call` is for this project and profile lab, `jobs` the cells at a time, `weight` the stand-in's extra units."""

    call: Invocation
    chosen: SelectedProfile
    engine: Engine
    jobs: int
    weight: int

    @property
    def layout(self) -> Layout:
        """The layout of the lab."""
        return layout_of(self.chosen.effective, self.call.root)

    @property
    def name(self) -> str:
        """The name of everything that the bench of this checkout creates in the engine."""
        return f"kmatrix-bench-{self.layout.id}"

    @property
    def folder(self) -> Path:
        """The folder of the bench's own files; removed at the end."""
        return self.call.root / "build" / "bench"

    @property
    def logs(self) -> Path:
        """The folder with the output of the measured programs; kept."""
        return self.call.root / "build" / "logs" / "bench"

    def say(self, text: str) -> None:
        """Print a message to the user."""
        self.call.say(f"bench: {text}")

    def tool(self, name: str, *arguments: str, root: Path, module: str = "kmatrix") -> Ended:
        """Run `python -m kmatrix …` in a process of its own, on another project, and return how it ended.

        `module` may be one of the bench that stands in for the command line.

        Raises:
            ToolError: its exit code is not 0.
        """
        # Overrides are meant for this project's addresses, not for those of the bench's own projects.
        clean = {key: value for key, value in os.environ.items() if not key.startswith("KMATRIX_")}
        # The bench is no part of the installed package.
        clean["PYTHONPATH"] = os.pathsep.join([str(self.call.root), *filter(None, [clean.get("PYTHONPATH")])])
        command = (sys.executable, "-m", module, *arguments, "--profile", PROFILE, "--root", str(root))
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
                f"Its complete output is in {log}; fix that first.",
            )
        return ended
