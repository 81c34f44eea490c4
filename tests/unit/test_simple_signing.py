"""Payloads of image signatures, and the image that holds them: as cosign writes them, and as CRI-O reads them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from kmatrix.decide.simple_signing import (
    PAYLOAD,
    MalformedPayloadError,
    MalformedSignaturesError,
    SignatureLayer,
    check,
    layers_of,
    payload,
    signature_image,
    signature_layers,
    signature_tag,
)
from kmatrix.values.names import digest_of

IMAGE = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
NAME = "quay.io/team/image"
SIGNED = payload(NAME, IMAGE)


def test_the_payload_is_the_one_that_cosign_writes() -> None:
    assert SIGNED.decode() == (
        '{"critical":{"identity":{"docker-reference":"quay.io/team/image"},"image":{"docker-manifest-digest":"'
        + IMAGE
        + '"},"type":"cosign container image signature"},"optional":null}'
    )
    check(SIGNED, NAME, IMAGE)


def test_a_payload_of_another_program_is_read() -> None:
    """Skopeo names the tag that it copied to, and says who it is."""
    content = json.loads(SIGNED)
    content["critical"]["identity"]["docker-reference"] = f"{NAME}:8.98.1"
    content["optional"] = {"creator": "containers/image 5.30.0", "timestamp": 1}
    check(json.dumps(content).encode(), NAME, IMAGE)


@pytest.mark.parametrize(
    "named", ["docker.io/team/image", "index.docker.io/team/image", "index.docker.io/team/image:1"]
)
@pytest.mark.parametrize("pulled", ["docker.io/team/image", "index.docker.io/team/image"])
def test_docker_hub_has_two_names_for_one_repository(named: str, pulled: str) -> None:
    """Cosign writes the second, and nodes pull by the first."""
    check(payload(named, IMAGE), pulled, IMAGE)
    with pytest.raises(MalformedPayloadError, match="instead of"):
        check(payload(named, IMAGE), f"{pulled}s", IMAGE)


def test_a_short_name_of_docker_hub_is_that_of_its_library() -> None:
    check(payload("index.docker.io/library/image", IMAGE), "docker.io/image", IMAGE)
    with pytest.raises(MalformedPayloadError, match="instead of"):
        check(payload("quay.io/library/image", IMAGE), "quay.io/image", IMAGE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda critical: critical.update(type="atomic container signature"), "it has the type"),
        (lambda critical: critical["image"].update({"docker-manifest-digest": OTHER}), "another image"),
        (lambda critical: critical["image"].update({"docker-manifest-digest": [IMAGE]}), "another image"),
        (lambda critical: critical["identity"].update({"docker-reference": "quay.io/team/images"}), "instead of"),
        (lambda critical: critical["identity"].update({"docker-reference": "quay.io/team/image/x"}), "instead of"),
        (lambda critical: critical["identity"].update({"docker-reference": ""}), "no payload"),
        (lambda critical: critical["identity"].update({"docker-reference": None}), "no payload"),
        (lambda critical: critical.pop("identity"), "no payload"),
        (lambda critical: critical.pop("image"), "no payload"),
    ],
)
def test_a_payload_about_something_else_is_refused(change: Callable[[dict[str, Any]], None], words: str) -> None:
    content = json.loads(SIGNED)
    change(content["critical"])
    with pytest.raises(MalformedPayloadError, match=words):
        check(json.dumps(content).encode(), NAME, IMAGE)


@pytest.mark.parametrize(
    "signed",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        SIGNED.replace(b'"image":', b'"image":{},"image":'),
        SIGNED.replace(b"quay.io/team", b"quay.io/\\ud800"),
    ],
    ids=lambda signed: repr(signed[:8]),
)
def test_bytes_that_are_no_payload_are_refused(signed: bytes) -> None:
    with pytest.raises(MalformedPayloadError, match="no payload of an image signature"):
        check(signed, NAME, IMAGE)


def test_the_tag_of_signatures_is_cosigns() -> None:
    assert signature_tag(IMAGE) == f"sha256-{'a' * 64}.sig"


def test_the_image_of_signatures_has_a_layer_for_each_and_keeps_those_of_others() -> None:
    first = signature_image((), SIGNED, b"one")
    kept = {**json.loads(first.manifest.content)["layers"][0]}
    kept["annotations"]["dev.sigstore.cosign/certificate"] = "of somebody else"
    image = signature_image((kept,), SIGNED, b"two")
    content = json.loads(image.manifest.content)
    assert content["layers"] == [
        kept,
        {
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "size": len(SIGNED),
            "digest": digest_of(SIGNED),
            "annotations": {"dev.cosignproject.cosign/signature": base64.b64encode(b"two").decode()},
        },
    ]
    assert image.manifest.media_type == content["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert content["config"] == {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "size": len(image.config),
        "digest": digest_of(image.config),
    }
    assert json.loads(image.config)["rootfs"] == {"type": "layers", "diff_ids": [digest_of(SIGNED)] * 2}
    assert signature_layers(image.manifest.content) == tuple(
        SignatureLayer(digest_of(SIGNED), len(SIGNED), signature) for signature in (b"one", b"two")
    )


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"{}", b'{"layers": 7}', b"[" * 100_000, b'{"mediaType": "x", "layers": []}']
)
def test_a_manifest_that_is_not_of_signatures_is_refused(manifest: bytes) -> None:
    with pytest.raises(MalformedSignaturesError):
        layers_of(manifest)


GOOD = {
    "mediaType": PAYLOAD,
    "digest": digest_of(SIGNED),
    "size": 7,
    "annotations": {"dev.cosignproject.cosign/signature": "b25l"},
}


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"digest": "sha256:short"}, False),
        ({"digest": 7}, False),
        ({"size": "7"}, False),
        ({"size": True}, False),
        ({"size": -1}, False),
        ({"mediaType": None}, False),
        ({"mediaType": "application/octet-stream"}, True),
        ({"annotations": None}, True),
        ({"annotations": []}, True),
        ({"annotations": {}}, True),
        ({"annotations": {"dev.cosignproject.cosign/signature": 7}}, True),
        ({"annotations": {"dev.cosignproject.cosign/signature": "*"}}, True),
        ({"annotations": {"dev.cosignproject.cosign/signature": "ü"}}, True),
    ],
    ids=repr,
)
def test_a_layer_that_is_no_signature_costs_none_of_the_others(change: dict[str, Any], kept: bool) -> None:
    manifest = json.dumps({"layers": [{**GOOD, **change}, "x", None, GOOD]}).encode()
    assert len(layers_of(manifest)) == 1 + kept
    assert [each.signature for each in signature_layers(manifest)] == [b"one"]


def test_the_oldest_layers_leave_an_image_that_would_be_too_large() -> None:
    layers = [{**GOOD, "size": number} for number in range(1500)]
    content = json.loads(signature_image(layers, SIGNED, b"new").manifest.content)
    assert [each["size"] for each in content["layers"]] == [*range(501, 1500), len(SIGNED)]
    large = [{**GOOD, "size": number, "annotations": {"x": "y" * 300_000}} for number in range(10)]
    image = signature_image(large, SIGNED, b"new")
    assert len(image.manifest.content) < 4 << 20
    assert [each["size"] for each in json.loads(image.manifest.content)["layers"]] == [*range(4, 10), len(SIGNED)]
