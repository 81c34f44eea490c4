"""Facts about this checkout from version control."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit


def source(root: Path) -> str:
    """Return a checkout's origin as a web address without credentials; empty if it has none."""
    found = _git(root, "config", "--get", "remote.origin.url").removesuffix(".git")
    if found.startswith("git@"):
        host, _, path = found.removeprefix("git@").partition(":")
        found = f"https://{host}/{path}"
    # Up to the last @, as a password may contain one, or a slash.
    parts = urlsplit(re.sub(r"^([a-z+]+://).*@", r"\1", found))
    return urlunsplit(("https", parts.hostname or "", parts.path, "", "")) if parts.scheme in ("https", "ssh") else ""


def revision(root: Path) -> str:
    """Return the commit of a checkout; empty if the folder is no checkout, or git is not installed."""
    return _git(root, "rev-parse", "HEAD")


def work_tree_that_takes(path: Path) -> Path | None:
    """Return the top of the work tree that `git add` would take a file into; None if there is none, or it ignores it.

    Where git cannot be asked, the work tree counts as one that takes it.
    """
    path = path.resolve()
    top = next((folder for folder in path.parents if (folder / ".git").exists()), None)
    if top is None:
        return None
    try:
        asked = ["git", "-C", str(top), "check-ignore", "--quiet", "--", str(path)]
        ignored = subprocess.run(asked, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        ignored = False
    return None if ignored else top


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
