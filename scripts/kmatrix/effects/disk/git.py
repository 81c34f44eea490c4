"""Facts about this checkout from version control."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from kmatrix.effects.process.environment import child_environment

_OTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")


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
    top = _work_tree(path)
    if top is None:
        return None
    try:
        asked = ["git", "-C", str(top), "check-ignore", "--quiet", "--", str(path)]
        ignored = subprocess.run(asked, env=child_environment(), capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        ignored = False
    return None if ignored else top


def tracks(path: Path) -> bool | None:
    """Return whether git tracks a file, links followed; False outside of every work tree.

    None where there is a work tree, and git gives no answer: it is not installed, or it refuses the work tree, as that
    of another user.
    """
    path = path.resolve()
    top = _work_tree(path)
    if top is None:
        return False
    # A hook of git sets variables that would have another index asked.
    environment = {name: value for name, value in child_environment().items() if name not in _OTHER_REPOSITORY}
    asked = ["git", "--literal-pathspecs", "-C", str(top), "ls-files", "--error-unmatch", "--", str(path)]
    try:
        done = subprocess.run(asked, env=environment, capture_output=True, check=False)
    except OSError:
        return None
    # 1 is its answer for a file that it does not know; it has 128 for whatever went wrong (git, builtin/ls-files.c).
    return {0: True, 1: False}.get(done.returncode)


def _work_tree(path: Path) -> Path | None:
    return next((folder for folder in path.parents if (folder / ".git").exists()), None)


def _git(root: Path, *arguments: str) -> str:
    try:
        asked = ["git", "-C", str(root), *arguments]
        done = subprocess.run(asked, env=child_environment(), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
