"""The chart of the time from a release's appearance to its last push: its numbers, scales and places."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from kmatrix.decide.report.moments import in_words, moment
from kmatrix.values.release_result import ReleaseResult

# The drawing, in units of its own; the plot leaves room for the labels of both axes.
WIDTH, HEIGHT = 420, 226
LEFT, RIGHT, TOP, BOTTOM = 70, 408, 28, 184
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 2880, 7200, 14400)
_MOST_LINES = 5


@dataclass(frozen=True)
class Point:
    """A release: its place in the drawing, and what it says."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A chart of at least one release.

    Attributes:
        points: in the order of their publication.
        minutes: the ticks of the vertical axis, from 0 on.
        days: those of the horizontal axis: the first and the last publication.
        middle: the median, as a place of the vertical axis.
        summary: the same in a sentence.
    """

    points: tuple[Point, ...]
    minutes: tuple[Tick, ...]
    days: tuple[Tick, ...]
    middle: Tick
    summary: str


def release_chart(releases: Iterable[ReleaseResult]) -> Chart | None:
    """Return the chart of the releases whose appearance and publication are known; None if there is none."""
    known = sorted(
        (
            (at, float(each.minutes_from_appearance), f"{each.version}, {each.arch}")
            for each in releases
            if (at := moment(each.published)) and each.minutes_from_appearance is not None
            # JSON as Python reads it has NaN and Infinity.
            if math.isfinite(each.minutes_from_appearance) and each.minutes_from_appearance >= 0
        ),
        key=lambda each: (each[0], each[2]),
    )
    if not known:
        return None
    step = _step(max(minutes for _, minutes, _ in known))
    top = step * max(1, math.ceil(max(minutes for _, minutes, _ in known) / step))
    first, last = known[0][0], known[-1][0]
    middle = median(minutes for _, minutes, _ in known)
    days = [Tick(_across(first, first, last), _day(first))]
    if _day(first) != _day(last):
        days.append(Tick(_across(last, first, last), _day(last)))
    return Chart(
        points=tuple(
            Point(_across(at, first, last), _up(minutes, top), f"{name}: {in_words(minutes)}")
            for at, minutes, name in known
        ),
        minutes=tuple(Tick(_up(value, top), in_words(value)) for value in range(0, top + 1, step)),
        days=tuple(days),
        middle=Tick(_up(middle, top), in_words(middle)),
        summary=_summary(known, middle),
    )


def _summary(known: list[tuple[datetime, float, str]], middle: float) -> str:
    _, minutes, name = known[-1]
    if len(known) == 1:
        return f"One release: {in_words(minutes)} ({name})."
    longest = max(known, key=lambda each: each[1])
    return (
        f"{len(known)} releases: median {in_words(middle)}, longest {in_words(longest[1])} ({longest[2]}), "
        f"last {in_words(minutes)} ({name})."
    )


def _step(most: float) -> int:
    for step in _STEPS:
        if most <= step * _MOST_LINES:
            return step
    return _STEPS[-1] * math.ceil(most / _MOST_LINES / _STEPS[-1])


def _across(at: datetime, first: datetime, last: datetime) -> float:
    span = (last - first).total_seconds()
    return round(LEFT + (RIGHT - LEFT) * ((at - first).total_seconds() / span if span else 0.5), 1)


def _up(minutes: float, top: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * minutes / top, 1)


def _day(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d")
