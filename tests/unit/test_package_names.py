"""A file of ours that has a package's name in the build is told before anything is fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_render import ROOT, profile, recipes

from kmatrix.effects.context import read_image_source
from kmatrix.stages.once import Once
from kmatrix.stages.workshop import Options, build_context
from kmatrix.values.errors import InputError


def test_a_file_with_a_packages_name_is_told_by_its_name(tmp_path: Path) -> None:
    source = read_image_source(ROOT / "images" / "beegfs-client")
    source = replace(source, files={**source.files, "package-key": b"x"})
    recipe = next(iter(recipes(profile()).values()))
    options = Options(root=tmp_path, profile=profile(packages=str(tmp_path)), target="registry.example/team")
    shop: Any = SimpleNamespace(source=source, options=options, files=Once())
    with pytest.raises(InputError, match="names that packages get in the build: package-key") as caught:
        build_context(shop, recipe)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
