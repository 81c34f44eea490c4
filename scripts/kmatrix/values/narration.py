"""What a step of a session tells while it runs: lines about itself, and the output of its programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Narration:
    """Functions that show lines of a step, and lines of the programs that it runs; called, it shows one of its own.

    `output` is given the name of a part of the step, and a line that a program printed for it.
    """

    say: Callable[[str], None]
    output: Callable[[str, str], None]

    def __call__(self, text: str) -> None:
        """Show a line of the step."""
        self.say(text)
