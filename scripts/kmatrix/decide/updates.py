"""Turn the edges of an update graph into the updates that the lock keeps: those between its own releases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kmatrix.decide.releases import Node
from kmatrix.values.names import Arch, ReleaseVersion
from kmatrix.values.pins import UpdatesPin


def updates_of(nodes: Iterable[Node], arch: Arch, before: Iterable[UpdatesPin] = ()) -> tuple[UpdatesPin, ...]:
    """Return the updates between releases of one architecture, each target once.

    Args:
        nodes: the releases that the profile selects.
        arch: the architecture.
        before: the updates of the lock; those to and from a release that is gone from the graph stay.
    """
    nodes = tuple(nodes)
    wanted = {node.version for node in nodes}
    gone = {node.version for node in nodes if node.gone}
    earlier = {pin.to: tuple(_sources(pin)) for pin in before if pin.arch == arch}
    found = []
    for node in nodes:
        kept = (each for each in earlier.get(node.version, ()) if node.gone or each[0] in gone)
        # An edge of one channel may be conditional in another: without a condition is enough.
        conditional: dict[ReleaseVersion, bool] = {}
        for source, condition in (*node.sources, *kept):
            if source in wanted:
                conditional[source] = conditional.get(source, True) and condition
        if conditional:
            text = " ".join(f"{source}{'?' if conditional[source] else ''}" for source in sorted(conditional))
            found.append(UpdatesPin.model_validate({"to": str(node.version), "arch": arch, "from": text}))
    return tuple(found)


def _sources(pin: UpdatesPin) -> Iterator[tuple[ReleaseVersion, bool]]:
    for word in pin.sources.split():
        yield ReleaseVersion.parse(word.removesuffix("?")), word.endswith("?")
