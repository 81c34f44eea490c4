"""A port that the lab needs is taken: the error names the process or container, and nothing is left of the attempt."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import docker
import pytest

from kmatrix.effects.engine import Engine
from kmatrix.effects.lab.servers import running
from kmatrix.lab.layout import Layout
from kmatrix.lab.services import servers, start_web
from kmatrix.values.errors import InputError
from tests.integration.support.lab import Lab
from tests.integration.support.registries import ThrowAwayRegistry


def refused(lab: Lab, engine: Engine, layout: Layout) -> str:
    with pytest.raises(InputError) as caught:
        start_web(engine, layout, lab.services)
    _, web = servers(layout)
    assert not running(engine, web)
    client = docker.from_env()
    try:
        assert client.api.containers(all=True, filters={"name": web.container}) == []
    finally:
        client.close()
    assert "KMATRIX_GRAPH" in caught.value.hint
    return str(caught.value)


def test_a_process_that_has_the_port_is_named(lab: Lab, engine: Engine, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused(lab, engine, Layout(tmp_path, "127.0.0.1:1", address))
    assert f"the lab's web server cannot listen on {address}: it is taken by process {os.getpid()} (" in said


def test_a_container_that_has_the_port_is_named(
    lab: Lab, engine: Engine, tmp_path: Path, registry: ThrowAwayRegistry
) -> None:
    said = refused(lab, engine, Layout(tmp_path, "127.0.0.1:1", registry.address))
    name = registry.container.get_wrapped_container().name
    assert f"cannot listen on {registry.address}: it is taken by container {name}" in said


def test_a_server_that_answers_is_not_started_twice(lab: Lab, engine: Engine) -> None:
    assert not start_web(engine, lab.layout, lab.services)
