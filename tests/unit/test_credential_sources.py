"""Credentials in the environment: which source applies to an image, and that no other program inherits the secret.

The order is that of docker/cli (cli/config/configfile/file.go: GetCredentialsStore; cli/config/memorystore/store.go):
an entry of DOCKER_AUTH_CONFIG goes before helpers and entries of the file, which hold for other registries.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.values.errors import CredentialError, InputError
from kmatrix.values.names import ImageRef
from tests.unit.support.fake_registry import FakeRegistry, basic, fake_registry
from tests.unit.support.made_up_profile import ROOT
from tests.unit.support.projects import write_project
from tests.unit.test_credentials import NOT_FOUND, SECRET, answering, entry, helper, write

QUAY, OTHER = ImageRef.parse("quay.io/team/x"), ImageRef.parse("other.io/x")
VARIABLE = "DOCKER_AUTH_CONFIG"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with fake_registry() as running:
        running.image("team/image", [], {})
        running.authorization, running.challenge = basic("robot", SECRET), 'Basic realm="r"'
        yield running


def put(monkeypatch: pytest.MonkeyPatch, content: Any) -> None:
    monkeypatch.setenv(VARIABLE, content if isinstance(content, str) else json.dumps(content))


def user(image: ImageRef, path: Path | None = None) -> str | None:
    pair = load_credentials(path).pair(image)
    return pair[0] if pair else None


def test_the_variable_goes_before_the_usual_file_registry_by_registry(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auths = {"quay.io/team": entry("file"), "other.io": entry("file")}
    write(home / ".docker" / "config.json", {"auths": auths})
    put(monkeypatch, {"auths": {"https://quay.io/v2/": entry("variable")}})
    found = load_credentials(None)
    assert (user(QUAY), user(OTHER)) == ("variable", "file")
    assert found.source(QUAY) == f"the environment variable {VARIABLE}"
    assert found.source(OTHER) == str(home / ".docker" / "config.json")


def test_the_variable_goes_before_the_helpers_of_the_file(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path / "bin", answering("other.io"), monkeypatch)
    write(home / ".docker" / "config.json", {"credsStore": "test", "auths": {}})
    put(monkeypatch, {"auths": {"quay.io": entry("variable")}})
    assert (user(QUAY), user(OTHER)) == ("variable", "helped")


@pytest.mark.parametrize("named", ["option", "environment"])
def test_a_named_file_goes_before_the_variable_and_is_the_only_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    path = write(tmp_path / "auth.json", {"auths": {"quay.io": entry("named")}})
    put(monkeypatch, {"auths": {"quay.io": entry("variable"), "other.io": entry("variable")}})
    if named == "environment":
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
    given = path if named == "option" else None
    assert (user(QUAY, given), user(OTHER, given)) == ("named", None)


def test_an_entry_of_a_path_in_the_variable_applies_to_that_path(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {"auths": {"quay.io": entry("host"), "quay.io/team": entry("team")}})
    assert [user(ImageRef.parse(name)) for name in ("quay.io/team/x", "quay.io/teams/x")] == ["team", "host"]


def test_the_variable_may_name_helpers_as_gitlab_runner_permits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path / "bin", answering("quay.io"), monkeypatch)
    put(monkeypatch, {"credHelpers": {"quay.io": "test"}})
    assert user(QUAY) == "helped"


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_variable_is_none(home: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    write(home / ".docker" / "config.json", {"auths": {"quay.io": entry("file")}})
    put(monkeypatch, content)
    assert user(QUAY) == "file"


def test_an_empty_usual_file_has_no_entries_and_an_empty_named_one_is_a_fault(home: Path) -> None:
    """`docker` accepts both; a named file that is empty is most likely a secret that was not handed over."""
    path = write(home / ".docker" / "config.json", "")
    assert user(QUAY) is None
    with pytest.raises(InputError, match="does not have the form"):
        load_credentials(path)


@pytest.mark.parametrize("content", [SECRET, f"[{json.dumps(SECRET)}]", '{"auths": 7}', "{" * 100_000])
def test_a_variable_of_another_form_is_reported_without_its_content(
    monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    put(monkeypatch, content)
    with pytest.raises(InputError, match=f"the environment variable {VARIABLE}: does not have the form") as caught:
        load_credentials(None)
    assert "docker login" in caught.value.hint
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in f"{shown} {caught.value!r} {vars(caught.value)}"
    # JSONDecodeError keeps the complete document.
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_a_broken_entry_of_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {"auths": {"quay.io": {"auth": SECRET}}})
    assert user(OTHER) is None
    with pytest.raises(InputError, match=f"the environment variable {VARIABLE}: the entry for quay.io is broken") as e:
        user(QUAY)
    assert SECRET not in f"{e.value}"


def test_messages_name_the_source_that_has_the_credential_or_all_that_lack_it(
    home: Path, server: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = ImageRef.parse(f"{server.web.address}/team/image:1")
    path = home / ".docker" / "config.json"
    put(monkeypatch, {"auths": {"quay.io": entry("variable")}})
    with pytest.raises(CredentialError) as caught:
        Registry(load_credentials(None)).manifest(ref, "x86_64")
    lacking = f"neither the environment variable {VARIABLE} nor {path} has one for it"
    assert caught.value.message == f"{ref.host} demands a credential for team/image, and {lacking}"
    assert f"to the environment variable {VARIABLE} or to {path}" in caught.value.hint
    put(monkeypatch, {"auths": {ref.host: entry("robot", "wrong")}})
    with pytest.raises(CredentialError, match=f"refuses the credential that the environment variable {VARIABLE} has"):
        Registry(load_credentials(None)).manifest(ref, "x86_64")
    put(monkeypatch, {"auths": {ref.host: entry("robot")}})
    assert Registry(load_credentials(None)).manifest(ref, "x86_64")


def test_reading_the_variable_removes_it_and_it_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {"auths": {"quay.io": entry("variable")}})
    assert [user(QUAY), user(QUAY)] == ["variable", "variable"]
    assert VARIABLE not in os.environ


def test_a_credential_helper_does_not_inherit_the_variable(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path / "bin", f"env >{tmp_path}/environment\n{NOT_FOUND}", monkeypatch)
    write(home / ".docker" / "config.json", {"credsStore": "test"})
    put(monkeypatch, {"auths": {"quay.io": entry("variable")}})
    assert user(OTHER) is None
    inherited = (tmp_path / "environment").read_text(encoding="utf-8")
    assert "PATH=" in inherited
    assert VARIABLE not in inherited


def test_no_program_that_a_command_starts_inherits_the_variable(tmp_path: Path) -> None:
    """git, qemu and every other child: the command line takes the variable before it does anything else."""
    write_project(tmp_path)
    code = (
        "import subprocess, sys\nfrom kmatrix.cli import main\n"
        "sys.exit(main(['plan'], lambda call: subprocess.run(['env'], check=True)))"
    )
    secret = json.dumps({"auths": {"quay.io": entry("variable")}})
    environment = {**os.environ, VARIABLE: secret, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "PATH=" in done.stdout
    assert VARIABLE not in done.stdout
    assert entry("variable")["auth"] not in done.stdout + done.stderr
