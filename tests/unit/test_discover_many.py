"""Discovery of as many releases as there are: their kernels, and what they cost in requests and bytes.

With KMATRIX_SAMPLES the versions, kernels, graphs and image-references are real ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.support.discovery_project import discovery_project
from tests.unit.support.http_server import Reply
from tests.unit.support.many_releases import (
    COUNTS,
    known_kernels,
    many_releases,
    releases_of,
    sample_graph,
    sample_references,
    samples,
)
from tests.unit.support.release_service import CHANNELS, ReleaseService, release_service

CHANNEL_NAMES = tuple(f"stable-4.{minor}" for minor in COUNTS)


@pytest.fixture
def service() -> Iterator[ReleaseService]:
    with release_service() as running:
        yield running


def graph_requests(service: ReleaseService) -> list[str]:
    asked = sorted(request.query["channel"][0] for request in service.registry.requests if "graph" in request.path)
    service.forget_requests()
    return asked


def test_258_releases_cost_eight_requests_each_at_first_and_none_later(service: ReleaseService, tmp_path: Path) -> None:
    service.publish(many_releases(), sample_references())
    project = discovery_project(tmp_path, service, CHANNEL_NAMES)
    assert project.discover() == 0
    wanted = {each.version: [each.kernel, f"{each.kernel}+rt"] for each in many_releases()}
    assert len(wanted) == sum(COUNTS.values()) == 258
    assert project.kernels == wanted
    assert not any(pin.lacks_node_kernel for pin in project.pins.releases)
    # Eight threads are refused and authorized for each of two repositories. Blobs are redirected to the storage.
    assert service.requests(service.registry).total() <= 8 * len(wanted) + 16
    assert graph_requests(service) == sorted(CHANNEL_NAMES)

    before = project.text
    for forget in (project.forget_lock, project.forget_answers):
        forget()
        assert project.discover() == 0
        assert project.text == before
        assert service.requests().total() == 0
        assert graph_requests(service) == sorted(CHANNEL_NAMES)


needs_samples = pytest.mark.skipif(samples() is None, reason="there are no samples (KMATRIX_SAMPLES)")


@needs_samples
@pytest.mark.parametrize(
    ("name", "channel"),
    [("stable-4.9_amd64", "stable-4.9"), ("amd64-stable-4.13_oc-mirror", "stable-4.13")],
)
def test_the_releases_of_a_real_graph_are_those_of_its_minor(
    service: ReleaseService, tmp_path: Path, name: str, channel: str
) -> None:
    graph = sample_graph(name)
    minor = channel.rpartition("-")[2]
    own = [
        node["version"]
        for node in graph["nodes"]
        if node["version"].startswith(f"{minor}.") and channel in node["metadata"][CHANNELS].split(",")
    ]
    assert 20 < len(own) < len(graph["nodes"])
    service.publish(releases_of(own), sample_references())
    for node in graph["nodes"]:
        if node["version"] in service.payloads:
            payload = service.payloads[node["version"]].images["payload"]
            node["payload"] = f"{service.registry.address}/{payload.repository}@{payload.digest}"
    service.graphs[channel] = Reply(200, json.dumps(graph).encode())
    project = discovery_project(tmp_path, service, [channel])
    assert project.discover() == 0
    assert set(project.kernels) == set(own)
    known = {version: kernel for version, kernel in known_kernels().items() if version in own}
    assert {version: project.kernels[version][0] for version in known} == known
