"""Runs the command line, and keeps what the container engine is given and what it built of it.

As a program: `python -m tests.integration.support.hygiene.recorded_run FOLDER [--without-boot] COMMAND...`. A process
of its own has its own environment, which a test can give keys to and watch.
"""

from __future__ import annotations

import itertools
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bench.without_boot import without_boot
from kmatrix import cli
from kmatrix.effects.engine.docker import DockerEngine

WITHOUT_BOOT = "--without-boot"


def record(folder: Path) -> None:
    """Have every engine of this process write contexts, archives, arguments and finished images into a folder."""
    build, put_archive = DockerEngine.build, DockerEngine.put_archive
    folder.mkdir(parents=True, exist_ok=True)
    numbers = itertools.count(len([*folder.iterdir()]))

    def recorded_build(self: DockerEngine, context: bytes, **options: Any) -> str:
        number = next(numbers)
        (folder / f"{number}-context.tar").write_bytes(context)
        told = {key: value for key, value in options.items() if key != "on_line"}
        (folder / f"{number}-options.json").write_text(json.dumps(told), encoding="utf-8")
        built = build(self, context, **options)
        if not options.get("target"):
            with (folder / f"{number}-image.tar").open("wb") as file:
                file.writelines(self.save(built))
        return built

    def recorded_archive(self: DockerEngine, container: str, into: str, archive: bytes) -> None:
        (folder / f"{next(numbers)}-archive.tar").write_bytes(archive)
        put_archive(self, container, into, archive)

    # It is never undone: nothing of this process comes after the command.
    patch = pytest.MonkeyPatch()
    patch.setattr(DockerEngine, "build", recorded_build)
    patch.setattr(DockerEngine, "put_archive", recorded_archive)


def main(folder: str, *arguments: str) -> int:
    """Run a command and return its exit code."""
    record(Path(folder))
    plain = arguments[0] == WITHOUT_BOOT
    with without_boot() if plain else nullcontext():
        return cli.main(arguments[1:] if plain else arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
