"""The statement of manifests which kernels each release runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.decide.release_kernels import release_kernels
from kmatrix.values.names import ImageRef, ReleaseVersion
from kmatrix.values.pins import KernelPin, ReleasePin, UnresolvedPin
from tests.unit.support.made_up_profile import digest, lock, profile
from tests.unit.support.manifest_maker import FOLDERS as RENDERED
from tests.unit.support.manifest_maker import RELEASES, SEEDS, bundle, objects
from tests.unit.support.manifests_project import (
    KERNEL,
    SETTINGS,
    deploy_folder,
    manifests,
    write_file,
    write_project,
)
from tests.unit.support.manifests_project import bundle as published

NINE, RT, TEN = "5.14.0-687.11.1.el9_8.x86_64", "5.14.0-687.11.1.el9_8.x86_64+rt", "6.12.0-211.28.1.el10_2.x86_64"


def pin(release: str, rhel: str, *kernels: str, **changes: Any) -> ReleasePin:
    values: dict[str, Any] = {
        "version": ReleaseVersion.parse(release),
        "arch": "x86_64",
        "channels": ("stable-4.22",),
        "payload": ImageRef.parse(f"registry.example/release@{digest('1')}"),
        "toolkit": ImageRef.parse(f"registry.example/toolkit@{digest(rhel[-1])}"),
        "rhel": rhel,
        "kernels": tuple(
            KernelPin(release=kernel, flavour="rt" if kernel.endswith("+rt") else "standard") for kernel in kernels
        ),
    }
    return ReleasePin(**{**values, **changes})


def stated(*releases: ReleasePin, **changes: Any) -> list[str]:
    return release_kernels(lock(profile()).model_copy(update={"releases": releases, **changes})).splitlines()


def test_each_release_has_a_line_per_architecture_and_stream_oldest_first() -> None:
    arm = pin("4.22.9", "9.8", "5.14.0-687.11.1.el9_8.aarch64", arch="aarch64")
    assert stated(pin("4.22.10", "10.2", TEN), pin("4.22.10", "9.8", RT, NINE), arm, pin("4.22.9", "9.8", NINE)) == [
        f"4.22.9 amd64 el9 {NINE}",
        "4.22.9 arm64 el9 5.14.0-687.11.1.el9_8.aarch64",
        f"4.22.10 amd64 el9 {NINE} {RT}",
        f"4.22.10 amd64 el10 {TEN}",
    ]


def test_of_a_toolkit_of_other_nodes_only_the_kernel_of_the_os_image_is_stated() -> None:
    assert stated(pin("4.22.10", "9.8", "5.14.0-687.1.1.el9_8.x86_64", RT, node_kernel=NINE)) == [
        f"4.22.10 amd64 el9 {NINE}"
    ]


def test_an_unresolved_release_is_stated_as_unknown_beside_what_is_known_of_it() -> None:
    unresolved = UnresolvedPin(
        version=ReleaseVersion.parse("4.22.10"),
        arch="x86_64",
        channels=("stable-4.22",),
        payload=ImageRef.parse(f"registry.example/release@{digest('1')}"),
        obstacle="malformed",
        reason="its second toolkit has no layer",
        since="2026-03-31",
    )
    assert stated(pin("4.22.10", "9.8", NINE), unresolved=(unresolved,)) == [
        f"4.22.10 amd64 el9 {NINE}",
        "4.22.10 amd64 unknown its second toolkit has no layer",
    ]


@pytest.mark.parametrize("method", ["prebuilt", "kmm"])
def test_folders_of_published_images_state_the_kernels_of_image_and_releases(method: str) -> None:
    data = objects(RENDERED[method])["ConfigMap", "beegfs-client-releases"]["data"]
    assert data == {
        "image": bundle().image.pinned,
        "kernels": "".join(f"{kernel}\n" for kernel in SEEDS),
        "releases": RELEASES,
    }


@pytest.mark.parametrize("method", ["in-cluster-build", "in-cluster-build-rhel-workers"])
def test_folders_that_build_in_the_cluster_state_none(method: str) -> None:
    """Their image gets the modules of a release when the cluster is updated to it."""
    assert ("ConfigMap", "beegfs-client-releases") not in objects(RENDERED[method])


def test_the_command_states_the_releases_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    root = write_project(tmp_path / "project", ("8.2.2",))
    write_file(root, [published("8.2.2")])
    assert manifests(root, "--method", "prebuilt") == 0
    text = (deploy_folder(root) / "prebuilt" / "8.2.2" / "releases.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["data"]["releases"] == f"4.16.3 amd64 el9 {KERNEL}\n"
