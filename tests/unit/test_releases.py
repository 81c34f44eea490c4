"""Update graphs, payloads and toolkits: which releases count, which toolkits pair, and refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kmatrix.decide.formats.payload import read_toolkits
from kmatrix.decide.formats.toolkit_kernels import read_toolkit_kernels
from kmatrix.decide.releases import choose, empty_channels, read_graph, select_releases
from kmatrix.values.errors import InputError, ProtocolError
from kmatrix.values.matrix import Channel
from kmatrix.values.names import Arch, Flavour, ReleaseVersion

DATA = Path(__file__).parents[1] / "data"
SAMPLES = Path(os.environ.get("KMATRIX_SAMPLES", "no-samples")) / "openshift" / "samples"
ADDRESS = "https://graph.example/graph"
PIN = "registry.example/release@sha256:" + "a" * 64


def channel(name: str, **more: Any) -> Channel:
    return Channel.model_validate({"name": name, **more})


def chosen(graph: str, wanted: Channel) -> list[str]:
    nodes = read_graph((DATA / "graphs" / graph).read_text(), ADDRESS)
    return [str(node.version) for node in choose(nodes, wanted)]


def test_nodes_come_in_order_with_payload_and_channels() -> None:
    nodes = read_graph((DATA / "graphs/stable-4.97.json").read_text(), ADDRESS)
    assert [str(node.version) for node in nodes] == [
        "4.96.30",
        "4.97.0-rc.1",
        "4.97.0",
        "4.97.2",
        "4.97.10",
        "4.97.11",
    ]
    assert nodes[-2].channels == ("candidate-4.97", "stable-4.97")
    assert nodes[-2].payload.repository == "registry.example/release"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ["4.97.0-rc.1", "4.97.0", "4.97.2", "4.97.10"]),
        ({"from": "4.97.0"}, ["4.97.0", "4.97.2", "4.97.10"]),
        ({"newest": 2}, ["4.97.2", "4.97.10"]),
        ({"newest": 20, "from": "4.97.10"}, ["4.97.10"]),
        ({"from": "4.97.12"}, []),
    ],
)
def test_choose_by_minor_first_and_newest(more: dict[str, Any], expected: list[str]) -> None:
    assert chosen("stable-4.97.json", channel("stable-4.97", **more)) == expected


def test_choose_takes_nodes_in_any_order() -> None:
    nodes = read_graph((DATA / "graphs/stable-4.97.json").read_text(), ADDRESS)
    wanted = channel("stable-4.97", newest=3)
    assert choose(reversed(nodes), wanted) == choose(nodes, wanted)


def test_choose_of_a_graph_without_channels() -> None:
    stable = ["4.97.0-okd-scos.0", "4.97.0-okd-scos.2", "4.97.0-okd-scos.10"]
    assert chosen("okd.json", channel("stable-4.97")) == stable
    assert len(chosen("okd.json", channel("candidate-4.97"))) == 5
    assert chosen("okd.json", channel("stable-4.96")) == ["4.96.0-okd-scos.1"]


def test_select_merges_channels() -> None:
    nodes = read_graph((DATA / "graphs/stable-4.97.json").read_text(), ADDRESS)
    channels = (channel("stable-4.97", newest=2), channel("candidate-4.97", newest=2))
    found = select_releases("one", channels, dict.fromkeys(("stable-4.97", "candidate-4.97"), nodes))
    assert [(str(node.version), node.channels) for node in found] == [
        ("4.97.2", ("stable-4.97",)),
        ("4.97.10", ("stable-4.97", "candidate-4.97")),
        ("4.97.11", ("candidate-4.97",)),
    ]


def test_every_channel_without_a_release_is_named() -> None:
    nodes = read_graph((DATA / "graphs/stable-4.97.json").read_text(), ADDRESS)
    channels = (
        channel("stable-4.97"),
        channel("stable-4.98"),
        channel("fast-4.97", **{"from": "4.97.1"}),
        channel("stable-4.99"),
    )
    graphs = {"stable-4.97": nodes, "stable-4.98": nodes, "fast-4.97": nodes, "stable-4.99": ()}
    chosen = select_releases("one", channels, graphs)
    assert {name for node in chosen for name in node.channels} == {"stable-4.97"}
    assert list(empty_channels(channels, graphs, chosen)) == ["stable-4.98", "fast-4.97", "stable-4.99"]
    with pytest.raises(InputError) as caught:
        select_releases("one", channels[1:], graphs)
    assert [str(problem) for problem in caught.value.problems] == [
        "matrix.yaml: profiles.one.channels[0]: stable-4.98 gives no release (its 6 releases are all of 4.96, 4.97)",
        "matrix.yaml: profiles.one.channels[1]: fast-4.97 gives no release "
        "(none of its 5 releases of 4.97, up to 4.97.11, counts from 4.97.1 on)",
        "matrix.yaml: profiles.one.channels[2]: stable-4.99 gives no release "
        "(the graph's reply is empty: is there such a channel?)",
    ]


def test_one_release_with_two_payloads_is_refused() -> None:
    nodes = read_graph((DATA / "graphs/stable-4.97.json").read_text(), ADDRESS)
    other = read_graph(
        (DATA / "graphs/stable-4.97.json").read_text().replace("registry.example", "else.example"), ADDRESS
    )
    channels = (channel("stable-4.97"), channel("candidate-4.97"))
    with pytest.raises(ProtocolError, match=r"4\.97\.0-rc\.1 different payloads"):
        select_releases("one", channels, {"stable-4.97": nodes, "candidate-4.97": other})


def test_a_release_that_is_still_imported_has_no_payload_yet_and_is_not_there_yet() -> None:
    nodes = [
        {"version": "4.97.1", "payload": PIN},
        {"version": "4.97.2", "payload": ""},
        {"version": "4.97.3", "payload": PIN.replace("a" * 64, "b" * 64)},
    ]
    found = read_graph(json.dumps({"nodes": nodes, "edges": [[0, 1], [0, 2], [1, 2]]}), ADDRESS)
    assert [str(node.version) for node in found] == ["4.97.1", "4.97.3"]
    assert (ReleaseVersion.parse("4.97.1"), False) in found[1].sources


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", "the update graph at https://graph.example/graph is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "it has no list of nodes"),
        ('{"kind": "invalid_params", "value": "no channel"}', "graph reports invalid_params: no channel"),
    ],
)
def test_what_is_not_a_graph(text: str, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        read_graph(text, ADDRESS)
    assert ADDRESS in caught.value.message


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (["4.97.0"], r"nodes\[0\] is not an object"),
        ([{"payload": PIN}], r"nodes\[0\]: version is missing"),
        ([{"version": "4.97", "payload": PIN}], r"nodes\[0\]: '4.97' is not an OpenShift release"),
        ([{"version": "4.97.0"}], r"nodes\[0\]: payload is missing"),
        ([{"version": "4.97.0", "payload": "release"}], r"nodes\[0\]: 'release' names no registry"),
        ([{"version": "4.97.0", "payload": PIN, "metadata": []}], r"nodes\[0\] is not an object"),
        (
            [{"version": "4.97.0", "payload": PIN}, {"version": "4.97.0", "payload": "r.io/a:1"}],
            r"holds 4\.97\.0 twice",
        ),
    ],
)
def test_what_is_not_a_node(nodes: list[object], message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        read_graph(json.dumps({"nodes": nodes}), ADDRESS)
    assert ADDRESS in caught.value.message


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("one-stream", [("driver-toolkit", "rhel-coreos")]),
        ("two-streams", [("driver-toolkit", "rhel-coreos"), ("driver-toolkit-10", "rhel-coreos-10")]),
        ("no-first-os", [("driver-toolkit", ""), ("driver-toolkit-10", "rhel-coreos-10")]),
        ("old", [("driver-toolkit", "machine-os-content")]),
        ("okd", [("driver-toolkit", "stream-coreos")]),
    ],
)
def test_toolkits_pair_with_their_os(payload: str, expected: list[tuple[str, str]]) -> None:
    text = (DATA / "payloads" / f"{payload}.json").read_text()
    images = {tag["name"]: tag["from"]["name"] for tag in json.loads(text)["spec"]["tags"]} | {"": "None"}
    found = read_toolkits(text, "4.97.0")
    assert [(toolkit.tag, toolkit.os_tag) for toolkit in found] == expected
    assert [(str(toolkit.image), str(toolkit.os_image)) for toolkit in found] == [
        (images[tag], images[os_tag]) for tag, os_tag in expected
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"kind": "ImageStream"}', "it has no spec.tags"),
        ('{"spec": {"tags": [{"name": "cli"}]}}', "names no driver-toolkit"),
        ('{"spec": {"tags": [{"name": "driver-toolkit"}]}}', "driver-toolkit: from.name is missing"),
        ('{"spec": {"tags": [{"name": "driver-toolkit", "from": {"name": "r.io/a:1"}}]}}', "has no digest"),
    ],
)
def test_what_names_no_toolkit(text: str, message: str) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        read_toolkits(text, "release 4.97.0")
    assert "release 4.97.0" in caught.value.message


RELEASE = ReleaseVersion.parse("4.16.3")


def kernels(
    arch: Arch, *flavours: Flavour, release: ReleaseVersion = RELEASE, **keys: str
) -> tuple[str, list[tuple[str, str]]]:
    found = read_toolkit_kernels(json.dumps(keys), arch, "a toolkit", release, flavours)
    return found.rhel, list(found.kernels)


def test_toolkit_with_real_time_kernel() -> None:
    kernel = "5.14.0-427.50.1.el9_4.x86_64"
    found = kernels("x86_64", KERNEL_VERSION=kernel, RT_KERNEL_VERSION=f"{kernel}+rt", RHEL_VERSION="9.4")
    assert found == ("9.4", [(kernel, "standard"), (f"{kernel}+rt", "rt")])


def test_toolkit_without_the_arch() -> None:
    found = kernels(
        "x86_64",
        KERNEL_VERSION="4.18.0-305.19.1.el8_4",
        RT_KERNEL_VERSION="4.18.0-305.19.1.rt7.91.el8_4",
        RHEL_VERSION="8.4",
    )
    assert found[1] == [
        ("4.18.0-305.19.1.el8_4.x86_64", "standard"),
        ("4.18.0-305.19.1.rt7.91.el8_4.x86_64", "rt"),
    ]


def test_toolkit_of_another_distribution_keeps_its_names() -> None:
    found = kernels(
        "x86_64", KERNEL_VERSION="6.1.0-40-amd64", RT_KERNEL_VERSION="6.1.0-40-rt-amd64", RHEL_VERSION="9.96"
    )
    assert found == ("9.96", [("6.1.0-40-amd64", "standard"), ("6.1.0-40-rt-amd64", "rt")])


def test_toolkit_without_real_time_kernel_or_rhel_version() -> None:
    kernel = "5.14.0-284.13.1.el9_2.aarch64"
    assert kernels("aarch64", KERNEL_VERSION=kernel, RT_KERNEL_VERSION="") == ("9.2", [(kernel, "standard")])


@pytest.mark.parametrize(
    ("release", "arch", "kernel", "flavours", "expected"),
    [
        # 4.13 to 4.15 all have RHEL 9.2 below them.
        ("4.13.0", "aarch64", "5.14.0-284.13.1.el9_2", ("standard", "64k"), False),
        ("4.14.38", "aarch64", "5.14.0-284.86.1.el9_2", ("standard", "64k"), False),
        ("4.15.0", "aarch64", "5.14.0-284.52.1.el9_2", ("standard", "64k"), True),
        ("4.15.0-rc.8", "aarch64", "5.14.0-284.52.1.el9_2", ("64k",), True),
        ("4.16.3", "aarch64", "5.14.0-427.26.1.el9_4", ("64k",), True),
        ("4.16.3", "aarch64", "5.14.0-427.26.1.el9_4", ("standard", "rt"), False),
        ("4.16.3", "x86_64", "5.14.0-427.26.1.el9_4", ("standard", "64k"), False),
        # CentOS Stream, and RHEL 10.
        ("4.17.0-okd-scos.0", "aarch64", "5.14.0-511.el9", ("64k",), True),
        ("5.0.0", "aarch64", "6.12.0-211.el10_2", ("64k",), True),
        # Other distributions have no such package.
        ("4.15.0-0.okd-2024-03-10-010116", "aarch64", "6.7.4-200.fc39", ("64k",), False),
        ("4.97.0", "aarch64", "6.1.0-40-arm64", ("64k",), False),
    ],
)
def test_64k_kernel(release: str, arch: Arch, kernel: str, flavours: tuple[Flavour, ...], expected: bool) -> None:
    """In the toolkits of 4.15 and later (openshift/driver-toolkit, pull request 140; Dockerfile, Dockerfile.rhel10)."""
    if "-arm64" not in kernel:
        kernel = f"{kernel}.{arch}"
    found = kernels(arch, *flavours, release=ReleaseVersion.parse(release), KERNEL_VERSION=kernel, RHEL_VERSION="9.2")
    assert ((f"{kernel}+64k", "64k") in found[1]) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"RHEL_VERSION": "9.4"}', "KERNEL_VERSION is missing"),
        ('{"KERNEL_VERSION": "five", "RHEL_VERSION": "9.4"}', "'five' is not a kernel release"),
        ('{"KERNEL_VERSION": "6.1.0-9-amd64"}', "RHEL_VERSION is missing"),
        ('{"KERNEL_VERSION": "6.1.0-9-amd64", "RHEL_VERSION": "x"}', "'x' is not a RHEL version"),
    ],
)
def test_what_is_no_toolkit_release(text: str, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        read_toolkit_kernels(text, "x86_64", "a toolkit", RELEASE)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="KMATRIX_SAMPLES names no folder with openshift/samples")
def test_real_samples() -> None:
    graph = read_graph((SAMPLES / "cincinnati_amd64-stable-4.13_oc-mirror.json").read_text(), ADDRESS)
    assert len(graph) == 98
    assert len(choose(graph, channel("stable-4.13"))) == 41
    payload = (SAMPLES / "image-references_4.12.0-x86_64_oc-mirror.json").read_text()
    assert [(found.tag, found.os_tag) for found in read_toolkits(payload, "4.12.0")] == [
        ("driver-toolkit", "rhel-coreos-8")
    ]
