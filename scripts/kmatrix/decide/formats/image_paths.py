"""Find the file that an image shows at a path, through its layers from the top.

Rules: opencontainers/image-spec, layer.md (whiteouts, opaque whiteouts, hard links). Where these leave
something open, this follows the engines that unpack layers (containerd pkg/archive/tar.go, moby/go-archive diff.go).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from kmatrix.values.errors import ProtocolError

L = TypeVar("L")
# As for the files of a container: a longer chain counts as endless.
_LINKS = 8
_HINT = "The image is damaged or was assembled wrongly: publish or mirror it again, or choose another release."


@dataclass(frozen=True)
class Entry:
    """An entry of a layer at a path; `target` is that of a link, `content` that of a file that was wanted."""

    kind: Literal["file", "folder", "symlink", "hard link", "other"]
    content: bytes = b""
    target: str = ""


@dataclass(frozen=True)
class LayerView:
    """The entries of a layer for some paths and for the folders above them.

    `removed` are the paths that it removes from the layers below, `emptied` the folders whose content in the layers
    below it removes (the image's root is the empty path).
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    removed: Set[str] = frozenset()
    emptied: Set[str] = frozenset()


def clean_path(name: str) -> str:
    """Return a path of an archive without a leading slash, dots and doubled slashes; the root is the empty path."""
    return posixpath.normpath(f"/{name}").lstrip("/")


def with_parents(path: str) -> Iterator[str]:
    """Yield the folders above a path, the root first, then the path."""
    yield ""
    for end, letter in enumerate(path):
        if letter == "/":
            yield path[:end]
    if path:
        yield path


def find_files(
    layers: Sequence[L], names: Iterable[str], read: Callable[[L, Set[str]], LayerView], where: str
) -> dict[str, bytes]:
    """Return files of the topmost layer that holds any of `names`, by name.

    A file that a layer removes is not searched below it. A hard link is the file it names in the same layer; a
    symbolic link, also one in the place of a folder, is followed through the complete image, from the top again.

    Args:
        layers: the layers, the topmost first.
        names: paths without a leading slash.
        read: returns a layer's entries for a set of paths; may be called again for a layer.
        where: the image, for messages.

    Raises:
        ProtocolError: links lead nowhere; errors of `read` pass through.
    """
    paths = {name: clean_path(name) for name in names}
    for _ in range(_LINKS + 1):
        found, paths = _one_way_down(layers, paths, read, where)
        if found or not paths:
            return found
    raise ProtocolError(f"{where}: {', '.join(sorted(paths))}: a loop of symbolic links", _HINT)


def _one_way_down(
    layers: Sequence[L], paths: Mapping[str, str], read: Callable[[L, Set[str]], LayerView], where: str
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the files that were found, by name; if there are none, the names that links lead to other paths."""
    left, moved = dict(paths), dict[str, str]()
    for layer in layers:
        view = read(layer, frozenset(left.values()))
        found = {}
        for name, path in tuple(left.items()):
            entry = view.entries.get(path)
            if entry is not None and entry.kind in ("file", "hard link"):
                found[name] = entry.content if entry.kind == "file" else _linked(layer, entry.target, read, where)
            elif (target := _elsewhere(view, path)) is not None:
                moved[name] = target
                del left[name]
            elif _is_gone(view, path):
                del left[name]
        if found:
            return found, {}
        if not left:
            break
    return {}, moved


def _linked(layer: L, target: str, read: Callable[[L, Set[str]], LayerView], where: str) -> bytes:
    """Return the file that a hard link of this layer names: it comes before the link, so the layer is read again."""
    path = clean_path(target)
    for _ in range(_LINKS):
        entry = read(layer, frozenset((path,))).entries.get(path)
        if entry is None or entry.kind not in ("file", "hard link"):
            raise ProtocolError(f"{where}: a hard link names {path}, which is not a file of the same layer", _HINT)
        if entry.kind == "file":
            return entry.content
        path = clean_path(entry.target)
    raise ProtocolError(f"{where}: {path}: a loop of hard links", _HINT)


def _elsewhere(view: LayerView, path: str) -> str | None:
    """Return the path after a symbolic link of this layer, at this path or in place of a folder above it."""
    for part in with_parents(path):
        entry = view.entries.get(part)
        if entry is not None and entry.kind == "symlink":
            return clean_path(posixpath.join("/", posixpath.dirname(part), entry.target) + path[len(part) :])
    return None


def _is_gone(view: LayerView, path: str) -> bool:
    """Return whether this layer hides the path in all layers below."""
    for part in with_parents(path):
        above = part != path
        entry = view.entries.get(part)
        if part in view.removed or part in view.emptied:
            return True
        if entry is not None and not (above and entry.kind == "folder"):
            return True
    return False
