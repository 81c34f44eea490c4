"""A server whose address is taken is told from one that the engine cannot start, and leaves no container."""

from __future__ import annotations

import json

import pytest

from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.effects.engine.errors import AddressInUseError
from kmatrix.effects.lab.servers import Server, start_server
from kmatrix.values.engine import Mount, ServerContainer
from kmatrix.values.errors import InputError, ToolError
from tests.unit.support.http_server import Reply, Request, web_server
from tests.unit.support.stand_in_engine import StandInEngine

WANTED = ServerContainer(
    "lab-web", "sha256:1", ("nginx", "-c", "x"), "127.0.0.1:8080", 80, (Mount("/www", "/srv"), Mount("v", "/d", True))
)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        # moby: libnetwork/portallocator; Go's net.
        ("Bind for 127.0.0.1:8080 failed: port is already allocated", AddressInUseError),
        ("listen tcp4 127.0.0.1:8080: bind: address already in use", AddressInUseError),
        ("exec: nginx: executable file not found in $PATH", ToolError),
    ],
)
def test_an_address_that_is_taken_is_told_from_other_refusals(
    monkeypatch: pytest.MonkeyPatch, message: str, kind: type[Exception]
) -> None:
    def answer(asked: Request) -> Reply:
        if asked.path.endswith("/version"):
            return Reply(200, b'{"ApiVersion": "1.41", "MinAPIVersion": "1.12"}')
        if asked.path.endswith("/create"):
            return Reply(201, b'{"Id": "made"}')
        return Reply(204) if asked.method == "DELETE" else Reply(500, json.dumps({"message": message}).encode())

    with web_server(answer) as web:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{web.address}")
        with DockerEngine("test") as engine, pytest.raises(ToolError, match=message[:12]) as caught:
            engine.start_server(WANTED)
        assert type(caught.value) is kind
        (created,) = [json.loads(each.body) for each in web.requests if each.path.endswith("/create")]
        assert [each.path for each in web.requests if each.method == "DELETE"] == ["/v1.41/containers/made"]
    assert created["HostConfig"]["Binds"] == ["/www:/srv:ro", "v:/d:rw"]
    assert created["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
    assert created["Cmd"] == ["nginx", "-c", "x"]


class TakenEngine(StandInEngine):
    """Another container has every address."""

    def start_server(self, server: ServerContainer) -> None:
        raise AddressInUseError(f"{server.address} is taken", "Free it.")

    def servers_on(self, port: int) -> tuple[str, ...]:
        return (f"other-on-{port}",)


def test_the_container_that_has_the_address_is_named() -> None:
    server = Server("lab's web server", "lab-web", "127.0.0.1:8080", "/")
    with pytest.raises(InputError, match="is taken by container other-on-8080") as caught:
        start_server(TakenEngine(), server, "sha256:1", ["nginx"], 80, [], {})
    assert "KMATRIX_GRAPH" in caught.value.hint
