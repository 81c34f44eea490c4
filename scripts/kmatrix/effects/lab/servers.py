"""Servers in containers that listen on an address of this machine: start, look, wait, stop."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.errors import AddressInUseError
from kmatrix.effects.net import http
from kmatrix.values.engine import Mount, ServerContainer
from kmatrix.values.errors import InputError, ToolError, UnreachableError

_START_SECONDS = 30
_PAUSE_SECONDS = 0.1
_LISTENING = "0A"
_SHOWN_LINES = 5


@dataclass(frozen=True)
class Server:
    """One server: its name in messages, its container, its address (HOST:PORT), and a path that answers once ready."""

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
    """Return whether a server's container runs."""
    return engine.server_runs(server.container)


def serves(server: Server, path: str) -> bool:
    """Return whether a running server has something at `path`."""
    try:
        response = http.get(http.new_session(), f"http://{server.address}{path}", server.name)
    except UnreachableError:
        return False
    response.close()
    return bool(response.ok)


def stop_server(engine: Engine, server: Server) -> bool:
    """Stop and remove a server's container; return whether there was one."""
    return engine.stop_server(server.container)


def start_server(
    engine: Engine,
    server: Server,
    image: str,
    command: Iterable[str],
    port: int,
    mounts: Iterable[Mount],
    labels: Mapping[str, str],
) -> bool:
    """Start a server unless it runs, and wait until it answers.

    Args:
        engine: runs it.
        server: the server.
        image: of the container, in the engine already.
        command: the container's program and its arguments.
        port: where it listens in the container.
        mounts: parts of this machine that the container sees, and its volumes.
        labels: of the container.

    Returns:
        whether it was started.

    Raises:
        InputError: something else has its address; the message names it.
        ToolError: it does not start, or does not answer.
        UnreachableError: the engine went away.
    """
    if running(engine, server):
        return False
    stop_server(engine, server)
    wanted = ServerContainer(server.container, image, tuple(command), server.address, port, tuple(mounts), dict(labels))
    try:
        engine.start_server(wanted)
    except AddressInUseError as error:
        taken_by = _holder(engine, int(server.address.rpartition(":")[2])) or "something else"
        raise InputError(
            f"the {server.name} cannot listen on {server.address}: it is taken by {taken_by}",
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
                    "Rebuild it with `nox -s lab -- reset` and `up`; if another program has that address, give this "
                    "lab other ports with KMATRIX_GRAPH, KMATRIX_PACKAGES, KMATRIX_BASE and KMATRIX_TARGET.",
                ) from error
        time.sleep(_PAUSE_SECONDS)


def _last_lines(engine: Engine, server: Server) -> str:
    lines = engine.server_log(server.container, _SHOWN_LINES)
    return "its container is gone" if lines is None else lines or "its log is empty"


def _holder(engine: Engine, port: int) -> str:
    """Return the container or process that listens on a port of this machine, as far as that can be seen from here."""
    names = engine.servers_on(port)
    return f"container {', '.join(names)}" if names else _process_on(port)


def _process_on(port: int) -> str:
    """Return the process that listens on a port, found by Linux's /proc; empty where that does not show it."""
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
