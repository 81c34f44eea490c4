"""The BootModuleConfig of the documents is one that KMM accepts, and names a repository that `build` publishes to.

Fields and their types: rh-ecosystem-edge/kernel-module-management, config/crd/bases/
kmm.sigs.x-k8s.io_bootmoduleconfigs.yaml; the node's own part of the name: internal/mcfg/scripts/pull-image.sh.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from kmatrix.stages.kernel_tag import kernel_repository
from tests.unit.support.documents import code_blocks

_REQUIRED = ("kernelModuleImage", "kernelModuleName", "machineConfigName", "machineConfigPoolName")
_TEXT = {"type": "string"}
SCHEMA = {
    "type": "object",
    "properties": {
        "apiVersion": {"const": "kmm.sigs.x-k8s.io/v1beta1"},
        "kind": {"const": "BootModuleConfig"},
        "metadata": {"type": "object", "required": ["name", "namespace"]},
        "spec": {
            "type": "object",
            "required": list(_REQUIRED),
            "properties": {
                **dict.fromkeys((*_REQUIRED, "firmwareFilesPath", "workerImage"), _TEXT),
                "inTreeModulesToRemove": {"type": "array", "items": _TEXT},
            },
            "additionalProperties": False,
        },
    },
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
}


def example(page: str) -> dict[str, Any]:
    (block,) = [block for block in code_blocks([page]) if "kind: BootModuleConfig" in block]
    found: dict[str, Any] = yaml.safe_load(block)
    return found


@pytest.mark.parametrize("page", ["docs/kmm.md", "deploy/README.md"])
def test_the_example_is_one_that_kmm_accepts(page: str) -> None:
    found = example(page)
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(found)] == []
    assert found["spec"]["kernelModuleImage"] == str(kernel_repository("quay.io/YOUR-TEAM".lower(), "8.3.1")).replace(
        "your-team", "YOUR-TEAM"
    )
    assert found["spec"]["kernelModuleName"] == "beegfs"
    assert found == example("docs/kmm.md")
