"""Serves the files of one folder on this machine's loopback address, for looking at them; it changes nothing."""

from __future__ import annotations

import contextlib
import errno
import http.server
import os
import shutil
import socketserver
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from kmatrix.values.errors import InputError
from kmatrix.values.loopback import DEFAULT_PORT, HOST

_INDEX = "index.html"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".xml": "application/xml",
}
# The last one is what reaches this server through a tunnel, as it listens on no address of IPv6 itself.
_OWN_NAMES = (HOST, "localhost", "[::1]")
_HTTP_PORT = 80
# A client that sends nothing for so long is dropped.
_IDLE_SECONDS = 30.0


@contextmanager
def static_server(folder: Path, port: int | None) -> Iterator[StaticServer]:
    """Listen on the loopback address for requests for the files of a folder.

    The folder may be replaced by another of the same name meanwhile.

    Args:
        folder: the folder; files whose names begin with a dot are not served.
        port: the port; None for 8000, or a free one if that is in use.

    Raises:
        InputError: nothing can listen on that port.
    """
    server = _listening(folder, DEFAULT_PORT if port is None else port, or_free=port is None)
    try:
        yield server
    finally:
        server.server_close()


def is_own_host(host: str, port: int) -> bool:
    """Tell whether a request's header `Host` names this machine, and the port that it is served on.

    Another site's page must not read this one by a name of its own that leads to this machine (DNS rebinding).

    Args:
        host: the header; browsers leave a port of 80 out.
        port: the port that the server listens on.
    """
    ports = ("", f":{_HTTP_PORT}") if port == _HTTP_PORT else (f":{port}",)
    return host.strip().lower() in {f"{name}{each}" for name in _OWN_NAMES for each in ports}


class StaticServer(socketserver.ThreadingTCPServer):
    """A server of one folder; each request has a thread of its own."""

    # Connections of a time that is over do not keep the port; a server that listens does.
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        super().__init__((HOST, port), _Handler)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        """The address of its first page."""
        return f"http://{HOST}:{self.port}/"

    def serve_until_interrupted(self) -> None:
        """Answer requests until a signal interrupts this thread."""
        with contextlib.suppress(KeyboardInterrupt):
            self.serve_forever()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away; report a bug as usual."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def _listening(folder: Path, port: int, *, or_free: bool) -> StaticServer:
    try:
        return StaticServer(folder, port)
    except OSError as error:
        if or_free and error.errno in (errno.EADDRINUSE, errno.EACCES):
            return _listening(folder, 0, or_free=False)
        raise InputError(
            f"cannot listen on {HOST}:{port}: {error.strerror or error}",
            "Name another port with --port, or leave it out to have a free one chosen.",
        ) from error


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        """Send a file."""
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        """Send the headers of a file."""
        self._answer(with_content=False)

    def _answer(self, *, with_content: bool) -> None:
        server = cast("StaticServer", self.server)
        if not is_own_host(self.headers.get("Host", ""), server.port):
            self.send_error(http.HTTPStatus.MISDIRECTED_REQUEST)
            return
        path = _file_of(server.folder, self.path)
        file = None if path is None else _opened(path)
        if path is None or file is None:
            self.send_error(http.HTTPStatus.NOT_FOUND)
            return
        with file:
            self.send_response(http.HTTPStatus.OK)
            kind = _TYPES.get(path.suffix)
            self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind else "application/octet-stream")
            self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.end_headers()
            if with_content:
                shutil.copyfileobj(file, self.wfile)

    def end_headers(self) -> None:
        """Add the headers that every answer has."""
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def version_string(self) -> str:
        """Name no version of Python."""
        return "kmatrix"

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: a person looks at pages, and needs no line for each file."""


def _file_of(folder: Path, target: str) -> Path | None:
    """Return the file that a request's target names, if it is in the folder, links resolved; else None."""
    path, *_ = target.partition("?")
    parts = unquote(path).split("/")
    if parts[0] or "\0" in path + unquote(path) or any(part.startswith(".") for part in parts):
        return None
    inner = parts[1:] if parts[1:] != [""] else [_INDEX]
    if "" in inner:
        return None
    try:
        found = folder.joinpath(*inner).resolve()
        return found if found.is_relative_to(folder.resolve()) else None
    except (OSError, RuntimeError, ValueError):
        return None


def _opened(path: Path) -> BinaryIO | None:
    """Open a plain file; return None for everything else."""
    try:
        # Without waiting: a pipe has no writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")
