"""The Docker SDK is kept from a person's credentials: what is broken or missing there ends no run that needs none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.engine.docker import Engine
from kmatrix.effects.engine.sdk import connect
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
    with Engine("run") as engine:
        engine.build(b"", on_line=lambda _: None)
    (build,) = [request for request in server.requests if request.path.endswith("/build")]
    assert not [name for name in build.headers if name.startswith("x-registry")]


def test_the_proxies_of_the_file_still_hold_for_builds(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"credsStore": "absent.exe", "proxies": {"default": {"httpProxy": "http://proxy.example:3128"}}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with Engine("run") as engine:
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
        with closing(connect(10, 1)) as client:
            assert client.base_url == f"http://{running.address}"
