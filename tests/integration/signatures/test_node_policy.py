"""The files that components/image-policy gives a node: skopeo reads them with the library that CRI-O reads them with.

The images and signatures are made here, by hand, so that several keys can have signed one.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kmatrix.decide.image_policy import ImagePolicy, image_policy
from kmatrix.values.engine import RunOutput
from kmatrix.values.names import ImageRef
from tests.integration.support.lab import Lab
from tests.integration.support.registries import ThrowAwayRegistry
from tests.integration.support.session import Session
from tests.integration.support.verifiers import Verifiers, verifiers_for
from tests.unit.support.manifest_maker import sources

OCI = "application/vnd.oci.image"
REPOSITORY = "policy/beegfs-client"
COMPONENT = "components/image-policy-machine-config/machineconfigs.yaml"


@dataclass(frozen=True)
class Place:
    """A registry with hand-made images, and the programs that pull them under a node's policy."""

    registry: ThrowAwayRegistry
    verifiers: Verifiers

    def blob(self, repository: str, content: bytes) -> dict[str, object]:
        """Upload a blob, and return what a manifest says of it."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        start = requests.post(f"http://{self.registry.address}/v2/{repository}/blobs/uploads/", timeout=30)
        start.raise_for_status()
        octets = {"Content-Type": "application/octet-stream"}
        requests.put(
            start.headers["Location"], params={"digest": digest}, data=content, headers=octets, timeout=30
        ).raise_for_status()
        return {"digest": digest, "size": len(content)}

    def image(self, repository: str, tag: str, *keys: ec.EllipticCurvePrivateKey) -> str:
        """Put an image of one empty layer, with a signature of each key, and return its reference."""
        layer = gzip.compress(bytes(10240))
        diff = f"sha256:{hashlib.sha256(bytes(10240)).hexdigest()}"
        config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"tag": tag}}}
        digest = self._manifest(
            repository,
            tag,
            json.dumps({**config, "rootfs": {"type": "layers", "diff_ids": [diff]}}).encode(),
            [{"mediaType": f"{OCI}.layer.v1.tar+gzip", **self.blob(repository, layer)}],
        )
        name = f"{self.registry.address}/{repository}"
        critical = {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        }
        payload = json.dumps({"critical": critical, "optional": None}).encode()
        signatures = [base64.b64encode(key.sign(payload, ec.ECDSA(SHA256()))).decode() for key in keys]
        layers: list[dict[str, object]] = [
            {
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "annotations": {"dev.cosignproject.cosign/signature": signature},
                **self.blob(repository, payload),
            }
            for signature in signatures
        ]
        if layers:
            self._manifest(repository, f"{digest.replace(':', '-')}.sig", b"{}", layers)
        return f"{name}:{tag}"

    def _manifest(self, repository: str, tag: str, config: bytes, layers: list[dict[str, object]]) -> str:
        content = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": {"mediaType": f"{OCI}.config.v1+json", **self.blob(repository, config)},
            "layers": layers,
        }
        done = requests.put(
            f"http://{self.registry.address}/v2/{repository}/manifests/{tag}",
            data=json.dumps(content).encode(),
            headers={"Content-Type": f"{OCI}.manifest.v1+json"},
            timeout=30,
        )
        done.raise_for_status()
        return str(done.headers["Docker-Content-Digest"])

    def pull(self, image: str, key: ec.EllipticCurvePrivateKey) -> RunOutput:
        """Pull an image as a node that has the component's files for a key."""
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        policy = ImagePolicy((ImageRef.parse(f"{self.registry.address}/{REPOSITORY}"),), "keys/images.pub", pem)
        config, _ = yaml.safe_load_all(image_policy(sources(), policy)[COMPONENT])
        for file in config["spec"]["config"]["storage"]["files"]:
            here = self.verifiers.folder / file["path"].removeprefix("/etc/containers/")
            here.parent.mkdir(exist_ok=True)
            here.write_bytes(base64.b64decode(file["contents"]["source"].partition(",")[2]))
        return self.verifiers.run(
            f"skopeo --policy policy.json --registries.d registries.d copy -q docker://{image} dir:$(mktemp -d)/image"
        )


@pytest.fixture(name="place", scope="module")
def _place(
    lab: Lab, session: Session, registry: ThrowAwayRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A registry, and programs that pull from it as a node does."""
    folder: Path = tmp_path_factory.mktemp("node")
    with verifiers_for(lab, session, registry, folder) as verifiers:
        yield Place(registry, verifiers)


OLD, NEW = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def test_an_image_needs_a_signature_of_the_policys_key(place: Place) -> None:
    unsigned = place.pull(place.image(REPOSITORY, "unsigned"), NEW)
    assert unsigned.status != 0
    assert "A signature was required, but no signature exists" in unsigned.stderr
    other = place.pull(place.image(REPOSITORY, "other", OLD), NEW)
    assert other.status != 0
    assert "cryptographic signature verification failed" in other.stderr
    assert place.pull(place.image(REPOSITORY, "signed", NEW), NEW).status == 0


def test_while_keys_change_an_image_with_both_signatures_serves_nodes_of_either_policy(place: Place) -> None:
    image = place.image(REPOSITORY, "both", OLD, NEW)
    for key in (OLD, NEW):
        done = place.pull(image, key)
        assert done.status == 0, done.stderr


@pytest.mark.parametrize("repository", ["policy/other", f"{REPOSITORY}-8.3.1", "policy"])
def test_every_other_repository_stays_as_it_was(place: Place, repository: str) -> None:
    done = place.pull(place.image(repository, "unsigned"), NEW)
    assert done.status == 0, done.stderr
