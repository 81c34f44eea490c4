"""Brings a part of one container's file system into another container, as the archive that the engine makes of it."""

from __future__ import annotations

from kmatrix.effects.engine.docker import Engine
from kmatrix.effects.engine.errors import engine_errors
from kmatrix.values.errors import ToolError


def take_archive(engine: Engine, container: str, path: str) -> bytes:
    """Return a tar archive of a path of a container; its entries begin with the path's last name.

    Raises:
        UnreachableError, ToolError: the engine went away, or there is no such path.
    """
    with engine_errors(f"read {path} of a container"):
        stream, _ = engine.api.get_archive(container, path)
        return b"".join(stream)


def put_archive(engine: Engine, container: str, folder: str, archive: bytes) -> None:
    """Unpack a tar archive in a folder of a container, which need not run.

    Raises:
        UnreachableError, ToolError: the engine went away, or there is no such folder.
    """
    with engine_errors(f"write to {folder} of a container"):
        done = engine.api.put_archive(container, folder, archive)
    if not done:
        raise ToolError(
            f"the engine did not unpack an archive in {folder} of a container",
            "Check that the engine's disk is not full, then run the same again.",
        )
