"""The folders that `manifests` writes: kubectl accepts each, each is complete, and none is touched that is not ours."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.values.errors import Exit
from tests.unit.support.made_up_profile import ROOT, digest
from tests.unit.support.manifest_maker import REPOSITORY
from tests.unit.support.manifests_project import (
    CLIENTS,
    KERNEL,
    KEY,
    SETTINGS,
    bundle,
    content,
    deploy_folder,
    manifests,
    rendered,
    write_file,
    write_project,
)
from tests.unit.support.schemas import CORE, OPENSHIFT, VERSIONS, core_faults, other_faults

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on this machine")


def kubectl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False, timeout=60)


def kustomized(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the objects that kubectl would apply, by kind and name."""
    done = kubectl("kustomize", str(folder))
    assert (done.returncode, done.stderr) == (0, ""), f"{folder}: {done.stderr}"
    made = [document for document in yaml.safe_load_all(done.stdout) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in made}


@cache
def knows_components() -> bool:
    """Return whether kubectl's kustomize has Components: kubectl 1.21 and newer, every supported oc."""
    version = json.loads(kubectl("version", "--client", "--output=json").stdout)["clientVersion"]
    return (int(version["major"]), int(version["minor"].rstrip("+"))) >= (1, 21)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which `bundle` has published a bundle of each client."""
    for name in SETTINGS:
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    root = write_project(tmp_path / "project")
    write_file(root, [bundle(client) for client in CLIENTS])
    return root


@needs_kubectl
def test_kubectl_accepts_every_folder_and_the_cluster_every_field(project: Path) -> None:
    assert manifests(project) == Exit.OK
    found = rendered(deploy_folder(project))
    ways = ("in-cluster-build", "in-cluster-build-rhel-workers", "kmm", "prebuilt")
    assert [f"{path.parent.name}/{path.name}" for path in found] == [f"{way}/{c}" for way in ways for c in CLIENTS]
    for folder in found:
        documents = kustomized(folder)
        assert ("DaemonSet", "beegfs-client") in documents
        for (kind, _), document in documents.items():
            if kind == "DaemonSet":
                assert document["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": "10%"}
            if kind in CORE:
                assert [fault for version in VERSIONS for fault in core_faults(document, version)] == []
            elif OPENSHIFT.is_file():
                assert other_faults(document) == []


@needs_kubectl
@pytest.mark.parametrize("way", ["prebuilt", "kmm", "in-cluster-build", "in-cluster-build-rhel-workers"])
@pytest.mark.parametrize(
    "component", ["helperd-without-authentication", "off-mofed-nodes", "privileged", "unload-on-stop"]
)
def test_a_component_changes_what_it_says_and_nothing_else(project: Path, way: str, component: str) -> None:
    if not knows_components():
        pytest.skip("this kubectl is older than 1.21: its kustomize has no Components")
    assert manifests(project, "--client", "7.4.6") == Exit.OK
    deploy = deploy_folder(project)
    own = project / "own"
    own.mkdir()
    (own / "kustomization.yaml").write_text(
        f"resources: [../build/deploy/here/{way}/7.4.6]\ncomponents: [../build/deploy/here/components/{component}]\n"
    )
    before, after = kustomized(deploy / way / "7.4.6"), kustomized(own)
    names = ["beegfs-client", *(["beegfs-client-rhel"] if way.endswith("rhel-workers") else [])]
    assert [name for kind, name in before if kind == "DaemonSet"] == names
    for name in names:
        old, new = (known.pop(("DaemonSet", name)) for known in (before, after))
        assert core_faults(new, VERSIONS[0]) == []
        (was,), (now,) = (each["spec"]["template"]["spec"]["containers"] for each in (old, new))
        if component == "privileged":
            assert before.pop(("SecurityContextConstraints", name))
            (rule,) = after.pop(("Role", name))["rules"]
            assert rule["resourceNames"] == ["privileged"]
            before.pop(("Role", name))
            annotations = new["spec"]["template"]["metadata"]["annotations"]
            assert annotations.pop("openshift.io/required-scc") == "privileged"
            old["spec"]["template"]["metadata"]["annotations"].pop("openshift.io/required-scc")
            # dnf of RHEL workers writes the root, privileged or not.
            read_only = name == "beegfs-client"
            wanted = {"privileged": True, "runAsUser": 0, "runAsNonRoot": False, "readOnlyRootFilesystem": read_only}
            assert now.pop("securityContext") == wanted
            was.pop("securityContext")
            assert old["spec"]["template"]["spec"]["securityContext"].pop("seLinuxOptions")
        elif component == "off-mofed-nodes":
            label = {"key": "network.nvidia.com/operator.mofed.wait", "operator": "DoesNotExist"}
            assert expressions(new).pop() == label
        elif component == "unload-on-stop":
            command = ["/usr/local/sbin/beegfs-node", "unload"]
            assert now.pop("lifecycle") == {"preStop": {"exec": {"command": command}}}
        else:
            (setting,) = [entry for entry in now["env"] if entry["name"] == "BEEGFS_HELPERD_AUTH"]
            assert setting["value"] == "disabled"
            setting["value"] = "secret"
            assert by_name(now["env"]) == by_name(was["env"])
            now["env"] = was["env"]
        assert new == old
    assert after == before


def expressions(daemonset: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rules that a node must fulfil for a DaemonSet's pods."""
    affinity = daemonset["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    found: list[dict[str, Any]] = term["matchExpressions"]
    return found


def by_name(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: str(entry["name"]))


def test_images_are_what_the_bundles_say(project: Path) -> None:
    assert manifests(project) == Exit.OK
    deploy = deploy_folder(project)
    for client in CLIENTS:
        daemonset = yaml.safe_load((deploy / "prebuilt" / client / "daemonset.yaml").read_text())
        (only,) = daemonset["spec"]["template"]["spec"]["containers"]
        assert only["image"] == f"{REPOSITORY}@{digest('b')}"
        module = yaml.safe_load((deploy / "kmm" / client / "module.yaml").read_text())
        assert module["spec"]["moduleLoader"]["container"]["kernelMappings"] == [
            {"literal": KERNEL, "containerImage": f"{REPOSITORY}@{digest(client[0])}"}
        ]
        files = yaml.safe_load((deploy / "in-cluster-build" / client / "files.yaml").read_text())["data"]
        assert files["package-key"] == KEY
        assert files["beegfs-node"] == (ROOT / "images" / "beegfs-client" / "beegfs-node").read_text()


def test_a_build_in_the_cluster_fetches_with_nothing_that_the_toolkit_lacks(project: Path) -> None:
    assert manifests(project, "--way", "in-cluster-build") == Exit.OK
    for folder in rendered(deploy_folder(project)):
        config = yaml.safe_load((folder / "buildconfig.yaml").read_text())
        files = yaml.safe_load((folder / "files.yaml").read_text())["data"]
        assert files["fetch-packages"].startswith("#!/usr/bin/env python3\n")
        for text in (config["spec"]["source"]["dockerfile"], *files.values()):
            assert not re.search(r"\b(wget|curl)\b", text)


@needs_kubectl
def test_the_kustomizations_of_the_guide_are_as_it_says(project: Path) -> None:
    if not knows_components():
        pytest.skip("this kubectl is older than 1.21: its kustomize has no Components")
    assert manifests(project) == Exit.OK
    guide = (ROOT / "deploy" / "README.md").read_text()
    found = re.findall(r"^    # my-client/kustomization\.yaml.*\n((?:    .+\n)+)", guide, re.MULTILINE)
    made = []
    for number, block in enumerate(found):
        own = project / f"own-{number}"
        own.mkdir()
        text = re.sub(r"build/deploy/\w+/", "build/deploy/here/", textwrap.dedent(block)).replace("8.3.1", "8.2.2")
        (own / "kustomization.yaml").write_text(text)
        made.append(kustomized(own))
    at_once, kept_off, off_mofed, open_ = made
    assert "version" not in at_once["Module", "beegfs"]["spec"]["moduleLoader"]["container"]
    added = {"key": "beegfs-client", "operator": "NotIn", "values": ["off"]}
    assert expressions(kept_off["DaemonSet", "beegfs-client"])[-1] == added
    label = {"key": "network.nvidia.com/operator.mofed.wait", "operator": "DoesNotExist"}
    assert expressions(off_mofed["DaemonSet", "beegfs-client"])[-1] == label
    (only,) = open_["DaemonSet", "beegfs-client"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "BEEGFS_HELPERD_AUTH", "value": "disabled"} in only["env"]


def test_again_is_the_same_and_what_is_not_asked_for_goes_and_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy = deploy_folder(project)
    assert manifests(project) == Exit.OK
    before = content(deploy)
    assert manifests(project) == Exit.OK
    assert content(deploy) == before
    assert manifests(project, "--client", "8.2.2", "--way", "prebuilt") == Exit.OK
    assert [path.relative_to(deploy).as_posix() for path in rendered(deploy)] == ["prebuilt/8.2.2"]
    assert "removed prebuilt/7.4.6, which was not asked for" in capsys.readouterr().err
    assert [path.name for path in deploy.parent.iterdir()] == ["here"], "something temporary is left"


def test_what_fails_leaves_the_folder_as_it_was(project: Path) -> None:
    deploy = deploy_folder(project)
    assert manifests(project) == Exit.OK
    before = content(deploy)
    (project / "deploy" / "kmm" / "module.yaml.j2").write_text("{{ nothing }}")
    assert manifests(project) == Exit.USAGE
    assert content(deploy) == before


def test_a_folder_of_somebody_elses_is_not_replaced(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("mine")
    assert manifests(project, "--out", str(other)) == Exit.USAGE
    assert content(other) == {"precious": b"mine"}
    (other / "precious").unlink()
    assert manifests(project, "--out", str(other)) == Exit.OK
    assert rendered(other)
