"""A web server on this machine: it answers as a test says, cuts connections when told to, and records requests."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """A request to the server."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's fields."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def header(self, name: str) -> str | None:
        """A header by its name in small letters."""
        return self.headers.get(name)


@dataclass(frozen=True)
class Reply:
    """An answer. `cut` closes the connection after so many bytes of the body; with `reset` by a TCP reset.

    `chunked` sends the body as one chunk. A header's value of several lines is sent as so many headers.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    reset: bool = False
    chunked: bool = False


RESET = Reply(status=0, reset=True)
Answer = Callable[[Request], Reply]


@dataclass
class WebServer:
    """A running server; `answer` may be set at any time."""

    port: int
    answer: Answer
    requests: list[Request] = field(default_factory=list)
    host: str = "127.0.0.1"

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Its address on the web."""
        return f"http://{self.address}"


def in_turn(*replies: Reply) -> Answer:
    """Return a function that answers with these in turn, and with the last for ever."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def web_server(answer: Answer, host: str = "127.0.0.1") -> Iterator[WebServer]:
    """Run a server on a free port; stop it at the end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two packets: the second would wait for the client's delayed acknowledgement of the first.
        disable_nagle_algorithm = True

        def do_GET(self, body: bytes = b"") -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            web.requests.append(request)
            reply = web.answer(request)
            if reply.status:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    for line in value.split("\n"):
                        self.send_header(name, line)
                body = reply.body
                if reply.chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
                else:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: reply.cut] if self.command != "HEAD" else b"")
            if reply.reset:
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if reply.reset or reply.cut is not None:
                self.close_connection = True

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                self.do_GET(self.chunks())
            else:
                self.do_GET(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def chunks(self) -> bytes:
            # To the last byte: an empty line left over would be read as the next request, and end the connection that
            # the client is about to use again.
            body = b""
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                """Trailers say nothing here."""
            return body

        def do_PUT(self) -> None:
            self.do_POST()

        def do_DELETE(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: a test's output is its own."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
            # shutdown() would send an orderly end before the reset.
            assert isinstance(request, socket.socket)
            request.close()

        def handle_error(self, request: object, client_address: object) -> None:
            # Some tests are about a client that goes away during an answer.
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    with Server((host, 0), Handler) as server:
        web = WebServer(server.server_address[1], answer, host=host)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


def has_ipv6() -> bool:
    """Return whether this machine has the IPv6 loopback; some containers have not."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def closed_port() -> int:
    """Yield a port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
