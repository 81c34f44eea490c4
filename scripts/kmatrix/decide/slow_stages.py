"""Decides which stages are slow: those that take much longer than the same stage took for other cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from kmatrix.values.cells import CellResult

# Stages of a second or two vary by more than their double.
_LEAST_MORE = 20.0
# Where no other cell shows how long a stage takes.
_UNKNOWN = 60.0


def usual_seconds(results: Iterable[CellResult]) -> dict[str, float]:
    """Return the median seconds of each stage in these results, by its name; cells that ended in it do not count."""
    found: dict[str, list[float]] = {}
    for result in results:
        stages = [*result.stages.items()]
        # The last stage of a cell without a pass was cut short.
        for name, seconds in stages if result.verdict in ("passed", "skipped") else stages[:-1]:
            found.setdefault(name, []).append(seconds)
    return {name: median(seconds) for name, seconds in found.items()}


def usual_of(stage: str, now: Mapping[str, Sequence[float]], earlier: Mapping[str, float]) -> float | None:
    """Return the usual seconds of a stage: those of this run if it has finished one, else those of earlier runs.

    Args:
        stage: its name.
        now: the seconds of finished stages of this run, by name.
        earlier: the usual seconds by the results of earlier runs, by name.

    Returns:
        None if neither has them.
    """
    return median(now[stage]) if now.get(stage) else earlier.get(stage)


def slow_after(usual: float | None) -> float:
    """Return the seconds after which a stage is slow, by the usual seconds of it, or None if these are not known."""
    return _UNKNOWN if usual is None else max(2 * usual, usual + _LEAST_MORE)
