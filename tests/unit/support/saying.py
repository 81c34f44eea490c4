"""A progress that passes what a session says to a function, and shows nothing else."""

from __future__ import annotations

from collections.abc import Callable

from kmatrix.stages.progress import QuietProgress


class Saying(QuietProgress):
    """Passes every line to `say`."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say

    def say(self, text: str) -> None:
        self._say(text)
