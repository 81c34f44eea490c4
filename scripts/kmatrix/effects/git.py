"""What version control knows of this checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path


def revision(root: Path) -> str:
    """Return the commit of a checkout; empty where it is none, or git is not installed."""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
