"""Credential files as Docker, Podman and OpenShift write them; what they hold is shown to nobody."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.credentials import load_credentials
from kmatrix.values.errors import InputError
from kmatrix.values.names import ImageRef

SECRET = "s3cr3t:with a colon"


def entry(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def user(path: Path | None, image: str) -> str | None:
    pair = load_credentials(path).pair(ImageRef.parse(image))
    return pair[0] if pair else None


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("quay.io/team/image:1", "image"),
        ("quay.io/team/other", "team"),
        ("quay.io/teams/other", "host"),
        ("quay.io/a/b/c", "host"),
        ("127.0.0.1:5000/x", "port"),
        ("127.0.0.1:5001/x", None),
        ("registry.example/x", "scheme"),
        ("docker.example/x", None),
    ],
)
def test_the_longest_entry_that_matches_wins(tmp_path: Path, image: str, expected: str | None) -> None:
    auths = {
        "quay.io": entry("host"),
        "quay.io/team": entry("team"),
        "quay.io/team/image": entry("image"),
        "127.0.0.1:5000": entry("port"),
        "https://registry.example/": entry("scheme"),
        "empty.example": {},
    }
    assert user(write(tmp_path / "auth.json", {"auths": auths}), image) == expected


def test_a_password_may_hold_anything(tmp_path: Path) -> None:
    found = load_credentials(write(tmp_path / "auth.json", {"auths": {"quay.io": entry("robot")}}))
    ref = ImageRef.parse("quay.io/x")
    assert found.pair(ref) == ("robot", SECRET)
    assert found.for_engine(ref) == {"username": "robot", "password": SECRET}
    assert base64.b64decode(found.basic(ref) or "").decode() == f"robot:{SECRET}"
    assert found.for_engine(ImageRef.parse("other.io/x")) is None
    assert found.basic(ImageRef.parse("other.io/x")) is None


def test_nothing_shows_what_is_in_it(tmp_path: Path) -> None:
    found = load_credentials(write(tmp_path / "auth.json", {"auths": {"quay.io": entry("robot")}}))
    assert repr(found) == f"Credentials({tmp_path / 'auth.json'})"


def test_without_any_file_there_are_none(home: Path) -> None:
    found = load_credentials(None)
    assert found.pair(ImageRef.parse("quay.io/x")) is None
    assert found.source == str(home / ".docker" / "config.json")


def test_files_are_looked_for_in_order(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".docker" / "config.json", {"auths": {"quay.io": entry("home")}})
    assert user(None, "quay.io/x") == "home"
    write(tmp_path / "docker" / "config.json", {"auths": {"quay.io": entry("docker")}})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    assert user(None, "quay.io/x") == "docker"
    monkeypatch.setenv(
        "REGISTRY_AUTH_FILE", str(write(tmp_path / "podman.json", {"auths": {"quay.io": entry("podman")}}))
    )
    assert user(None, "quay.io/x") == "podman"
    assert user(write(tmp_path / "named.json", {"auths": {"quay.io": entry("named")}}), "quay.io/x") == "named"


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_file_that_was_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "absent.json"))
    with pytest.raises(InputError, match=r"credential file .*absent\.json: No such file") as caught:
        load_credentials(tmp_path / "absent.json" if by == "option" else None)
    assert "--authfile" in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        f"{SECRET}, no JSON",
        [SECRET],
        {"auths": [SECRET]},
        {"auths": {"quay.io": SECRET}},
        {"auths": {"quay.io": None}},
        {"auths": {"quay.io": {"auth": SECRET}}},
        {"auths": {"quay.io": {"auth": base64.b64encode(b"no colon").decode()}}},
        {"auths": {"quay.io": {"auth": base64.b64encode(b"\xff:\xff").decode()}}},
        {"auths": {"quay.io": {"auth": 7}}},
        {"auths": {"quay.io": {"auth": "*" + entry("robot")["auth"]}}},
    ],
)
def test_a_file_of_another_form_is_told_without_its_content(tmp_path: Path, content: Any) -> None:
    path = write(tmp_path / "auth.json", content)
    with pytest.raises(InputError, match=r"auth\.json: not of the form") as caught:
        load_credentials(path)
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    assert "docker login" in caught.value.hint


def helper(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write(folder / "docker-credential-test", f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize("setting", [{"credsStore": "test"}, {"credHelpers": {"quay.io": "test"}}])
def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any]) -> None:
    answer = json.dumps({"Username": "helped", "Secret": SECRET, "ServerURL": "quay.io"})
    helper(tmp_path / "bin", f"echo '{answer}'", monkeypatch)
    path = write(tmp_path / "config.json", {**setting, "auths": {"other.io": entry("file")}})
    assert load_credentials(path).pair(ImageRef.parse("quay.io/x")) == ("helped", SECRET)
    assert user(path, "other.io/x") == "file"


def test_a_helper_that_has_none_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path / "bin", "echo 'credentials not found in native keychain'; exit 1", monkeypatch)
    assert user(write(tmp_path / "config.json", {"credsStore": "test"}), "quay.io/x") is None


def test_an_identity_token_is_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.dumps({"Username": "<token>", "Secret": SECRET, "ServerURL": "quay.io"})
    helper(tmp_path / "bin", f"echo '{answer}'", monkeypatch)
    assert user(write(tmp_path / "config.json", {"credsStore": "test"}), "quay.io/x") is None


def test_a_helper_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path / "bin", "echo 'the key ring is locked'; exit 1", monkeypatch)
    path = write(tmp_path / "config.json", {"credsStore": "test"})
    with pytest.raises(InputError, match=r"config\.json: its credential helper for quay\.io failed: .*locked"):
        user(path, "quay.io/x")
