"""Programs that some tests need: without them a test is skipped, and fails where CI says that all of them are there."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """The mark of a test that needs programs; tests/unit/conftest.py looks for them before it makes any fixture."""
    return pytest.mark.needs(*programs)


def require(*programs: str) -> None:
    """Go on if all the programs are there, otherwise end this test."""
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        lack(", ".join(absent))


def lack(what: str) -> NoReturn:
    """End this test for want of what scripts/bootstrap installs: as skipped, or, where CI is set, as failed."""
    reason = f"there is no {what} on this machine; scripts/bootstrap installs it"
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(reason)
    pytest.fail(reason, pytrace=False)
