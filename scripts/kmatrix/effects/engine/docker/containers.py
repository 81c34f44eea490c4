"""Docker's containers: created, run, read from and written to."""

from __future__ import annotations

import socket
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import docker.errors
import requests

from kmatrix.decide.build_log import cannot_start
from kmatrix.effects.engine.archives import ChunkReader, drain, entries, regular_files
from kmatrix.effects.engine.docker.connection import Connection, translated
from kmatrix.effects.engine.docker.errors import engine_errors
from kmatrix.effects.engine.errors import foreign_program
from kmatrix.effects.engine.protocol import Network
from kmatrix.values.engine import Mount, RunOutput
from kmatrix.values.errors import ToolError
from kmatrix.values.names import GO_ARCH

RUN_LABEL = "io.github.beegfs-kmatrix.run"
_LINKS = 8


def bound(mounts: Iterable[Mount]) -> list[str]:
    """Return mounts in the form of the API's `Binds`."""
    return [f"{mount.source}:{mount.target}:{'rw' if mount.writable else 'ro'}" for mount in mounts]


class Containers(Connection):
    """See `Engine` for every public method."""

    @contextmanager
    def container(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        network: Network = "none",
        user: str = "",
        mounts: Sequence[Mount] = (),
        stdin: bool = False,
    ) -> Iterator[str]:
        """See `Engine.container`."""
        self.raise_if_stopping()
        with engine_errors("create a container"):
            created = self._api.create_container(
                image,
                # As the entry point: an image's own must not run, nor get this as its arguments.
                entrypoint=list(command) or ["true"],
                labels={RUN_LABEL: self._run_id},
                user=user,
                stdin_open=stdin,
                host_config=self._api.create_host_config(network_mode=network, binds=bound(mounts)),
            )
        name = str(created["Id"])
        self._track("", name)
        try:
            yield name
        finally:
            self._track(name, "")
            self.remove_container(name)

    def run(self, container: str, timeout_seconds: int = 120, stdin: bytes = b"") -> RunOutput:
        """See `Engine.run`."""
        with self._asking("run a container"), self._standard_input(container, stdin) as give:
            self._api.start(container)
            give()
            try:
                status = int(self._api.wait(container, timeout=timeout_seconds)["StatusCode"])
            except (requests.ReadTimeout, requests.ConnectionError) as error:
                if "timed out" not in str(error).lower():
                    raise
                raise ToolError(
                    f"a container did not end within {timeout_seconds} s", "Is the machine busy?"
                ) from error
            stdout = self._api.logs(container, stdout=True, stderr=False)
            stderr = self._api.logs(container, stdout=False, stderr=True)
            done = RunOutput(status, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))
            if status != 0 and cannot_start(done.stderr.splitlines()):
                raise foreign_program(self._arch(container), done.stderr.strip())
        self.raise_if_stopping()
        return done

    @contextmanager
    def _standard_input(self, container: str, content: bytes) -> Iterator[Callable[[], None]]:
        """Attach to a container's standard input, and yield a function that sends all of it."""
        if not content:
            yield lambda: None
            return
        # The connection is handed over by HTTP's Upgrade; the SDK gives it as a file that cannot write.
        attached = self._api.attach_socket(container, params={"stdin": 1, "stream": 1})
        connection: socket.socket = getattr(attached, "_sock", attached)

        def give() -> None:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)

        try:
            yield give
        finally:
            attached.close()

    def _arch(self, container: str) -> str:
        """Return the architecture of a container's image, as this project names it."""
        inspect = cast("Callable[[str], dict[str, str]]", self._api.inspect_image)
        found = inspect(self._api.inspect_container(container)["Image"])["Architecture"]
        return next((arch for arch, go in GO_ARCH.items() if go == found), found)

    def read_file(self, container: str, path: str) -> bytes | None:
        """See `Engine.read_file`."""
        for _ in range(_LINKS):
            try:
                with engine_errors("read a file of an image", absent_passes=True):
                    stream, stat = self._api.get_archive(container, path)
                    if stat.get("linkTarget"):
                        drain(stream)
                        path = str(stat["linkTarget"])
                        continue
                    files = regular_files(b"".join(stream))
            except docker.errors.NotFound:
                return None
            return next(iter(files.values()), None)
        raise ToolError(f"{path}: a loop of symbolic links", "Fix the link in the image.")

    def read_tree(self, container: str, path: str) -> dict[str, bytes]:
        """See `Engine.read_tree`."""
        with engine_errors("read a folder of an image"):
            return regular_files(self.take_archive(container, path))

    def root_files(self, container: str) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
        """See `Engine.root_files`."""
        doing = "export an image"
        with engine_errors(doing):
            stream = translated(doing, self._api.export(container))
            yield from entries(ChunkReader(stream), ends_with_zeros=True)

    def take_archive(self, container: str, path: str) -> bytes:
        """See `Engine.take_archive`."""
        with engine_errors(f"read {path} of a container"):
            stream, _ = self._api.get_archive(container, path)
            return b"".join(stream)

    def put_archive(self, container: str, folder: str, archive: bytes) -> None:
        """See `Engine.put_archive`."""
        with engine_errors(f"write to {folder} of a container"):
            done = self._api.put_archive(container, folder, archive)
        if not done:
            raise ToolError(
                f"the engine did not unpack an archive in {folder} of a container",
                "Check that the engine's disk is not full, then run the same command again.",
            )
