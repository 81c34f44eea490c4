"""Cells of aarch64 beside one of x86_64: compiled and booted under emulation, in one bundle, in one set of manifests.

These tests need what `lab up --arch aarch64` adds to the lab, and are left out unless they are named.
"""

from __future__ import annotations

import json

import pytest
import requests
import yaml

from kmatrix.commands.profile import LAB_AARCH64
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.lab import aarch64
from kmatrix.lab.aarch64_kernels import Aarch64Kernels
from kmatrix.values.names import ImageRef
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, PROFILE, Run, Site, SiteMaker

pytestmark = pytest.mark.aarch64
GATES = {"static": "passed", "boot": "passed", "mount": "passed"}


@pytest.fixture(name="kernels", scope="module")
def _kernels(lab: Lab) -> Aarch64Kernels:
    """The lab's kernels for aarch64."""
    state = aarch64.read_state(lab.layout)
    if not state:
        pytest.fail("these tests need the lab's parts of aarch64: run `nox -s lab -- up --arch aarch64`", pytrace=False)
    return Aarch64Kernels(**state["kernels"])


@pytest.fixture(name="site", scope="module")
def _site(lab: Lab, kernels: Aarch64Kernels, module_sites: SiteMaker) -> Site:
    """A project with one kernel of x86_64 and two of aarch64, one of which has pages of 16 KiB."""
    stated = read_matrix((lab.root / "matrix.yaml").read_text(encoding="utf-8")).profile(LAB_AARCH64)
    base = ImageRef(lab.profile.base.host, stated.base.path, stated.base.tag)
    unwanted = (lab.kernels.newer, kernels.next_line)
    return module_sites(
        warm=False,
        clients=(NEWER_CLIENT,),
        base=str(base),
        channels=[{"name": "stable-4.96", "newest": 1}, {"name": "stable-4.97"}],
        arches=list(stated.arches),
        flavours=list(stated.flavours),
        excludes=[{"kernel": kernel, "reason": "not of this test"} for kernel in unwanted],
    )


@pytest.fixture(name="built", scope="module")
def _built(site: Site) -> Run:
    """The build of all its cells."""
    return site.run("build", boot=True)


@pytest.fixture(name="bundled", scope="module")
def _bundled(site: Site, built: Run) -> Run:
    """The bundle of its cells."""
    assert built.code == 0, built.stderr
    return site.run("bundle")


def listed(address: str, repository: str, tag: str) -> list[str]:
    """Return the architectures of the manifest list under a tag, by Go's names."""
    # A client that accepts no lists gets the manifest of amd64 (distribution, registry/handlers/manifests.go).
    accept = {"Accept": "application/vnd.docker.distribution.manifest.list.v2+json"}
    found = requests.get(f"http://{address}/v2/{repository}/manifests/{tag}", headers=accept, timeout=30).json()
    return [each["platform"]["architecture"] for each in found["manifests"]]


def test_cells_of_both_architectures_pass_every_gate(site: Site, built: Run, lab: Lab, kernels: Aarch64Kernels) -> None:
    wanted = {
        f"{NEWER_CLIENT}-{kernel}": arch
        for kernel, arch in (
            (lab.kernels.next_line, "x86_64"),
            (kernels.standard, "aarch64"),
            (kernels.large_pages, "aarch64"),
        )
    }
    assert built.code == 0, built.stderr
    assert {cell["cell"]: cell["arch"] for cell in built.results["cells"]} == wanted
    assert {cell["cell"]: cell["gates"] for cell in built.results["cells"]} == dict.fromkeys(wanted, GATES)
    assert {site.tag_of(cell) for cell in wanted} <= site.tags


def test_a_second_run_skips_cells_of_both_architectures(site: Site, built: Run) -> None:
    assert built.code == 0, built.stderr
    again = site.run("build", boot=True)
    assert set(again.verdicts.values()) == {"skipped"}
    assert again.builds == 0


def test_an_image_of_aarch64_states_its_architecture(site: Site, built: Run, kernels: Aarch64Kernels) -> None:
    assert built.code == 0, built.stderr
    manifest = site.registry.manifest(site.repository, site.tag_of(f"{NEWER_CLIENT}-{kernels.standard}"))
    url = f"http://{site.registry.address}/v2/{site.repository}/blobs/{manifest['config']['digest']}"
    assert requests.get(url, timeout=30).json()["architecture"] == "arm64"


def test_the_bundle_is_a_list_of_both_architectures(
    site: Site, bundled: Run, lab: Lab, kernels: Aarch64Kernels
) -> None:
    assert bundled.code == 0, bundled.stderr
    assert listed(site.registry.address, site.repository, NEWER_CLIENT) == ["amd64", "arm64"]
    logs = site.root / "build" / "logs" / PROFILE
    for kernel in (lab.kernels.next_line, kernels.standard, kernels.large_pages):
        log = logs / f"bundle-{NEWER_CLIENT}-{kernel}.serial.log"
        assert "@kmatrix done" in log.read_text(encoding="utf-8"), kernel


def test_manifests_run_the_bundle_on_nodes_of_both_architectures(site: Site, bundled: Run) -> None:
    assert bundled.code == 0, bundled.stderr
    rendered = site.run("manifests")
    assert rendered.code == 0, rendered.stderr
    (entry,) = json.loads((site.root / "build" / "bundles.json").read_text(encoding="utf-8"))["bundles"]
    folder = site.root / "build" / "deploy" / PROFILE / "prebuilt" / NEWER_CLIENT
    parts = [part for path in folder.rglob("*.yaml") for part in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    (pod,) = [part["spec"]["template"]["spec"] for part in parts if part and part["kind"] == "DaemonSet"]
    assert {container["image"].partition("@")[2] for container in pod["containers"]} == {entry["digest"]}
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    wanted = {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}
    assert [term for term in terms if wanted not in term["matchExpressions"]] == []
