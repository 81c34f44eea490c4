"""Look into images through the container engine, without the code under test."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import docker
from docker.models.containers import Container

from kmatrix.values.engine import Mount, RunOutput
from tests.integration.support.session import LABEL

_LONGEST_SECONDS = 300


@contextmanager
def container_of(image: str, *command: str, network: str = "none", **options: Any) -> Iterator[Container]:
    """Create a container without starting it, and remove it at the end; `options` are those of the engine's API."""
    client = docker.from_env()
    try:
        made = client.containers.create(
            image, entrypoint=list(command) or ["true"], network_mode=network, labels={LABEL: "looking"}, **options
        )
        try:
            yield made
        finally:
            made.remove(force=True)
    finally:
        client.close()


def output_in(image: str, *command: str, network: str = "none", status: int = 0) -> str:
    """Return the output of a command in an image; it must exit with `status`."""
    with container_of(image, *command, network=network) as made:
        made.start()
        ended = made.wait()["StatusCode"]
        said = made.logs(stderr=False).decode()
        assert ended == status, f"{' '.join(command)} ends with {ended}: {made.logs().decode()}"
    return said


def run_confined(image: str, script: str, mounts: Sequence[Mount], **confinement: Any) -> RunOutput:
    """Run a script of bash in an image, with the host's network.

    Args:
        image: the image.
        script: the script.
        mounts: parts of this machine that it sees.
        confinement: capabilities and security options of the container, as the engine's API has them.
    """
    with container_of(
        image,
        *("bash", "-c", script),
        network="host",
        volumes=[f"{mount.source}:{mount.target}:{'rw' if mount.writable else 'ro'}" for mount in mounts],
        **confinement,
    ) as made:
        made.start()
        status = int(made.wait(timeout=_LONGEST_SECONDS)["StatusCode"])
        return RunOutput(status, made.logs(stderr=False).decode(), made.logs(stdout=False).decode())


def configuration_of(image: str) -> Mapping[str, Any]:
    """Return the configuration of an image: its entry point, environment, user, working directory."""
    client = docker.from_env()
    try:
        found: Mapping[str, Any] = client.images.get(image).attrs["Config"]
        return found
    finally:
        client.close()


def contents(image: str) -> set[str]:
    """Return every path in an image that is no folder, without the leading slash."""
    with container_of(image) as made:
        data = io.BytesIO(b"".join(cast("Iterator[bytes]", made.export())))
    with tarfile.open(fileobj=data) as archive:
        # The container engine puts these into every container.
        own = {".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "dev/console", "etc/mtab"}
        return {member.name for member in archive if not member.isdir()} - own


def diff_ids(image: str) -> list[str]:
    """Return the digests of an image's unpacked layers, from the lowest up."""
    client = docker.from_env()
    try:
        layers: list[str] = client.images.get(image).attrs["RootFS"]["Layers"]
        return layers
    finally:
        client.close()
