"""The matrices of tests/data/plan, and the lock that belongs to them."""

from __future__ import annotations

from pathlib import Path

from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.values.lock import ProfileLock, read_lock
from kmatrix.values.matrix import Profile

DATA = Path(__file__).resolve().parents[2] / "data" / "plan"


def profile_of(matrix: str, **changes: str) -> Profile:
    text = (DATA / f"{matrix}.yaml").read_text()
    for before, after in changes.items():
        text = text.replace(f"    {before}: ", f"    {before}: {after} #", 1)
    return read_matrix(text).profile("one")


def pins() -> ProfileLock:
    return read_lock((DATA / "matrix.lock").read_text()).profiles["one"]
