"""What the command line asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from kmatrix.stages.run_context import BootOptions
from kmatrix.values.overrides import Overrides

LAB = "lab"


@dataclass(frozen=True)
class Invocation:
    """What the command line asked for; paths are absolute."""

    root: Path
    console: Console
    profile: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    authfile: Path | None = None
    only: tuple[str, ...] = ()
    jobs: int | None = None
    action: str = ""
    json: bool = False
    force: bool = False
    push: bool = True
    boot: BootOptions | None = field(default_factory=BootOptions)
    subject: str = ""
    shell: bool = False
    check: bool = False
    forget: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    ways: tuple[str, ...] = ()
    out: Path | None = None
    command: str = ""

    def say(self, text: str) -> None:
        """A line for people."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @property
    def results_path(self) -> Path:
        """Where results are kept."""
        return self.root / "build" / "results.json"

    @property
    def bundles_path(self) -> Path:
        """Where bundles are kept."""
        return self.root / "build" / "bundles.json"

    @property
    def boot_folder(self) -> Path:
        """Where the boot gate keeps kernels, and makes what a machine boots."""
        return self.root / "build" / "boot"
