"""Projects on disk: a matrix, pins that fit it and the client's build context, without an engine or a network."""

from __future__ import annotations

import shutil
from pathlib import Path

from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.values.lock import Lock, inputs_digest, write_lock
from tests.unit.support.made_up_profile import ROOT, lock, profile

MATRIX = """schema: 1
default_profile: site
profiles:
  site:
    about: for tests
    graph: https://graph.invalid/graph
    packages: https://packages.invalid/release
    key_fingerprint: 0123456789ABCDEF0123456789ABCDEF01234567
    base: registry.example/base/minimal:latest
    base_stream: el9
    channels: [{name: stable-4.12}, {name: stable-4.16}, {name: stable-4.22}]
    arches: [x86_64]
    flavours: [standard, rt]
    clients: [7.4.6, 8.2.2]
"""


def write_project(root: Path, matrix: str = MATRIX) -> None:
    """Write a project with profile `site`: six cells, three of each client."""
    (root / "matrix.yaml").write_text(matrix, encoding="utf-8")
    pins = lock(profile()).model_copy(update={"inputs": inputs_digest(read_matrix(matrix).profile("site"))})
    (root / "matrix.lock").write_text(write_lock(Lock().with_profile("site", pins)), encoding="utf-8")
    shutil.copytree(ROOT / "images" / "beegfs-client", root / "images" / "beegfs-client")
