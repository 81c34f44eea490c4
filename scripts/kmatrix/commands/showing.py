"""How a session shows its progress: in place on a terminal, as plain lines elsewhere, or faults alone with --quiet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kmatrix.commands.invocation import Invocation
from kmatrix.decide.slow_stages import usual_seconds
from kmatrix.stages.progress import LiveProgress, PlainProgress, Progress, QuietProgress, in_place
from kmatrix.values.cells import CellResult


@contextmanager
def showing(call: Invocation, total: int = 0, earlier: Iterable[CellResult] = ()) -> Iterator[Progress]:
    """Show the progress of a session, or of a part of one, while it runs.

    Args:
        call: the command line.
        total: the number of cells; 0 for a session that is not about cells.
        earlier: results of earlier runs, which show how long stages usually take.
    """
    if call.quiet:
        with QuietProgress(call.console) as quiet:
            yield quiet
        return
    kind = LiveProgress if in_place(call.console) else PlainProgress
    with kind(call.console, total, usual_seconds(earlier), call.verbose) as progress:
        yield progress
