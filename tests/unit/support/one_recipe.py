"""A recipe as far as stages look at it before anything is built: one cell, one toolkit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from kmatrix.values.recipe import Recipe

_KERNEL = {"kernel": "k", "arch": "x86_64", "flavour": "standard", "stream": "el9"}
CELL = SimpleNamespace(id="1.1.1-k", client="1.1.1", releases=(), **_KERNEL)
TOOLKIT = SimpleNamespace(pinned="registry.invalid/toolkit@sha256:" + "0" * 64)
RECIPE = cast("Recipe", SimpleNamespace(cell=CELL, toolkit=TOOLKIT))
