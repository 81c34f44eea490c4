"""A run's connection to Docker, and the containers that have to end when the run is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

import docker.errors

from kmatrix.effects.engine.docker import sdk
from kmatrix.effects.engine.docker.errors import engine_errors
from kmatrix.values.engine import EngineInUse
from kmatrix.values.errors import InterruptedRunError, KmatrixError, ToolError, UnreachableError

_TIMEOUT_SECONDS = 600
# containerd's image store reports its snapshotter as the driver, and itself here (moby: daemon/containerd/service.go).
_CONTAINERD = ["driver-type", "io.containerd.snapshotter.v1"]


class Connection:
    """The part of an engine that all its other parts stand on."""

    def __init__(self, run_id: str) -> None:
        """Connect to the engine that DOCKER_HOST or the Docker context names, or to the local one.

        Args:
            run_id: the id of this run.

        Raises:
            UnreachableError: no engine answers.
        """
        self._run_id = run_id
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._in_use: EngineInUse | None = None
        with engine_errors("connect"):
            # The SDK asks the engine for its version here, so a silent engine is noticed at once.
            self._api, self._address = sdk.connect(timeout=_TIMEOUT_SECONDS, max_pool_size=32)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def run_id(self) -> str:
        """See `Engine.run_id`."""
        return self._run_id

    def close(self) -> None:
        """Close the connections to the engine."""
        self._api.close()

    def in_use(self) -> EngineInUse:
        """See `Engine.in_use`; asked once, then remembered."""
        if self._in_use is None:
            with engine_errors("report its version"):
                version, info = self._api.version(), self._api.info()
            # Podman offers Docker's API and names itself here (podman: pkg/api/handlers/compat/version.go).
            components = [str(part.get("Name", "")) for part in version.get("Components") or ()]
            driver = str(info.get("Driver") or "unknown")
            self._in_use = EngineInUse(
                name="Podman" if any(name.startswith("Podman") for name in components) else "Docker",
                version=str(version.get("Version") or "of unknown version"),
                address=self._address,
                store=f"containerd ({driver})" if _CONTAINERD in (info.get("DriverStatus") or ()) else driver,
            )
        return self._in_use

    # Stopping

    def stop(self) -> None:
        """See `Engine.stop`."""
        self._stopping.set()
        with self._lock:
            running = tuple(self._running)
        for container in running:
            # An engine that went away must not keep the others from being ended, nor hide why the run ends.
            with suppress(UnreachableError):
                self.remove_container(container)

    @property
    def stopping(self) -> bool:
        """See `Engine.stopping`."""
        return self._stopping.is_set()

    def raise_if_stopping(self) -> None:
        """See `Engine.raise_if_stopping`."""
        if self._stopping.is_set():
            raise InterruptedRunError

    @contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        """Ask for something long; like `engine_errors`, but a failure that follows from `stop` is an interruption."""
        try:
            with engine_errors(doing):
                yield
        except KmatrixError:
            self.raise_if_stopping()
            raise

    def _track(self, old: str, new: str) -> str:
        """Have `stop` remove the container `new`, and `old` no more; either may be empty."""
        with self._lock:
            self._running.discard(old)
            if new:
                self._running.add(new)
        return new

    def remove_container(self, container: str) -> None:
        """Remove a container if it is there.

        Raises:
            UnreachableError: the engine went away.
        """
        try:
            with engine_errors("remove a container", absent_passes=True):
                self._api.remove_container(container, force=True, v=True)
        except (docker.errors.NotFound, ToolError):
            # Gone already, or going: the daemon answers 409 while a removal is under way.
            return


def translated(doing: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a stream that the SDK reads; its errors are ours, wherever the stream is read.

    Raises:
        UnreachableError, ToolError: the engine went away, or refuses.
    """
    with engine_errors(doing):
        yield from chunks
