"""Layers that were compressed once in a session: every project publishes the same base to a repository of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from kmatrix.effects.engine.saved_image import SavedLayer, compressed
from kmatrix.stages import publish


@contextmanager
def layers_compressed_once(folder: Path) -> Iterator[None]:
    """Keep compressed layers in a folder that workers share, as long as the context lasts.

    The same layer always gives the same bytes (tests/unit/test_saved_image.py), and the first is compressed for real.
    """
    folder.mkdir(exist_ok=True)

    @contextmanager
    def kept(layer: SavedLayer, own: Path) -> Iterator[IO[bytes]]:
        path = folder / layer.diff_id.replace(":", "-")
        if not path.exists():
            with compressed(layer, own) as file, tempfile.NamedTemporaryFile(dir=folder, delete=False) as new:
                shutil.copyfileobj(file, new)
            # Complete, or not there.
            Path(new.name).rename(path)
        with path.open("rb") as file:
            yield file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "compressed", kept)
        yield
