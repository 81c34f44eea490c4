"""Build stages that stay in the engine's cache for a test session, because they have names."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import docker
from docker.errors import ImageNotFound

from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.values import labels
from kmatrix.values.names import image_tag
from tests.integration.support.session import LABEL, Session


def module_of(session: Session, client_version: str, kernel: str) -> bytes:
    """Return the module of a cell that is compiled already, as compiled."""
    client = docker.from_env()
    container = client.containers.create(
        f"{session.warm}:{stage_tag('module', client_version, kernel)}", ["true"], labels={LABEL: session.name}
    )
    try:
        stream, _ = container.get_archive(f"/module/opt/lib/modules/{kernel}/extra/beegfs.ko")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            file = archive.extractfile("beegfs.ko")
            assert file
            return file.read()
    finally:
        container.remove()
        client.close()


def keeping_stages(client: docker.DockerClient, session: Session, variant: str = "") -> Any:
    """Return a `DockerEngine.build` that names every stage it builds; `variant` tells sites with other stages apart."""
    build = DockerEngine.build

    def keeping(engine: DockerEngine, context: bytes, **options: Any) -> str:
        built = build(engine, context, **options)
        if not options.get("target"):
            made = options["labels"]
            for stage in ("packages", "userland", "module"):
                tag = stage_tag(stage, made[labels.CLIENT], made[labels.KERNEL], variant)
                again = {**options, "target": stage, "labels": {}, "on_line": lambda _: None}
                client.images.get(build(engine, context, **again)).tag(session.warm, tag)
        return built

    return keeping


def stage_tag(stage: str, client_version: str, kernel: str, variant: str = "") -> str:
    return f"{variant}{stage}-{image_tag(f'{client_version}-{kernel}')}"


def has_image(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True
