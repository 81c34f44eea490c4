"""Image keys of tests, and what registries of tests have by them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kmatrix.effects.registry.image_signatures import signatures
from kmatrix.effects.registry.referrers import attached
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.signing.image_keys import ImageSigner, load_image_signer
from kmatrix.stages.trust import Trust
from kmatrix.values.matrix import ImageSigning
from kmatrix.values.names import ImageRef


def write_keys(folder: Path, name: str) -> ImageSigning:
    """Write a new key pair (NAME.key, NAME.pub) into a folder, and return the profile's part that names both."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(private)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return ImageSigning.model_validate({"key": f"file:{name}.key", "public_keys": [f"{name}.pub"]})


@cache
def signer(name: str) -> ImageSigner:
    """Return an image key: the same one for the same name."""
    with TemporaryDirectory() as folder:
        return load_image_signer(write_keys(Path(folder), name), Path(folder), {})


def trust(key: str = "", *listed: str, following: str = "") -> Trust:
    """Return the trust in some keys by their names: `key` signs, if there is one, and is listed first.

    Beside it signs `following`, which has to be listed too.
    """
    names = dict.fromkeys((key, *listed) if key else listed)
    return Trust(
        tuple(signer(name).public for name in names),
        signer(key) if key else None,
        following=signer(following) if following else None,
    )


def types_at(registry: RegistryWriter, ref: ImageRef, digest: str) -> list[str]:
    """Return the predicate types of the attestations that an image has, sorted."""
    return sorted(each.predicate_type for each in attached(registry, ref, digest))


def signers_of(registry: RegistryWriter, ref: ImageRef, digest: str, *names: str) -> dict[str, str]:
    """Return which of these keys have signed an image, each with the reference that it signed."""
    found = {}
    for payload, signature in signatures(registry, ref, digest):
        critical = json.loads(payload)["critical"]
        assert critical["image"]["docker-manifest-digest"] == digest
        for name in names:
            if signer(name).public.verify(signature, payload):
                found[name] = critical["identity"]["docker-reference"]
    return found
