"""Part `discovery`: the requests and bytes that a discovery of 258 releases costs, and a second one.

The services run in this process, on 127.0.0.1; releases, forms and faults of them are those of the tests. Sizes are
assumed to be those of real content: 119 kB of image-references (15 kB compressed; the sample of 4.12.0 in
openshift/oc-mirror, tests/unit/testdata/test-untar) in a last layer of 240 kB, as `oc adm release new` writes it beside
the manifests of all operators, and configurations of 12 kB. A toolkit's release file is a late layer of its own (the
Dockerfile of openshift/driver-toolkit), so no large layer is read.
"""

from __future__ import annotations

import random
import shutil
from typing import Any

from bench.aims import Measures
from bench.machine import load
from bench.setting import PROFILE, Setting
from kmatrix.values.errors import ToolError
from tests.unit.support.discovery_project import DiscoveryProject, discovery_project
from tests.unit.support.many_releases import COUNTS, many_releases, sample_references
from tests.unit.support.release_service import ReleaseService, release_service

_HISTORY_BYTES = 12_000
_MANIFESTS_BYTES = 225_000


def measure_discovery(setting: Setting) -> tuple[Measures, dict[str, Any]]:
    """Return requests and bytes per release of a first discovery, those of a second one and its seconds.

    Raises:
        ToolError: one failed, or did not resolve every release.
    """
    root = setting.folder / "discovery"
    releases = many_releases()
    setting.say(f"discovery: {len(releases)} releases")
    try:
        with release_service() as service:
            noise = random.Random(1).randbytes(_MANIFESTS_BYTES)
            filling = {"release-manifests/0000_00_manifests.yaml": noise}
            service.publish(releases, sample_references(), filling=filling, history=_HISTORY_BYTES)
            project = discovery_project(root, service, [f"stable-4.{minor}" for minor in COUNTS], PROFILE)
            before = load()
            cold = _discovery(setting, service, project, "cold")
            # One with the lock, and one with the answers on disk alone.
            warm = [_discovery(setting, service, project, "lock")]
            project.forget_lock()
            warm.append(_discovery(setting, service, project, "answers"))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    number = len(releases)
    raw = {
        "releases": number,
        "load_before": before,
        "cold": cold,
        "warm": warm,
        "how": "wall time of `python -m kmatrix discover` in a fresh process; bytes are those of bodies, requests are "
        "those to the registry for content of releases: each blob takes one more, to the storage that the registry "
        "redirects to. Requests of a second discovery are all for content of releases, and those to the update graph.",
    }
    return Measures(
        discovery_bytes=round(cold["bytes"] / number),
        discovery_requests=round(cold["registry"] / number, 2),
        discovery_warm_requests=max((each["content"] + each["graph"]) / len(COUNTS) for each in warm),
        discovery_warm_seconds=max(each["seconds"] for each in warm),
    ), raw


def _discovery(setting: Setting, service: ReleaseService, project: DiscoveryProject, name: str) -> dict[str, Any]:
    service.forget_requests()
    ended = setting.tool(f"discovery-{name}", "discover", root=project.root)
    found = len(project.kernels)
    if found != len(service.payloads):
        raise ToolError(
            f"discover resolved {found} releases of {len(service.payloads)}",
            "Run `pytest tests/unit/test_discover_many.py`: a release was lost.",
        )
    registry = service.requests(service.registry).total()
    return {
        "seconds": round(ended.seconds, 3),
        "peak_rss_mb": ended.peak_rss_mb,
        "registry": registry,
        "content": service.requests().total(),
        "graph": sum(request.path.endswith("/graph") for request in service.registry.requests),
        "bytes": service.sent.total(),
    }
