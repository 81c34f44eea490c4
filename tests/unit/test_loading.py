"""Images of another architecture: the archive that an engine loads, and an engine that does not load it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.effects.engine.docker.loading import write_loadable
from kmatrix.effects.lab.debian import import_empty
from kmatrix.values.errors import ToolError
from tests.unit.support.http_server import Reply, Request, web_server

VERSION = Reply(200, b'{"ApiVersion": "1.41", "MinAPIVersion": "1.12"}', {"Content-Type": "application/json"})
ABSENT = Reply(404, b'{"message": "No such image"}', {"Content-Type": "application/json"})


def test_the_archive_has_the_architecture_and_the_root_as_its_layer(tmp_path: Path) -> None:
    root, target = tmp_path / "root.tar", io.BytesIO()
    root.write_bytes(b"a root file system")
    write_loadable(root, "kmatrix-lab/base:x", "aarch64", target)
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as archive:

        def read(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()

        (image,) = json.loads(read("manifest.json"))
        config = json.loads(read(image["Config"]))
        (layer,) = image["Layers"]
        assert read(layer) == b"a root file system"
        assert image["Config"] == f"{hashlib.sha256(read(image['Config'])).hexdigest()}.json"
    assert image["RepoTags"] == ["kmatrix-lab/base:x"]
    assert (config["architecture"], config["os"]) == ("arm64", "linux")
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(b'a root file system').hexdigest()}"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [(b'{"error": "no space left"}\r\n', "no space left"), (b'{"stream": "Loaded"}\r\n', "has no such image")],
)
def test_an_image_that_the_engine_did_not_load_is_reported(
    answer: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def engine_answers(request: Request) -> Reply:
        if request.path.endswith("/version"):
            return VERSION
        return Reply(200, answer, chunked=True) if "/images/load" in request.path else ABSENT

    with web_server(engine_answers) as server:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.address}")
        with DockerEngine("run") as engine, pytest.raises(ToolError, match=why) as caught:
            import_empty(engine, "kmatrix-lab/empty", "aarch64", "aarch64")
        assert [request.path.partition("?")[0].rpartition("/v1.41")[2] for request in server.requests][1:2] == [
            "/images/load"
        ]
    assert "kmatrix-lab/empty:aarch64" in caught.value.message
