"""Credential files as Docker, Podman and OpenShift write them; their secrets are never shown."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker.auth
import pytest

from kmatrix.effects.engine.docker.images import auth_config
from kmatrix.effects.registry.credentials import Login, load_credentials
from kmatrix.values.engine import RegistryLogin
from kmatrix.values.errors import InputError
from kmatrix.values.names import ImageRef

SECRET = "s3cr3t:with a colon"
QUAY = ImageRef.parse("quay.io/x")


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
    assert found.for_engine(ref) == RegistryLogin("robot", SECRET)
    assert base64.b64decode(found.basic(ref) or "").decode() == f"robot:{SECRET}"
    assert found.for_engine(ImageRef.parse("other.io/x")) is None
    assert found.basic(ImageRef.parse("other.io/x")) is None


def test_nothing_shows_what_is_in_it(tmp_path: Path) -> None:
    found = load_credentials(write(tmp_path / "auth.json", {"auths": {"quay.io": entry("robot")}}))
    assert repr(found) == f"Credentials({tmp_path / 'auth.json'})"


def test_without_any_file_there_are_none(home: Path) -> None:
    found = load_credentials(None)
    assert found.pair(ImageRef.parse("quay.io/x")) is None
    assert found.sources == (str(home / ".docker" / "config.json"),)


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
        {"auths": SECRET},
        {"credHelpers": SECRET},
    ],
)
def test_a_file_of_another_form_is_told_without_its_content(tmp_path: Path, content: Any) -> None:
    path = write(tmp_path / "auth.json", content)
    with pytest.raises(InputError, match=r"auth\.json: does not have the form") as caught:
        load_credentials(path)
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    assert "docker login" in caught.value.hint


@pytest.mark.parametrize(
    "broken",
    [
        SECRET,
        {"auth": SECRET},
        {"auth": base64.b64encode(b"no colon").decode()},
        {"auth": 7},
        {"identitytoken": 7},
        {"auth": "*" + entry("robot")["auth"]},
    ],
)
def test_a_broken_entry_is_a_fault_for_its_own_registry_alone(tmp_path: Path, broken: Any) -> None:
    path = write(tmp_path / "auth.json", {"auths": {"quay.io": broken, "other.io": entry("fine")}})
    assert user(path, "other.io/x") == "fine"
    with pytest.raises(InputError, match=r"auth\.json: the entry for quay\.io is broken") as caught:
        user(path, "quay.io/x")
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    assert "docker login" in caught.value.hint


@pytest.mark.parametrize("empty", [None, {}, {"auth": ""}, {"email": "a@b"}])
def test_an_entry_that_holds_nothing_is_none(tmp_path: Path, empty: Any) -> None:
    assert user(write(tmp_path / "auth.json", {"auths": {"quay.io": empty}}), "quay.io/x") is None


@pytest.mark.parametrize(
    ("key", "image", "found"),
    [
        # As `docker login` writes them: docker/cli, cli/command/registry.go (authConfigKey), cli/config/credentials/
        # file_store.go (ConvertToHostname).
        ("https://index.docker.io/v1/", "docker.io/team/image", True),
        ("https://index.docker.io/v1/", "docker.io/image", True),
        ("https://index.docker.io/v1/", "index.docker.io/team/image", True),
        ("https://host.example/v2/", "host.example/team/image", True),
        ("https://host.example:5000/v1/", "host.example:5000/image", True),
        ("http://host.example", "host.example/image", True),
        ("host.example/v2/", "host.example/team/image", True),
        ("Host.Example", "host.example/image", True),
        ("host.example", "HOST.example/image", True),
        ("[::1]:5000", "[::1]:5000/image", True),
        # As `podman login` does: containers/image, pkg/docker/config/config.go (authKeysForRef, normalizeRegistry).
        ("docker.io", "docker.io/team/image", True),
        ("registry-1.docker.io", "docker.io/team/image", True),
        ("docker.io/team", "docker.io/team/image", True),
        ("docker.io/library", "docker.io/image", True),
        ("docker.io/team", "docker.io/other/image", False),
        ("host.example/team", "host.example/other/image", False),
        ("https://host.example/v2/", "host.example:5000/image", False),
        ("https://index.docker.io/v1/", "quay.io/team/image", False),
    ],
)
def test_the_keys_of_other_programs_are_known(tmp_path: Path, key: str, image: str, found: bool) -> None:
    path = write(tmp_path / "auth.json", {"auths": {key: entry("me")}})
    assert user(path, image) == ("me" if found else None)


def test_a_plain_key_goes_before_an_address(tmp_path: Path) -> None:
    auths = {"quay.io": entry("plain"), "https://quay.io/v1/": entry("old")}
    assert user(write(tmp_path / "a.json", {"auths": auths}), "quay.io/x") == "plain"
    assert user(write(tmp_path / "b.json", {"auths": dict(reversed(auths.items()))}), "quay.io/x") == "plain"


@pytest.mark.parametrize(
    ("written", "pair"),
    [
        ({"username": "u", "password": "p"}, ("u", "p")),
        ({"username": "old", "password": "old", **entry("new", "p")}, ("new", "p")),
        ({"auth": base64.b64encode(b"u:p\0\0").decode()}, ("u", "p")),
        (entry("dummy", ""), None),
        ({**entry("00000000-0000-0000-0000-000000000000", ""), "identitytoken": "token"}, None),
        ({**entry("u", "p"), "identitytoken": "token"}, ("u", "p")),
    ],
)
def test_entries_come_in_several_forms(tmp_path: Path, written: Any, pair: Any) -> None:
    assert load_credentials(write(tmp_path / "a.json", {"auths": {"quay.io": written}})).pair(QUAY) == pair


def test_a_password_that_is_no_utf8_is_sent_as_it_is(tmp_path: Path) -> None:
    raw = "robot:p\xe4ss".encode("latin-1")
    path = write(tmp_path / "a.json", {"auths": {"quay.io": {"auth": base64.b64encode(raw).decode()}}})
    assert base64.b64decode(load_credentials(path).basic(QUAY) or "") == raw


def test_the_engine_gets_an_identity_token_under_its_own_name_for_it(tmp_path: Path) -> None:
    """The names are of moby/moby, api/types/registry/authconfig.go; the SDK sends the mapping as it is."""
    azure = {**entry("00000000-0000-0000-0000-000000000000", ""), "identitytoken": "the token"}
    found = load_credentials(write(tmp_path / "a.json", {"auths": {"quay.io": azure}}))
    assert found.for_engine(QUAY) == RegistryLogin(identity_token="the token")
    sent = json.loads(base64.urlsafe_b64decode(docker.auth.encode_header(auth_config(found.for_engine(QUAY)))))
    assert sent == {"identitytoken": "the token"}
    assert "the token" not in repr(found.login(QUAY))


def helper(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write(folder / "docker-credential-test", f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


NOT_FOUND = "echo 'credentials not found in native keychain'; exit 1"


def answering(server: str, user: str = "helped") -> str:
    answer = json.dumps({"Username": user, "Secret": SECRET, "ServerURL": server})
    return f"[ \"$1 $(cat)\" = 'get {server}' ] || {{ {NOT_FOUND}; }}\necho '{answer}'"


@pytest.mark.parametrize("setting", [{"credsStore": "test"}, {"credHelpers": {"quay.io": "test"}}])
def test_a_configured_helper_wins_over_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any]
) -> None:
    """As docker/cli, cli/config/configfile/file.go (GetCredentialsStore) has it."""
    helper(tmp_path / "bin", answering("quay.io"), monkeypatch)
    auths = {"quay.io": entry("stale"), "quay.io/x": entry("stale"), "other.io": entry("file")}
    path = write(tmp_path / "config.json", {**setting, "auths": auths})
    assert load_credentials(path).pair(QUAY) == ("helped", SECRET)
    assert user(path, "other.io/x") == "file"


def test_the_helper_of_a_registry_wins_over_the_one_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path / "bin", NOT_FOUND, monkeypatch)
    setting = {"credsStore": "absent", "credHelpers": {"quay.io": "test"}, "auths": {"quay.io": entry("stale")}}
    found = load_credentials(write(tmp_path / "config.json", setting))
    assert (found.pair(QUAY), found.note(QUAY)) == (None, "")


@pytest.mark.parametrize(
    ("setting", "server"),
    [
        ({"credsStore": "test"}, "https://index.docker.io/v1/"),
        ({"credHelpers": {"https://index.docker.io/v1/": "test"}}, "https://index.docker.io/v1/"),
        ({"credHelpers": {"docker.io": "test"}}, "docker.io"),
    ],
)
def test_a_helper_is_asked_for_docker_hub_by_the_key_of_its_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any], server: str
) -> None:
    helper(tmp_path / "bin", answering(server), monkeypatch)
    assert user(write(tmp_path / "config.json", setting), "docker.io/team/x") == "helped"


@pytest.mark.parametrize("script", [NOT_FOUND, """echo '{"Username":"","Secret":"","ServerURL":""}'"""])
def test_a_helper_that_has_none_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    helper(tmp_path / "bin", script, monkeypatch)
    found = load_credentials(write(tmp_path / "config.json", {"credsStore": "test"}))
    assert (found.login(QUAY), found.note(QUAY)) == (None, "")


def test_a_helpers_identity_token_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker/cli, cli/config/credentials/native_store.go (tokenUsername)."""
    helper(tmp_path / "bin", answering("quay.io", "<token>"), monkeypatch)
    found = load_credentials(write(tmp_path / "config.json", {"credsStore": "test"}))
    assert found.login(QUAY) == Login(identity_token=SECRET)
    assert found.for_engine(QUAY) == RegistryLogin(identity_token=SECRET)
    assert found.basic(QUAY) is None


@pytest.mark.parametrize(
    ("script", "found"),
    [(answering("quay.io"), ("helped", SECRET)), (NOT_FOUND, None), ("echo 'the key ring is locked'; exit 1", None)],
)
def test_a_helper_is_asked_once_for_a_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: Any
) -> None:
    helper(tmp_path / "bin", f"echo run >>{tmp_path}/runs\n{script}", monkeypatch)
    credentials = load_credentials(write(tmp_path / "config.json", {"credHelpers": {"quay.io": "test"}}))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(credentials.pair, [QUAY, QUAY.with_tag("other")] * 8))
    assert results == [found] * 16
    assert credentials.note(QUAY) == (
        "its credential helper docker-credential-test failed: the key ring is locked" if "locked" in script else ""
    )
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.parametrize("setting", [{"credsStore": "absent.exe"}, {"credHelpers": {"quay.io": "absent.exe"}}])
def test_a_helper_that_is_not_installed_ends_nothing(tmp_path: Path, setting: dict[str, Any]) -> None:
    found = load_credentials(write(tmp_path / "config.json", setting))
    assert found.login(QUAY) is None
    assert found.note(QUAY) == "its credential helper docker-credential-absent.exe is not installed"
    path = write(tmp_path / "config.json", {**setting, "auths": {"quay.io": entry("file")}})
    assert user(path, "quay.io/x") == "file"


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("echo 'the key ring is locked'; exit 1", "failed: the key ring is locked"),
        ("echo 'no session' >&2; exit 2", "failed: no session"),
        (f"""echo '{{"Secret": "{SECRET}"}}'; exit 1""", "failed"),
        (f"echo {SECRET}", "answered in an unexpected form (JSONDecodeError)"),
        (f"""echo '["{SECRET}"]'""", "answered in an unexpected form (AttributeError)"),
        ("""printf '{"Username": "u", "Secret": 7}'""", "answered in an unexpected form (TypeError)"),
    ],
)
def test_a_helper_that_fails_is_named_where_a_credential_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, note: str
) -> None:
    helper(tmp_path / "bin", script, monkeypatch)
    found = load_credentials(write(tmp_path / "config.json", {"credsStore": "test"}))
    assert found.login(QUAY) is None
    assert found.note(QUAY) == f"its credential helper docker-credential-test {note}"
