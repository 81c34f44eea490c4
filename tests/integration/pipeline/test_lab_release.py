"""A release that comes out: it is found with its toolkit and its nodes' kernel; a broken one is named, not built."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests

from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.lab.releases import PublishedRelease
from kmatrix.values.names import ImageRef
from kmatrix.values.pins import ReleasePin
from tests.integration.support.lab import Lab
from tests.integration.support.later_release import lab_command, later_release, own_channel, with_channel
from tests.integration.support.project.site import NEWER_CLIENT, Run, Site, SiteMaker
from tests.integration.support.session import Session


@pytest.fixture(scope="module")
def channel() -> str:
    """The channel of this module in this worker."""
    return own_channel()


@pytest.fixture(scope="module")
def sound(lab: Lab, session: Session, channel: str) -> Iterator[PublishedRelease]:
    """A release with a kernel that no toolkit of the lab had."""
    with later_release(lab, session, channel) as made:
        yield made


@pytest.fixture(scope="module")
def site(sound: PublishedRelease, channel: str, lab: Lab, module_sites: SiteMaker) -> Site:
    """A project that discovered the lab's stable channels, and then the one that the release came out in."""
    made: Site = module_sites(clients=[NEWER_CLIENT], kernels=lab.kernels.as_dict().values(), warm=False)
    assert sound.version not in {str(pin.version) for pin in made.pins.releases}
    made.change_profile(channels=with_channel(channel))
    found = made.run("discover")
    assert found.code == 0, found.stderr
    return made


@pytest.fixture(scope="module")
def broken(site: Site, lab: Lab, session: Session, channel: str) -> Iterator[tuple[PublishedRelease, Run, list[str]]]:
    """A broken release that came out after it, the discovery that saw it, and the cells that were planned before."""
    before = site.planned()
    with later_release(lab, session, channel, "--broken") as made:
        yield made, site.run("discover"), before


def pins_of(site: Site, release: PublishedRelease) -> dict[str, ReleasePin]:
    """Return the pins of a release by stream."""
    return {pin.stream: pin for pin in site.pins.releases if str(pin.version) == release.version}


def pinned(lab: Lab, name: str) -> str:
    """Return what a name in the lab's registry stands for, by digest."""
    return Registry(load_credentials(None)).resolve(ImageRef.parse(f"{lab.layout.registry}/{name}")).pinned


def test_the_release_is_found_with_its_payload_toolkit_and_node_kernel(
    site: Site, sound: PublishedRelease, channel: str, lab: Lab
) -> None:
    pins = pins_of(site, sound)
    assert set(pins) == {"el9", "el10"}
    new = pins["el10"]
    assert sound.kernel not in lab.kernels.as_dict().values()
    assert [kernel.release for kernel in new.kernels] == [sound.kernel]
    assert new.payload.pinned == sound.payload == pinned(lab, f"lab/release:{sound.version}")
    assert new.toolkit.pinned == pinned(lab, f"lab/driver-toolkit:{sound.version}")
    assert new.channels == (channel,)
    assert {pin.stream: pin.node_kernel for pin in pins.values()} == {"el9": lab.kernels.newer, "el10": sound.kernel}


def test_only_its_own_cell_is_new(site: Site, sound: PublishedRelease, lab: Lab) -> None:
    kernels = {*lab.kernels.as_dict().values(), sound.kernel}
    assert sorted(site.planned()) == sorted(f"{NEWER_CLIENT}-{kernel}" for kernel in kernels)


def test_every_node_kernel_of_the_lab_is_that_of_its_toolkit(site: Site, sound: PublishedRelease) -> None:
    """The lab's OS images state their kernels in four forms."""
    pins = [pin for pin in site.pins.releases if str(pin.version) != sound.version]
    assert [pin.node_kernel for pin in pins] == [pin.kernels[0].release for pin in pins]


def test_a_broken_release_is_named_and_nothing_is_built_from_its_toolkit(
    site: Site, broken: tuple[PublishedRelease, Run, list[str]]
) -> None:
    release, found, before = broken
    assert found.code == 3, found.stderr
    assert release.version in found.stderr
    pins = pins_of(site, release)
    assert pins["el10"].node_kernel == release.node_kernel
    assert [kernel.release for kernel in pins["el10"].kernels] == [release.kernel]
    assert pins["el10"].lacks_node_kernel
    assert not pins["el9"].lacks_node_kernel
    plan = site.run("plan", "--json")
    cells = {cell["cell"]: cell for cell in json.loads(plan.stdout)["cells"]}
    assert sorted(cells) == sorted(before), "the others are planned as before"
    assert release.version not in cells[f"{NEWER_CLIENT}-{release.kernel}"]["releases"]
    assert pins["el10"].toolkit.pinned not in {cell["toolkit"] for cell in cells.values()}
    assert "toolkit-kernel-mismatch" in site.run("plan").stderr


def test_a_retracted_release_leaves_the_graph_and_no_other_does(
    sound: PublishedRelease, channel: str, lab: Lab, session: Session
) -> None:
    with later_release(lab, session, channel, "--broken") as passing:
        assert passing.version != sound.version
        assert set(served(lab, channel)) >= {sound.version, passing.version}
        shown = lab_command(lab, "status").stdout
        assert f"{sound.version} ({sound.kernel}; {channel})" in shown
        assert f"{passing.version} (toolkit {passing.kernel}, nodes {passing.node_kernel}; {channel})" in shown
    assert sound.version in served(lab, channel)
    assert passing.version not in served(lab, channel)
    refused = lab_command(lab, "retract", "--release", passing.version)
    assert refused.code == 2
    assert sound.version in refused.stderr
    # Its payload is still there, as a withdrawn release's is; the registry deletes it on demand, as `prune` needs.
    payload = ImageRef.parse(passing.payload)
    address = f"http://{payload.host}/v2/{payload.path}/manifests/{payload.digest}"
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    assert requests.head(address, headers=accept, timeout=30).status_code == 200
    assert requests.delete(address, timeout=30).status_code == 202
    assert requests.head(address, headers=accept, timeout=30).status_code == 404


def served(lab: Lab, channel: str) -> list[str]:
    """Return the releases that the lab's update graph has in a channel."""
    wanted = {"channel": channel, "arch": "amd64"}
    reply = requests.get(lab.profile.graph, params=wanted, headers={"Accept": "application/json"}, timeout=30)
    return [node["version"] for node in reply.json()["nodes"]]
