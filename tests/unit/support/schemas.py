"""Kubernetes', OpenShift's and KMM's schemas, closed: a field they do not know is a fault."""

from __future__ import annotations

import json
import os
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import ValidationError, validate

# OpenShift 4.16 is Kubernetes 1.29; 4.22 is 1.35.
VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35")
CORE = {"Namespace", "ServiceAccount", "Role", "RoleBinding", "DaemonSet", "ConfigMap"}
SAMPLES = Path(os.environ.get("KMATRIX_SAMPLES", "no-samples"))
OPENSHIFT = SAMPLES / "schemas" / "openshift-api.json"
KMM = SAMPLES / "schemas" / "kmm-modules-crd.yaml"


def core_faults(document: dict[str, Any], version: str) -> list[str]:
    """Return the faults of an object of Kubernetes' own kinds."""
    return list(_core_faults(json.dumps(document), version))


@cache
def _core_faults(text: str, version: str) -> tuple[str, ...]:
    # Folders share objects, and reading a version's schemas takes a while.
    document = json.loads(text)
    try:
        used = validate(document, version, strict=True)
    except ValidationError as error:
        return (f"{document['kind']} for {version}: {error.message}",)
    assert used == version, f"kubernetes-validate has no schemas of {version}, it took {used}"
    return ()


def other_faults(document: dict[str, Any]) -> list[str]:
    """Return the faults of an object of OpenShift's kinds, or of KMM's Module."""
    schema = _module() if document["kind"] == "Module" else _openshift(document["kind"])
    validator = Draft202012Validator(schema)
    return [f"{document['kind']}: {error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@lru_cache
def _openshift(kind: str) -> dict[str, Any]:
    known = _closed(json.loads(OPENSHIFT.read_text()))
    return {"$ref": f"#/definitions/{known['kinds'][kind]}", "definitions": known["definitions"]}


@lru_cache
def _module() -> dict[str, Any]:
    known = yaml.safe_load(KMM.read_text())
    (version,) = known["spec"]["versions"]
    schema = _closed(version["schema"]["openAPIV3Schema"])
    assert isinstance(schema, dict)
    return schema


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema and "type" in schema:
        made["additionalProperties"] = False
    return made
