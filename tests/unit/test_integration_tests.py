"""How the integration tests are found: all of them, and they alone, are marked as those that need the engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("folder", "marks"), [("tests/integration", "not engine"), ("tests/unit/test_names.py", "engine")]
)
def test_exactly_the_integration_tests_are_marked_as_needing_the_engine(folder: str, marks: str) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", marks, folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout
    assert " deselected" in done.stdout
