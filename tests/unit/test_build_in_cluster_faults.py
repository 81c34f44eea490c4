"""deploy/build-in-cluster, against an `oc` that plays a cluster: when it applies nothing, and what it waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from buildcluster import CAPABILITIES, NEW, RHEL, capabilities, cluster_of, configs, run, tag, toolkits
from fakecluster import node


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"version": capabilities(CAPABILITIES, ["ImageRegistry"])}, "without the capability Build"),
        ({"version": capabilities(CAPABILITIES, ["Build"])}, "without the capability ImageRegistry"),
        ({"registry": {"spec": {"managementState": "Removed"}}}, "registry is off (managementState: Removed)"),
        ({"refuses": ["get clusterversions.config.openshift.io"]}, "cannot ask the cluster for its capabilities"),
        ({"refuses": ["get configs.imageregistry.operator.openshift.io"]}, "cannot ask for the cluster's own registry"),
        ({"refuses": ["get nodes"]}, "cannot ask for the nodes"),
        ({"refuses": ["get imagestreams"]}, "cannot ask for the ImageStream"),
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
        # Releases before 4.14 know these capabilities not: they cannot be without.
        {"version": capabilities(["NodeTuning"], ["NodeTuning"])},
        {"version": {"status": {}}},
        {"registry": {"spec": {"managementState": "Unmanaged"}}},
    ],
)
def test_a_cluster_that_can_build_does(tmp_path: Path, state: dict[str, Any]) -> None:
    done = run(cluster_of(tmp_path, **state))
    assert done.returncode == 0, done.stderr


REFERENCE = "New InvalidOutputReference Output image could not be resolved."
WITHOUT = [node("worker1", RHEL)]


def image_tag(tmp_path: Path) -> str:
    (tmp_path / "first").mkdir()
    cluster = cluster_of(tmp_path / "first", nodes=WITHOUT)
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
    cluster = cluster_of(tmp_path, nodes=WITHOUT, phases={wanted: phases})
    done = run(cluster)
    assert done.returncode == 1
    assert says in done.stderr
    assert f"oc -n beegfs-client start-build {wanted.replace(':', '-')}" in done.stderr
    assert [selector for selector, _ in cluster["applied"]] == ["!app.kubernetes.io/component", ""]


@pytest.mark.parametrize("call", ["get imagestreamtags", "get builds"])
def test_a_cluster_that_stops_to_answer_is_not_one_without_a_build(tmp_path: Path, call: str) -> None:
    cluster = cluster_of(tmp_path, phases={tag(NEW): ["Running"] * 3}, refuses=[call])
    done = run(cluster)
    assert done.returncode == 1
    assert "cannot ask" in done.stderr
    assert "no build was started" not in done.stderr
    assert [selector for selector, _ in cluster["applied"]] == ["!app.kubernetes.io/component", ""]


def test_a_build_that_runs_is_waited_for_and_so_is_one_behind_it(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, phases={tag(NEW): [*["Running"] * 20, *["Running\nNew"] * 20]})
    done = run(cluster)
    assert done.returncode == 0, done.stderr


def test_why_a_build_waits_is_said_at_once(tmp_path: Path) -> None:
    done = run(cluster_of(tmp_path, phases={tag(NEW): ["New", REFERENCE, "Running"]}))
    said = [line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("build of ")]
    assert said == ["New", "New (InvalidOutputReference: Output image could not be resolved.)", "Running"]


@pytest.mark.parametrize("way", ["prebuilt", "kmm"])
def test_a_folder_of_another_way_is_refused(tmp_path: Path, way: str) -> None:
    cluster = cluster_of(tmp_path, way)
    done = run(cluster)
    assert done.returncode == 1
    assert "no folder of in-cluster-build" in done.stderr
    assert cluster["applied"] == []


def test_a_buildconfig_that_a_patch_changed_where_it_matters_is_refused_before_anything_is_applied(
    tmp_path: Path,
) -> None:
    cluster = cluster_of(tmp_path)
    file = tmp_path / "folder" / "all.yaml"
    file.write_text(file.read_text().replace("      # deploy/build-in-cluster puts", "      # puts"))
    done = run(cluster)
    assert done.returncode == 1
    assert "has not:" in done.stderr
    assert cluster["applied"] == []


def test_other_words_are_a_usage_error(tmp_path: Path) -> None:
    assert cluster_of(tmp_path).run("build-in-cluster").returncode == 2
