"""Reads the output of a run: the counters out of its last lines."""

from __future__ import annotations

import re

from kmatrix.values.errors import ToolError

_COUNTERS = re.compile(r"builds: (\d+), pulls: (\d+)")


def counters(output: str) -> tuple[int, int]:
    """Return how many builds and pulls a run says it asked the engine for.

    Raises:
        ToolError: it says nothing of the kind.
    """
    found = _COUNTERS.findall(output)
    if not found:
        raise ToolError("the run did not say how many builds and pulls it did", "Its output is under build/logs/bench.")
    builds, pulls = found[-1]
    return int(builds), int(pulls)
