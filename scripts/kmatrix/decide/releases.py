"""Read the releases of an update graph, and select those that the matrix wants."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kmatrix.decide.formats.json_text import json_object, text_of
from kmatrix.values.errors import InputError, Problem, ProtocolError
from kmatrix.values.matrix import Channel
from kmatrix.values.names import ImageRef, ReleaseVersion

_CHANNELS = "io.openshift.upgrades.graph.release.channels"
_ASK_AGAIN = "The lock is unchanged. Check profiles.….graph in matrix.yaml, then run `nox -s discover` again."
_STABLE_OKD = re.compile(r"[0-9.]+(-okd-scos\.[0-9]+)?")


@dataclass(frozen=True)
class Node:
    """A release of an update graph; `channels` are those it is in, empty where the graph names none.

    `gone` marks a release that the lock has, but no wanted channel of the graph any more. `sources` are the releases
    that the graph offers an update to this one for, each with whether it is conditional: offered with a known risk.
    """

    version: ReleaseVersion
    payload: ImageRef
    channels: tuple[str, ...]
    gone: bool = False
    sources: frozenset[tuple[ReleaseVersion, bool]] = frozenset()


def read_graph(text: str, address: str) -> tuple[Node, ...]:
    """Parse the reply of an update graph (Cincinnati protocol), oldest release first.

    A graph is a list of nodes and a list of edges, each a pair of indexes of nodes (docs/design/cincinnati.md of
    openshift/cincinnati, which itself refuses a graph without either: cincinnati/src/lib.rs). The edges also show
    whether all nodes are there: an edge to a missing node means that some were lost. A list of conditional edges names
    releases instead, and may name some that the graph has not.

    The graph of OKD has a release before its payload is imported, with an empty one (resolveReleasePullSpec of
    cmd/release-controller-api/http_helper.go, openshift/release-controller): it counts as not there yet.

    Args:
        text: the body.
        address: its address, for messages.

    Raises:
        ProtocolError: the service reports an error in the reply, or the graph is malformed or incomplete.
    """
    try:
        data = json_object(text, f"the update graph at {address}")
    except ProtocolError as error:
        raise ProtocolError(error.message, _ASK_AGAIN) from None
    if "kind" in data and "value" in data and "nodes" not in data:
        raise ProtocolError(
            f"the update graph at {address} reports {data['kind']}: {data['value']}",
            "Check the channel and the address (profiles.….channels, profiles.….graph in matrix.yaml)",
        )
    nodes = data.get("nodes")
    if not isinstance(nodes, list):
        raise _no_graph(address, "it has no list of nodes")
    found: dict[ReleaseVersion, Node] = {}
    versions = []
    for index, entry in enumerate(nodes):
        version, node = _node(entry, index, address)
        versions.append(version)
        if node and found.setdefault(version, node) != node:
            raise _no_graph(address, f"it holds {version} twice, with two payloads")
    sources: dict[ReleaseVersion, set[tuple[ReleaseVersion, bool]]] = {}
    for source, target in _edges(data.get("edges"), versions, address):
        sources.setdefault(target, set()).add((source, False))
    for source, target in _conditional_edges(data.get("conditionalEdges"), address):
        sources.setdefault(target, set()).add((source, True))
    complete = (replace(node, sources=frozenset(sources.get(node.version, ()))) for node in found.values())
    return tuple(sorted(complete, key=lambda node: node.version))


def _edges(edges: Any, nodes: list[ReleaseVersion], address: str) -> Iterator[tuple[ReleaseVersion, ReleaseVersion]]:
    if not isinstance(edges, list):
        raise _no_graph(address, "it has no list of edges; was it cut off?")
    for index, edge in enumerate(edges):
        if not isinstance(edge, list) or [type(end) for end in edge] != [int, int]:
            raise _no_graph(address, f"edges[{index}] is not a pair of indexes of nodes")
        outside = [end for end in edge if not 0 <= end < len(nodes)]
        if outside:
            raise _no_graph(
                address, f"edges[{index}] names nodes[{outside[0]}], but there are only {len(nodes)}: some were lost"
            )
        yield nodes[edge[0]], nodes[edge[1]]


def _conditional_edges(groups: Any, address: str) -> Iterator[tuple[ReleaseVersion, ReleaseVersion]]:
    """Yield source and target of every conditional edge (cincinnati/src/conditional_edges.rs), if any."""
    try:
        for group in groups or ():
            for edge in group["edges"]:
                yield ReleaseVersion.parse(edge["from"]), ReleaseVersion.parse(edge["to"])
    except (KeyError, TypeError, ValueError) as error:
        why = f"its conditionalEdges are not groups of edges from one release to another ({error!r:.80})"
        raise _no_graph(address, why) from None


def _node(entry: Any, index: int, address: str) -> tuple[ReleaseVersion, Node | None]:
    """Return the version and the release of a node; None for one whose payload is not there yet."""
    metadata = entry.get("metadata") if isinstance(entry, dict) else None
    metadata = {} if metadata is None else metadata
    if not isinstance(entry, dict) or not isinstance(metadata, dict):
        raise _no_graph(address, f"nodes[{index}] is not an object")
    try:
        version = ReleaseVersion.parse(text_of(entry.get("version"), "version"))
        named = text_of(entry.get("payload"), "payload")
        if not named:
            return version, None
        payload = ImageRef.parse(named)
        channels = text_of(metadata.get(_CHANNELS, ""), "channels")
    except ValueError as error:
        raise _no_graph(address, f"nodes[{index}]: {error}") from None
    if not (payload.tag or payload.digest):
        # As container engines read such a name.
        payload = payload.with_tag("latest")
    names = tuple(sorted(name.strip() for name in channels.split(",") if name.strip()))
    return version, Node(version, payload, names)


def choose(nodes: Iterable[Node], channel: Channel) -> tuple[Node, ...]:
    """Return the nodes that a channel of matrix.yaml selects, oldest first; may be empty."""
    return _newest(_counting(nodes, channel), channel)


def _counting(nodes: Iterable[Node], channel: Channel) -> list[Node]:
    """Return the nodes that count for a channel, without regard to `newest`.

    A channel also holds releases of earlier minors, as starting points for upgrades: only its own minor counts.
    OKD's graph names no channels, and ignores the requested one (okd-project/okd#2268): there a stable channel means
    4.N.z and 4.N.z-okd-scos.M, and any other channel all releases of the minor.
    """
    stable = channel.name.startswith("stable-")
    return [
        node
        for node in nodes
        if node.version.minor == channel.minor
        and (channel.name in node.channels if node.channels else not stable or _is_stable(node.version))
        and (channel.first is None or not node.version < channel.first)
    ]


def _newest(nodes: Iterable[Node], channel: Channel) -> tuple[Node, ...]:
    chosen = sorted(nodes, key=lambda node: node.version)
    return tuple(chosen[-channel.newest :] if channel.newest else chosen)


def _is_stable(version: ReleaseVersion) -> bool:
    return _STABLE_OKD.fullmatch(str(version)) is not None


def select_releases(
    profile_name: str,
    channels: tuple[Channel, ...],
    graphs: Mapping[str, Iterable[Node]],
    remembered: Iterable[Node] = (),
) -> tuple[Node, ...]:
    """Return the releases of a profile for one architecture, oldest first, each once.

    A release that the lock remembers and the graph lacks stays, and counts for `from` and `newest` as if it were in the
    graph: a reply that lost releases removes none. A service may lose some silently: that of OKD omits every release of
    an image stream that it cannot read at that moment (graphHandler of
    cmd/release-controller-api/http_upgrade_graph.go, openshift/release-controller).

    Args:
        profile_name: for messages.
        channels: the profile's channels.
        graphs: the graph's nodes for each channel name.
        remembered: the releases of the lock, each with the channels of matrix.yaml that chose it.

    Returns:
        nodes whose `channels` are those of matrix.yaml that chose them. A channel without a release gives none: see
        `empty_channels`.

    Raises:
        InputError: no channel gives a release; all channels at once, each with its key.
        ProtocolError: two channels give one release different payloads, or the graph lost every wanted release.
    """
    remembered = tuple(remembered)
    answers = {name: tuple(nodes) for name, nodes in graphs.items()}
    offered = {channel.name: _counting(answers[channel.name], channel) for channel in channels}
    there = {node.version for nodes in offered.values() for node in nodes}
    payloads = {node.version: node.payload for nodes in answers.values() for node in nodes}
    found: dict[ReleaseVersion, Node] = {}
    problems = []
    for index, channel in enumerate(channels):
        own = {node.version for node in offered[channel.name]}
        before = [
            Node(node.version, payloads.get(node.version, node.payload), (channel.name,))
            for node in remembered
            if channel.name in node.channels and node.version not in own
        ]
        chosen = _newest([*offered[channel.name], *_counting(before, channel)], channel)
        if not chosen:
            key = f"profiles.{profile_name}.channels[{index}]"
            why = _why(answers[channel.name], channel)
            problems.append(Problem("matrix.yaml", f"{key}: {channel.name} gives no release ({why})"))
        for node in chosen:
            known = found.get(node.version, replace(node, channels=(), gone=node.version not in there))
            known = replace(known, sources=known.sources | node.sources)
            if known.payload != node.payload:
                raise ProtocolError(
                    f"the update graph gives {node.version} different payloads in different channels",
                    "Run `nox -s discover` again later; until then the lock is unchanged.",
                )
            found[node.version] = replace(known, channels=(*known.channels, channel.name))
    if problems and not found:
        hint = "Correct the channel, or remove it from matrix.yaml, then run `nox -s discover`"
        raise InputError("the update graph has nothing for a channel", hint, tuple(problems))
    if not there:
        raise ProtocolError(
            f"the update graph has no release of any channel of profile {profile_name}; the lock has {len(found)}",
            "The reply cannot be right. The lock is unchanged: check profiles.….graph in matrix.yaml and run it again.",
        )
    return tuple(sorted(found.values(), key=lambda node: node.version))


def empty_channels(
    channels: Iterable[Channel], graphs: Mapping[str, Iterable[Node]], chosen: Iterable[Node]
) -> dict[str, str]:
    """Return the channels that gave none of the chosen releases, by name, and why.

    Args:
        channels: the profile's channels.
        graphs: the graph's nodes for each channel name.
        chosen: from `select_releases`.
    """
    giving = {name for node in chosen for name in node.channels}
    return {each.name: _why(tuple(graphs[each.name]), each) for each in channels if each.name not in giving}


def _why(nodes: tuple[Node, ...], channel: Channel) -> str:
    if not nodes:
        return "the graph's reply is empty: is there such a channel?"
    own = [node.version for node in nodes if node.version.minor == channel.minor]
    if not own:
        minors = sorted({tuple(map(int, node.version.minor.split("."))) for node in nodes})
        return f"its {len(nodes)} releases are all of {', '.join(f'{major}.{minor}' for major, minor in minors)}"
    since = f" from {channel.first} on" if channel.first else ""
    return f"none of its {len(own)} releases of {channel.minor}, up to {max(own)}, counts{since}"


def _no_graph(address: str, why: str) -> ProtocolError:
    return ProtocolError(f"the reply of {address} is not an update graph: {why}", _ASK_AGAIN)
