"""Images of a registry in the container engine: pulled by digest, and held for as long as a run needs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Self

from kmatrix.effects.engine.errors import RegistryRefusalError
from kmatrix.effects.registry.auth import refused
from kmatrix.stages.patience import patiently
from kmatrix.stages.run_context import RunContext
from kmatrix.values.names import ImageRef


def hold_image(run: RunContext, image: ImageRef) -> None:
    """Have an image in the engine until every holder let it go, or until the run ends (see `Engine.hold`).

    Raises:
        UnreachableError: the registry is unreachable.
        CredentialError: it refuses the credential, or there is none.
        ToolError: it has no such image.
    """
    auth = run.credentials.for_engine(image)
    try:
        patiently(lambda: run.engine.hold(image.pinned, auth), run.engine)
    except RegistryRefusalError as error:
        raise refused(image, run.credentials) from error


def pull(run: RunContext, image: ImageRef) -> None:
    """Have an image in the engine until the run ends; it is pulled once for all cells.

    Raises:
        UnreachableError, CredentialError, ToolError: as `hold_image`.
    """
    run.pulls.get(image.pinned, lambda: hold_image(run, image))


class SharedImages:
    """Images that several boots need; each is let go after the last boot that needs it. Use as a context manager.

    A bundle of many kernels needs as many toolkits, and no disk has room for all of them.
    """

    def __init__(self, run: RunContext, images: Iterable[ImageRef], keep: bool = False) -> None:
        """Count the boots of each image.

        Args:
            run: the run.
            images: the image of every boot, so that one for two boots is named twice.
            keep: leave the images in the engine, for a later run.
        """
        self._run = run
        self._keep = keep
        self._lock = Lock()
        self._left = Counter(image.pinned for image in images)
        self._holds: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A run that ended early did not come to these.
        for pinned in [pinned for pinned, boots in self._left.items() if boots]:
            self._let_go(pinned)

    @contextmanager
    def held(self, image: ImageRef) -> Iterator[str]:
        """Have an image in the engine for one boot; yields its reference by digest.

        Raises:
            UnreachableError, CredentialError, ToolError: as `hold_image`.
        """
        try:
            hold_image(self._run, image)
            with self._lock:
                self._holds[image.pinned] += 1
            yield image.pinned
        finally:
            with self._lock:
                self._left[image.pinned] -= 1
                last = not self._left[image.pinned]
            if last:
                self._let_go(image.pinned)

    def _let_go(self, pinned: str) -> None:
        if not self._keep:
            for _ in range(self._holds.pop(pinned, 0)):
                self._run.engine.let_go(pinned)
