"""Image keys: where they are read from, what is refused of them, and what openssl says of their signatures."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kmatrix.effects.signing.environment import IMAGE_KEY_PASSWORD
from kmatrix.effects.signing.image_keys import PublicKey, load_image_signer, load_public_keys
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import ImageSigning
from tests.unit.support.image_keys import private_key, private_pem, public_pem, write_keys
from tests.unit.support.programs import needs

PAYLOAD = b"what is signed"
KINDS = ("p256", "rsa", "ed25519")


@pytest.mark.parametrize(
    ("kind", "traditional"), [("p256", False), ("p256", True), ("rsa", False), ("rsa", True), ("ed25519", False)]
)
def test_a_key_in_a_file_signs_what_its_public_half_verifies(tmp_path: Path, kind: str, traditional: bool) -> None:
    signing = write_keys(tmp_path, private_key(kind), traditional=traditional)
    signer = load_image_signer(signing, tmp_path, {})
    signature = signer.sign(PAYLOAD)
    (public,) = load_public_keys(signing, tmp_path)
    assert signer.public == public
    assert public.verify(signature, PAYLOAD)
    assert not public.verify(signature, PAYLOAD + b".")
    assert not public.verify(signature[:-1], PAYLOAD)
    assert not public.verify(b"", PAYLOAD)


@pytest.mark.parametrize("kind", KINDS)
def test_another_key_of_any_kind_does_not_verify(tmp_path: Path, kind: str) -> None:
    signature = load_image_signer(write_keys(tmp_path, private_key(kind)), tmp_path, {}).sign(PAYLOAD)
    others = [PublicKey.parse(public_pem(private_key(each, 1))) for each in KINDS]
    assert [other.verify(signature, PAYLOAD) for other in others] == [False] * 3


@needs("openssl")
@pytest.mark.parametrize("kind", ["p256", "rsa"])
def test_openssl_verifies_the_signatures(tmp_path: Path, kind: str) -> None:
    signer = load_image_signer(write_keys(tmp_path, private_key(kind)), tmp_path, {})
    (tmp_path / "signature").write_bytes(signer.sign(PAYLOAD))
    command = ["openssl", "dgst", "-sha256", "-verify", "images.pub", "-signature", "signature"]
    done = subprocess.run(command, cwd=tmp_path, input=PAYLOAD, capture_output=True, check=False)
    assert done.stdout == b"Verified OK\n"
    changed = subprocess.run(command, cwd=tmp_path, input=b"another", capture_output=True, check=False)
    assert changed.returncode == 1


def test_the_hint_is_the_digest_of_the_public_keys_der_form() -> None:
    pem = public_pem(private_key())
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    assert PublicKey.parse(pem).hint == base64.b64encode(hashlib.sha256(der).digest()).decode()


def test_equal_public_keys_are_equal_in_whatever_spelling_and_listed_once(tmp_path: Path) -> None:
    pem = public_pem(private_key())
    (tmp_path / "a.pub").write_bytes(pem)
    (tmp_path / "b.pub").write_bytes(b"A key of the CI.\r\n" + pem.replace(b"\n", b"\r\n"))
    (tmp_path / "c.pub").write_bytes(public_pem(private_key("rsa")))
    keys = load_public_keys(ImageSigning(public_keys=("a.pub", "b.pub", "c.pub")), tmp_path)
    assert [key.pem.encode() for key in keys] == [pem, public_pem(private_key("rsa"))]


@pytest.mark.parametrize("traditional", [False, True])
def test_a_key_in_a_variable_is_decrypted_with_the_password_of_another(tmp_path: Path, traditional: bool) -> None:
    write_keys(tmp_path, private_key())
    pem = private_pem(private_key(), "a secret", traditional).decode()
    signing = ImageSigning(key="env:IMAGE_KEY", public_keys=("images.pub",))
    signer = load_image_signer(signing, tmp_path, {"IMAGE_KEY": pem, IMAGE_KEY_PASSWORD: "a secret"})
    assert signer.public.verify(signer.sign(PAYLOAD), PAYLOAD)
    with pytest.raises(InputError, match=f"is encrypted, and {IMAGE_KEY_PASSWORD} is not set"):
        load_image_signer(signing, tmp_path, {"IMAGE_KEY": pem})
    with pytest.raises(InputError, match=f"the password in {IMAGE_KEY_PASSWORD} does not open the key") as caught:
        load_image_signer(signing, tmp_path, {"IMAGE_KEY": pem, IMAGE_KEY_PASSWORD: "wrong one"})
    assert "wrong one" not in f"{caught.value}{caught.value.hint}{caught.value.__context__!r}"


def test_a_variable_may_name_a_file_as_gitlabs_do(tmp_path: Path) -> None:
    write_keys(tmp_path, private_key())
    signing = ImageSigning(key="env:IMAGE_KEY", public_keys=("images.pub",))
    assert load_image_signer(signing, tmp_path, {"IMAGE_KEY": str(tmp_path / "images.key")}).sign(PAYLOAD)


def test_a_password_that_the_key_does_not_need_is_not_used(tmp_path: Path) -> None:
    signing = write_keys(tmp_path, private_key())
    assert load_image_signer(signing, tmp_path, {IMAGE_KEY_PASSWORD: "needless"}).sign(PAYLOAD)


def test_the_new_key_of_a_rotation_signs_and_the_old_one_still_verifies(tmp_path: Path) -> None:
    signing = write_keys(tmp_path, private_key())
    signature = load_image_signer(signing, tmp_path, {}).sign(PAYLOAD)
    (tmp_path / "old.pub").write_bytes((tmp_path / "images.pub").read_bytes())
    write_keys(tmp_path, private_key(which=1))
    rotated = ImageSigning(key="file:images.key", public_keys=("images.pub", "old.pub"))
    signer = load_image_signer(rotated, tmp_path, {})
    keys = load_public_keys(rotated, tmp_path)
    assert [key.verify(signature, PAYLOAD) for key in keys] == [False, True]
    assert [key.verify(signer.sign(PAYLOAD), PAYLOAD) for key in keys] == [True, False]


def of_openssh() -> bytes:
    return private_key("ed25519").private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


COSIGN = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\neyJrZGYi\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
BROKEN = private_pem(private_key()).replace(b"MIGHAgEA", b"AAAAAAAA")


@pytest.mark.parametrize(
    ("content", "words", "hint"),
    [
        (b"", "holds no private key in PEM", "nox -s keys -- new FOLDER"),
        (b" \n", "holds no private key in PEM", "nox -s keys -- new FOLDER"),
        (b"hunter2", "holds no private key in PEM", "nox -s keys -- new"),
        (public_pem(private_key()), "holds no private key in PEM", "nox -s keys -- new"),
        (BROKEN, "holds no private key in PEM", "nox -s keys -- new"),
        (COSIGN.encode(), "encrypted in cosign's own form", "nox -s keys -- new FOLDER"),
        (COSIGN.replace("SIGSTORE", "COSIGN").encode(), "encrypted in cosign's own form", "list both public keys"),
        (of_openssh(), "holds no private key in PEM", "nox -s keys -- new FOLDER"),
        (private_pem(private_key("p384")), "is of another kind than ECDSA on the curve P-256", "keys -- new"),
        (private_pem(private_key("rsa-short")), "is of another kind", "keys -- new"),
        (private_pem(private_key("dsa")), "is of another kind", "keys -- new"),
        (private_pem(private_key(which=1)), "public half of key .* is not among public_keys: images.pub", "-pubout"),
    ],
)
def test_what_is_no_private_key_is_refused_with_the_next_step_and_never_shown(
    tmp_path: Path, content: bytes, words: str, hint: str
) -> None:
    signing = write_keys(tmp_path, private_key())
    (tmp_path / "images.key").write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        load_image_signer(signing, tmp_path, {})
    assert hint in caught.value.hint
    assert "images.key" in caught.value.message
    shown = f"{caught.value.message}{caught.value.hint}"
    for line in content.decode().splitlines():
        assert not line.strip() or line.startswith("-----") or line not in shown


def test_a_missing_file_or_variable_is_told_by_its_name(tmp_path: Path) -> None:
    signing = write_keys(tmp_path, private_key())
    (tmp_path / "images.key").unlink()
    with pytest.raises(InputError, match=r"images\.key: there is no such file"):
        load_image_signer(signing, tmp_path, {})
    named = ImageSigning(key="env:IMAGE_KEY", public_keys=("images.pub",))
    with pytest.raises(InputError, match="IMAGE_KEY is not set"):
        load_image_signer(named, tmp_path, {})
    with pytest.raises(InputError, match="IMAGE_KEY is not set"):
        load_image_signer(named, tmp_path, {"IMAGE_KEY": "\n"})
    with pytest.raises(InputError, match="key is missing"):
        load_image_signer(ImageSigning(public_keys=("images.pub",)), tmp_path, {})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no public key in PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no public key in PEM"),
        (private_pem(private_key()), "holds a private key"),
        (private_pem(private_key(), "secret"), "holds a private key"),
        (public_pem(private_key("p384")), "public key of another kind"),
        (public_pem(private_key("rsa-short")), "public key of another kind"),
        (public_pem(private_key("dsa")), "public key of another kind"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_public_key_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    signing = write_keys(tmp_path, private_key())
    (tmp_path / "images.pub").unlink()
    if content is not None:
        (tmp_path / "images.pub").write_bytes(content)
    with pytest.raises(InputError, match=rf"images\.pub:? .*{words}"):
        load_public_keys(signing, tmp_path)
    with pytest.raises(InputError, match=words):
        load_image_signer(signing, tmp_path, {})


def test_a_signer_shows_no_private_key(tmp_path: Path) -> None:
    signer = load_image_signer(write_keys(tmp_path, private_key()), tmp_path, {})
    assert "PRIVATE" not in repr(signer)
    assert "lambda" not in repr(signer)
