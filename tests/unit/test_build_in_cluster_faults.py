"""deploy/build-in-cluster, against a fake `oc`: reasons to apply nothing, and to wait."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.support.build_cluster import (
    CAPABILITIES,
    IMAGE,
    NEW,
    RHCOS,
    capabilities,
    cluster_of,
    configs,
    run,
    tag,
    toolkits,
)
from tests.unit.support.fake_cluster import DEPLOY, node, program


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"version": capabilities(CAPABILITIES, ["ImageRegistry"])}, "without the capability Build"),
        ({"version": capabilities(CAPABILITIES, ["Build"])}, "without the capability ImageRegistry"),
        ({"registry": {"spec": {"managementState": "Removed"}}}, "registry is off (managementState: Removed)"),
        ({"refuses": ["get clusterversions.config.openshift.io"]}, "cannot get the cluster's capabilities"),
        ({"refuses": ["get configs.imageregistry.operator.openshift.io"]}, "of the cluster's own registry"),
        ({"refuses": ["get nodes"]}, "cannot list the nodes"),
        ({"refuses": ["get imagestreams"]}, "cannot get the ImageStream"),
        ({"toolkits": toolkits(latest="", **{NEW: "b"})}, "no image under the tag latest"),
        ({"toolkits": toolkits()}, "no image under the tag latest"),
    ],
)
def test_a_cluster_that_cannot_build_or_cannot_be_asked_is_left_alone(
    tmp_path: Path, state: dict[str, Any], says: str
) -> None:
    cluster = cluster_of(tmp_path, **state)
    done = run(cluster)
    assert done.returncode == 1
    assert says in done.stderr
    assert cluster["applied"] == []


@pytest.mark.parametrize(
    "state",
    [
        # Releases before 4.14 do not know these capabilities: they are always enabled.
        {"version": capabilities(["NodeTuning"], ["NodeTuning"])},
        {"version": {"status": {}}},
        {"registry": {"spec": {"managementState": "Unmanaged"}}},
    ],
)
def test_a_cluster_that_can_build_does(tmp_path: Path, state: dict[str, Any]) -> None:
    done = run(cluster_of(tmp_path, **state))
    assert done.returncode == 0, done.stderr


REFERENCE = "New InvalidOutputReference Output image could not be resolved."


def image_tag(tmp_path: Path) -> str:
    (tmp_path / "first").mkdir()
    cluster = cluster_of(tmp_path / "first")
    run(cluster)
    return str(configs(cluster)["image"]["spec"]["output"]["to"]["name"])


@pytest.mark.parametrize(
    ("phases", "says"),
    [
        (["Running", "Failed PushImageToRegistryFailed No room."], "Failed (PushImageToRegistryFailed: No room.)"),
        ([""] * 99, "no build was started"),
        ([REFERENCE] * 99, "New (InvalidOutputReference: Output image could not be resolved.)"),
        (["Pending"] * 99, "Pending"),
        (["Running", *["Complete"] * 99], "Complete"),
    ],
)
def test_a_build_that_makes_no_image_is_not_waited_for_and_leaves_the_daemonsets_alone(
    tmp_path: Path, phases: list[str], says: str
) -> None:
    wanted = image_tag(tmp_path)
    cluster = cluster_of(tmp_path, phases={wanted: phases})
    done = run(cluster)
    assert done.returncode == 1
    assert says in done.stderr
    assert f"oc -n beegfs-client start-build {wanted.replace(':', '-')}" in done.stderr
    assert [selector for selector, _ in cluster["applied"]] == ["!app.kubernetes.io/component", "", ""]


@pytest.mark.parametrize("call", ["get imagestreamtags", "get builds"])
def test_a_cluster_that_stops_to_answer_is_not_one_without_a_build(tmp_path: Path, call: str) -> None:
    cluster = cluster_of(tmp_path, phases={tag("latest"): ["Running"] * 3}, refuses=[call])
    done = run(cluster)
    assert done.returncode == 1
    assert "run this again when the cluster answers" in done.stderr
    assert "no build was started" not in done.stderr
    assert [selector for selector, _ in cluster["applied"]] == ["!app.kubernetes.io/component", ""]


def test_a_build_that_runs_is_waited_for_and_so_is_one_behind_it(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, phases={tag("latest"): [*["Running"] * 20, *["Running\nNew"] * 20]})
    done = run(cluster)
    assert done.returncode == 0, done.stderr


def test_why_a_build_waits_is_said_at_once(tmp_path: Path) -> None:
    done = run(cluster_of(tmp_path, phases={tag("latest"): ["New", REFERENCE, "Running"]}))
    said = [line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("build of ")]
    assert said == ["New", "New (InvalidOutputReference: Output image could not be resolved.)", "Running"]


@pytest.mark.parametrize("way", ["prebuilt", "kmm"])
def test_a_folder_of_another_way_is_refused(tmp_path: Path, way: str) -> None:
    cluster = cluster_of(tmp_path, way)
    done = run(cluster)
    assert done.returncode == 1
    assert "is not a folder of in-cluster-build" in done.stderr
    assert cluster["applied"] == []


@pytest.mark.parametrize(
    ("gone", "instead"),
    [
        ("      RUN rebuild-module --toolkit", "      RUN true"),
        # Of these the last BuildConfig alone is made.
        ("  - imageChange: {}\n    type: ImageChange", "  - type: ImageChange\n    imageChange: {}"),
    ],
)
def test_a_buildconfig_that_a_patch_changed_where_it_matters_is_refused_before_anything_is_applied(
    tmp_path: Path, gone: str, instead: str
) -> None:
    cluster = cluster_of(tmp_path)
    file = tmp_path / "folder" / "all.yaml"
    file.write_text(file.read_text().replace(gone, instead))
    done = run(cluster)
    assert done.returncode == 1
    assert "lacks this: " in done.stderr
    assert cluster["applied"] == []


@pytest.mark.parametrize("call", ["tag", "get builds"])
def test_a_name_that_cannot_be_given_is_told(tmp_path: Path, call: str) -> None:
    given = f"beegfs-client/{IMAGE.rpartition('/')[2]}"
    cluster = cluster_of(tmp_path, refuses=[f"tag {given}" if call == "tag" else call])
    done = run(cluster)
    assert done.returncode == 1
    assert "run this again when the cluster answers" in done.stderr
    assert [selector for selector, _ in cluster["applied"]] == ["!app.kubernetes.io/component", ""]


def test_builds_on_nodes_of_several_architectures_are_told_on_which(tmp_path: Path) -> None:
    """The image would have modules of one for nodes of the other.

    openshift/api build/v1/types.go, CommonSpec.nodeSelector; k8s.io/api core/v1, NodeSystemInfo.architecture.
    """
    nodes = [node("n1", f"{RHCOS}{NEW}"), node("n2", f"{RHCOS}{NEW}", arch="arm64")]
    cluster = cluster_of(tmp_path, nodes=nodes)
    done = run(cluster)
    assert done.returncode == 1
    assert "the nodes have several architectures: amd64 arm64. Restrict all builds to one" in done.stderr
    assert cluster["applied"] == []
    file = tmp_path / "folder" / "all.yaml"
    line = "  mountTrustedCA: true\n"
    file.write_text(file.read_text().replace(line, f"{line}  nodeSelector:\n    kubernetes.io/arch: amd64\n"))
    assert run(cluster).returncode == 0
    made = configs(cluster)
    assert set(made) == {"latest", "image"}
    assert all(config["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"} for config in made.values())


# All of it but sha256sum and shasum.
PROGRAMS = ["sed", "sort", "grep", "awk", "paste"]


def programs(tmp_path: Path, *names: str) -> str:
    folder = tmp_path / "machine"
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found, f"this machine has no {name}"
        (folder / name).symlink_to(found)
    return str(folder)


def test_shasum_is_as_good_as_sha256sum(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path)
    path = programs(tmp_path, *PROGRAMS)
    program(cluster.programs / "shasum", f'[ "$*" = "-a 256" ] && exec {shutil.which("sha256sum")}')
    done = cluster.run("build-in-cluster", str(tmp_path / "folder"), path=path)
    assert done.returncode == 0, done.stderr
    name = configs(cluster)["image"]["metadata"]["name"]
    (tmp_path / "other").mkdir()
    other = cluster_of(tmp_path / "other")
    run(other)
    assert name == configs(other)["image"]["metadata"]["name"]


def test_without_a_program_for_digests_the_cluster_is_left_alone(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path)
    done = cluster.run("build-in-cluster", str(tmp_path / "folder"), path=programs(tmp_path, *PROGRAMS))
    assert done.returncode == 1
    assert "neither sha256sum nor shasum" in done.stderr
    assert cluster["calls"] == []


@pytest.mark.parametrize(("major", "minor", "old"), [(3, 2, True), (4, 3, True), (4, 4, False), (5, 0, False)])
def test_an_older_bash_is_told_that_it_is_one_before_it_meets_what_it_does_not_know(
    tmp_path: Path, major: int, minor: int, old: bool
) -> None:
    """Bash's NEWS: 4.0 brought associative arrays and `mapfile`; from 4.4 on `set -u` lets an empty array pass."""
    script = (DEPLOY / "build-in-cluster").read_text()
    head, check, rest = script.partition("if ((BASH_VERSINFO[0]")
    assert check
    assert set(re.findall(r"^[^#\n].*", head, re.MULTILINE)) == {"set -euo pipefail"}
    changed = (check + rest).replace("BASH_VERSINFO[0]", str(major)).replace("BASH_VERSINFO[1]", str(minor))
    program(tmp_path / "changed", head + changed)
    cluster = cluster_of(tmp_path)
    done = cluster.run(str(tmp_path / "changed"), str(tmp_path / "folder"))
    assert done.returncode == (1 if old else 0), done.stderr
    assert ("is too old: it needs 4.4 or newer" in done.stderr) is old
    assert (cluster["calls"] == []) is old


def test_other_words_are_a_usage_error(tmp_path: Path) -> None:
    assert cluster_of(tmp_path).run("build-in-cluster").returncode == 2
