"""What an update graph says, as values; and which of its releases count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kmatrix.decide.toolkits import json_object, text_of
from kmatrix.values.errors import InputError, Problem, ProtocolError
from kmatrix.values.matrix import Channel
from kmatrix.values.names import ImageRef, ReleaseVersion

_CHANNELS = "io.openshift.upgrades.graph.release.channels"
_STABLE_OKD = re.compile(r"[0-9.]+(-okd-scos\.[0-9]+)?")


@dataclass(frozen=True)
class Node:
    """A release of an update graph; `channels` are those it is in, empty where the graph names none."""

    version: ReleaseVersion
    payload: ImageRef
    channels: tuple[str, ...]


def read_graph(text: str, address: str) -> tuple[Node, ...]:
    """Parse the reply of an update graph (Cincinnati protocol), oldest release first.

    Args:
        text: the body.
        address: where it came from, for messages.

    Raises:
        ProtocolError: the service reports an error in the reply, or it is not a graph.
    """
    data = json_object(text, f"the update graph at {address}")
    if "kind" in data and "value" in data and "nodes" not in data:
        raise ProtocolError(
            f"the update graph at {address} reports {data['kind']}: {data['value']}",
            "check the channel and the address (profiles.….channels, profiles.….graph in matrix.yaml)",
        )
    nodes = data.get("nodes")
    if not isinstance(nodes, list):
        raise _no_graph(address, "it has no list of nodes")
    found: dict[ReleaseVersion, Node] = {}
    for index, entry in enumerate(nodes):
        node = _node(entry, index, address)
        if found.setdefault(node.version, node) != node:
            raise _no_graph(address, f"it holds {node.version} twice, with two payloads")
    return tuple(sorted(found.values(), key=lambda node: node.version))


def _node(entry: Any, index: int, address: str) -> Node:
    metadata = entry.get("metadata") if isinstance(entry, dict) else None
    metadata = {} if metadata is None else metadata
    if not isinstance(entry, dict) or not isinstance(metadata, dict):
        raise _no_graph(address, f"nodes[{index}] is not an object")
    try:
        version = ReleaseVersion.parse(text_of(entry.get("version"), "version"))
        payload = ImageRef.parse(text_of(entry.get("payload"), "payload"))
        channels = text_of(metadata.get(_CHANNELS, ""), "channels")
    except ValueError as error:
        raise _no_graph(address, f"nodes[{index}]: {error}") from None
    return Node(version, payload, tuple(sorted(name.strip() for name in channels.split(",") if name.strip())))


def choose(nodes: Iterable[Node], channel: Channel) -> tuple[Node, ...]:
    """Return the nodes a channel of matrix.yaml asks for, oldest first; may be empty.

    A channel also holds releases of earlier minors, as starting points for upgrades: only its own minor
    counts.
    OKD's graph names no channels, and ignores the one asked for (okd-project/okd#2268): there a stable
    channel means 4.N.z and 4.N.z-okd-scos.M, any other channel everything of the minor.
    """
    stable = channel.name.startswith("stable-")
    chosen = [
        node
        for node in nodes
        if node.version.minor == channel.minor
        and (channel.name in node.channels if node.channels else not stable or _is_stable(node.version))
        and (channel.first is None or not node.version < channel.first)
    ]
    chosen.sort(key=lambda node: node.version)
    return tuple(chosen[-channel.newest :] if channel.newest else chosen)


def _is_stable(version: ReleaseVersion) -> bool:
    return _STABLE_OKD.fullmatch(str(version)) is not None


def select_releases(
    profile_name: str, channels: tuple[Channel, ...], graphs: Mapping[str, Iterable[Node]]
) -> tuple[Node, ...]:
    """Return the releases of a profile for one architecture, oldest first, each once.

    Args:
        profile_name: for messages.
        channels: the profile's channels.
        graphs: the nodes that the graph gave for each channel name.

    Returns:
        nodes whose `channels` are those of matrix.yaml that chose them.

    Raises:
        InputError: a channel gives no release; names channel and key, all at once.
        ProtocolError: two channels give one release two payloads.
    """
    found: dict[ReleaseVersion, Node] = {}
    problems = []
    for index, channel in enumerate(channels):
        nodes = tuple(graphs[channel.name])
        chosen = choose(nodes, channel)
        if not chosen:
            key = f"profiles.{profile_name}.channels[{index}]"
            why = _why(nodes, channel)
            problems.append(Problem("matrix.yaml", f"{key}: {channel.name} gives no release ({why})"))
        for node in chosen:
            known = found.get(node.version, replace(node, channels=()))
            if known.payload != node.payload:
                raise ProtocolError(f"the update graph gives {node.version} two payloads, by channel")
            found[node.version] = replace(known, channels=(*known.channels, channel.name))
    if problems:
        hint = "correct the channel, or take it out of matrix.yaml, then run `nox -s discover`"
        raise InputError("the update graph has nothing for a channel", hint, tuple(problems))
    return tuple(sorted(found.values(), key=lambda node: node.version))


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
    hint = "check profiles.….graph in matrix.yaml"
    return ProtocolError(f"the reply of {address} is not an update graph: {why}", hint)
