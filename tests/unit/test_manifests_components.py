"""The components of deploy/: each patch finds its place in every folder that it is for, and changes nothing else."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import yaml

from kmatrix.decide import manifests
from tests.unit.support.json_patches import at, changes
from tests.unit.support.manifest_maker import (
    FOLDERS,
    container,
    daemonset,
    each_daemonset,
    each_folder,
    objects,
    rules,
    sources,
)
from tests.unit.support.schemas import VERSIONS, core_faults

COMPONENTS = {path: yaml.safe_load(text) for path, text in manifests.components(sources()).items()}


@each_folder
@pytest.mark.parametrize("path", COMPONENTS)
def test_a_component_finds_all_it_has_to_change_and_nothing_else(name: str, path: str) -> None:
    """test_manifest_folders.py runs kustomize where kubectl knows Components; this test runs everywhere."""
    known = objects(FOLDERS[name])
    for patch in COMPONENTS[path]["patches"]:
        kind = patch["target"]["kind"]
        own = {key for key in known if key[0] == kind and key[1] in {manifests.NAME, manifests.RHEL_NAME}}
        # kustomize requires the complete name to match.
        found = {key for key in known if key[0] == kind and re.fullmatch(patch["target"]["name"], key[1])}
        assert found == own
        assert found
        for key in found:
            assert known[key]["apiVersion"].rpartition("/")[0] == patch["target"]["group"]
            assert reaches(yaml.safe_load(patch["patch"]), known[key])


def reaches(patch: Any, document: dict[str, Any]) -> bool:
    """Return whether a patch changes something that the object has."""
    if isinstance(patch, list):
        return all(changes(operation, document) for operation in patch)
    if patch.get("$patch") == "delete":
        return True
    (wanted,) = patch["spec"]["template"]["spec"]["containers"]
    only = container(document)
    names = {entry["name"] for entry in only["env"]}
    adds = wanted.keys() - only.keys()
    settings = {entry["name"] for entry in wanted.get("env", ())}
    return wanted["name"] == only["name"] and settings <= names and bool(adds or settings)


@each_daemonset
def test_the_component_keeps_the_client_off_nodes_with_a_driver_pod_of_nvidia(folder: str, name: str) -> None:
    """Label and values: Mellanox/network-operator, pkg/nodeinfo/attributes.go, controllers/mofed_wait_labels.go."""
    (patch,) = COMPONENTS["components/off-mofed-nodes/kustomization.yaml"]["patches"]
    (operation,) = yaml.safe_load(patch["patch"])
    system = {"node.openshift.io/os_id": "rhel" if name == manifests.RHEL_NAME else "rhcos"}
    node = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", **system}
    before = rules(daemonset(folder, name)["spec"])
    document = copy.deepcopy(daemonset(folder, name))
    at(document, operation["path"].removesuffix("/-")).append(operation["value"])
    after = rules(document["spec"])
    assert after[:-1] == before
    assert is_for(before, node)
    assert is_for(after, node)
    assert not is_for(after, {**node, "kubernetes.io/os": "windows"})
    for value in ("true", "false"):
        assert is_for(before, {**node, "network.nvidia.com/operator.mofed.wait": value})
        assert not is_for(after, {**node, "network.nvidia.com/operator.mofed.wait": value})
    assert [fault for version in VERSIONS for fault in core_faults(document, version)] == []


def is_for(expressions: list[dict[str, Any]], labels: dict[str, str]) -> bool:
    """Return whether all expressions of a node selector's term hold for a node's labels."""
    for each in expressions:
        value = labels.get(each["key"])
        held = {
            "In": value in each.get("values", ()),
            "NotIn": value not in each.get("values", ()),
            "DoesNotExist": value is None,
        }
        if not held[each["operator"]]:
            return False
    return True
