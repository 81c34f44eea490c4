"""A container engine that has nothing and does nothing: tests give it the parts that they need."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.protocol import Network
from kmatrix.values.engine import EngineImage, EngineInUse, Mount, RegistryLogin, RunOutput, ServerContainer
from kmatrix.values.errors import InterruptedRunError
from kmatrix.values.names import Arch

IN_USE = EngineInUse("Stand-in", "1.0", "unix:///no-engine.sock", "none")


class StandInEngine:
    """Implements the interface with as little as there can be; a test's own stand-in overrides the rest."""

    builds = 0
    pulls = 0

    def __init__(self, run_id: str = "stand-in", notes: Path | None = None) -> None:
        self._run_id = run_id
        self._stopped = False
        self.notes = notes
        self.images: dict[str, EngineImage] = {}
        self.cleared: list[str] = []

    @property
    def run_id(self) -> str:
        return self._run_id

    @property
    def stopping(self) -> bool:
        return self._stopped

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def in_use(self) -> EngineInUse:
        return IN_USE

    def stop(self) -> None:
        self._stopped = True

    def raise_if_stopping(self) -> None:
        if self.stopping:
            raise InterruptedRunError

    def remove_leftovers(self, run_id: str = "") -> None:
        self.cleared.append(run_id or self.run_id)

    def build(
        self,
        context: bytes,
        *,
        on_line: Callable[[str], None],
        target: str | None = None,
        network: Network = "none",
        buildargs: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        tag: str | None = None,
        no_cache: bool = False,
        cache_from: Sequence[str] = (),
    ) -> str:
        raise NotImplementedError

    def steps_done(self, log: Iterable[str]) -> tuple[str, ...]:
        return ()

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
        yield image

    def run(self, container: str, timeout_seconds: int = 120, stdin: bytes = b"") -> RunOutput:
        return RunOutput(0, "", "")

    def read_file(self, container: str, path: str) -> bytes | None:
        return None

    def read_tree(self, container: str, path: str) -> dict[str, bytes]:
        return {}

    def root_files(self, container: str) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
        return iter(())

    def take_archive(self, container: str, path: str) -> bytes:
        raise NotImplementedError

    def put_archive(self, container: str, folder: str, archive: bytes) -> None:
        raise NotImplementedError

    def own_name(self, word: str) -> str:
        return f"kmatrix-run/{self.run_id}:{word}"

    def image(self, name: str) -> EngineImage | None:
        return self.images.get(name)

    def image_names(self, repository: str | None = None) -> tuple[str, ...]:
        return tuple(self.images)

    def pull(self, pinned: str, login: RegistryLogin | None) -> None:
        self.images[pinned] = EngineImage(f"id of {pinned}")

    def hold(self, pinned: str, login: RegistryLogin | None) -> None:
        self.pull(pinned, login)

    def let_go(self, pinned: str) -> None:
        self.images.pop(pinned, None)

    def tag(self, image: str, repository: str, tag: str) -> None:
        raise NotImplementedError

    def push(self, repository: str, tag: str, login: RegistryLogin | None) -> None:
        raise NotImplementedError

    def save(self, image: str) -> Iterator[bytes]:
        raise NotImplementedError

    def import_image(self, archive: Path, repository: str, tag: str, arch: Arch | None = None) -> None:
        raise NotImplementedError

    def remove_image(self, name: str) -> None:
        self.images.pop(name, None)

    def start_server(self, server: ServerContainer) -> None:
        raise NotImplementedError

    def server_runs(self, container: str) -> bool:
        return False

    def stop_server(self, container: str) -> bool:
        return False

    def server_log(self, container: str, lines: int) -> str | None:
        return None

    def servers_on(self, port: int) -> tuple[str, ...]:
        return ()

    def remove_volume(self, name: str) -> None:
        return


# For the type checker: an engine can be written against the interface alone.
_: type[Engine] = StandInEngine
