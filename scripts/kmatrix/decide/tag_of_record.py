"""Whether a tag names what its image was tested as: no signature says which tags lead to an image.

Whoever may write to a registry can move a tag to another image that the publisher has signed, such as an earlier one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from kmatrix.values.names import ARCHES, image_tag, without_arch

# A client version or a kernel release, with which every tag of this project begins.
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:[-_+.].*)?")


def foreign_tag(tag: str, names: Iterable[str]) -> str:
    """Return why a tag does not lead to what it names; empty if it does.

    Args:
        tag: as the image was asked for; one that begins with no version, such as `latest`, names nothing.
        names: those in the test results that verify: the id of a cell, or the client version of a bundle.
    """
    names = tuple(dict.fromkeys(names))
    if not names or not _VERSION.fullmatch(tag) or any(tag in _tags(name) for name in names):
        return ""
    return f"the tag {tag} leads to an image that was tested as {', '.join(names)}: somebody may have moved it"


def _tags(name: str) -> Iterator[str]:
    """Yield the tags that a cell or a bundle may have: of its own, of its module image, and its kernel tag."""
    _, _, kernel = name.partition("-")
    for each in (name, kernel, *(without_arch(name, arch) for arch in ARCHES)):
        try:
            yield image_tag(each)
        except ValueError:
            # Whoever has a key may sign any name.
            continue
