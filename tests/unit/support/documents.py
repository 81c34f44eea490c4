"""The Markdown documents of this repository, and how tests read them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# The pages for whoever runs a cluster, in the order in which they are read.
ADMIN_GUIDE = (
    "deploy/README.md",
    "docs/in-cluster-build.md",
    "docs/kmm.md",
    "docs/upgrade.md",
    "docs/rhel-workers.md",
    "docs/clusters.md",
    "docs/rdma.md",
    "docs/secure-boot.md",
    "docs/image-policy.md",
    "docs/troubleshooting.md",
    "docs/vendor-manifests.md",
)
_FOLDERS = ("deploy", "docs", "dockerfiles", "images", "tests")


def documents() -> list[str]:
    """Return every Markdown file of the repository, as a path below its root."""
    found = [*ROOT.glob("*.md"), *(path for folder in _FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def text_of(*pages: str) -> str:
    """Return the text of pages, one after the other."""
    return "\n".join((ROOT / page).read_text(encoding="utf-8") for page in pages)


def section(page: str, title: str) -> str:
    """Return the text under a heading of a page, up to the next heading of its level or above.

    Raises:
        ValueError: the page does not have exactly one such heading.
    """
    text = text_of(page)
    found = re.findall(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    if len(found) != 1:
        raise ValueError(f"{page}: {len(found)} sections are called {title!r}")
    rest = f"\n{text}".partition(f"\n{found[0]} {title}\n")[2]
    return re.split(rf"^#{{1,{len(found[0])}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def code_blocks(pages: Iterable[str]) -> list[str]:
    """Return the indented code blocks of pages, without their indentation."""
    text = "\n\n".join(text_of(page) for page in pages)
    found = re.findall(r"(?:^(?: {4,}\S.*)?\n)+", text, re.MULTILINE)
    return [textwrap.dedent(block).strip() + "\n" for block in found if block.strip()]
