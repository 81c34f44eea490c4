"""The lab's two servers as containers on 127.0.0.1: image registry and web server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import requests

from kmatrix.effects import http
from kmatrix.effects.engine import Engine
from kmatrix.lab.layout import LAB_LABEL, Layout
from kmatrix.values.errors import InputError, ToolError, UnreachableError

_START_SECONDS = 30


@dataclass(frozen=True)
class Server:
    """One server: its container's name, its address (HOST:PORT), what answers when it is ready."""

    name: str
    container: str
    address: str
    ready_path: str


def servers(layout: Layout) -> tuple[Server, Server]:
    """The registry and the web server of a lab."""
    return (
        Server("image registry", layout.registry_container, layout.registry, "/v2/"),
        Server("web server", layout.web_container, layout.web, "/release/"),
    )


def start_registry(engine: Engine, layout: Layout, image: str) -> bool:
    """Start the registry unless it runs; its content is a volume that outlives it. Whether it was started."""
    return _start(
        engine,
        servers(layout)[0],
        image,
        ["docker-registry", "serve", "/etc/kmatrix-lab/registry.yml"],
        5000,
        {layout.registry_container: {"bind": "/var/lib/registry", "mode": "rw"}},
    )


def start_web(engine: Engine, layout: Layout, image: str) -> bool:
    """Start the web server unless it runs. Whether it was started."""
    layout.www.mkdir(parents=True, exist_ok=True)
    return _start(
        engine,
        servers(layout)[1],
        image,
        ["nginx", "-c", "/etc/kmatrix-lab/web.conf"],
        8080,
        {str(layout.www): {"bind": "/srv/www", "mode": "ro"}},
    )


def running(engine: Engine, server: Server) -> bool:
    """Whether a server's container runs."""
    found = engine.api.containers(all=True, filters={"name": f"^/{server.container}$"})
    return bool(found) and found[0]["State"] == "running"


def stop_server(engine: Engine, server: Server) -> bool:
    """Stop and remove a server's container. Whether there was one."""
    found = engine.api.containers(all=True, quiet=True, filters={"name": f"^/{server.container}$"})
    for entry in found:
        engine.remove_container(entry["Id"])
    return bool(found)


def _start(
    engine: Engine,
    server: Server,
    image: str,
    command: list[str],
    port: int,
    volumes: dict[str, Mapping[str, str]],
) -> bool:
    if running(engine, server):
        return False
    stop_server(engine, server)
    host, _, published = server.address.partition(":")
    config = engine.api.create_host_config(
        port_bindings={port: (host, int(published))}, binds=volumes, restart_policy={"Name": "no"}
    )
    created = engine.api.create_container(
        image, command, name=server.container, ports=[port], host_config=config, labels={LAB_LABEL: "server"}
    )
    try:
        engine.api.start(created["Id"])
    except requests.RequestException:
        raise
    except Exception as error:
        engine.remove_container(created["Id"])
        if "already" in str(error) or "in use" in str(error):
            raise InputError(
                f"the lab's {server.name} cannot listen on {server.address}: "
                f"something else does{_holder(engine, published)}",
                "Stop that (`nox -s lab -- down` in its checkout, if it is another lab), or give this lab other ports "
                "with KMATRIX_GRAPH, KMATRIX_PACKAGES, KMATRIX_BASE and KMATRIX_TARGET.",
            ) from error
        raise ToolError(f"the lab's {server.name} did not start: {error}") from error
    _wait(engine, server)
    return True


def _holder(engine: Engine, port: str) -> str:
    names = [entry["Names"][0].lstrip("/") for entry in engine.api.containers(filters={"publish": port})]
    return f" (container {', '.join(names)})" if names else ""


def _wait(engine: Engine, server: Server) -> None:
    url = f"http://{server.address}{server.ready_path}"
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            response = http.get(http.new_session(), url, server.name)
            response.close()
            return
        except UnreachableError as error:
            if time.monotonic() > deadline or not running(engine, server):
                logs = engine.api.logs(server.container, tail=5).decode("utf-8", "replace").strip()
                raise ToolError(f"the lab's {server.name} does not answer on {url}: {logs}") from error
        time.sleep(0.1)
