"""The options and arguments of one command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from kmatrix.effects.github_actions import GitHubActions
from kmatrix.values.boot import BootOptions
from kmatrix.values.command_lines import command as command_line
from kmatrix.values.overrides import Overrides
from kmatrix.values.shard import Shard


@dataclass(frozen=True)
class Invocation:
    """The options and arguments of one command line; paths are absolute.

    `places` are the options that say where everything is (`--target X --root Y`), as they were typed, by the name of
    each command that accepts them: a command that goes on from this one needs them. `typed` are all options of this
    one, as they were typed, but those that select a profile and its cells: a command that repeats this one needs those.
    `github` is the runner of GitHub Actions that started this command, None if none did.
    """

    root: Path
    console: Console
    profile: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    authfile: Path | None = None
    only: tuple[str, ...] = ()
    shard: Shard | None = None
    unpublished: bool = False
    published: bool = False
    jobs: int | None = None
    action: str = ""
    broken: bool = False
    channel: str = ""
    release: str = ""
    json: bool = False
    format: str = ""
    runners: tuple[str, ...] = ()
    force: bool = False
    push: bool = True
    boot: BootOptions | None = field(default_factory=BootOptions)
    subject: str = ""
    folders: tuple[Path, ...] = ()
    images: bool = False
    modules: bool = False
    name: str = ""
    years: int | None = None
    shell: bool = False
    check: bool = False
    apply: bool = False
    forget: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    from_release: str = ""
    to_release: str = ""
    arches: tuple[str, ...] = ()
    flavours: tuple[str, ...] = ()
    out: Path | None = None
    remote: str = ""
    keys: tuple[Path, ...] = ()
    save: Path | None = None
    github: GitHubActions | None = None
    quiet: bool = False
    verbose: bool = False
    serve: bool = False
    port: int | None = None
    command: str = ""
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    typed: tuple[str, ...] = ()

    def say(self, text: str) -> None:
        """Print a human-readable line on standard error, unless only the summary is wanted."""
        if not self.quiet:
            self.conclude(text)

    def warn(self, text: str) -> None:
        """Print a line about something that needs a person's attention, also where only the summary is wanted."""
        self.conclude(text)

    def conclude(self, text: str) -> None:
        """Print a line of the summary on standard error."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def again(self, profile_name: str, *arguments: str) -> str:
        """Return this command in backquotes, to be run again with more arguments: `nox -s build -- --only CELL`."""
        return command_line(self.command, profile_name, *self.typed, *arguments)

    def same(self, profile_name: str) -> str:
        """Return this command in backquotes, to be run again over the cells that it selects."""
        only = [part for glob in self.only for part in ("--only", glob)]
        shard = ["--shard", str(self.shard)] if self.shard else []
        return self.again(profile_name, *only, *shard)

    def next(self, name: str, profile_name: str, *arguments: str) -> str:
        """Return another command in backquotes, which acts on the same places as this one."""
        return command_line(name, profile_name, *self.places.get(name, ()), *arguments)

    @property
    def selects(self) -> bool:
        """Whether the command acts on some cells of the plan only."""
        return bool(self.only) or self.shard is not None

    @property
    def results_path(self) -> Path:
        """The file of the results."""
        return self.root / "build" / "results.json"

    @property
    def bundles_path(self) -> Path:
        """The file of the bundles."""
        return self.root / "build" / "bundles.json"
