"""Keyless signatures: cosign is called as its help says, reads the login from a file, and its faults are told."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.signing import environment
from kmatrix.effects.signing.cosign import attest_keyless, require_cosign, sign_keyless
from kmatrix.effects.signing.environment import take_keys
from kmatrix.values.attestation import TEST_RESULT, Statement
from kmatrix.values.engine import RegistryLogin
from kmatrix.values.errors import InputError, ToolError
from kmatrix.values.names import ImageRef

DIGEST = "sha256:" + "a" * 64
REF = ImageRef.parse(f"r.example/team/image:1@{DIGEST}")
PINNED = f"r.example/team/image@{DIGEST}"
LOGIN = RegistryLogin("robot", "a-password")
GITHUB = {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://t.example", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "a-token"}
# Notes how it is called, and what it can read, one line each.
PROGRAM = """#!/usr/bin/env python3
import json, os, pathlib, sys
here = pathlib.Path(sys.argv[0]).parent
folder = os.environ.get("DOCKER_CONFIG")
config = pathlib.Path(folder or here, "config.json")
arguments = sys.argv[1:]
predicate = arguments[arguments.index("--predicate") + 1] if "--predicate" in arguments else None
call = {
    "arguments": arguments,
    "config": json.loads(config.read_text()) if config.exists() else None,
    "mode": oct(config.stat().st_mode & 0o777) if config.exists() else None,
    "folder": folder,
    "predicate": json.loads(pathlib.Path(predicate).read_text()) if predicate else None,
    "identity": sorted(name for name in os.environ if "ID_TOKEN" in name),
}
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(call) + "\\n")
if arguments[0] == "version":
    print((here / "version").read_text())
elif (here / "fault").exists():
    sys.exit(print((here / "fault").read_text(), file=sys.stderr) or 7)
"""


@dataclass
class Cosign:
    """A program in place of cosign, which notes its calls."""

    folder: Path

    @property
    def all_calls(self) -> list[dict[str, Any]]:
        lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [call for call in self.all_calls if call["arguments"][0] != "version"]

    def version(self, text: str) -> None:
        (self.folder / "version").write_text(text, encoding="utf-8")

    def fail(self, message: str) -> None:
        (self.folder / "fault").write_text(message, encoding="utf-8")


@pytest.fixture
def cosign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cosign:
    program = tmp_path / "cosign"
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    made = Cosign(tmp_path)
    made.version(json.dumps({"gitVersion": "v2.5.0"}))
    return made


def test_an_image_is_signed_by_its_digest_with_the_login_in_a_file(cosign: Cosign) -> None:
    sign_keyless(REF, LOGIN)
    (call,) = cosign.calls
    assert call["arguments"] == ["sign", "--yes", PINNED]
    pair = base64.b64encode(b"robot:a-password").decode()
    assert call["config"] == {"auths": {"r.example": {"auth": pair}}}
    assert call["mode"] == "0o600"
    assert not Path(call["folder"]).exists(), "the login is gone afterwards"


def test_a_version_that_writes_another_form_by_default_is_told_to_write_the_classic_one(cosign: Cosign) -> None:
    cosign.version(json.dumps({"gitVersion": "v3.0.2"}))
    sign_keyless(REF, None)
    (call,) = cosign.calls
    assert call["arguments"] == ["sign", "--yes", "--new-bundle-format=false", "--use-signing-config=false", PINNED]
    assert call["config"] == {"auths": {}}


@pytest.mark.parametrize("text", ["cosign 2.5", "{}", '{"gitVersion": "devel"}', "[]"])
def test_a_version_that_is_not_known_is_told(cosign: Cosign, text: str) -> None:
    cosign.version(text)
    with pytest.raises(ToolError, match="does not name its version"):
        sign_keyless(REF, None)


def test_a_predicate_goes_by_a_file_under_its_own_type(cosign: Cosign) -> None:
    attest_keyless(REF, Statement(TEST_RESULT, REF.repository, DIGEST, {"result": "PASSED"}), LOGIN)
    (call,) = cosign.calls
    arguments = call["arguments"]
    assert (arguments[:5], arguments[-1]) == (["attest", "--yes", "--type", TEST_RESULT, "--predicate"], PINNED)
    assert call["predicate"] == {"result": "PASSED"}
    assert not Path(arguments[5]).exists()


def test_docker_hub_and_identity_tokens_are_written_as_docker_does(cosign: Cosign) -> None:
    sign_keyless(ImageRef.parse(f"docker.io/team/image@{DIGEST}"), RegistryLogin(identity_token="an-identity"))
    (call,) = cosign.calls
    assert call["config"] == {"auths": {"https://index.docker.io/v1/": {"identitytoken": "an-identity"}}}


def test_a_fault_is_told_without_tokens(cosign: Cosign) -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
    cosign.fail(f"noise\nError: signing [x]: getting signer: fulcio refuses {token}")
    with pytest.raises(ToolError, match=r"cosign sign ended with status 7: Error: .* fulcio refuses \*\*\*$") as caught:
        sign_keyless(REF, LOGIN)
    assert "eyJ" not in caught.value.message
    assert "a-password" not in str(caught.value)


def set_identity(monkeypatch: pytest.MonkeyPatch, identity: dict[str, str]) -> None:
    """Give this process the identity alone, as a CI job has it when a command begins."""
    monkeypatch.setattr(environment, "_taken", {})
    for name in ("SIGSTORE_ID_TOKEN", *GITHUB):
        monkeypatch.delenv(name, raising=False)
    for name, value in identity.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("cosign")
@pytest.mark.parametrize("identity", [{"SIGSTORE_ID_TOKEN": "a-token"}, GITHUB])
def test_an_identity_of_either_service_is_enough(monkeypatch: pytest.MonkeyPatch, identity: dict[str, str]) -> None:
    set_identity(monkeypatch, identity)
    require_cosign()


@pytest.mark.usefixtures("cosign")
@pytest.mark.parametrize("identity", [{}, {"SIGSTORE_ID_TOKEN": ""}, {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://t"}])
def test_an_environment_without_an_identity_is_refused_early(
    monkeypatch: pytest.MonkeyPatch, identity: dict[str, str]
) -> None:
    set_identity(monkeypatch, identity)
    with pytest.raises(InputError, match="no CI job's identity") as caught:
        require_cosign()
    assert "id-token: write" in caught.value.hint


@pytest.mark.parametrize("identity", [{"SIGSTORE_ID_TOKEN": "a-token"}, GITHUB])
def test_cosign_alone_is_given_the_identity(
    cosign: Cosign, monkeypatch: pytest.MonkeyPatch, identity: dict[str, str]
) -> None:
    set_identity(monkeypatch, identity)
    assert not take_keys().keys() & identity.keys(), "a token is no key"
    assert not os.environ.keys() & identity.keys(), "git and QEMU, which start next, do not have it"
    require_cosign()
    sign_keyless(REF, LOGIN)
    assert [call["identity"] for call in cosign.all_calls] == [[], sorted(identity)], "its version needs none"


def test_a_machine_without_cosign_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_identity(monkeypatch, GITHUB)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="cosign, which makes these signatures, is not installed"):
        require_cosign()
