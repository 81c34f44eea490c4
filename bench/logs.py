"""Parses the output of runs: the counters in its last lines, and the executed steps in a build log."""

from __future__ import annotations

import re

from kmatrix.values.errors import ToolError

_COUNTERS = re.compile(r"builds: (\d+), pulls: (\d+)")
_STEP = re.compile(r"Step \d+/\d+ : (.*)")


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


def steps_done(log: str) -> tuple[str, ...]:
    """Return the instructions that the engine executed according to a build log, in order, without cached ones."""
    done: list[str] = []
    step = ""
    for line in log.splitlines():
        if match := _STEP.fullmatch(line.strip()):
            step = match[1]
        elif line.strip().startswith("---> Running in") and step:
            done.append(step)
            step = ""
    return tuple(done)
