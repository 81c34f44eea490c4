"""Parses the output of runs: the counters in its last lines."""

from __future__ import annotations

import re

from kmatrix.values.errors import ToolError

_COUNTERS = re.compile(r"builds: (\d+), pulls: (\d+)")


def counters(output: str) -> tuple[int, int]:
    """Return the numbers of engine builds and pulls that a run reports.

    Raises:
        ToolError: the output does not report them.
    """
    found = _COUNTERS.findall(output)
    if not found:
        raise ToolError(
            "the run did not report its numbers of builds and pulls", "Read its output in build/logs/bench."
        )
    builds, pulls = found[-1]
    return int(builds), int(pulls)
