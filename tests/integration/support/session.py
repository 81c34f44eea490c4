"""One test session with all its workers: throw-away servers, cells compiled once, and nothing left behind."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import docker
from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

_HERE = "127.0.0.1"
_START_SECONDS = 30
_TOOLKITS = "/lab/driver-toolkit@"
_NO_TAG = "<none>:<none>"
# As the classic builder prints them.
_IMAGE = re.compile(r"---> ([0-9a-f]{12})$", re.MULTILINE)
# Its reaper is an image from the network; each container here is removed by the context manager that created it.
testcontainers_config.ryuk_disabled = True
# Where tests run in a container themselves, it would use the bridge; the servers listen on this address alone.
testcontainers_config.connection_mode_override = ConnectionMode.docker_host
testcontainers_config.tc_host_override = _HERE

LABEL = "io.github.beegfs-kmatrix.test"


@dataclass(frozen=True)
class Session:
    """The state that the workers of one test session share.

    Attributes:
        name: distinguishes this session's containers and images from all others.
        folder: a folder that all workers see.
    """

    name: str
    folder: Path

    @property
    def warm(self) -> str:
        """The repository (a local name only) of images that are kept until the session's end."""
        return f"kmatrix-test/{self.name}"

    @contextmanager
    def locked(self, what: str = "session") -> Iterator[None]:
        """Keep the other workers out."""
        with (self.folder / f"{what}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def server(
        self, image: str, command: list[str], port: int, ready_path: str, **options: Any
    ) -> Iterator[tuple[str, DockerContainer]]:
        """Run a server on a free port of 127.0.0.1; yield HOST:PORT and the container, and remove it at the end.

        Args:
            image: the image, in the engine already.
            command: the program and its arguments.
            port: the port in the container.
            ready_path: the path that answers with 200 (or 401) when the server is ready.
            options: further options of the engine's API for a container.
        """
        waiting = HttpWaitStrategy(port, ready_path).for_status_code_matching(lambda code: code in (200, 401))
        waiting.with_startup_timeout(_START_SECONDS)
        container = DockerContainer(image).with_command(command).waiting_for(waiting)
        # testcontainers itself would publish on every address of this machine.
        cast("dict[str, Any]", container.ports)[f"{port}/tcp"] = (_HERE, None)
        with container.with_kwargs(labels={LABEL: self.name}, **options):
            yield f"{_HERE}:{container.get_exposed_port(port)}", container

    # Leaving nothing behind

    def enter(self) -> None:
        """Count this worker in; the first notes which images were there before."""
        workers = self.folder / "workers"
        workers.mkdir(exist_ok=True)
        if not any(workers.iterdir()):
            (self.folder / "before").write_text("\n".join(_every_image()), encoding="utf-8")
        (workers / str(os.getpid())).touch()

    def note_images(self, ids: Iterable[str]) -> None:
        """Note the images that builds of this session created or used."""
        with (self.folder / "made").open("a", encoding="utf-8") as file:
            file.writelines(f"{image}\n" for image in ids)

    def note_builds(self, log: str) -> None:
        """Note the images that a log of builds names, for the check that none is left."""
        self.note_images(_IMAGE.findall(log))

    def leave(self) -> list[str]:
        """Count this worker out; the last removes the session's stages and returns everything else that is left."""
        workers = self.folder / "workers"
        (workers / str(os.getpid())).unlink()
        if any(workers.iterdir()):
            return []
        client = docker.from_env()
        try:
            # Not `client.images`: it queries each image once more, and others come and go.
            for tag in [tag for image in client.api.images() for tag in image["RepoTags"] or ()]:
                if tag.startswith(f"{self.warm}:"):
                    client.images.remove(tag)
            left = [f"container {c.name}" for c in client.containers.list(all=True, filters={"label": self._label})]
            labelled = client.api.images(all=True, filters={"label": self._label})
            left += [f"image {image['Id']} {image['RepoTags']}" for image in labelled]
            left += [f"network {n.name}" for n in client.networks.list(filters={"label": self._label})]
            return left + [f"image {image}, a step of a build" for image in self._forgotten(client)]
        finally:
            client.close()

    @property
    def _label(self) -> str:
        return f"{LABEL}={self.name}"

    def _forgotten(self, client: docker.DockerClient) -> list[str]:
        """Return nameless images of this session's builds; ancestors of a named image belong to that image.

        A toolkit that a build pulled by digest stays for the next one, as it does for users.
        """
        noted = self.folder / "made"
        made = set(noted.read_text(encoding="utf-8").split()) if noted.exists() else set()
        before = set((self.folder / "before").read_text(encoding="utf-8").split())
        images = {str(image["Id"]): image for image in client.api.images(all=True)}
        named: set[str] = set()
        for name, image in images.items():
            pulled = any(_TOOLKITS in digest for digest in image["RepoDigests"] or ())
            step = name if pulled or any(tag != _NO_TAG for tag in image["RepoTags"] or ()) else ""
            while step in images and step not in named:
                named.add(step)
                step = str(images[step]["ParentId"])
        return sorted(i for i in images if i.removeprefix("sha256:")[:12] in made and i not in before | named)


def _every_image() -> list[str]:
    client = docker.from_env()
    try:
        return [str(image["Id"]) for image in client.api.images(all=True)]
    finally:
        client.close()
