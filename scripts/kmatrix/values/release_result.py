"""Define what became of one OpenShift release, as build/results.json holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kmatrix.values.cells import Finding

ReleaseState = Literal["published", "incomplete", "unresolved", "mismatch"]


@dataclass(frozen=True)
class ReleaseResult:
    """One release on one architecture: the kernels that it needs, and how long they took to be published.

    `state` is `published` if every cell of it that the plan has is published with all gates passed, `unresolved` if its
    kernels are not known, `mismatch` if a toolkit of it lacks its nodes' kernel, else `incomplete`. `kernels` and
    `streams` are those of its cells, oldest first; a release without known kernels has none.
    `unseen` and `found` are as those of its pin: it appeared in the update graph between the two. `published` is when
    the last of its cells was pushed. The minutes are from its appearance (at most: from `unseen`) and from its
    discovery until then, None where a time is not known. All three are written once, when its last cell is published,
    and kept: a later push does not move them. Times are UTC in ISO 8601, and empty where they are not known.
    """

    version: str
    arch: str
    state: ReleaseState
    streams: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    unseen: str = ""
    found: str = ""
    published: str = ""
    minutes_from_appearance: float | None = None
    minutes_from_discovery: float | None = None
