"""The key and certificate of modules: where they come from, and what is refused, without a word of the key."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as elliptic_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from kmatrix.effects.signing import environment
from kmatrix.effects.signing.environment import take_keys
from kmatrix.effects.signing.module_keys import load_certificate, load_module_signer
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import ImageSigning, ModuleSigning
from tests.unit.support.made_up_profile import profile
from tests.unit.support.module_keys import module_key

OURS = module_key("ours")
BY_FILE = ModuleSigning(key="file:keys/modules.key", certificate="keys/modules.pem")
BY_VARIABLE = ModuleSigning(key="env:MODULE_KEY", certificate="keys/modules.pem")
PASSWORD = "KMATRIX_MODULE_KEY_PASSWORD"


def encrypted(password: bytes) -> bytes:
    return OURS.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with the key and the certificate."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/modules.key").write_bytes(OURS.pem)
    (tmp_path / "keys/modules.pem").write_bytes(OURS.certificate.public_bytes(Encoding.PEM))
    return tmp_path


def refusal(root: Path, signing: ModuleSigning = BY_FILE, **given: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_module_signer(signing, root, given)
    return caught.value


def test_the_key_and_the_certificate_are_read_from_files(root: Path) -> None:
    signer = load_module_signer(BY_FILE, root, {})
    assert (signer.key, signer.certificate) == (OURS.pem, OURS.der)


def test_the_certificate_may_be_in_der(root: Path) -> None:
    (root / "keys/modules.pem").write_bytes(OURS.der)
    assert load_certificate(BY_FILE, root) == OURS.der


def test_the_key_is_read_from_a_variable(root: Path) -> None:
    assert load_module_signer(BY_VARIABLE, root, {"MODULE_KEY": f"\n{OURS.pem.decode()}"}).key == OURS.pem


def test_a_variable_may_name_a_file_with_the_key(root: Path) -> None:
    named = {"MODULE_KEY": str(root / "keys/modules.key")}
    assert load_module_signer(BY_VARIABLE, root, named).key == OURS.pem


def test_an_encrypted_key_is_opened_with_the_password_of_the_environment(root: Path) -> None:
    (root / "keys/modules.key").write_bytes(encrypted(b"secret"))
    assert load_module_signer(BY_FILE, root, {PASSWORD: "secret"}).key == OURS.pem


def test_a_password_is_not_needed_for_a_plain_key(root: Path) -> None:
    assert load_module_signer(BY_FILE, root, {PASSWORD: "secret"}).key == OURS.pem


def test_an_encrypted_key_without_a_password_is_refused(root: Path) -> None:
    (root / "keys/modules.key").write_bytes(encrypted(b"secret"))
    assert f"{PASSWORD} is not set" in refusal(root).message


def test_a_wrong_password_is_refused_and_not_shown(root: Path) -> None:
    (root / "keys/modules.key").write_bytes(encrypted(b"secret"))
    error = refusal(root, BY_FILE, **{PASSWORD: "hunter2"})
    assert error.message == f"keys/modules.key: the password in {PASSWORD} does not open the key"
    assert error.__cause__ is None


def test_a_missing_key_names_its_file(root: Path) -> None:
    (root / "keys/modules.key").unlink()
    assert refusal(root).message.startswith("keys/modules.key: there is no such file")


@pytest.mark.parametrize("value", ["", " \n"])
def test_a_missing_variable_is_named(root: Path, value: str) -> None:
    assert refusal(root, BY_VARIABLE, MODULE_KEY=value).message.startswith("MODULE_KEY is not set")


@pytest.mark.parametrize("value", ["no key", "a\nb", "x" * 5000, "x" * 300, "/no/such/file", "\x00"])
def test_a_variable_with_something_else_is_refused_and_not_shown(root: Path, value: str) -> None:
    error = refusal(root, BY_VARIABLE, MODULE_KEY=value)
    assert error.message == "MODULE_KEY holds neither a key in PEM nor the path of a file with one"


def test_a_key_in_base64_is_refused_and_not_shown(root: Path) -> None:
    key = elliptic_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    error = refusal(root, BY_VARIABLE, MODULE_KEY=base64.b64encode(key).decode())
    assert error.message == "MODULE_KEY holds neither a key in PEM nor the path of a file with one"
    assert error.__cause__ is None


def test_a_damaged_key_is_refused_and_not_shown(root: Path) -> None:
    pem = OURS.pem.replace(b"\nMII", b"\nXXX")
    (root / "keys/modules.key").write_bytes(pem)
    error = refusal(root)
    assert error.message == "keys/modules.key holds no private key in PEM"
    assert error.__cause__ is None


def test_a_key_in_the_form_of_cosign_is_recognised(root: Path) -> None:
    (root / "keys/modules.key").write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nabc\n")
    assert refusal(root).message == "keys/modules.key: this key is encrypted in cosign's own form"


def test_a_key_of_another_certificate_is_refused(root: Path) -> None:
    (root / "keys/modules.key").write_bytes(module_key("other").pem)
    assert "is not the key of the certificate keys/modules.pem" in refusal(root).message


def test_a_missing_certificate_names_its_file(root: Path) -> None:
    (root / "keys/modules.pem").unlink()
    assert refusal(root).message.startswith("keys/modules.pem: there is no such file")


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nabc\n", b"0\x82", OURS.pem])
def test_a_file_that_is_no_certificate_is_refused(root: Path, content: bytes) -> None:
    (root / "keys/modules.pem").write_bytes(content)
    assert refusal(root).message == "keys/modules.pem is no X.509 certificate in PEM or DER"


def test_a_certificate_of_a_short_key_is_refused(root: Path) -> None:
    (root / "keys/modules.pem").write_bytes(module_key("short", 1024).der)
    assert "RSA key of 2048 bits or more" in refusal(root).message


def test_a_module_key_of_another_kind_is_refused(root: Path) -> None:
    key = elliptic_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (root / "keys/modules.key").write_bytes(key)
    assert "is not the key of the certificate" in refusal(root).message


def test_a_signer_shows_nothing_of_its_key(root: Path) -> None:
    assert repr(load_module_signer(BY_FILE, root, {})) == "ModuleSigner(…)"


def test_keys_and_passwords_leave_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_taken", {})
    signing = ImageSigning(key="env:TEST_IMAGE_KEY", public_keys=("keys/images.pub",))
    wanted = profile().model_copy(update={"image_signing": signing, "module_signing": BY_VARIABLE})
    given = {"TEST_IMAGE_KEY": "a", "MODULE_KEY": "b", PASSWORD: "c", "KMATRIX_IMAGE_KEY_PASSWORD": "d"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert take_keys(wanted).items() >= given.items()
    assert os.environ.keys().isdisjoint(given)
    assert take_keys(wanted).items() >= given.items()


def test_keys_that_the_profile_does_not_take_leave_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI gives a step the same variables for every profile (.github/workflows/publish.yml)."""
    monkeypatch.setattr(environment, "_taken", {})
    given = {"KMATRIX_IMAGE_KEY": "a", "KMATRIX_MODULE_KEY": "b", PASSWORD: "c"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert take_keys(profile()).items() >= given.items()
    assert os.environ.keys().isdisjoint(given)
