"""Servers in containers that listen on an address of this machine: start, look, wait, stop."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import docker.errors

from kmatrix.effects.engine.docker import Engine
from kmatrix.effects.engine.errors import engine_errors
from kmatrix.effects.net import http
from kmatrix.values.errors import InputError, ToolError, UnreachableError

_START_SECONDS = 30
_PAUSE_SECONDS = 0.1
_LISTENING = "0A"


@dataclass(frozen=True)
class Server:
    """One server: what it is, its container's name, its address (HOST:PORT), what answers when it is ready."""

    name: str
    container: str
    address: str
    ready_path: str


def free_address() -> str:
    """Return a HOST:PORT on this machine that nothing listens on at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def running(engine: Engine, server: Server) -> bool:
    """Whether a server's container runs."""
    with engine_errors(f"look for the {server.name}"):
        found = engine.api.containers(all=True, filters={"name": f"^/{server.container}$"})
    return bool(found) and found[0]["State"] == "running"


def serves(server: Server, path: str) -> bool:
    """Whether a server that runs has what is at `path`."""
    try:
        response = http.get(http.new_session(), f"http://{server.address}{path}", server.name)
    except UnreachableError:
        return False
    response.close()
    return bool(response.ok)


def stop_server(engine: Engine, server: Server) -> bool:
    """Stop and remove a server's container. Whether there was one."""
    with engine_errors(f"look for the {server.name}"):
        found = engine.api.containers(all=True, quiet=True, filters={"name": f"^/{server.container}$"})
    for entry in found:
        engine.remove_container(entry["Id"])
    return bool(found)


def remove_volume(engine: Engine, name: str) -> None:
    """Remove a volume if it is there."""
    try:
        with engine_errors(f"remove the volume {name}", absent_passes=True):
            engine.api.remove_volume(name)
    except docker.errors.NotFound:
        return


def start_server(
    engine: Engine,
    server: Server,
    image: str,
    command: list[str],
    port: int,
    volumes: dict[str, Mapping[str, str]],
    labels: dict[str, str],
) -> bool:
    """Start a server unless it runs, and wait until it answers.

    Args:
        engine: runs it.
        server: what is wanted.
        image, command, volumes, labels: of the container.
        port: where it listens in the container.

    Returns:
        whether it was started.

    Raises:
        InputError: something else has its address; says what.
        ToolError: it does not start, or does not answer.
        UnreachableError: the engine went away.
    """
    if running(engine, server):
        return False
    stop_server(engine, server)
    host, _, published = server.address.partition(":")
    with engine_errors(f"make the {server.name}"):
        config = engine.api.create_host_config(
            port_bindings={port: (host, int(published))}, binds=volumes, restart_policy={"Name": "no"}
        )
        created = engine.api.create_container(
            image, command, name=server.container, ports=[port], host_config=config, labels=labels
        )
    try:
        with engine_errors(f"start the {server.name}"):
            engine.api.start(created["Id"])
    except ToolError as error:
        engine.remove_container(created["Id"])
        if "already" not in str(error) and "in use" not in str(error):
            raise
        raise InputError(
            f"the {server.name} cannot listen on {server.address}: it is taken by "
            f"{_holder(engine, int(published)) or 'something else'}",
            "Stop that (`nox -s lab -- down` in its checkout, if it is another lab), or give this lab other ports "
            "with KMATRIX_GRAPH, KMATRIX_PACKAGES, KMATRIX_BASE and KMATRIX_TARGET.",
        ) from error
    _wait(engine, server)
    return True


def _wait(engine: Engine, server: Server) -> None:
    url = f"http://{server.address}{server.ready_path}"
    deadline = time.monotonic() + _START_SECONDS
    session = http.new_session()
    while True:
        try:
            http.get(session, url, server.name).close()
            return
        except UnreachableError as error:
            if time.monotonic() > deadline or not running(engine, server):
                raise ToolError(
                    f"the {server.name} does not answer on {url}: {_last_lines(engine, server)}",
                    "Make it again with `nox -s lab -- reset` and `up`; if another program has that address, give this "
                    "lab other ports with KMATRIX_GRAPH, KMATRIX_PACKAGES, KMATRIX_BASE and KMATRIX_TARGET.",
                ) from error
        time.sleep(_PAUSE_SECONDS)


def _last_lines(engine: Engine, server: Server) -> str:
    try:
        with engine_errors(f"read the log of the {server.name}", absent_passes=True):
            return engine.api.logs(server.container, tail=5).decode("utf-8", "replace").strip() or "its log is empty"
    except docker.errors.NotFound:
        return "its container is gone"


def _holder(engine: Engine, port: int) -> str:
    """Who listens on a port of this machine, as far as that can be seen from here."""
    with engine_errors("list containers"):
        names = [entry["Names"][0].lstrip("/") for entry in engine.api.containers(filters={"publish": str(port)})]
    return f"container {', '.join(names)}" if names else _process_on(port)


def _process_on(port: int) -> str:
    """The process that listens on a port, by what Linux tells in /proc; empty where it does not tell."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = [line.split() for line in Path(table).read_text(encoding="ascii").splitlines()[1:]]
        except OSError:
            continue
        inodes |= {row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(descriptor) in sockets for descriptor in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text(encoding='utf-8').strip()})"
        except OSError:
            # Another user's process, or gone by now.
            continue
    return ""
