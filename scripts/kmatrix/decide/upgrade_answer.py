"""Define the question whether a cluster can be updated, the facts that the answer rests on, and the answer as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kmatrix.decide.plan import Plan
from kmatrix.decide.update_routes import Update
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import Arch, ClientVersion, Flavour, ReleaseVersion

SCHEMA = 1


@dataclass(frozen=True)
class Question:
    """An update of a cluster: from which release to which, with which client, and which nodes the cluster has."""

    start: ReleaseVersion
    end: ReleaseVersion
    client: ClientVersion
    arches: tuple[Arch, ...]
    flavours: tuple[Flavour, ...]


@dataclass(frozen=True)
class Known:
    """The facts that an answer rests on.

    `gates` are the names of the profile's gates; `results` are the cells by id; `bundle` is that of the client, None
    for none.
    """

    profile_name: str
    pins: ProfileLock
    plan: Plan
    results: Mapping[str, CellResult]
    bundle: BundleResult | None
    gates: tuple[str, ...]


@dataclass(frozen=True)
class KernelAnswer:
    """Whether nodes with a kernel have their module; `releases` are those on the route that run it."""

    kernel: str
    arch: Arch
    flavour: Flavour
    stream: str
    releases: tuple[str, ...]
    safe: bool
    reason: str


@dataclass(frozen=True)
class Obstacle:
    """A reason against the update that is not about one kernel; `release` is the one concerned."""

    release: str
    arch: Arch
    reason: str


@dataclass(frozen=True)
class Answer:
    """The answer to a question: a route per architecture, one entry per kernel on them, and all other obstacles."""

    question: Question
    routes: Mapping[Arch, tuple[Update, ...]]
    kernels: tuple[KernelAnswer, ...]
    obstacles: tuple[Obstacle, ...]

    @property
    def safe(self) -> bool:
        """Whether every node keeps its storage on the whole route."""
        return bool(self.kernels) and not self.obstacles and all(kernel.safe for kernel in self.kernels)


def can_upgrade_json(answer: Answer, known: Known) -> dict[str, Any]:
    """Return an answer as JSON-able data, in a stable order."""
    question = answer.question
    return {
        "schema": SCHEMA,
        "profile": known.profile_name,
        "from": str(question.start),
        "to": str(question.end),
        "client": str(question.client),
        "arches": list(question.arches),
        "flavours": list(question.flavours),
        "safe": answer.safe,
        "routes": [
            {
                "arch": arch,
                "updates": [
                    {"from": str(update.source), "to": str(update.to), "conditional": update.conditional}
                    for update in route
                ],
            }
            for arch, route in answer.routes.items()
        ],
        "kernels": [
            {
                "kernel": each.kernel,
                "arch": each.arch,
                "flavour": each.flavour,
                "stream": each.stream,
                "releases": list(each.releases),
                "safe": each.safe,
                "reason": each.reason,
            }
            for each in answer.kernels
        ],
        "obstacles": [{"release": each.release, "arch": each.arch, "reason": each.reason} for each in answer.obstacles],
        "bundle": {
            "image": known.bundle.image if known.bundle else "",
            "digest": known.bundle.digest if known.bundle else "",
            "seen": known.bundle.seen if known.bundle else "",
        },
    }
