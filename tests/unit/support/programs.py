"""Programs that some tests need: a test is skipped without them, and fails where CI is set."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return the mark of a test that needs programs; tests/unit/conftest.py checks them before any fixture."""
    return pytest.mark.needs(*programs)


def require(*programs: str) -> None:
    """Return if all programs are installed, otherwise end this test."""
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        lack(", ".join(absent))


def lack(what: str) -> NoReturn:
    """End this test, for it lacks a program that scripts/bootstrap installs: skipped, or failed where CI is set."""
    reason = f"there is no {what} on this machine; scripts/bootstrap installs it"
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(reason)
    pytest.fail(reason, pytrace=False)
