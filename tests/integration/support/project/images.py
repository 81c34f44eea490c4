"""Look into images through the container engine, without the code under test."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import docker
from docker.models.containers import Container

from tests.integration.support.session import LABEL


@contextmanager
def container_of(image: str, *command: str, network: str = "none") -> Iterator[Container]:
    """Create a container without starting it; remove it at the end."""
    client = docker.from_env()
    try:
        made = client.containers.create(
            image, entrypoint=list(command) or ["true"], network_mode=network, labels={LABEL: "looking"}
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
