"""GitHub Actions: annotations, the summary of a step, and output that the runner does not take for commands."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kmatrix.decide.workflow_commands import Annotation, resume, stop
from kmatrix.values.errors import ToolError

_SUMMARY = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True)
class GitHubActions:
    """The runner that this process is a step of.

    `summary` is the file of the step's summary, None where there is none.
    """

    summary: Path | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    @contextmanager
    def foreign_text(self) -> Iterator[None]:
        """Let the runner take no line of the output for a command meanwhile, whatever a log says."""
        _write(stop(self.token))
        try:
            yield
        finally:
            _write(resume(self.token))

    def annotate(self, annotations: Iterable[Annotation]) -> None:
        """Show annotations on the run's page, within `foreign_text`."""
        lines = [str(each) for each in annotations]
        if lines:
            _write(resume(self.token), *lines, stop(self.token))

    def summary_bytes(self) -> int:
        """Return the size of the step's summary so far.

        Raises:
            ToolError: it cannot be looked at.
        """
        try:
            return self.summary.stat().st_size if self.summary is not None and self.summary.exists() else 0
        except OSError as error:
            raise _error(error) from error

    def summarise(self, text: str) -> None:
        """Append a text to the step's summary, if there is one.

        Raises:
            ToolError: it cannot be written.
        """
        if self.summary is None:
            return
        try:
            with self.summary.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise _error(error) from error


def github_actions(environment: Mapping[str, str] = os.environ) -> GitHubActions | None:
    """Return the runner of GitHub Actions that started this process; None if none did."""
    if environment.get("GITHUB_ACTIONS") != "true":
        return None
    path = environment.get(_SUMMARY)
    return GitHubActions(Path(path) if path else None)


def _write(*lines: str) -> None:
    # One call: no line of another thread may come between them.
    with contextlib.suppress(OSError, ValueError):
        # Without standard error nobody reads commands either.
        if sys.stderr is not None:
            sys.stderr.write("".join(f"{line}\n" for line in lines))
            sys.stderr.flush()


def _error(error: OSError) -> ToolError:
    return ToolError(
        f"cannot write the summary of the step ({_SUMMARY}): {error.strerror or error}",
        f"Unset {_SUMMARY}, or make it name a writable file.",
    )
