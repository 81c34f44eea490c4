"""The Docker SDK is kept from a person's credentials: a broken or missing one ends no run that needs none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.engine.docker import DockerEngine, sdk
from kmatrix.effects.engine.docker.sdk import connect
from tests.unit.support.http_server import Reply, Request, WebServer, web_server

VERSION = Reply(200, b'{"ApiVersion": "1.41", "MinAPIVersion": "1.12"}', {"Content-Type": "application/json"})
BUILT = b'{"stream": "built\\n"}\r\n{"aux": {"ID": "sha256:0123"}}\r\n'
ENTRY = {"auth": "cm9ib3Q6cmlnaHQ="}


def answer(request: Request) -> Reply:
    return VERSION if request.path.endswith("/version") else Reply(200, BUILT, chunked=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    with web_server(answer) as running:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{running.address}")
        yield running


@pytest.mark.parametrize(
    "config",
    [
        {"credsStore": "absent.exe"},
        {"credHelpers": {"quay.io": "absent.exe"}},
        {"auths": {"quay.io": {"auth": "###"}}},
        {"auths": {"quay.io": "broken"}},
        {"auths": {"quay.io": ENTRY}},
        {"auths": {"quay.io": ENTRY}, "HttpHeaders": {"a": "b"}, "psFormat": "table"},
        {},
    ],
)
def test_a_build_needs_no_credential_and_sends_none(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with DockerEngine("run") as engine:
        engine.build(b"", on_line=lambda _: None)
    (build,) = [request for request in server.requests if request.path.endswith("/build")]
    assert not [name for name in build.headers if name.startswith("x-registry")]


def test_the_proxies_of_the_file_still_hold_for_builds(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"credsStore": "absent.exe", "proxies": {"default": {"httpProxy": "http://proxy.example:3128"}}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with DockerEngine("run") as engine:
        engine.build(b"", on_line=lambda _: None)
    (build,) = [request for request in server.requests if request.path.endswith("/build")]
    assert json.loads(build.query["buildargs"][0])["HTTP_PROXY"] == "http://proxy.example:3128"


@pytest.mark.parametrize("by", ["environment", "file"])
def test_the_engine_of_the_docker_context_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Contexts are files of docker/cli (cli/context/store/doc.go): meta/SHA-256 of the name."""
    with web_server(answer) as running:
        meta = {"Name": "other", "Metadata": {}, "Endpoints": {"docker": {"Host": f"tcp://{running.address}"}}}
        folder = tmp_path / "contexts" / "meta" / hashlib.sha256(b"other").hexdigest()
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        config = {"currentContext": "other"} if by == "file" else {}
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
        if by == "environment":
            monkeypatch.setenv("DOCKER_CONTEXT", "other")
        client, address = connect(10, 1)
        with closing(client):
            assert client.base_url == f"http://{running.address}"
        assert address == f"tcp://{running.address}"


INFO = {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]}
CONTAINERD = {"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
PODMAN = {"Version": "5.4.2", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]}


@pytest.mark.parametrize(
    ("version", "info", "shown"),
    [
        ({"Version": "20.10.24", "ApiVersion": "1.41"}, INFO, "Docker 20.10.24 at {}, image store overlay2"),
        (
            {"Version": "29.4.2", "ApiVersion": "1.41", "Components": [{"Name": "Engine"}]},
            CONTAINERD,
            "Docker 29.4.2 at {}, image store containerd (overlayfs)",
        ),
        (PODMAN, {"Driver": "overlay", "DriverStatus": None}, "Podman 5.4.2 at {}, image store overlay"),
        ({"ApiVersion": "1.41"}, {}, "Docker of unknown version at {}, image store unknown"),
    ],
)
def test_the_engine_in_use_is_reported_with_its_real_address(
    monkeypatch: pytest.MonkeyPatch, version: dict[str, Any], info: dict[str, Any], shown: str
) -> None:
    def reports(request: Request) -> Reply:
        return Reply(200, json.dumps(version if request.path.endswith("/version") else info).encode())

    with web_server(reports) as running:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{running.address}")
        with DockerEngine("run") as engine:
            assert str(engine.in_use()) == shown.format(f"tcp://{running.address}")
            assert engine.in_use().as_dict()["address"] == f"tcp://{running.address}"


@pytest.mark.parametrize("context", ["default", "no-such-context"])
def test_the_local_socket_is_the_address_where_nothing_names_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, context: str
) -> None:
    """The SDK goes there as well if a context is named that does not exist (docker-py, docker/context/api.py)."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONTEXT", context)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(sdk, "_Api", lambda *_, **__: None)
    assert connect(10, 1)[1] == "unix:///var/run/docker.sock"
