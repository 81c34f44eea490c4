"""Reads what a run wrote: counters out of its last lines, and which steps the engine really did out of a build log."""

from __future__ import annotations

import re

from kmatrix.values.errors import ToolError

_COUNTERS = re.compile(r"builds: (\d+), pulls: (\d+)")
_STEP = re.compile(r"Step \d+/\d+ : (.*)")


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


def steps_done(log: str) -> tuple[str, ...]:
    """Return the instructions of a build log that the engine carried out, in order: not those its cache answered."""
    done: list[str] = []
    step = ""
    for line in log.splitlines():
        if match := _STEP.fullmatch(line.strip()):
            step = match[1]
        elif line.strip().startswith("---> Running in") and step:
            done.append(step)
            step = ""
    return tuple(done)
