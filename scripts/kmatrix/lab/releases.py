"""The lab's OpenShift releases and their toolkits, as image-references and as an update graph."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kmatrix.lab.node_images import NodeForm
from kmatrix.values.names import ReleaseVersion, stream_of_rhel

# The kernel of each toolkit's nodes, by its role in LabKernels, and the RHEL version that the toolkit states.
TOOLKITS = {
    "older": ("older", "9.2"),
    "newer": ("newer", "9.4"),
    "newer-again": ("newer", "9.4"),
    "next-line": ("next_line", "10.0"),
}
MINOR = "4.97"
STABLE = f"stable-{MINOR}"
# The updates that the graph offers with a risk.
CONDITIONAL = frozenset({("4.96.0", "4.96.2")})


@dataclass(frozen=True)
class LabStream:
    """An OS stream of a release of the lab: its toolkit, by name, and the form in which its OS image states the kernel.

    `second` marks the stream whose tags end in -10, beside another one.
    """

    toolkit: str
    form: NodeForm
    second: bool = False


@dataclass(frozen=True)
class LabRelease:
    """A release of the lab: its version, its streams, the channels it is in.

    `layer_on_top` adds a layer to its payload above that of the manifests, as a rebase of a payload does.
    """

    version: str
    streams: tuple[LabStream, ...]
    channels: tuple[str, ...]
    layer_on_top: bool = False


@dataclass(frozen=True)
class StreamImages:
    """The images of one stream of a release, as references by digest; `extensions` is empty up to 4.11.

    `rhel` is the RHEL version that the toolkit states.
    """

    toolkit: str
    node: str
    extensions: str
    rhel: str
    second: bool = False

    @property
    def stream_class(self) -> str:
        """The name of the stream as OS images have it: rhel-9."""
        return stream_class(self.rhel)


@dataclass(frozen=True)
class StreamParts:
    """What a stream of a release is published from: its toolkit by digest, the kernel of its nodes, and their form."""

    toolkit: str
    kernel: str
    rhel: str
    form: NodeForm = "meta-layer"
    second: bool = False


@dataclass(frozen=True)
class PublishedRelease:
    """A release in the lab's update graph.

    `kernel` is the kernel of its toolkit, `node_kernel` that of its OS image and `toolkit` the toolkit's reference by
    digest, for a release that was published later; empty for the releases that every lab has.
    """

    version: str
    payload: str
    channels: tuple[str, ...]
    kernel: str = ""
    node_kernel: str = ""
    toolkit: str = ""

    @property
    def broken(self) -> bool:
        """Whether its toolkit lacks the kernel of its nodes."""
        return self.kernel != self.node_kernel


# 4.96.1 and 4.96.2 share their kernels and not their toolkits, as z-streams do; 4.97's channel holds a 4.96 node, as an
# upgrade's starting point. Releases from 4.21 on have two streams (tests/unit/test_payload.py has a real one).
RELEASES = (
    LabRelease("4.96.0", (LabStream("older", "rpm-label"),), ("stable-4.96",)),
    LabRelease("4.96.1", (LabStream("newer", "ostree-label"),), ("stable-4.96",)),
    LabRelease("4.96.2", (LabStream("newer-again", "meta-layer"),), ("stable-4.96", STABLE), layer_on_top=True),
    LabRelease(
        "4.97.0",
        (LabStream("newer-again", "meta-layer-below"), LabStream("next-line", "meta-layer", second=True)),
        (STABLE,),
    ),
)


def stream_class(rhel: str) -> str:
    """Return the name that OS images give the stream of a RHEL version: 9.4 → rhel-9."""
    return f"rhel-{stream_of_rhel(rhel).removeprefix('el')}"


def toolkit_labels(kernel: str, rhel: str) -> dict[str, str]:
    """Return the labels that a toolkit has from 4.22 on.

    openshift/driver-toolkit#180 speaks of `rhel-stream` and `kernel-version`; the Dockerfile.rhel10 that it added sets
    `io.openshift.os.streamclass=rhel-10`, and `kernel-version` and `kernel-rt-version` to build arguments: without an
    architecture as a rule, and empty where the newest kernel was installed. No label has the RHEL minor.
    """
    return {"io.openshift.os.streamclass": stream_class(rhel), "kernel-version": kernel, "kernel-rt-version": ""}


def image_references(version: str, streams: Iterable[StreamImages]) -> str:
    """Return a payload's release-manifests/image-references.

    Args:
        version: of the release.
        streams: their toolkits and OS images.
    """
    tags = {}
    for images in streams:
        suffix = "-10" if images.second else ""
        name = f"rhel-coreos{suffix}" if images.extensions else "machine-os-content"
        tags[f"driver-toolkit{suffix}"] = (
            images.toolkit,
            {"io.openshift.build.source-location": "images/lab-toolkit"},
        )
        tags[name] = (
            images.node,
            {
                "io.openshift.build.version-display-names": "machine-os=Stand-in for an OS image",
                "io.openshift.build.versions": f"machine-os={images.rhel}.20260101-0",
            },
        )
        if images.extensions:
            tags[f"{name}-extensions"] = (images.extensions, {})
    return _json(
        {
            "kind": "ImageStream",
            "apiVersion": "image.openshift.io/v1",
            "metadata": {"name": version},
            "spec": {
                "lookupPolicy": {"local": False},
                "tags": [
                    {"name": name, "from": {"kind": "DockerImage", "name": image}, "annotations": annotations}
                    for name, (image, annotations) in sorted(tags.items())
                ],
            },
        }
    )


def release_metadata(version: str) -> str:
    """Return a payload's release-manifests/release-metadata."""
    return _json({"kind": "cincinnati-metadata-v0", "version": version, "previous": []})


def streams_of(release: LabRelease, toolkits: Mapping[str, str], kernels: Mapping[str, str]) -> tuple[StreamParts, ...]:
    """Return the streams of a release that every lab has.

    Args:
        release: one of RELEASES.
        toolkits: reference by digest of each toolkit, by name.
        kernels: of the lab, by role.
    """
    return tuple(
        StreamParts(toolkits[each.toolkit], kernels[role], rhel, each.form, each.second)
        for each in release.streams
        for role, rhel in [TOOLKITS[each.toolkit]]
    )


def published(payloads: Mapping[str, str]) -> tuple[PublishedRelease, ...]:
    """Return the releases that every lab has, with the reference by digest of each payload."""
    return tuple(PublishedRelease(each.version, payloads[each.version], each.channels) for each in RELEASES)


def next_version(taken: Iterable[str]) -> str:
    """Return the next free release of the lab's newest minor."""
    numbers = [int(version.removeprefix(f"{MINOR}.")) for version in taken if version.startswith(f"{MINOR}.")]
    return f"{MINOR}.{max(numbers) + 1}"


def graph(channel: str, releases: Iterable[PublishedRelease]) -> str:
    """Return the update graph of a channel: every release may be updated to every later one.

    Conditional edges have versions where edges have indexes, and at least one risk (openshift/cincinnati, the policy
    engine's OpenAPI document; docs/design/cincinnati.md).

    Args:
        channel: e.g. stable-4.96.
        releases: those of the lab.
    """
    members = sorted((r for r in releases if channel in r.channels), key=lambda r: ReleaseVersion.parse(r.version))
    pairs = [(low, high) for high in range(len(members)) for low in range(high)]
    risky = [pair for pair in pairs if (members[pair[0]].version, members[pair[1]].version) in CONDITIONAL]
    return _json(
        {
            "version": 1,
            "nodes": [
                {
                    "version": release.version,
                    "payload": release.payload,
                    "metadata": {
                        "io.openshift.upgrades.graph.release.channels": ",".join(release.channels),
                        "io.openshift.upgrades.graph.release.manifestref": release.payload.partition("@")[2],
                    },
                }
                for release in members
            ],
            "edges": [list(pair) for pair in pairs if pair not in risky],
            "conditionalEdges": [
                {
                    "edges": [{"from": members[low].version, "to": members[high].version}],
                    "risks": [
                        {
                            "name": "StandInRisk",
                            "url": "https://docs.example/stand-in-risk",
                            "message": "A made-up risk: the lab shows a conditional update.",
                            "matchingRules": [{"type": "PromQL", "promql": {"promql": "vector(0)"}}],
                        }
                    ],
                }
                for low, high in risky
            ],
        }
    )


def channels(releases: Iterable[PublishedRelease]) -> tuple[str, ...]:
    """Return every channel of the lab."""
    return tuple(sorted({channel for release in releases for channel in release.channels}))


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
