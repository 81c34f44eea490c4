"""A tag whose manifest several writers extend: each adds its part to what is there, and nothing is lost.

A registry has no way to change a manifest only if nobody else changed it. So each writer reads the manifest, writes it
with its own part, and reads it back; if its part is not there, it repeats that. Another writer may have read before
this one wrote, and write after this one has read back: so this one reads back once more, after more time than there is
between its own reading and writing. The threads of this program take turns.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kmatrix.decide.image_documents import Document
from kmatrix.effects.net.encodings import DOCUMENT_BYTES, TooLargeError
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.values.errors import InterruptedRunError, NotReadableError, ProtocolError, ToolError
from kmatrix.values.names import ImageRef

# Several programs that extend one tag may each need some.
_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.5
# How much longer than this writer another one may take between reading and writing.
_SLOWER_WRITER_SECONDS = 0.1
_OTHER_WRITER = "Something else writes to this repository or removes tags from it; give this project one of its own."


@dataclass(frozen=True)
class Extension:
    """The manifest that a tag is to have, and the blobs that it needs beside those that the registry has.

    `taken_over` are the paths, `blobs/sha256:…` or `manifests/sha256:…`, of the content that the manifest before it
    lists and this one still does.
    """

    manifest: Document
    blobs: tuple[bytes, ...] = ()
    taken_over: tuple[str, ...] = ()


# From the manifest that is there (None: none), without the content at some paths, which is gone; None: nothing to add.
Extend = Callable[[bytes | None, frozenset[str]], Extension | None]


class _Locks:
    """A lock for each tag, shared by every thread of this program."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def of(self, name: ImageRef) -> threading.Lock:
        with self._guard:
            return self._locks[str(name)]


_LOCKS = _Locks()


def read_tag(registry: Registry, name: ImageRef) -> bytes | None:
    """Return the manifest that a tag names, as anybody who may push could have written it; None if there is none.

    Raises:
        TooLargeError: it is larger than registries take.
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried. That is no absence.
    """
    return registry.content(name, f"manifests/{name.tag}", limit=DOCUMENT_BYTES)


def extend_tag(
    registry: RegistryWriter, name: ImageRef, extend: Extend, stopping: Callable[[], bool], what: str
) -> None:
    """Extend the manifest under a tag until the registry has what `extend` adds.

    Args:
        registry: has the repository.
        name: the repository and the tag.
        extend: returns the extended manifest, or None for one that needs nothing.
        stopping: whether the run was told to stop.
        what: is added, for messages.

    Raises:
        UnreachableError, CredentialError, ProtocolError: the registry could not be queried, or refuses.
        ToolError: it keeps something else under the tag.
        InterruptedRunError: the run was told to stop.
    """
    with _LOCKS.of(name):
        started = time.monotonic()
        there = _there(registry, name)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if attempt > 1:
                    started = time.monotonic()
                    # Content that was there does not go; if it was removed, the registry refuses the manifest.
                    there = _there(registry, name) or there
                if not _write(registry, name, extend, there):
                    return
                if _stays(registry, name, extend, time.monotonic() - started):
                    return
            except NotReadableError:
                # Some registries answer so for a moment about something that was written just now. It is no absence:
                # before the manifest can be read, nothing is written.
                if attempt == _ATTEMPTS:
                    raise
            if stopping():
                raise InterruptedRunError
            if attempt < _ATTEMPTS:
                # A registry of many servers may send the earlier manifest for a moment (helm/helm#31348, of Quay). Two
                # writers must not try again at the same time.
                time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.25, 1))
        raise ToolError(f"{name}: the registry does not keep {what}", _OTHER_WRITER)


def _stays(registry: Registry, name: ImageRef, extend: Extend, took_seconds: float) -> bool:
    """Return whether what was written is there, and still there after another writer has had its time."""
    if extend(_there(registry, name), frozenset()) is not None:
        return False
    time.sleep(took_seconds + _SLOWER_WRITER_SECONDS)
    return extend(_there(registry, name), frozenset()) is None


def _write(registry: RegistryWriter, name: ImageRef, extend: Extend, there: bytes | None) -> bool:
    """Write the extended manifest; return False if there was nothing to add."""
    extension = extend(there, frozenset())
    if extension is None:
        return False
    try:
        _put(registry, name, extension)
    except ProtocolError:
        # Registries refuse a manifest that lists content which somebody has deleted.
        gone = _gone(registry, name, extension.taken_over)
        without = extend(there, gone) if gone else None
        if without is None:
            raise
        _put(registry, name, without)
    return True


def _put(registry: RegistryWriter, name: ImageRef, extension: Extension) -> None:
    for blob in extension.blobs:
        registry.put_blob(name, blob)
    registry.put_manifest(name, extension.manifest.content, extension.manifest.media_type)


def _gone(registry: Registry, name: ImageRef, paths: Iterable[str]) -> frozenset[str]:
    return frozenset(path for path in paths if not _exists(registry, name, path))


def _exists(registry: Registry, name: ImageRef, path: str) -> bool:
    try:
        return registry.content(name, path, limit=DOCUMENT_BYTES) is not None
    except TooLargeError:
        return True


def _there(registry: Registry, name: ImageRef) -> bytes | None:
    try:
        return read_tag(registry, name)
    except TooLargeError:
        # No registry would take more of it.
        return None
