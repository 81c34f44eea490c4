"""deploy/build-in-cluster, against a fake `oc`: the builds that it starts, and the objects that it applies."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.decide import manifests
from kmatrix.decide.in_cluster import TOOLKIT
from tests.unit.support.build_cluster import (
    ALL,
    BUILD,
    COMPILING,
    DOCKERFILE,
    IMAGE,
    MIXED,
    NEW,
    OLD,
    RHCOS,
    RHEL,
    STREAM,
    TEN,
    cluster_of,
    configs,
    documents,
    run,
    tag,
    toolkits,
)
from tests.unit.support.fake_cluster import kustomized, node
from tests.unit.support.manifest_maker import ROOT, sources
from tests.unit.support.schemas import OPENSHIFT, other_faults


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on this machine")
def test_the_script_is_tried_with_what_kustomize_writes(tmp_path: Path) -> None:
    made = manifests.in_cluster_build(sources(), BUILD, rhel_workers=True)
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    told = subprocess.run(["kubectl", "kustomize", str(tmp_path)], check=True, capture_output=True, text=True).stdout

    def read(text: str) -> dict[str, str]:
        parts = text.rstrip("\n").split("\n---\n")
        return {part: part for part in parts if "kind: BuildConfig\n" in part or "kind: DaemonSet\n" in part}

    assert read(told).keys() == read(kustomized(documents())).keys()
    assert len(read(told)) == 3


def test_a_cluster_with_paused_and_rhcos_10_pools_has_the_modules_of_all_in_one_image(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, nodes=MIXED, toolkits=STREAM)
    done = run(cluster)
    assert done.returncode == 0, done.stderr
    made = configs(cluster)
    assert set(made) == {*COMPILING, "image"}
    assert taken(made["image"]) == [tag(end) for end in ALL]
    assert made["image"]["spec"]["strategy"]["dockerStrategy"]["from"]["name"] == "driver-toolkit:latest"


def test_modules_are_compiled_with_the_toolkit_of_the_os_version_and_kept_alone(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, nodes=MIXED, toolkits=STREAM)
    run(cluster)
    made = configs(cluster)
    for end in COMPILING:
        spec = made[end]["spec"]
        toolkit = {"kind": "ImageStreamTag", "name": f"driver-toolkit:{end}", "namespace": "openshift"}
        assert spec["output"]["to"] == {"kind": "ImageStreamTag", "name": tag(end)}
        assert spec["triggers"] == [{"type": "ConfigChange"}, {"type": "ImageChange", "imageChange": {"from": toolkit}}]
        assert built_from(spec, {toolkit["name"]: "toolkit@digest"}) == ["toolkit@digest", "scratch"]
        alone = "FROM scratch\nCOPY --from=client /opt/lib/modules/ /opt/lib/modules/\n"
        assert spec["source"]["dockerfile"] == DOCKERFILE + alone
        assert spec["source"]["configMaps"] == [{"configMap": {"name": BUILD.name}, "destinationDir": "."}]
        assert spec["mountTrustedCA"] is True


def test_the_image_takes_the_modules_by_way_of_the_context_and_follows_them(tmp_path: Path) -> None:
    """Not by `as`: of images for that, the builder reads none with the secret of the cluster's own registry.

    openshift/builder pkg/build/builder: docker.go pulls them with the secret of the strategy, which is for the registry
    of the toolkit (openshift/openshift-apiserver pkg/build/apiserver/buildgenerator/generator.go, resolveImageSecret);
    source.go, extractSourceFromImage, has the secret of each image that has `paths`.
    """
    cluster = cluster_of(tmp_path, nodes=MIXED, toolkits=STREAM)
    run(cluster)
    spec = configs(cluster)["image"]["spec"]
    froms = [{"kind": "ImageStreamTag", "name": tag(end)} for end in ALL]
    paths = [{"sourcePath": "/opt/lib/modules/.", "destinationDir": "modules"}]
    assert spec["source"]["images"] == [{"from": each, "paths": paths} for each in froms]
    follows = [{"type": "ImageChange", "imageChange": {"from": each}} for each in froms]
    # Not its base image: `latest` comes by way of its modules, and pods would change twice.
    assert spec["triggers"] == [{"type": "ConfigChange"}, *follows]
    assert built_from(spec, {"driver-toolkit:latest": "toolkit@digest"}) == ["toolkit@digest"]


def test_the_image_compiles_nothing_and_is_otherwise_that_of_the_folder(tmp_path: Path) -> None:
    """One failing compile on `latest` would take the modules of all other toolkits from their nodes."""
    cluster = cluster_of(tmp_path, nodes=MIXED, toolkits=STREAM)
    run(cluster)
    image = configs(cluster)["image"]["spec"]["source"]["dockerfile"].splitlines()
    folder = DOCKERFILE.splitlines()
    assert folder[-1] == "RUN rebuild-module --toolkit"
    assert image == [*folder[:-1], "COPY modules/ /opt/lib/modules/"]
    assert not any(line.startswith("RUN") and "rebuild-module --toolkit" in line for line in image)


def built_from(spec: dict[str, Any], known: dict[str, str]) -> list[str]:
    """The base images of a build, as OpenShift's builder has them.

    openshift/builder pkg/build/builder/common.go, addBuildParameters: the strategy's `from` takes the place of the last
    FROM, and then every FROM that `as` of an image source names becomes that image.
    """
    bases = re.findall(r"^FROM (\S+)", spec["source"]["dockerfile"], re.MULTILINE)
    start = spec["strategy"]["dockerStrategy"].get("from")
    if start:
        bases[-1] = known[start["name"]]
    sources = {
        name: image["from"]["name"] for image in spec["source"].get("images", []) for name in image.get("as", [])
    }
    return [known[sources[base]] if base in sources else base for base in bases]


def test_the_base_image_is_where_the_script_looks_for_it() -> None:
    script = (ROOT / "deploy" / "build-in-cluster").read_text()
    assert f"readonly BASE={TOOLKIT}\n" in script
    assert f"readonly COMPILE='{DOCKERFILE.splitlines()[-1]}'\n" in script


@pytest.mark.skipif(not OPENSHIFT.is_file(), reason="KMATRIX_SAMPLES names no folder with schemas/openshift-api.json")
def test_openshift_knows_every_field_of_the_buildconfigs(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, nodes=MIXED, toolkits=STREAM)
    run(cluster)
    assert [fault for config in configs(cluster).values() for fault in other_faults(config)] == []


def test_their_names_are_labels_of_their_builds(tmp_path: Path) -> None:
    """Longer ones are cut off (generator.go, labelValue), and the script would not find the builds."""
    cluster = cluster_of(tmp_path, nodes=MIXED, toolkits=STREAM)
    run(cluster)
    longest = len("8.10.10") - len(str(BUILD.client))
    for config in configs(cluster).values():
        assert len(config["metadata"]["name"]) + longest <= 63
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", config["metadata"]["name"])


def test_daemonsets_are_applied_when_the_image_is_there_and_by_its_digest(tmp_path: Path) -> None:
    slow = ["", "New", "Running", "Running"]
    cluster = cluster_of(tmp_path, phases={tag("latest"): slow})
    done = run(cluster)
    assert done.returncode == 0, done.stderr
    (first, before), *_, (everything, after) = cluster["applied"]
    assert (first, everything) == ("!app.kubernetes.io/component", "app.kubernetes.io/component notin (build)")
    for old, new in zip(yaml.safe_load_all(before), yaml.safe_load_all(after), strict=True):
        kind, component = old["kind"], old["metadata"]["labels"].get("app.kubernetes.io/component")
        assert (kind in {"DaemonSet", "BuildConfig"}) is (component is not None)
        assert (kind == "BuildConfig") is (component == "build")
        if kind == "DaemonSet":
            (only,) = new["spec"]["template"]["spec"]["containers"]
            assert only["image"] == IMAGE
            only["image"] = old["spec"]["template"]["spec"]["containers"][0]["image"]
            output = configs(cluster)["image"]["spec"]["output"]["to"]["name"]
            trigger = "image.openshift.io/triggers"
            assert f'"name":"{output}"' in new["metadata"]["annotations"][trigger]
            new["metadata"]["annotations"][trigger] = old["metadata"]["annotations"][trigger]
        if kind != "BuildConfig":
            assert new == old


def configs_of_version(applied: list[list[str]]) -> list[list[str]]:
    """The BuildConfigs that compile with the toolkit of an OS version."""
    return [each for each in applied if f"name: {BUILD.name}-{OLD}\n" in each[1]]


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path, nodes=MIXED, toolkits=STREAM)
    assert run(cluster).returncode == 0
    first, tagged = cluster["applied"], cluster["tagged"]
    cluster.change(nodes=MIXED[::-1])
    assert run(cluster).returncode == 0
    # The modules of a version are there for good; the rest is the same, byte for byte.
    own = configs_of_version(first)
    assert len(own) == 1
    assert cluster["applied"] == first + [each for each in first if each not in own]
    assert cluster["tagged"] == tagged


def as_tag(name: str) -> str:
    """The ImageStreamTag of a BuildConfig."""
    return name.replace("beegfs-client-", "beegfs-client:", 1)


def test_an_image_whose_last_build_failed_is_named(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path)
    assert run(cluster).returncode == 0
    image = configs(cluster)["image"]["metadata"]["name"]
    cluster.change(later_builds={as_tag(image): ["Failed DockerBuildFailed No packages."]})
    done = run(cluster)
    assert done.returncode == 1
    assert "the image is not of these modules as they are now" in done.stderr
    assert f"start-build {image}" in done.stderr


def test_a_kernel_of_a_toolkit_that_does_not_compile_is_named(tmp_path: Path) -> None:
    """rebuild-module fails no build for it, as the standard kernel's nodes must not wait for it."""
    warning = "rebuild-module: warning: no module for a kernel of this toolkit: compile-failed: 5.14.0+rt"
    cluster = cluster_of(tmp_path, build_logs={"latest": f"Step 3\n{warning}\nCOMMIT"})
    done = run(cluster)
    assert done.returncode == 1
    assert "toolkit latest: no module for a kernel of this toolkit: compile-failed: 5.14.0+rt" in done.stderr
    assert "have no module" in done.stderr


def test_a_kernel_that_did_not_compile_is_named_by_every_run(tmp_path: Path) -> None:
    warning = "rebuild-module: warning: no module for a kernel of this toolkit: compile-failed: 5.14.0+rt"
    cluster = cluster_of(tmp_path, nodes=MIXED, toolkits=STREAM, build_logs={OLD: warning})
    for _ in range(2):
        done = run(cluster)
        assert done.returncode == 1
        assert f"toolkit {OLD}: no module for a kernel of this toolkit" in done.stderr


def test_a_log_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    done = run(cluster_of(tmp_path, refuses=["logs"]))
    assert done.returncode == 0
    assert "cannot read the log of" in done.stderr


def test_another_os_version_is_another_image(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path)
    run(cluster)
    before = configs(cluster)["image"]["metadata"]["name"]
    cluster.change(nodes=MIXED, toolkits=STREAM)
    done = run(cluster)
    after = configs(cluster)["image"]["metadata"]["name"]
    assert before != after
    assert f"delete --ignore-not-found buildconfig/{before} imagestreamtag/{as_tag(before)}\n" in done.stdout
    assert after not in done.stdout


def test_buildconfigs_of_other_versions_are_listed_with_their_files(tmp_path: Path) -> None:
    old = "beegfs-client-8.1.0-0123456789"
    cluster = cluster_of(tmp_path, buildconfigs=[old, f"{old}-{OLD}", BUILD.name])
    done = run(cluster)
    for name in (old, f"{old}-{OLD}"):
        known = f"buildconfig/{name} configmap/{old} imagestreamtag/{as_tag(name)}"
        assert f"delete --ignore-not-found {known}\n" in done.stdout
    # A run of another way made this one; the files are in use.
    assert f"delete --ignore-not-found buildconfig/{BUILD.name} imagestreamtag/{BUILD.tag}\n" in done.stdout
    assert done.stdout.count("still builds") == 3


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


def taken(image: dict[str, Any]) -> list[str]:
    """The images whose modules a BuildConfig takes along."""
    return [each["from"]["name"] for each in image["spec"]["source"]["images"]]


def test_a_toolkit_with_two_names_compiles_once_and_its_modules_stay_when_latest_moves(tmp_path: Path) -> None:
    """`oc tag` with a digest gives a tag that stays (openshift/oc pkg/cli/tag/tag.go: an ImageStreamImage).

    A build says which toolkit it had: its source images are resolved to digests when it is made (generator.go,
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
    """After an update the tag has the modules of the last release until the new build is through, or for good."""
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
    says = "no modules for the toolkit latest as it is now, only for an earlier one: the build ended with: Failed"
    assert says in done.stderr.splitlines()[-1]
    assert taken(configs(cluster)["image"]) == [tag(OLD), tag("latest")]
    assert cluster["applied"][-1][0] == "app.kubernetes.io/component notin (build)"
    # A build that runs is none that failed.
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
        # The old line has no tag that goes with updates.
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
