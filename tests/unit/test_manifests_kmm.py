"""The manifests for Kernel Module Management: its Module, and the rights of its pods."""

from __future__ import annotations

import re

import pytest

from kmatrix.decide import manifests
from kmatrix.values.names import Arch
from tests.unit.support.manifest_maker import (
    FOLDERS,
    RELEASES,
    REPOSITORY,
    SEEDS,
    bundle,
    objects,
    sources,
)


def test_kmm_is_told_every_kernel_and_its_image() -> None:
    spec = objects(FOLDERS["kmm"])["Module", "beegfs"]["spec"]
    loader = spec["moduleLoader"]["container"]
    assert loader["modprobe"] == {"moduleName": "beegfs", "dirName": "/opt"}
    assert [(entry["literal"], entry["containerImage"]) for entry in loader["kernelMappings"]] == [
        (kernel, f"{REPOSITORY}@sha256:{seed * 64}") for kernel, seed in SEEDS.items()
    ]
    assert spec["moduleLoader"]["serviceAccountName"] == "beegfs-client-loader"
    assert spec["tolerations"] == [{"operator": "Exists"}]


def test_kmm_is_told_a_version_which_it_takes_and_which_nodes_can_be_labelled_with() -> None:
    """KMM's own rules.

    They are in rh-ecosystem-edge/kernel-module-management, internal/webhook/module.go (validateModule) and
    internal/utils/kmmlabels.go (GetModuleVersionLabelName), and in kubernetes-sigs/kernel-module-management,
    docs/mkdocs/documentation/ordered_upgrade.md.
    """
    module = objects(FOLDERS["kmm"])["Module", "beegfs"]
    version = module["spec"]["moduleLoader"]["container"]["version"]
    assert version == "7.4.6"
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", version), "a label cannot have it"
    name, namespace = module["metadata"]["name"], module["metadata"]["namespace"]
    # One less than the webhook lets through, as its documentation says.
    assert len(name + namespace) <= 39
    label = f"kmm.node.kubernetes.io/version-module.{namespace}.{name}"
    assert label in FOLDERS["kmm"]["module.yaml"]
    # The longest of those that KMM makes of it itself.
    assert len(f"version-device-plugin.{namespace}.{name}") <= 63


@pytest.mark.parametrize(
    ("arches", "selector"),
    [
        (("x86_64",), "kubernetes.io/arch=amd64"),
        (("aarch64",), "kubernetes.io/arch=arm64"),
        (("x86_64", "aarch64"), ""),
    ],
)
def test_kmms_pod_of_an_image_starts_only_where_the_image_does(arches: tuple[Arch, ...], selector: str) -> None:
    """KMM names neither node nor architecture for it, and OpenShift adds the namespace's selector to each pod.

    The first is in rh-ecosystem-edge/kernel-module-management, internal/pod/imagepuller.go (CreatePullPod), the second
    in openshift/origin, pkg/scheduler/admission/nodeenv/admission.go, which refuses a pod whose own selector conflicts.
    """
    known = objects(manifests.kmm(sources(), bundle(arches=arches), RELEASES))
    annotations = known["Namespace", "beegfs-client"]["metadata"]["annotations"]
    assert annotations["openshift.io/node-selector"] == selector
    pod = known["DaemonSet", "beegfs-client"]["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod
    other = objects(manifests.prebuilt(sources(), bundle(arches=arches), RELEASES))["Namespace", "beegfs-client"]
    assert other["metadata"]["annotations"]["openshift.io/node-selector"] == ""


def test_kmms_workers_may_what_kmm_says_they_must_and_the_clients_pods_may_not() -> None:
    known = objects(FOLDERS["kmm"])
    (rule,) = known["Role", "beegfs-client-loader"]["rules"]
    assert rule["resourceNames"] == ["privileged"]
    (subject,) = known["RoleBinding", "beegfs-client-loader"]["subjects"]
    account = (subject["kind"], subject["name"])
    assert account == ("ServiceAccount", "beegfs-client-loader")
    assert account in known
    assert known["RoleBinding", "beegfs-client-loader"]["roleRef"]["name"] == "beegfs-client-loader"
    (rule,) = known["Role", "beegfs-client"]["rules"]
    assert rule["resourceNames"] == ["beegfs-client"]
