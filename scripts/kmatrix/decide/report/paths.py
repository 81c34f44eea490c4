"""The paths of the report's files, below its folder; every link is relative, so that the site works from any place."""

from __future__ import annotations

import re

INDEX = "index.html"
CHANGES = "changes.html"
RELEASES = "releases.html"
KERNELS = "kernels.html"
CELL_STYLE = "assets/cell.css"
LOG_SCRIPT = "assets/log.js"
FINDINGS = "findings.html"
STYLE = "assets/style.css"
SCRIPT = "assets/report.js"
MATRIX_SCRIPT = "assets/matrix.js"
DOCUMENT = "index.json"
FEED = "feed.xml"
JUNIT = "junit.xml"
_OTHERS = re.compile(r"[^A-Za-z0-9._+-]|^\.")


def cell_path(cell: str) -> str:
    """Return the path of a cell's page."""
    return f"cells/{file_name(cell)}.html"


def log_path(name: str) -> str:
    """Return the path of the page of a log, by the name of its file."""
    return f"logs/{file_name(name)}.html"


def raw_log_path(name: str) -> str:
    """Return the path of a log as plain text, by the name of its file."""
    return f"logs/{file_name(name)}.txt"


def badge_path(name: str) -> str:
    """Return the path of a badge, by a client version, or by the line of several (`8.3`)."""
    return f"badges/{file_name(name)}.svg"


def file_name(text: str) -> str:
    """Return text as the name of a file that is the same in a link; names of cells stay as they are."""
    return _OTHERS.sub("_", text) or "_"
