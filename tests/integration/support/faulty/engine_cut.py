"""A socket in front of the real engine that can be cut, as if the engine went away."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from pathlib import Path

from docker.constants import DEFAULT_UNIX_SOCKET

_ENGINE = DEFAULT_UNIX_SOCKET.removeprefix("http+unix://")


class Forwarder:
    """Listens on a socket of its own and passes everything on to the engine, until it is cut."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._cut = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def host(self) -> str:
        """The value for DOCKER_HOST."""
        return f"unix://{self.path}"

    def cut(self) -> None:
        """Break every connection and take no new one."""
        self._cut.set()
        self.path.unlink(missing_ok=True)
        with self._lock:
            for end in (self._listener, *self._open):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut, and wait for the threads."""
        self.cut()
        for thread in self._threads:
            thread.join(timeout=30)
        self._listener.close()

    def _accept(self) -> None:
        while not self._cut.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(os.environ.get("KMATRIX_TEST_ENGINE", _ENGINE))
            with self._lock:
                self._open |= {client, engine}
                thread = threading.Thread(target=self._pass_on, args=(client, engine))
                self._threads.append(thread)
            thread.start()

    def _pass_on(self, client: socket.socket, engine: socket.socket) -> None:
        other = {client: engine, engine: client}
        with client, engine, contextlib.suppress(OSError):
            while not self._cut.is_set():
                for end in select.select([client, engine], [], [])[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    other[end].sendall(data)
        with self._lock:
            self._open -= {client, engine}
