"""The lab's releases read as OpenShift's do: payloads with one or two streams, node images, an update graph."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from typing import Any, get_args

import pytest

from kmatrix.decide.formats.payload import read_toolkits
from kmatrix.decide.releases import read_graph, select_releases
from kmatrix.effects.engine.build_context import pack_context
from kmatrix.lab import releases
from kmatrix.lab.node_images import META, NodeForm, extensions_image, node_image
from kmatrix.lab.releases import PublishedRelease, StreamImages
from kmatrix.values.matrix import Channel
from kmatrix.values.names import digest_of


def pinned(name: str) -> str:
    """Return a reference by a digest that follows from its name."""
    return f"r.example/lab@{digest_of(name.encode())}"


KERNELS = {"older": "6.1.0-9-amd64", "newer": "6.1.0-10-amd64", "next_line": "6.12.12+deb12-amd64"}
BASIC = releases.published({each.version: pinned(each.version) for each in releases.RELEASES})
LATER = PublishedRelease("4.97.10", pinned("later"), (releases.STABLE,), "6.12.9-amd64")


def images(name: str, rhel: str, **more: Any) -> StreamImages:
    parts = {each: pinned(name + each) for each in ("toolkit", "node", "extensions")}
    return StreamImages(**{**parts, "rhel": rhel, **more})


def found_in(streams: Iterable[StreamImages]) -> list[tuple[str, str, str, str]]:
    text = releases.image_references("4.97.0", streams)
    return [(each.tag, str(each.image), each.os_tag, str(each.os_image)) for each in read_toolkits(text, "4.97.0")]


def test_a_channel_also_holds_a_release_of_the_minor_before() -> None:
    nodes = read_graph(releases.graph("stable-4.97", BASIC), "the lab")
    assert [str(node.version) for node in nodes] == ["4.96.2", "4.97.0"]
    chosen = select_releases("lab", (Channel(name="stable-4.97"),), {"stable-4.97": nodes})
    assert [str(node.version) for node in chosen] == ["4.97.0"]


def test_an_update_is_either_offered_or_offered_with_a_risk() -> None:
    graph = json.loads(releases.graph("stable-4.96", BASIC))
    versions = [node["version"] for node in graph["nodes"]]
    edges = {(versions[low], versions[high]) for low, high in graph["edges"]}
    assert edges == {("4.96.0", "4.96.1"), ("4.96.1", "4.96.2")}
    (conditional,) = graph["conditionalEdges"]
    assert conditional["edges"] == [{"from": "4.96.0", "to": "4.96.2"}]
    (risk,) = conditional["risks"]
    assert set(risk) == {"name", "url", "message", "matchingRules"}
    assert [rule["type"] for rule in risk["matchingRules"]] == ["PromQL"]


def test_a_later_release_can_be_reached_from_every_earlier_one() -> None:
    graph = json.loads(releases.graph("stable-4.97", (LATER, *BASIC)))
    assert [node["version"] for node in graph["nodes"]] == ["4.96.2", "4.97.0", "4.97.10"]
    assert graph["edges"] == [[0, 1], [0, 2], [1, 2]]
    assert releases.next_version(each.version for each in (LATER, *BASIC)) == "4.97.11"


def test_a_channel_of_no_release_has_no_node() -> None:
    assert json.loads(releases.graph("", BASIC))["nodes"] == []
    assert releases.channels((LATER, *BASIC)) == ("stable-4.96", "stable-4.97")


def test_a_payload_pairs_each_toolkit_with_the_os_image_of_its_stream() -> None:
    first, second = images("a", "9.4"), images("b", "10.0", second=True)
    assert found_in([first, second]) == [
        ("driver-toolkit", first.toolkit, "rhel-coreos", first.node),
        ("driver-toolkit-10", second.toolkit, "rhel-coreos-10", second.node),
    ]
    oldest = images("c", "9.2", extensions="")
    assert found_in([oldest]) == [("driver-toolkit", oldest.toolkit, "machine-os-content", oldest.node)]


def test_every_os_image_but_the_oldest_has_extensions_beside_it() -> None:
    text = releases.image_references("4.97.0", [images("a", "9.4"), images("b", "10.0", second=True)])
    names = {tag["name"] for tag in json.loads(text)["spec"]["tags"]}
    coreos = {name for name in names if "coreos" in name and not name.endswith("-extensions")}
    assert coreos == {"rhel-coreos", "rhel-coreos-10"}
    assert names >= {f"{name}-extensions" for name in coreos}
    assert extensions_image("6.1.0-9-amd64", "rhel-9").labels["io.openshift.os.extensions"] == "true"


def test_two_releases_share_their_kernels_and_not_their_toolkits() -> None:
    by_version = {each.version: each for each in releases.RELEASES}
    names = list(releases.TOOLKITS)
    toolkits = {name: pinned(name) for name in names}
    (first,), (second,) = (releases.streams_of(by_version[v], toolkits, KERNELS) for v in ("4.96.1", "4.96.2"))
    assert first.kernel == second.kernel == KERNELS["newer"]
    assert first.toolkit != second.toolkit


def test_the_newest_release_has_two_streams() -> None:
    toolkits = {name: name for name in releases.TOOLKITS}
    streams = releases.streams_of(releases.RELEASES[-1], toolkits, KERNELS)
    assert [(each.toolkit, each.kernel, each.rhel, each.second) for each in streams] == [
        ("newer-again", KERNELS["newer"], "9.4", False),
        ("next-line", KERNELS["next_line"], "10.0", True),
    ]
    labels = releases.toolkit_labels(KERNELS["next_line"], "10.0")
    assert labels == {
        "io.openshift.os.streamclass": "rhel-10",
        "kernel-version": KERNELS["next_line"],
        "kernel-rt-version": "",
    }


def test_the_lab_has_every_form_of_an_os_image_and_a_payload_with_a_layer_on_top() -> None:
    forms = [stream.form for release in releases.RELEASES for stream in release.streams]
    assert set(forms) == set(get_args(NodeForm))
    assert [each.version for each in releases.RELEASES if each.layer_on_top] == ["4.96.2"]


def layers_of(kernel: str, form: NodeForm) -> list[set[str]]:
    """Return the files of each layer of a node image, the lowest first, by the instructions of its Dockerfile."""
    made = node_image(kernel, form, "rhel-9")
    with tarfile.open(fileobj=io.BytesIO(pack_context(made.dockerfile, made.files))) as archive:
        names = archive.getnames()
    copied = [line.split()[1] for line in made.dockerfile.splitlines() if line.startswith("COPY")]
    return [{name.removeprefix(folder) for name in names if name.startswith(folder)} for folder in copied]


def test_the_oldest_form_names_the_kernel_in_a_label_of_the_package() -> None:
    labels = node_image("6.1.0-9-amd64", "rpm-label", "rhel-9").labels
    assert labels["com.coreos.rpm.kernel"] == "6.1.0-9-amd64"
    assert "ostree.linux" not in labels


def test_the_form_after_it_names_the_kernel_in_ostrees_label() -> None:
    labels = node_image("6.1.0-9-amd64", "ostree-label", "rhel-9").labels
    assert labels["ostree.linux"] == "6.1.0-9-amd64"
    assert "io.openshift.metalayer" not in labels


@pytest.mark.parametrize(("form", "from_top"), [("meta-layer", 1), ("meta-layer-below", 2)])
def test_the_newest_forms_list_their_packages_in_a_layer(form: NodeForm, from_top: int) -> None:
    made = node_image("6.12.12+deb12-amd64", form, "rhel-10")
    layers = layers_of("6.12.12+deb12-amd64", form)
    assert [META in layer for layer in layers].index(True) == len(layers) - from_top
    content = next(text for path, text in made.files.items() if path.endswith(META))
    packages = {name: rest for name, *rest in json.loads(content)["rpmdb.pkglist"]}
    assert packages["kernel-core"] == [0, "6.12.12+deb12", "amd64", "x86_64"]
    assert packages["shadow-utils"][0] == "2", "an epoch is text where there is one"
    assert made.labels["io.openshift.metalayer"] == "true"
    assert made.labels["ostree.linux"] == ("true" if form == "meta-layer-below" else "6.12.12+deb12-amd64")
