"""`manifests` writes the components image-policy for a profile with public keys, and for no other."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from kmatrix.commands import image_policy
from kmatrix.effects.signing.image_keys import PublicKey
from kmatrix.stages.policy_signatures import Answer
from kmatrix.values.errors import Exit
from kmatrix.values.names import ImageRef
from tests.unit.support.manifest_maker import REPOSITORY
from tests.unit.support.manifests_project import SETTINGS, bundle, deploy_folder, manifests, write_file, write_project
from tests.unit.test_manifest_folders import knows_components, kustomized

CLIENT = "8.2.2"
API = ("image-policy", "image-policy-tech-preview")
FILES = "image-policy-machine-config"
KEYS = ("keys/first.pub", "keys/second.pub")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose profile signs nothing, with a published bundle that every key of a policy would verify."""
    for name in SETTINGS:
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    root = write_project(tmp_path / "project", (CLIENT,))
    write_file(root, [bundle(CLIENT)])

    def verified(
        _: object, images: Iterable[ImageRef], keys: Mapping[str, PublicKey], __: object
    ) -> dict[ImageRef, Answer]:
        return dict.fromkeys(images, frozenset(keys))

    # What registries have is the subject of test_policy_signatures.py.
    monkeypatch.setattr(image_policy, "verifying_keys", verified)
    return root


def accepting(root: Path, *paths: str) -> dict[str, ec.EllipticCurvePublicKey]:
    """Have the profile accept new keys, and return their public halves by path."""
    made = {}
    for path in paths:
        made[path] = ec.generate_private_key(ec.SECP256R1()).public_key()
        file = root / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(made[path].public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with (root / "matrix.yaml").open("a") as matrix:
        matrix.write(f"    image_signing: {{public_keys: [{', '.join(paths)}]}}\n")
    return made


def policies(root: Path) -> list[str]:
    return sorted(path.name for path in (deploy_folder(root) / "components").glob("image-policy*"))


def test_without_public_keys_there_is_no_policy(project: Path) -> None:
    assert manifests(project) == Exit.OK
    assert (deploy_folder(project) / "components" / "privileged").is_dir()
    assert policies(project) == []


@pytest.mark.parametrize("paths", [KEYS[:1], KEYS, tuple(reversed(KEYS))])
def test_a_policy_has_the_first_key_and_the_targets_repository(project: Path, paths: tuple[str, ...]) -> None:
    keys = accepting(project, *paths)
    assert manifests(project) == Exit.OK
    assert policies(project) == sorted((*API, FILES))
    for name in API:
        text = (deploy_folder(project) / "components" / name / "clusterimagepolicy.yaml").read_text()
        assert f"the image key {paths[0]}" in text
        spec = yaml.safe_load(text)["spec"]
        assert spec["scopes"] == [REPOSITORY]
        data = spec["policy"]["rootOfTrust"]["publicKey"]["keyData"]
        assert load_pem_public_key(base64.b64decode(data)) == keys[paths[0]]


def test_the_policy_is_about_the_repository_that_nodes_pull_from(project: Path) -> None:
    accepting(project, *KEYS[:1])
    # As with KMATRIX_TARGET at `bundle`, which `manifests` does not read.
    write_file(project, [bundle(CLIENT, image=f"quay.example/other/beegfs-client:{CLIENT}")])
    assert manifests(project) == Exit.OK
    text = (deploy_folder(project) / "components/image-policy/clusterimagepolicy.yaml").read_text()
    assert yaml.safe_load(text)["spec"]["scopes"] == ["quay.example/other/beegfs-client"]


def test_without_a_bundle_the_policy_is_about_the_target(project: Path) -> None:
    accepting(project, *KEYS[:1])
    write_file(project, [])
    assert manifests(project, "--method", "in-cluster-build") == Exit.OK
    text = (deploy_folder(project) / "components/image-policy/clusterimagepolicy.yaml").read_text()
    assert yaml.safe_load(text)["spec"]["scopes"] == [REPOSITORY]


def test_a_policy_goes_when_its_keys_go(project: Path) -> None:
    matrix = (project / "matrix.yaml").read_text()
    accepting(project, *KEYS[:1])
    assert manifests(project) == Exit.OK
    (project / "matrix.yaml").write_text(matrix)
    assert manifests(project) == Exit.OK
    assert policies(project) == []


def test_a_missing_key_file_is_named_and_nothing_is_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accepting(project, *KEYS)
    (project / KEYS[1]).unlink()
    assert manifests(project) == Exit.USAGE
    assert KEYS[1] in capsys.readouterr().err
    assert not deploy_folder(project).exists()


def test_a_registry_that_the_api_cannot_name_gets_the_files_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accepting(project, *KEYS[:1])
    write_file(project, [bundle(CLIENT, image=f"registry:5000/beegfs-client:{CLIENT}")])
    assert manifests(project) == Exit.OK
    assert policies(project) == [FILES]
    assert "a ClusterImagePolicy cannot name registry:5000/beegfs-client" in capsys.readouterr().err


def test_without_bundle_and_target_it_is_said_that_there_is_no_policy(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accepting(project, *KEYS[:1])
    write_file(project, [])
    matrix = project / "matrix.yaml"
    target = f"target: {REPOSITORY.rpartition('/')[0]}\n"
    assert target in matrix.read_text()
    matrix.write_text(matrix.read_text().replace(target, "target: null\n"))
    assert manifests(project, "--method", "in-cluster-build") == Exit.OK
    assert policies(project) == []
    assert "not written: components/image-policy: build/bundles.json has no published bundle" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on this machine")
@pytest.mark.parametrize("name", [*API, FILES])
def test_a_component_adds_its_objects_to_a_folder_and_changes_nothing(project: Path, name: str) -> None:
    if not knows_components():
        pytest.skip("this kubectl is older than 1.21: its kustomize has no Components")
    accepting(project, *KEYS[:1])
    assert manifests(project) == Exit.OK
    own = project / "own"
    own.mkdir()
    folder = f"../build/deploy/here/prebuilt/{CLIENT}"
    component = f"../build/deploy/here/components/{name}"
    (own / "kustomization.yaml").write_text(f"resources: [{folder}]\ncomponents: [{component}]\n")
    before, after = kustomized(deploy_folder(project) / "prebuilt" / CLIENT), kustomized(own)
    assert before.items() <= after.items()
    kinds = [kind for kind, _ in after.keys() - before.keys()]
    assert kinds == (["MachineConfig"] * 2 if name == FILES else ["ClusterImagePolicy"])
