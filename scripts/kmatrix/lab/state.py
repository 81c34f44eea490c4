"""The lab's state file: its parts, the inputs that they were built from, and its releases."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from kmatrix.effects.disk.files import write_atomically
from kmatrix.lab.layout import Layout
from kmatrix.lab.releases import PublishedRelease, published
from kmatrix.values.errors import InputError

SCHEMA = 3


def lab_state(layout: Layout) -> dict[str, Any]:
    """Return the parts of the lab: kernels by role, toolkit digests, image names, releases.

    Raises:
        InputError: it is not up.
    """
    state = read_state(layout)
    if not state:
        raise InputError("the lab is not up", "Run `nox -s lab -- up`.")
    return state


def read_state(layout: Layout) -> dict[str, Any]:
    """Return the content of the state file; empty where the lab was never completed, or by another version."""
    try:
        state: dict[str, Any] = json.loads(layout.state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if state.get("schema") == SCHEMA else {}


def write_state(layout: Layout, state: dict[str, Any]) -> None:
    """Write the state file.

    Raises:
        InputError: it cannot be written.
    """
    write_atomically(layout.state, json.dumps({**state, "schema": SCHEMA}, indent=1, sort_keys=True) + "\n")


def added(state: dict[str, Any]) -> tuple[PublishedRelease, ...]:
    """Return the releases that `lab release` published."""
    return tuple(PublishedRelease(**{**each, "channels": tuple(each["channels"])}) for each in state.get("added", ()))


def with_added(state: dict[str, Any], releases: tuple[PublishedRelease, ...]) -> dict[str, Any]:
    """Return the state with other releases of `lab release`; versions of those that left are never given again."""
    taken = {*state.get("taken", ()), *(each.version for each in (*added(state), *releases))}
    return {**state, "added": [asdict(each) for each in releases], "taken": sorted(taken)}


def releases_of(state: dict[str, Any]) -> tuple[PublishedRelease, ...]:
    """Return every release of the lab."""
    return (*published(state["payloads"]), *added(state))
