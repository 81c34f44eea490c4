"""A proxy that misbehaves on request, for Python's standard library alone: it runs inside a container of the lab.

`misbehaving_proxy.py UPSTREAM PORT` passes everything on to UPSTREAM (HOST:PORT). `POST /-/faults` (a JSON list of
faults) makes it misbehave for the first `times` requests that fit; `GET /-/requests` returns all requests so far.
A fault: {"methods": [..], "path": regular expression, "times": number or null for ever, "do": ..}, where `do`
is {"status": .., "headers": {..}} | {"cut": bytes of the real body, then a TCP reset} | {"truncate": bytes of the
real body, then an orderly end} | {"corrupt": true} | {"redirect": address to put before the path}.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

UPSTREAM = ""
LOCK = threading.Lock()
FAULTS: list[dict[str, Any]] = []
REQUESTS: list[dict[str, Any]] = []
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.read_body()
        if self.path.startswith("/-/"):
            self.control(body)
            return
        fault = self.fault()
        if "status" in fault:
            self.reply(fault["status"], fault.get("headers", {}), b"<html>the proxy's own page</html>")
        elif "redirect" in fault:
            self.reply(307, {"Location": fault["redirect"] + self.path}, b"")
        else:
            self.pass_on(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

    def fault(self) -> dict[str, Any]:
        with LOCK:
            found: dict[str, Any] = {}
            for fault in FAULTS:
                fits = self.command in fault["methods"] and re.search(fault["path"], self.path)
                if fits and fault["times"] != 0:
                    if fault["times"] is not None:
                        fault["times"] -= 1
                    found = fault["do"]
                    break
            authorization = self.headers.get("Authorization")
            REQUESTS.append(
                {"method": self.command, "path": self.path, "authorization": authorization, "fault": sorted(found)}
            )
            return found

    def control(self, body: bytes) -> None:
        with LOCK:
            if self.path == "/-/faults":
                FAULTS[:] = json.loads(body)
                REQUESTS.clear()
            content = json.dumps(REQUESTS).encode()
        self.reply(200, {"Content-Type": "application/json"}, content)

    def pass_on(self, body: bytes, fault: dict[str, Any]) -> None:
        connection = http.client.HTTPConnection(UPSTREAM, timeout=60)
        # The Host stays the proxy's, so that a registry's Location headers lead back here.
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        kept = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
        length = response.headers.get("Content-Length") if self.command == "HEAD" else None
        if fault.get("corrupt"):
            # It is still JSON: only a digest reveals it.
            content += b" "
        end = fault.get("cut", fault.get("truncate"))
        self.reply(response.status, kept, content, end=end, length=length)
        if "cut" in fault:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def reply(
        self, status: int, headers: dict[str, str], body: bytes, end: int | None = None, length: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:end])
        if end is not None:
            self.close_connection = True

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: `/-/requests` returns the requests."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def shutdown_request(self, request: Any) -> None:
        # shutdown() would send an orderly end before the reset.
        request.close()


if __name__ == "__main__":
    UPSTREAM = sys.argv[1]
    Server(("", int(sys.argv[2])), Proxy).serve_forever()
