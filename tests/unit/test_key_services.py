"""Keys that a token or a service keeps: a stand-in signs in securesystemslib's place, beside the real ones."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import (
    SIGNER_FOR_URI_SCHEME,
    CryptoSigner,
    Key,
    SecretsHandler,
    Signature,
    Signer,
    SSlibKey,
)

from kmatrix.effects.signing.environment import IMAGE_KEY_PASSWORD
from kmatrix.effects.signing.image_keys import PublicKey, load_image_signer
from kmatrix.values.errors import InputError, UnreachableError
from kmatrix.values.matrix import ImageSigning
from tests.unit.support.image_keys import private_key, public_pem

PIN = "1234-secret"
ADDRESS = "awskms:alias/images"


class Token(Signer):
    """A token with one key: it wants its PIN, and serves one thread at a time."""

    key: Any = None
    failure: Exception | None = None
    at_loading = False
    refused = ""
    signings = 0
    at_work = 0

    def __init__(self, public: Key, secret: SecretsHandler | None) -> None:
        self._public = public
        self._secret = secret

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        assert priv_key_uri == ADDRESS
        if cls.failure and cls.at_loading:
            raise cls.failure
        assert isinstance(public_key, SSlibKey)
        if public_key.keytype == cls.refused:
            raise ValueError(f"unsupported {cls.refused}")
        return cls(public_key, secrets_handler)

    @property
    def public_key(self) -> Key:
        return self._public

    def sign(self, payload: bytes) -> Signature:
        Token.signings += 1
        assert self._secret is not None
        if self._secret("pin") != PIN:
            raise RuntimeError("CKR_PIN_INCORRECT")
        if self.failure:
            raise self.failure
        assert Token.at_work == 0
        Token.at_work += 1
        try:
            assert isinstance(self._public, SSlibKey)
            scheme = self._public.scheme
            return CryptoSigner(self.key, SSlibKey.from_crypto(self.key.public_key(), scheme=scheme)).sign(payload)
        finally:
            Token.at_work -= 1


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> type[Token]:
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "awskms", Token)
    monkeypatch.setattr(Token, "key", private_key())
    monkeypatch.setattr(Token, "failure", None)
    monkeypatch.setattr(Token, "at_loading", False)
    monkeypatch.setattr(Token, "refused", "")
    return Token


@pytest.fixture
def signing(tmp_path: Path) -> ImageSigning:
    """Keys of a profile: the second public one is that of the token."""
    (tmp_path / "old.pub").write_bytes(public_pem(private_key(which=1)))
    (tmp_path / "new.pub").write_bytes(public_pem(private_key()))
    return ImageSigning(key=ADDRESS, public_keys=("old.pub", "new.pub"))


@pytest.mark.usefixtures("token")
def test_a_service_signs_and_the_public_key_that_verifies_it_is_found(tmp_path: Path, signing: ImageSigning) -> None:
    signer = load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: PIN})
    assert signer.public == PublicKey.parse(public_pem(private_key()))
    assert signer.public.verify(signer.sign(b"payload"), b"payload")


def test_an_rsa_key_signs_by_the_padding_that_cri_o_verifies(
    tmp_path: Path, signing: ImageSigning, token: type[Token]
) -> None:
    token.key = private_key("rsa")
    assert isinstance(token.key, rsa.RSAPrivateKey)
    (tmp_path / "new.pub").write_bytes(public_pem(token.key))
    signing = signing.model_copy(update={"public_keys": ("new.pub",)})
    signer = load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: PIN})
    # Not PSS, which `verify` refuses.
    assert signer.public.verify(signer.sign(b"payload"), b"payload")


def test_a_public_key_that_the_service_cannot_have_is_passed_over(
    tmp_path: Path, signing: ImageSigning, token: type[Token]
) -> None:
    """A token of ECDSA keys takes no RSA key."""
    (tmp_path / "old.pub").write_bytes(public_pem(private_key("rsa")))
    token.refused = "rsa"
    assert load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: PIN}).sign(b"payload")
    token.refused = "ecdsa"
    only = signing.model_copy(update={"public_keys": ("new.pub",)})
    with pytest.raises(InputError, match="is not accepted: unsupported ecdsa"):
        load_image_signer(only, tmp_path, {IMAGE_KEY_PASSWORD: PIN})


def test_a_wrong_pin_is_tried_once(tmp_path: Path, signing: ImageSigning, token: type[Token]) -> None:
    """A token locks itself after a few."""
    token.signings = 0
    with pytest.raises(UnreachableError):
        load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: "9999-wrong"})
    assert token.signings == 1


def test_a_key_of_none_of_the_public_keys_is_refused(tmp_path: Path, signing: ImageSigning, token: type[Token]) -> None:
    token.key = private_key(which=2)
    with pytest.raises(InputError, match=f"none of public_keys verifies what the key at {ADDRESS} signs"):
        load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: PIN})


@pytest.mark.usefixtures("token")
def test_a_missing_pin_is_told_and_a_wrong_one_never_shown(tmp_path: Path, signing: ImageSigning) -> None:
    with pytest.raises(InputError, match=f"needs a pin, and {IMAGE_KEY_PASSWORD} is not set"):
        load_image_signer(signing, tmp_path, {})
    with pytest.raises(UnreachableError, match="CKR_PIN_INCORRECT") as caught:
        load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: "9999-wrong"})
    assert "9999-wrong" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("at_loading", [True, False])
def test_a_service_that_fails_is_out_of_reach_and_its_words_lose_the_pin(
    tmp_path: Path, signing: ImageSigning, token: type[Token], at_loading: bool
) -> None:
    token.failure, token.at_loading = OSError(f"no token takes {PIN}"), at_loading
    with pytest.raises(UnreachableError, match=r"OSError: no token takes \*\*\*") as caught:
        load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: PIN})
    assert PIN not in str(caught.value)


def test_a_malformed_address_and_a_missing_package_are_the_users(
    tmp_path: Path, signing: ImageSigning, token: type[Token]
) -> None:
    token.at_loading, token.failure = True, ValueError("no alias")
    with pytest.raises(InputError, match=f"{ADDRESS} is not accepted: no alias"):
        load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: PIN})
    token.failure = UnsupportedLibraryError("boto3 required")
    with pytest.raises(InputError, match="package that is not installed") as caught:
        load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: PIN})
    assert "pip install 'securesystemslib[awskms]'" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "extra"), [("hsm:2?label=token", "hsm"), ("hv:key", "vault"), ("gcpkms:projects/p", "gcpkms")]
)
def test_each_service_names_the_package_that_it_needs(
    tmp_path: Path, signing: ImageSigning, monkeypatch: pytest.MonkeyPatch, address: str, extra: str
) -> None:
    scheme = address.partition(":")[0]

    class Missing(Token):
        @classmethod
        def from_priv_key_uri(cls, *_: object, **__: object) -> Signer:
            raise UnsupportedLibraryError("required")

    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, scheme, Missing)
    with pytest.raises(InputError) as caught:
        load_image_signer(signing.model_copy(update={"key": address}), tmp_path, {IMAGE_KEY_PASSWORD: PIN})
    assert f"securesystemslib[{extra}]" in caught.value.hint


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("count", [1, 2], ids=["of one key", "of both keys, while one replaces the other"])
def test_threads_sign_one_after_the_other(tmp_path: Path, signing: ImageSigning, count: int) -> None:
    """A token may have both keys, and the one's login and logout are the other's."""
    signers = [load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: PIN}) for _ in range(count)]
    made: list[bytes] = []

    def work(number: int) -> None:
        signer = signers[number % count]
        made.extend(signer.sign(b"x") for _ in range(50))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 200
