"""An engine that goes away, at any moment of a request, is named; nothing takes that for a success."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator

import docker
import docker.errors
import pytest
import requests
import urllib3.exceptions

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.effects.engine.docker.errors import engine_errors
from kmatrix.values.errors import BuildError, InputError, InterruptedRunError, ToolError, UnreachableError
from tests.unit.support.http_server import RESET, Reply, Request, in_turn, web_server


@pytest.mark.parametrize(
    "error",
    [
        docker.errors.DockerException("no socket"),
        docker.errors.StreamParseError("half an object"),
        requests.ConnectionError("refused"),
        requests.exceptions.ChunkedEncodingError("cut"),
        urllib3.exceptions.ProtocolError("cut"),
        http.client.IncompleteRead(b""),
        ConnectionResetError("reset"),
        TimeoutError("late"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_engine_that_goes_away_is_named(error: Exception) -> None:
    with (
        pytest.raises(UnreachableError, match=r"the container engine at .* the request to build failed") as caught,
        engine_errors("build"),
    ):
        raise error
    assert "docker info" in caught.value.hint


def test_an_engine_that_refuses_says_why() -> None:
    with pytest.raises(ToolError, match="the engine could not build: no such base"), engine_errors("build"):
        raise docker.errors.APIError("500", explanation="no such base")
    with pytest.raises(ToolError, match="the engine could not look: gone"), engine_errors("look"):
        raise docker.errors.NotFound("404", explanation="gone")
    with pytest.raises(docker.errors.NotFound), engine_errors("look", absent_passes=True):
        raise docker.errors.NotFound("404", explanation="gone")


def test_our_own_errors_pass() -> None:
    with pytest.raises(InputError, match="disk full"), engine_errors("build"):
        raise InputError("disk full", "Do it.")


VERSION = Reply(200, b'{"ApiVersion": "1.41", "MinAPIVersion": "1.12"}', {"Content-Type": "application/json"})
STREAM = b'{"stream": "Step 1/2"}\r\n{"stream": "half'


@pytest.fixture(params=[Reply(200, STREAM, cut=30, reset=True, chunked=True), Reply(200, STREAM, chunked=True)])
def broken_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that reports its version, and breaks off everything else: in a chunk, or between two."""

    def answer(asked: Request) -> Reply:
        if "version" in asked.path:
            return VERSION
        return Reply(404, b'{"message": "none"}') if asked.path.endswith("/json") else request.param

    with web_server(answer) as web:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{web.address}")
        with DockerEngine("test") as engine:
            yield engine


def test_a_build_whose_stream_breaks_off_names_the_engine(broken_engine: Engine) -> None:
    with pytest.raises((UnreachableError, ToolError), match="engine") as caught:
        broken_engine.build(b"context", on_line=lambda _: None)
    assert not isinstance(caught.value, BuildError)


def test_a_push_whose_stream_breaks_off_is_no_success(broken_engine: Engine) -> None:
    with pytest.raises((UnreachableError, ToolError), match="engine"):
        broken_engine.push("127.0.0.1:1/x", "y", None)


def test_a_pull_whose_stream_breaks_off_is_no_success(broken_engine: Engine) -> None:
    with pytest.raises((UnreachableError, ToolError), match="engine"):
        broken_engine.pull("127.0.0.1:1/x@sha256:" + "a" * 64, None)


def test_a_run_can_be_stopped_though_the_engine_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(in_turn(VERSION)) as web:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{web.address}")
        engine = DockerEngine("test")
    with engine:
        engine._track("", "one")
        engine._track("", "other")
        engine.stop()
        assert engine.stopping


@pytest.mark.parametrize("doing", ["run", "build", "pull", "push"])
def test_an_answer_that_fails_because_the_run_is_told_to_stop_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, doing: str
) -> None:
    """To stop removes containers, and a call that waits for one is then told that there is none."""
    pinned = "127.0.0.1:1/x@sha256:" + "a" * 64

    def answer(asked: Request) -> Reply:
        if "version" in asked.path:
            return VERSION
        if asked.path.endswith("/start"):
            return Reply(204)
        if not asked.path.endswith("/json"):
            engine.stop()
        return Reply(404, b'{"message": "no such container"}')

    with web_server(answer) as web:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{web.address}")
        with DockerEngine("test") as engine:
            asked: dict[str, Callable[[], object]] = {
                "run": lambda: engine.run("container"),
                "build": lambda: engine.build(b"context", on_line=lambda _: None),
                "pull": lambda: engine.pull(pinned, None),
                "push": lambda: engine.push("127.0.0.1:1/x", "y", None),
            }
            with pytest.raises(InterruptedRunError):
                asked[doing]()


def test_what_was_reached_is_not_lost_to_an_engine_that_goes_away_while_it_clears_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinned = "127.0.0.1:1/x@sha256:" + "a" * 64
    with web_server(in_turn(VERSION, RESET)) as web:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{web.address}")
        with DockerEngine("test") as engine:
            held = engine._holders_of(pinned)
            held.holders, held.was_there = 1, False
            engine.let_go(pinned)
            engine.remove_image(pinned)


def test_no_engine_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    with pytest.raises(UnreachableError, match="container engine"):
        DockerEngine("test")


def test_something_else_in_the_engines_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(in_turn(Reply(200, b"<html>"))) as web:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{web.address}")
        with pytest.raises(UnreachableError, match="container engine"):
            DockerEngine("test")
