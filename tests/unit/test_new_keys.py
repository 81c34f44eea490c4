"""New keys: what openssl and the kernel ask of them, and files that are never overwritten or left in part."""

from __future__ import annotations

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from kmatrix.effects.signing.key_files import KeyFile, write_key_files
from kmatrix.effects.signing.new_keys import MODULE_KEY_BITS, new_image_key, new_module_key
from kmatrix.values.errors import InputError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
# The smallest key that kernels in FIPS mode accept; the default takes longer to find.
BITS = 2048
NAME = "Storage team, modules"


@pytest.fixture(scope="module")
def module_key() -> tuple[KeyFile, KeyFile, KeyFile]:
    return new_module_key(NAME, NOW, 3, "secret", BITS)


def test_an_image_key_is_a_pair_on_the_curve_that_cosign_uses() -> None:
    private, public = new_image_key()
    key = load_pem_private_key(private.content, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key.public_key() == load_pem_public_key(public.content)
    assert (private.private, public.private) == (True, False)
    assert private.content.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_a_password_encrypts_the_private_keys_alone(module_key: tuple[KeyFile, KeyFile, KeyFile]) -> None:
    image, public = new_image_key("secret")
    for private in (image, module_key[0]):
        assert private.content.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        with pytest.raises(TypeError):
            load_pem_private_key(private.content, None)
        assert load_pem_private_key(private.content, b"secret")
    assert public.content.startswith(b"-----BEGIN PUBLIC KEY-----")


def test_a_modules_certificate_is_for_modules_alone(module_key: tuple[KeyFile, KeyFile, KeyFile]) -> None:
    private, der, pem = module_key
    certificate = x509.load_pem_x509_certificate(pem.content)
    key = load_pem_private_key(private.content, b"secret")
    assert isinstance(key, rsa.RSAPrivateKey)
    assert certificate == x509.load_der_x509_certificate(der.content)
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(certificate)
    assert certificate.subject.rfc4514_string() == "CN=Storage team\\, modules"
    extensions = certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign) == (True, False)
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [each.dotted_string for each in purposes] == ["1.3.6.1.5.5.7.3.3", "1.3.6.1.4.1.2312.16.1.2"]
    own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == own
    # Shim takes certificates whose length has two bytes alone.
    assert der.content[:2] == b"\x30\x82"


def test_a_modules_certificate_is_valid_from_a_little_earlier_for_the_years_that_were_asked_for(
    module_key: tuple[KeyFile, KeyFile, KeyFile],
) -> None:
    certificate = x509.load_pem_x509_certificate(module_key[2].content)
    assert certificate.not_valid_before_utc == NOW - timedelta(hours=1)
    assert certificate.not_valid_after_utc == NOW + timedelta(days=1095)


def test_a_module_key_has_the_size_of_the_kernels_own_by_default() -> None:
    assert MODULE_KEY_BITS == 4096


def test_openssl_signs_as_sign_file_does_and_verifies_with_the_certificate(
    tmp_path: Path, module_key: tuple[KeyFile, KeyFile, KeyFile]
) -> None:
    write_key_files(tmp_path, module_key)
    (tmp_path / "module").write_bytes(b"a module")
    form = ("-binary", "-outform", "DER", "-noattr", "-nocerts", "-md", "sha256", "-in", "module", "-out", "signature")
    signer = ("-signer", "modules.pem", "-inkey", "modules.key", "-passin", "pass:secret")
    openssl(tmp_path, "cms", "-sign", *form, *signer)
    asked = ("-binary", "-inform", "DER", "-in", "signature", "-content", "module", "-certfile", "modules.der")
    openssl(tmp_path, "cms", "-verify", *asked, "-nointern", "-noverify", "-out", os.devnull)


def openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_private_keys_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "keys"
    write_key_files(folder, new_image_key())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes == {"keys": 0o700, "images.key": 0o600, "images.pub": 0o644 & ~umask()}


def umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found


def test_no_file_is_overwritten_and_none_is_left_of_those_that_were_written(tmp_path: Path) -> None:
    (tmp_path / "images.pub").write_text("in use", encoding="ascii")
    with pytest.raises(InputError, match=r"images\.pub exists already") as caught:
        write_key_files(tmp_path, new_image_key())
    assert "another folder" in caught.value.hint
    assert [(path.name, path.read_text(encoding="ascii")) for path in tmp_path.iterdir()] == [("images.pub", "in use")]


def test_an_interrupted_write_leaves_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int, _: str) -> None:
        os.close(descriptor)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fdopen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_key_files(tmp_path, new_image_key())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"cannot write {tmp_path}/file/keys"):
        write_key_files(tmp_path / "file" / "keys", new_image_key())
