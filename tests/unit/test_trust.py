"""The keys of a run: read before anything is built, and the private one only where images are published."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from kmatrix.effects.registry.referrers import attach
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.signing import environment
from kmatrix.effects.signing.bundles import sign_statement
from kmatrix.stages.run_context import Options, RunContext, new_run
from kmatrix.stages.trust import Trust, load_trust, verified
from kmatrix.values.attestation import PROVENANCE, SPDX, TEST_RESULT, Statement
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import ImageSigning
from tests.unit.support.image_registry import NO_CREDENTIALS, image_registry
from tests.unit.support.made_up_profile import profile
from tests.unit.support.saying import Saying
from tests.unit.support.trusted_keys import signer, trust, write_keys


def run_of(root: Path, signing: ImageSigning | None, *, pushes: bool) -> RunContext:
    options = Options(root, "site", profile(image_signing=signing), "r.example/team")
    progress = Saying(print)
    return new_run(cast("Any", None), NO_CREDENTIALS, options, progress, pushes=pushes)


def test_a_run_that_publishes_has_its_image_key(tmp_path: Path) -> None:
    run = run_of(tmp_path, write_keys(tmp_path, "images"), pushes=True)
    assert run.trust.signer is not None
    assert run.trust.keys == (run.trust.signer.public,)
    assert run.trust.signs


def test_a_run_that_publishes_nothing_needs_no_private_key(tmp_path: Path) -> None:
    signing = write_keys(tmp_path, "images")
    (tmp_path / "images.key").unlink()
    run = run_of(tmp_path, signing, pushes=False)
    assert (len(run.trust.keys), run.trust.signer, run.trust.signs) == (1, None, False)
    with pytest.raises(InputError, match=r"images\.key"):
        run_of(tmp_path, signing, pushes=True)


def test_a_public_key_that_is_missing_ends_every_run(tmp_path: Path) -> None:
    signing = write_keys(tmp_path, "images")
    (tmp_path / "images.pub").unlink()
    with pytest.raises(InputError, match=r"images\.pub"):
        run_of(tmp_path, signing, pushes=False)


def test_the_key_of_a_variable_is_taken_out_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_keys(tmp_path, "images")
    monkeypatch.setenv("IMAGE_KEY", (tmp_path / "images.key").read_text(encoding="utf-8"))
    signing = ImageSigning.model_validate({"key": "env:IMAGE_KEY", "public_keys": list(written.public_keys)})
    assert run_of(tmp_path, signing, pushes=True).trust.signer is not None
    with pytest.raises(KeyError):
        monkeypatch.delenv("IMAGE_KEY")


def test_the_key_that_is_to_replace_another_signs_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("images", "next"):
        write_keys(tmp_path, name)
    text = (tmp_path / "next.key").read_bytes()
    encrypted = load_pem_private_key(text, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"the password")
    )
    monkeypatch.setattr(environment, "_taken", {})
    monkeypatch.setenv("SECOND", encrypted.decode())
    monkeypatch.setenv("KMATRIX_IMAGE_KEY_NEXT_PASSWORD", "the password")
    public = ["images.pub", "next.pub"]
    stated = {"key": "file:images.key", "next_key": "env:SECOND", "public_keys": public}
    found = run_of(tmp_path, ImageSigning.model_validate(stated), pushes=True).trust
    assert tuple(each.public for each in found.signers) == found.keys
    assert len(found.keys) == 2
    assert {"SECOND", "KMATRIX_IMAGE_KEY_NEXT_PASSWORD"}.isdisjoint(os.environ)
    with pytest.raises(InputError, match=r"key \(env:SECOND\) is not among public_keys"):
        run_of(tmp_path, ImageSigning.model_validate({**stated, "public_keys": public[:1]}), pushes=True)
    same = {**stated, "next_key": "file:images.key"}
    assert len(run_of(tmp_path, ImageSigning.model_validate(same), pushes=True).trust.signers) == 1


def test_only_a_key_can_be_replaced() -> None:
    with pytest.raises(ValidationError, match="next_key and no key"):
        ImageSigning.model_validate({"next_key": "env:KMATRIX_IMAGE_KEY_NEXT", "public_keys": ["images.pub"]})


def test_public_keys_alone_verify_and_publish_nothing(tmp_path: Path) -> None:
    written = write_keys(tmp_path, "images")
    signing = ImageSigning.model_validate({"public_keys": list(written.public_keys)})
    assert len(run_of(tmp_path, signing, pushes=False).trust.keys) == 1
    with pytest.raises(InputError, match="public_keys and no key") as caught:
        run_of(tmp_path, signing, pushes=True)
    assert "--no-push" in caught.value.hint


def test_a_profile_without_keys_trusts_none(tmp_path: Path) -> None:
    assert run_of(tmp_path, None, pushes=True).trust == Trust()


def test_keyless_signatures_need_cosign_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing = ImageSigning(keyless=True)
    monkeypatch.setattr(environment, "_taken", {})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load_trust(signing, tmp_path, {}, signs=False) == Trust()
    with pytest.raises(InputError, match="cosign"):
        load_trust(signing, tmp_path, {}, signs=True)
    (tmp_path / "cosign").touch(mode=0o755)
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "a-token")
    assert load_trust(signing, tmp_path, {}, signs=True) == Trust(keyless=True)


def test_an_attestation_that_is_labelled_as_another_type_is_none_of_that_type() -> None:
    with image_registry() as server:
        image = server.image("team/image", "1", {"config": {}})
        ref, registry = server.ref("team/image", "1"), RegistryWriter(NO_CREDENTIALS)
        content = sign_statement(Statement(PROVENANCE, ref.repository, image, {"any": 1}), signer("own"))
        attach(registry, ref, image, [(SPDX, content)], lambda: False)
        for types in ({SPDX}, {TEST_RESULT}, {PROVENANCE}):
            assert verified(registry, trust("own"), ref, image, print, frozenset(types)) == ()
        assert len(verified(registry, trust("own"), ref, image, print)) == 1
