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
    OLD,
    STREAM,
    cluster_of,
    configs,
    documents,
    run,
    tag,
    taken,
)
from tests.unit.support.fake_cluster import kustomized
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
    # Not its base image: a new `latest` arrives with its modules, and pods would change twice.
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
    """Return the base images of a build, as OpenShift's builder sets them.

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
    """Longer names are cut off (generator.go, labelValue), and the script would not find the builds."""
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
    """Return the BuildConfigs that compile with the toolkit of an OS version."""
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
    """Return the ImageStreamTag of a BuildConfig."""
    return name.replace("beegfs-client-", "beegfs-client:", 1)


def test_an_image_whose_last_build_failed_is_named(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path)
    assert run(cluster).returncode == 0
    image = configs(cluster)["image"]["metadata"]["name"]
    cluster.change(later_builds={as_tag(image): ["Failed DockerBuildFailed No packages."]})
    done = run(cluster)
    assert done.returncode == 1
    assert "the image is from an earlier build and lacks the current modules" in done.stderr
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
    # A run of another deployment method created this one; the files are in use.
    assert f"delete --ignore-not-found buildconfig/{BUILD.name} imagestreamtag/{BUILD.tag}\n" in done.stdout
    assert done.stdout.count("still builds") == 3
