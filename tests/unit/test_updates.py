"""The graph's edges as the updates that the lock keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kmatrix.decide.releases import Node, read_graph, select_releases
from kmatrix.decide.updates import updates_of
from kmatrix.values.errors import ProtocolError
from kmatrix.values.matrix import Channel

VERSIONS = ("4.95.9", "4.96.1", "4.96.2", "4.96.10")


def graph(edges: list[list[int]], conditional: Any = (), versions: tuple[str, ...] = VERSIONS) -> tuple[Node, ...]:
    nodes = [
        {
            "version": version,
            "payload": f"registry.example/release@sha256:{index:064x}",
            "metadata": {"io.openshift.upgrades.graph.release.channels": "stable-4.96"},
        }
        for index, version in enumerate(versions)
    ]
    text = json.dumps({"nodes": nodes, "edges": edges, "conditionalEdges": conditional})
    return read_graph(text, "https://graph.example")


def edge(source: str, target: str) -> dict[str, Any]:
    return {"edges": [{"from": source, "to": target}], "risks": [{"name": "Slow", "url": "…", "message": "…"}]}


def chosen(*graphs: tuple[Node, ...], remembered: tuple[Node, ...] = ()) -> tuple[Node, ...]:
    channels = tuple(Channel(name=f"{word}-4.96") for word in ("stable", "fast")[: len(graphs)])
    named = {
        channel.name: tuple(Node(node.version, node.payload, (channel.name,), sources=node.sources) for node in nodes)
        for channel, nodes in zip(channels, graphs, strict=True)
    }
    return select_releases("one", channels, named, remembered)


def text_of(nodes: tuple[Node, ...], before: Any = ()) -> dict[str, str]:
    return {str(pin.to): pin.sources for pin in updates_of(nodes, "x86_64", before)}


def test_updates_are_between_releases_of_the_lock_in_order() -> None:
    nodes = chosen(graph([[0, 1], [1, 2], [2, 3], [1, 3], [3, 0]]))
    assert text_of(nodes) == {"4.96.2": "4.96.1", "4.96.10": "4.96.1 4.96.2"}


def test_a_conditional_update_has_a_mark_unless_a_channel_offers_it_without_a_condition() -> None:
    risky = graph([[1, 2]], [edge("4.96.1", "4.96.10"), edge("4.96.2", "4.96.10"), edge("4.90.1", "4.96.1")])
    assert text_of(chosen(risky)) == {"4.96.2": "4.96.1", "4.96.10": "4.96.1? 4.96.2?"}
    assert text_of(chosen(risky, graph([[1, 3]])))["4.96.10"] == "4.96.1 4.96.2?"


def test_a_graph_that_lost_a_release_loses_no_update_of_it() -> None:
    whole = chosen(graph([[1, 2], [2, 3], [1, 3]]))
    pins = updates_of(whole, "x86_64")
    versions = ("4.95.9", "4.96.1", "4.96.10")
    half = chosen(graph([[1, 2]], versions=versions), remembered=whole)
    assert [str(node.version) for node in half if node.gone] == ["4.96.2"]
    assert updates_of(half, "x86_64", pins) == pins
    assert text_of(half) == {"4.96.10": "4.96.1"}, "without the lock they would be lost"


def test_an_update_that_the_graph_withdrew_leaves() -> None:
    pins = updates_of(chosen(graph([[1, 3], [2, 3]])), "x86_64")
    assert text_of(chosen(graph([[2, 3]])), pins) == {"4.96.10": "4.96.2"}


@pytest.mark.parametrize(
    "conditional", [5, ["x"], [{"risks": []}], [{"edges": [["a", "b"]]}], [{"edges": [{"from": "4.96.1", "to": "?"}]}]]
)
def test_malformed_conditional_edges_are_told(conditional: Any) -> None:
    with pytest.raises(ProtocolError, match="conditionalEdges"):
        graph([], conditional)
