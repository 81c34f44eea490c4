"""The components image-policy: what nodes are told to demand, of which images, and nothing else of a node's policy.

A container engine's own reader of policy.json takes part in tests/integration/signatures.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from kmatrix.decide import manifests
from kmatrix.decide.image_policy import ImagePolicy, image_policy, policy_json, registries_yaml
from kmatrix.effects.disk.files import write_atomically
from kmatrix.values.names import ImageRef
from tests.unit.support.manifest_maker import REPOSITORY, sources

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "manifests" / "components"
PEM = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsLqL8YqQ0yVnTq9K3q0j3xr0n8Wv
-----END PUBLIC KEY-----
"""
API = ("components/image-policy", "components/image-policy-tech-preview")
FILES = "components/image-policy-machine-config"


def policy(repository: str = REPOSITORY, accepted: int = 1, pem: str = PEM) -> ImagePolicy:
    return ImagePolicy((ImageRef.parse(repository),), "keys/images.pub", pem, accepted)


def resources(made: dict[str, str], folder: str) -> list[dict[str, Any]]:
    """Return the objects that a component adds."""
    stated = yaml.safe_load(made[f"{folder}/kustomization.yaml"])
    assert stated["kind"] == "Component"
    return [document for path in stated["resources"] for document in yaml.safe_load_all(made[f"{folder}/{path}"])]


def files_of(machine_config: dict[str, Any]) -> dict[str, str]:
    """Return the files that a MachineConfig writes, by path."""
    found = {}
    for file in machine_config["spec"]["config"]["storage"]["files"]:
        kind, _, content = file["contents"]["source"].partition(",")
        assert kind == "data:text/plain;charset=utf-8;base64"
        assert (file["mode"], file["overwrite"]) == (0o644, True)
        found[file["path"]] = base64.b64decode(content, validate=True).decode()
    return found


def test_the_components_are_what_is_committed() -> None:
    made = image_policy(sources(), policy(accepted=2))
    if os.environ.get("KMATRIX_UPDATE_GOLDEN"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        for path, text in made.items():
            write_atomically(GOLDEN / path.removeprefix("components/"), text)
    committed = {f"components/{path.relative_to(GOLDEN)}": path.read_text() for path in GOLDEN.rglob("*.yaml")}
    assert made == committed, "renew with KMATRIX_UPDATE_GOLDEN=1"


@pytest.mark.parametrize(("folder", "version"), [(API[0], "v1"), (API[1], "v1alpha1")])
def test_a_clusterimagepolicy_has_the_fields_of_the_api_and_no_other(folder: str, version: str) -> None:
    """The API drops what it does not know: openshift/api, config/v1/types_image_policy.go; v1alpha1 has the same."""
    (found,) = resources(image_policy(sources(), policy()), folder)
    assert found == {
        "apiVersion": f"config.openshift.io/{version}",
        "kind": "ClusterImagePolicy",
        "metadata": {"name": "beegfs-client"},
        "spec": {
            "scopes": [REPOSITORY],
            "policy": {
                "rootOfTrust": {
                    "policyType": "PublicKey",
                    "publicKey": {"keyData": base64.b64encode(PEM.encode()).decode()},
                },
                "signedIdentity": {"matchPolicy": "MatchRepository"},
            },
        },
    }


def test_the_key_is_one_that_programs_read() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for folder in API:
        (found,) = resources(image_policy(sources(), policy(pem=pem)), folder)
        data = found["spec"]["policy"]["rootOfTrust"]["publicKey"]["keyData"]
        # The API's limit is 8,192 characters.
        assert len(data) < 8192
        assert load_pem_public_key(base64.b64decode(data, validate=True)) == key
    (requirement,) = json.loads(policy_json(policy(pem=pem)))["transports"]["docker"][REPOSITORY]
    assert load_pem_public_key(base64.b64decode(requirement["keyData"], validate=True)) == key


@pytest.mark.parametrize(
    ("repository", "scope", "has_api"),
    [
        (f"{REPOSITORY}:8.3.1", REPOSITORY, True),
        (f"{REPOSITORY}@sha256:{'a' * 64}", REPOSITORY, True),
        ("127.0.0.1:5080/beegfs-client", "127.0.0.1:5080/beegfs-client", True),
        ("localhost:5000/beegfs-client", "localhost:5000/beegfs-client", True),
        ("docker.io/beegfs-client", "docker.io/library/beegfs-client", True),
        ("index.docker.io/team/beegfs-client", "docker.io/team/beegfs-client", True),
        ("registry:5000/beegfs-client", "registry:5000/beegfs-client", False),
        ("[::1]:5000/beegfs-client", "[::1]:5000/beegfs-client", False),
        (f"quay.io/{'a/' * 250}beegfs-client", f"quay.io/{'a/' * 250}beegfs-client", False),
    ],
)
def test_the_scope_is_the_repository_in_its_full_form(repository: str, scope: str, has_api: bool) -> None:
    made = image_policy(sources(), policy(repository))
    folders = {path.rpartition("/")[0] for path in made}
    assert folders == ({*API, FILES} if has_api else {FILES})
    for folder in API if has_api else ():
        assert resources(made, folder)[0]["spec"]["scopes"] == [scope]
    for config in resources(made, FILES):
        files = files_of(config)
        assert list(json.loads(files["/etc/containers/policy.json"])["transports"]["docker"]) == [scope]
        (registries,) = (text for path, text in files.items() if path.startswith("/etc/containers/registries.d/"))
        assert yaml.safe_load(registries) == {"docker": {scope: {"use-sigstore-attachments": True}}}


def test_each_of_several_repositories_is_named_once() -> None:
    names = ("quay.io/b/beegfs-client:1", "quay.io/a/beegfs-client:1", "quay.io/b/beegfs-client:2")
    several = ImagePolicy(tuple(map(ImageRef.parse, names)), "keys/images.pub", PEM)
    wanted = ["quay.io/a/beegfs-client", "quay.io/b/beegfs-client"]
    made = image_policy(sources(), several)
    assert [resources(made, folder)[0]["spec"]["scopes"] for folder in API] == [wanted, wanted]
    for config in resources(made, FILES):
        files = files_of(config)
        assert sorted(json.loads(files["/etc/containers/policy.json"])["transports"]["docker"]) == wanted
        assert (
            sorted(yaml.safe_load(files["/etc/containers/registries.d/sigstore-registries.yaml"])["docker"]) == wanted
        )
    mixed = ImagePolicy((ImageRef.parse("registry:5000/x"), ImageRef.parse(names[0])), "keys/images.pub", PEM)
    assert not mixed.has_api


def test_the_files_of_nodes_are_those_of_both_pools() -> None:
    found = resources(image_policy(sources(), policy()), FILES)
    assert [config["metadata"]["name"] for config in found] == [
        "99-master-beegfs-client-image-policy",
        "99-worker-beegfs-client-image-policy",
    ]
    for config, role in zip(found, ("master", "worker"), strict=True):
        assert config["apiVersion"] == "machineconfiguration.openshift.io/v1"
        assert config["metadata"]["labels"] == {"machineconfiguration.openshift.io/role": role}
        assert config["spec"]["config"]["ignition"] == {"version": "3.2.0"}
        # MachineConfigs are merged by their names; the operator's own files replace these, never the reverse.
        assert config["metadata"]["name"] < f"99-{role}-generated-registries"
        assert files_of(config) == {
            "/etc/containers/policy.json": policy_json(policy()),
            "/etc/containers/registries.d/sigstore-registries.yaml": registries_yaml(policy()),
        }


def test_a_node_keeps_its_default_for_every_other_image() -> None:
    """The requirement of one key is the oldest form: an unknown field would have the whole file refused."""
    anything = [{"type": "insecureAcceptAnything"}]
    assert json.loads(policy_json(policy(accepted=3))) == {
        "default": anything,
        "transports": {
            "docker": {
                REPOSITORY: [
                    {
                        "type": "sigstoreSigned",
                        "keyData": base64.b64encode(PEM.encode()).decode(),
                        "signedIdentity": {"type": "matchRepository"},
                    }
                ]
            },
            "docker-daemon": {"": anything},
        },
    }


@pytest.mark.parametrize("accepted", [1, 2])
def test_which_of_several_keys_a_policy_has_is_said(accepted: int) -> None:
    for path, text in image_policy(sources(), policy(accepted=accepted)).items():
        if not path.endswith("kustomization.yaml"):
            assert "by the image key keys/images.pub" in text
            assert ("this is" in text and "the first of `public_keys`" in text.replace("\n# ", " ")) == (accepted > 1)


def test_without_a_key_there_are_none_of_them() -> None:
    assert [path for path in manifests.components(sources()) if "image-policy" in path] == []
