"""Programs that this one starts do not get the credentials of key services; helpers that need them do."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from kmatrix.effects.disk.git import revision, source, tracks, work_tree_that_takes
from kmatrix.effects.process.environment import child_environment
from kmatrix.effects.registry.credential_helpers import login_from_helper

PACKAGE = Path(__file__).parents[2] / "scripts" / "kmatrix"
# As the clients of securesystemslib's services read them: boto3, azure-identity, google-auth, hvac.
SERVICES = {
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_SECRET_ACCESS_KEY": "aws",
    "AWS_SESSION_TOKEN": "session",
    "AZURE_CLIENT_SECRET": "azure",
    "IDENTITY_HEADER": "header",
    "MSI_SECRET": "msi",
    "GOOGLE_APPLICATION_CREDENTIALS": "/a/path",
    "CLOUDSDK_AUTH_ACCESS_TOKEN": "google",
    "VAULT_TOKEN": "vault",
}
# Credential helpers of registries read a cloud's credentials (awslabs/amazon-ecr-credential-helper, README.md).
NEEDS_ALL = "effects/registry/credential_helpers.py"
# `run_program` of the bench starts this program itself, which signs.
GIVEN = {"effects/process/measured.py", "effects/signing/cosign.py", "effects/disk/git.py"}


@pytest.fixture(autouse=True)
def _services(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials of every service are in the environment."""
    for name, value in SERVICES.items():
        monkeypatch.setenv(name, value)


def program(folder: Path, name: str, does: str) -> Path:
    """Write a program that leaves its environment in a file beside it, and return that file."""
    seen = folder / f"{name}.seen"
    path = folder / name
    path.write_text(f"#!/bin/sh\n/usr/bin/env >>'{seen}'\n{does}\n", encoding="utf-8")
    path.chmod(0o755)
    return seen


def names(seen: Path) -> set[str]:
    return {line.partition("=")[0] for line in seen.read_text(encoding="utf-8").splitlines()}


def test_the_credentials_stay_here_and_everything_else_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAWS_OF", "nature")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    # What a machine has of the same services is no business of this test.
    for name in os.environ.keys() - SERVICES.keys():
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "VAULT_")):
            monkeypatch.delenv(name)
    before = dict(os.environ)
    found = child_environment()
    assert set(SERVICES).isdisjoint(found)
    assert {name: before[name] for name in before.keys() - SERVICES.keys()} == found
    assert dict(os.environ) == before, "securesystemslib reads them here, whenever it signs"


def test_git_does_not_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = program(tmp_path, "git", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / ".git").mkdir()
    for ask in (source, revision, lambda root: tracks(root / "a.key"), lambda root: work_tree_that_takes(root / "a")):
        seen.write_text("", encoding="utf-8")
        ask(tmp_path)
        assert "PATH" in names(seen)
        assert names(seen).isdisjoint(SERVICES)


def test_a_credential_helper_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = program(tmp_path, "docker-credential-ecr-login", 'echo \'{"Username": "AWS", "Secret": "s"}\'')
    monkeypatch.setenv("PATH", str(tmp_path))
    login, fault = login_from_helper("docker-credential-ecr-login", "1.dkr.ecr.example")
    assert (login is not None, fault) == (True, "")
    assert set(SERVICES) <= names(seen)


def starts(path: Path) -> list[str]:
    """Return the source of the environment that each start of a program in a module passes; empty for none."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            f"subprocess.{name}" for name in ("run", "Popen", "call", "check_call", "check_output")
        ):
            found.append(next((ast.unparse(each.value) for each in node.keywords if each.arg == "env"), ""))
    return found


def test_no_program_is_started_with_this_process_s_own_environment() -> None:
    found = {path.relative_to(PACKAGE).as_posix(): starts(path) for path in PACKAGE.rglob("*.py")}
    found = {name: passed for name, passed in found.items() if passed}
    assert "effects/vm/qemu.py" in found
    assert found.pop(NEEDS_ALL) == [""]
    assert {name for name, passed in found.items() if {*passed} != {"child_environment()"}} == GIVEN
    assert {passed for name in GIVEN for passed in found[name]} - {"child_environment()"} == {
        "environment",
        "dict(environment)",
    }
    whole = {path.name for path in PACKAGE.rglob("*.py") if "**os.environ" in path.read_text(encoding="utf-8")}
    assert whole == set()
