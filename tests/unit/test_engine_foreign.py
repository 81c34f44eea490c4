"""A container whose programs the engine's machine cannot run says nothing about what is in its image."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.values.errors import ToolError
from tests.unit.support.http_server import Reply, Request, web_server

JSON = {"Content-Type": "application/json"}
VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.12"}


def engine_with(status: int, stderr: bytes) -> Callable[[Request], Reply]:
    """Answer as an engine whose one container ends so; its image is of arm64."""
    answers = {
        "/version": VERSION,
        "/wait": {"StatusCode": status},
        "/containers/c/json": {"Config": {"Tty": False}, "Image": "sha256:i"},
        "/images/sha256:i/json": {"Id": "sha256:i", "Architecture": "arm64"},
    }
    # moby, api/types/container: each part of the output has a header with its stream and its length.
    output = b"\x02\0\0\0" + len(stderr).to_bytes(4, "big") + stderr

    def answer(request: Request) -> Reply:
        if request.path.endswith("/logs"):
            return Reply(200, output if "stderr=1" in request.target else b"")
        found = next((text for end, text in answers.items() if request.path.endswith(end)), None)
        return Reply(204) if found is None else Reply(200, json.dumps(found).encode(), JSON)

    return answer


@pytest.mark.parametrize("status", [1, 255])
def test_a_machine_without_an_emulator_is_named_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with web_server(engine_with(status, b"exec /usr/bin/sh: exec format error\n")) as server:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.address}")
        with DockerEngine("run") as engine, pytest.raises(ToolError, match="runs no programs of aarch64") as caught:
            engine.run("c")
    assert "exec /usr/bin/sh: exec format error" in caught.value.message
    assert "`./scripts/bootstrap --arch aarch64`" in caught.value.hint


@pytest.mark.parametrize(("status", "stderr"), [(1, b"modinfo: not found\n"), (0, b"exec /x: exec format error\n")])
def test_a_program_that_ran_has_its_own_output(monkeypatch: pytest.MonkeyPatch, status: int, stderr: bytes) -> None:
    with web_server(engine_with(status, stderr)) as server:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.address}")
        with DockerEngine("run") as engine:
            done = engine.run("c")
    assert (done.status, done.stdout, done.stderr) == (status, "", stderr.decode())
