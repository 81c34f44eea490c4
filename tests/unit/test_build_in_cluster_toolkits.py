"""deploy/build-in-cluster and toolkits: the one that a node's OS version needs, and failures of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.support.build_cluster import (
    ALL,
    BUILD,
    COMPILING,
    MIXED,
    NEW,
    OLD,
    RHCOS,
    RHEL,
    STREAM,
    TEN,
    cluster_of,
    configs,
    run,
    tag,
    taken,
    toolkits,
)
from tests.unit.support.fake_cluster import node


@pytest.mark.parametrize(
    "system",
    [
        "Red Hat Enterprise Linux CoreOS 411.86.202210072320-0 (Ootpa)",
        "Red Hat Enterprise Linux CoreOS 418.94.202501062026-0",
        "Red Hat Enterprise Linux CoreOS 9.6.20260303-1 (Plow)",
        "CentOS Stream CoreOS 412.9.202211241749-0",
        "CentOS Stream CoreOS 9.8.20260312-0",
        "Red Hat Enterprise Linux CoreOS 9.6.20260303-12 (Plow)",
    ],
)
def test_the_toolkit_is_that_of_the_version_in_the_nodes_os_image(tmp_path: Path, system: str) -> None:
    """As KMM finds it (rh-ecosystem-edge/kernel-module-management internal/controllers/kernel_dtk_reconciler.go)."""
    version = system.removesuffix(" (Plow)").removesuffix(" (Ootpa)").split()[-1]
    stream = toolkits(**{"latest": "b", version: "a"})
    cluster = cluster_of(tmp_path, nodes=[node("n1", system)], toolkits=stream)
    done = run(cluster)
    assert done.returncode == 0, done.stderr
    assert set(configs(cluster)) == {version, "latest", "image"}


@pytest.mark.parametrize("system", [RHEL, "Red Hat Enterprise Linux CoreOS MISSING VERSION (Ootpa)", ""])
def test_nodes_of_no_coreos_are_told_and_nothing_is_built_for_them(tmp_path: Path, system: str) -> None:
    nodes = [node("n1", f"{RHCOS}{NEW} (Plow)"), node("worker1", system), node("worker2", system)]
    cluster = cluster_of(tmp_path, nodes=nodes)
    done = run(cluster)
    assert done.returncode == 0, done.stderr
    assert f"nodes that run {system or 'an unknown system'}: worker1 worker2." in done.stderr
    assert set(configs(cluster)) == {"latest", "image"}


def test_windows_nodes_are_no_matter(tmp_path: Path) -> None:
    windows = node("w", "Windows Server 2022 Datacenter", **{"kubernetes.io/os": "windows"})
    done = run(cluster_of(tmp_path, nodes=[node("n1", f"{RHCOS}{NEW}"), windows]))
    assert done.returncode == 0
    assert done.stderr == ""


def test_without_a_coreos_node_the_image_is_that_of_the_newest_toolkit(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, nodes=[node("worker1", RHEL)])
    assert run(cluster).returncode == 0
    made = configs(cluster)
    assert set(made) == {"latest", "image"}
    assert taken(made["image"]) == [tag("latest")]


def test_a_toolkit_with_two_names_compiles_once_and_its_modules_stay_when_latest_moves(tmp_path: Path) -> None:
    """`oc tag` with a digest gives a tag that stays (openshift/oc pkg/cli/tag/tag.go: an ImageStreamImage).

    A build says which toolkit it had: its source images are resolved to digests when it is created (generator.go,
    setBuildSourceImage, of openshift/openshift-apiserver), and its output is in `status.output.to.imageDigest`
    (openshift/api build/v1/types.go, BuildStatusOutputTo).
    """
    cluster = cluster_of(tmp_path)
    done = run(cluster)
    assert done.returncode == 0, done.stderr
    assert set(configs(cluster)) == {"latest", "image"}
    assert cluster["tagged"] == [tag(NEW)]
    assert taken(configs(cluster)["image"]) == [tag(NEW), tag("latest")]
    # An update of the cluster: nodes still run the old version, which is no longer `latest`.
    cluster.change(applied=[], toolkits=toolkits(**{"latest": "cb", NEW: "b"}))
    assert run(cluster).returncode == 0
    assert set(configs(cluster)) == {"latest", "image"}, "what is there is not compiled again"
    assert taken(configs(cluster)["image"]) == [tag(NEW), tag("latest")]


def test_modules_of_an_earlier_toolkit_are_not_taken_for_those_of_the_one_that_is_latest_now(tmp_path: Path) -> None:
    """After an update the tag has the modules of the last release until the new build is complete, or for good."""
    cluster = cluster_of(tmp_path, compiled_with={"latest": f"sha256:{'a' * 64}"})
    done = run(cluster)
    assert done.returncode == 0, done.stderr
    assert cluster["tagged"] == []
    assert set(configs(cluster)) == {NEW, "latest", "image"}
    assert taken(configs(cluster)["image"]) == [tag(NEW), tag("latest")]


@pytest.mark.parametrize("images", [None, ""])
def test_an_os_version_without_a_toolkit_is_named_and_the_others_go_on(tmp_path: Path, images: str | None) -> None:
    tags = {"latest": "b", NEW: "b", "latest-rhel-10": "x", TEN: "x"}
    stream = toolkits(**tags, **({} if images is None else {OLD: images}))
    cluster = cluster_of(tmp_path, nodes=[*MIXED, node("paused2", f"{RHCOS}{OLD}")], toolkits=stream)
    done = run(cluster)
    assert done.returncode == 1
    assert f"no modules for OS version {OLD} (nodes: paused, paused2)" in done.stderr
    assert f'--image-for=driver-toolkit)" openshift/driver-toolkit:{OLD}' in done.stderr.splitlines()[-1]
    assert set(configs(cluster)) == {"latest", "latest-rhel-10", "image"}
    assert taken(configs(cluster)["image"]) == [tag(end) for end in ALL if end != OLD]
    assert cluster["applied"][-1][0] == "app.kubernetes.io/component notin (build)"


def test_the_toolkit_of_rhcos_10_has_a_name_of_its_own_in_a_release(tmp_path: Path) -> None:
    """openshift/driver-toolkit manifests/01-openshift-imagestream-rhel10.yaml."""
    done = run(cluster_of(tmp_path, nodes=[node("ten", f"{RHCOS}{TEN}")]))
    assert f'--image-for=driver-toolkit-10)" openshift/driver-toolkit:{TEN}' in done.stderr


def test_an_os_version_whose_build_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    failed = ["Running", "Failed DockerBuildFailed It does not compile."]
    cluster = cluster_of(tmp_path, nodes=MIXED, toolkits=STREAM, phases={tag(OLD): failed})
    done = run(cluster)
    assert done.returncode == 1
    assert f"no modules for the toolkit {OLD} (nodes: paused): the build ended with: Failed" in done.stderr
    assert f"oc -n beegfs-client start-build {BUILD.name}-{OLD}" in done.stderr.splitlines()[-1]
    assert taken(configs(cluster)["image"]) == [tag(end) for end in ALL if end != OLD]
    assert cluster["applied"][-1][0] == "app.kubernetes.io/component notin (build)"


def test_where_the_newest_toolkit_fails_the_nodes_of_the_others_are_served(tmp_path: Path) -> None:
    """A client that does not support the newest kernel, under a hosted control plane that is ahead of its pools."""
    failed = ["Running", "Failed DockerBuildFailed It does not compile."]
    behind = [node("n1", f"{RHCOS}{OLD}"), node("n2", f"{RHCOS}{OLD}")]
    cluster = cluster_of(tmp_path, nodes=behind, phases={tag("latest"): failed})
    done = run(cluster)
    assert done.returncode == 1
    assert "no modules for the toolkit latest: the build ended with: Failed" in done.stderr.splitlines()[-1]
    assert taken(configs(cluster)["image"]) == [tag(OLD)]
    assert cluster["applied"][-1][0] == "app.kubernetes.io/component notin (build)"


def test_a_toolkit_that_fails_is_not_compiled_again_by_another_name_and_its_nodes_are_named(tmp_path: Path) -> None:
    failed = ["Running", "Failed DockerBuildFailed It does not compile."]
    cluster = cluster_of(tmp_path, nodes=MIXED, toolkits=STREAM, phases={tag("latest"): failed})
    done = run(cluster)
    assert done.returncode == 1
    assert f"no modules for the toolkit {NEW} (nodes: n1, n2): the build ended with: Failed" in done.stderr
    assert set(configs(cluster)) == {*COMPILING, "image"}
    assert taken(configs(cluster)["image"]) == [tag(TEN), tag(OLD), tag("latest-rhel-10")]


def test_a_newest_toolkit_that_fails_after_an_update_is_named_though_its_tag_has_modules(tmp_path: Path) -> None:
    """They are of the release before; no node runs the new one yet."""
    nodes, stream = [node("n1", f"{RHCOS}{OLD}")], toolkits(**{"latest": "cb", OLD: "a"})
    failed = ["Failed DockerBuildFailed It does not compile."]
    earlier = {"latest": f"sha256:{'b' * 64}"}
    later = {tag("latest"): failed}
    cluster = cluster_of(tmp_path, nodes=nodes, toolkits=stream, compiled_with=earlier, later_builds=later)
    done = run(cluster)
    assert done.returncode == 1
    says = "the modules for the toolkit latest are from its previous version: the build ended with: Failed"
    assert says in done.stderr.splitlines()[-1]
    assert taken(configs(cluster)["image"]) == [tag(OLD), tag("latest")]
    assert cluster["applied"][-1][0] == "app.kubernetes.io/component notin (build)"
    # A running build has not failed.
    cluster.change(later_builds={tag("latest"): [*failed, "Running"]})
    assert run(cluster).returncode == 0


def test_modules_that_are_there_serve_their_nodes_though_the_toolkit_fails_by_its_other_name(tmp_path: Path) -> None:
    failed = ["Failed DockerBuildFailed It does not compile."]
    cluster = cluster_of(tmp_path, tagged=[tag(NEW)], phases={tag("latest"): failed})
    done = run(cluster)
    assert done.returncode == 1
    assert "no modules for the toolkit latest: " in done.stderr.splitlines()[-1]
    assert f"no modules for the toolkit {NEW}" not in done.stderr
    assert taken(configs(cluster)["image"]) == [tag(NEW)]


def test_where_no_toolkit_compiles_no_pod_is_changed(tmp_path: Path) -> None:
    failed = ["Failed DockerBuildFailed It does not compile."]
    cluster = cluster_of(tmp_path, phases={tag("latest"): failed})
    done = run(cluster)
    assert done.returncode == 1
    assert "no modules for any toolkit, so no pod is changed" in done.stderr
    assert [selector for selector, _ in cluster["applied"]] == ["!app.kubernetes.io/component", ""]


@pytest.mark.parametrize(
    ("tags", "base", "modules"),
    [
        (
            {"latest": "xb", "latest-rhel-9": "b", NEW: "b", TEN: "x"},
            "latest-rhel-9",
            [NEW, TEN, "latest", "latest-rhel-9"],
        ),
        # The old RHEL major has no tag that follows updates.
        ({"latest": "x", OLD: "a", NEW: "b", TEN: "x"}, NEW, [NEW, TEN, OLD, "latest"]),
        ({"latest": "x", TEN: "x"}, "latest", [TEN, "latest"]),
    ],
)
def test_the_image_is_made_on_the_oldest_rhel_line_of_the_nodes(
    tmp_path: Path, tags: dict[str, str], base: str, modules: list[str]
) -> None:
    """Its tools run on the nodes: those of RHEL 10 want a newer C library than RHEL 9 has."""
    systems = [version for version in (OLD, NEW, TEN) if version in tags]
    nodes = [node(f"n{index}", f"{RHCOS}{version}") for index, version in enumerate(systems)]
    cluster = cluster_of(tmp_path, nodes=nodes, toolkits=toolkits(**tags))
    done = run(cluster)
    assert done.returncode == 0, done.stderr
    made = configs(cluster)
    assert made["image"]["spec"]["strategy"]["dockerStrategy"]["from"]["name"] == f"driver-toolkit:{base}"
    assert taken(made["image"]) == [tag(end) for end in modules]
