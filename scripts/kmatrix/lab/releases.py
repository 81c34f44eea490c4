"""The lab's OpenShift releases and their toolkits, as image-references and as an update graph."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class LabRelease:
    """A release of the lab: its version, the toolkit it names, the channels it is in."""

    version: str
    toolkit: str
    channels: tuple[str, ...]


# 4.96.1 and 4.96.2 share their kernels and not their toolkits, as z-streams do; 4.97's channel holds a 4.96 node, as an
# upgrade's starting point.
RELEASES = (
    LabRelease("4.96.0", "older", ("stable-4.96",)),
    LabRelease("4.96.1", "newer", ("stable-4.96",)),
    LabRelease("4.96.2", "newer-again", ("stable-4.96", "stable-4.97")),
    LabRelease("4.97.0", "next-line", ("stable-4.97",)),
)


def image_references(release: LabRelease, toolkit: str) -> str:
    """Return a payload's release-manifests/image-references.

    Args:
        release: the release of the payload.
        toolkit: the toolkit's reference by digest.
    """
    return _json(
        {
            "kind": "ImageStream",
            "apiVersion": "image.openshift.io/v1",
            "metadata": {"name": release.version},
            "spec": {
                "lookupPolicy": {"local": False},
                "tags": [
                    {
                        "name": "driver-toolkit",
                        "from": {"kind": "DockerImage", "name": toolkit},
                        "annotations": {"io.openshift.build.source-location": "images/lab-toolkit"},
                    }
                ],
            },
        }
    )


def release_metadata(release: LabRelease) -> str:
    """Return a payload's release-manifests/release-metadata."""
    return _json({"kind": "cincinnati-metadata-v0", "version": release.version, "previous": []})


def graph(channel: str, payloads: dict[str, str]) -> str:
    """Return the update graph of a channel.

    Args:
        channel: e.g. stable-4.96.
        payloads: the reference by digest of each release's payload.
    """
    members = [release for release in RELEASES if channel in release.channels]
    return _json(
        {
            "version": 1,
            "nodes": [
                {
                    "version": release.version,
                    "payload": payloads[release.version],
                    "metadata": {"io.openshift.upgrades.graph.release.channels": ",".join(release.channels)},
                }
                for release in members
            ],
            "edges": [[index, index + 1] for index in range(len(members) - 1)],
            "conditionalEdges": [],
        }
    )


def channels() -> tuple[str, ...]:
    """Return every channel of the lab."""
    return tuple(sorted({channel for release in RELEASES for channel in release.channels}))


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
