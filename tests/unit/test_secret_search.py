"""The search of tests/integration/signatures/test_key_hygiene.py finds a key or a password in whatever form it lies."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from kmatrix.effects.signing.new_keys import new_image_key, new_module_key
from tests.integration.support.hygiene import watched
from tests.integration.support.hygiene.secret_search import (
    Forms,
    forms_of_data,
    forms_of_key,
    forms_of_text,
    found_below,
    found_in,
)
from tests.integration.support.hygiene.watched import Sightings, watched_processes

BITS = 2048
# Tests that another worker runs at the same time have processes with theirs.
PASSWORD = f"a password: 'quoted\" and long enough, of {os.getpid()}"
IMAGE_KEY, IMAGE_PUBLIC = (file.content for file in new_image_key(PASSWORD))
MODULE_KEY, CERTIFICATE, CERTIFICATE_PEM = (
    file.content for file in new_module_key("test", datetime.now(UTC), 1, PASSWORD, BITS)
)
KEYS = {"image": IMAGE_KEY, "module": MODULE_KEY}
FORMS: Forms = {
    **forms_of_key("image", IMAGE_KEY, PASSWORD),
    **forms_of_key("module", MODULE_KEY, PASSWORD),
    **forms_of_text("password", PASSWORD),
}


def opened(pem: bytes, encoding: Encoding, kind: PrivateFormat) -> bytes:
    return load_pem_private_key(pem, PASSWORD.encode()).private_bytes(encoding, kind, NoEncryption())


def written(pem: bytes) -> dict[str, bytes]:
    """Return a key as programs write it down."""
    plain = opened(pem, Encoding.PEM, PrivateFormat.PKCS8)
    der = opened(pem, Encoding.DER, PrivateFormat.PKCS8)
    return {
        "the file": pem,
        "opened": plain,
        "opened in the older form": opened(pem, Encoding.PEM, PrivateFormat.TraditionalOpenSSL),
        "DER": der,
        "older DER": opened(pem, Encoding.DER, PrivateFormat.TraditionalOpenSSL),
        "hexadecimal": der.hex().encode(),
        "base64 in one line": base64.b64encode(der),
        "base64 behind another byte": base64.b64encode(b"x" + der),
        "base64 behind two bytes": base64.b64encode(b"xx" + der),
        "base64 for addresses": base64.urlsafe_b64encode(der),
        "JSON": json.dumps({"key": plain.decode()}).encode(),
    }


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("form", written(IMAGE_KEY))
def test_a_key_is_found_in_each_form(name: str, form: str) -> None:
    data = b"before " + written(KEYS[name])[form] + b" after"
    assert found_in(data, FORMS) == {name}


@pytest.mark.parametrize(
    "data",
    [
        PASSWORD.encode(),
        json.dumps(PASSWORD).encode(),
        base64.b64encode(b"user:" + PASSWORD.encode()),
        base64.b64encode(b"any user:" + PASSWORD.encode() + b"\n"),
        PASSWORD.encode().hex().encode(),
    ],
    ids=["plain", "JSON", "base64", "base64, moved", "hexadecimal"],
)
def test_a_password_is_found_in_each_form(data: bytes) -> None:
    assert found_in(b"x" + data + b"y", FORMS) == {"password"}


def archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        member = tarfile.TarInfo("a/file")
        member.size = len(content)
        made.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "wrap",
    [
        gzip.compress,
        archive,
        lambda data: gzip.compress(archive(data)),
        lambda data: archive(gzip.compress(archive(data))),
        lambda data: archive(archive(gzip.compress(data))),
    ],
    ids=["gzip", "tar", "a layer", "a saved image", "a compressed file in a layer of a saved image"],
)
def test_layers_and_compressed_files_are_opened(wrap: object) -> None:
    assert callable(wrap)
    assert found_in(wrap(b"x" * 600 + IMAGE_KEY), FORMS) == {"image"}
    assert found_in(wrap(b"x" * 600), FORMS) == set()


def test_public_halves_and_other_keys_are_no_secrets() -> None:
    others = [file.content for file in (*new_image_key(), *new_module_key("o", datetime.now(UTC), 1, "", BITS))]
    key = load_pem_private_key(MODULE_KEY, PASSWORD.encode())
    assert isinstance(key, RSAPrivateKey)
    modulus = key.public_key().public_numbers().n.to_bytes(BITS // 8)
    shared = [base64.b64encode(modulus[start:]) for start in range(3)]
    for data in (IMAGE_PUBLIC, CERTIFICATE, CERTIFICATE_PEM, *others, *shared):
        assert found_in(data, FORMS) == set()
    assert found_in(b"x" + CERTIFICATE, forms_of_data("certificate", CERTIFICATE)) == {"certificate"}


def test_files_are_searched_but_for_those_that_may_have_a_key(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "images.key").write_bytes(IMAGE_KEY)
    (tmp_path / "log").write_text(f"said {PASSWORD}", encoding="utf-8")
    assert found_below(tmp_path, FORMS) == {"keys/images.key": {"image"}, "log": {"password"}}
    assert found_below(tmp_path, FORMS, [tmp_path / "keys" / "images.key"]) == {"log": {"password"}}


@pytest.mark.parametrize("place", ["cmdline", "environ"])
def test_a_key_of_a_process_is_seen(place: str) -> None:
    code = "import sys; print(flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-c", code, *([PASSWORD] if place == "cmdline" else [])]
    environment = {**os.environ, **({"LEAKED": PASSWORD} if place == "environ" else {})}
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, env=environment, stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        assert process.stdin
        process.stdout.readline()
        seen = Sightings()
        seen.look(FORMS, frozenset())
        ours = Sightings()
        ours.look(FORMS, frozenset({process.pid}))
        with watched_processes(FORMS, frozenset()) as all_of_them:
            process.stdin.close()
            process.wait()
    name = Path(sys.executable).name
    assert seen.found == {(name, place, "password")}
    assert ours.found == (set() if place == "environ" else seen.found), (
        "of our own processes the environment may have it"
    )
    assert all_of_them.programs


def test_our_own_process_is_known_before_it_has_a_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_command_line", lambda _: b"")
    environment = {**os.environ, "GIVEN": PASSWORD}
    with subprocess.Popen(["cat"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        seen = Sightings()
        seen.look(FORMS, frozenset({process.pid}))
    assert seen.found == set()
