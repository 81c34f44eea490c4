"""The one place where errors are caught: what a person is told, and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from rich.console import Console

from kmatrix.values.errors import Exit, KmatrixError


def guarded(console: Console, work: Callable[[], int], interrupted: str) -> int:
    """Run a command and return its exit code.

    Args:
        console: for people.
        work: the command; returns its exit code.
        interrupted: what to say after Ctrl-C.
    """
    try:
        return int(work())
    except KeyboardInterrupt:
        console.print(interrupted, markup=False, highlight=False, soft_wrap=True)
        return int(Exit.INTERRUPTED)
    except KmatrixError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        if error.hint:
            hint = f"{error.hint[:1].upper()}{error.hint[1:]}"
            console.print(f"       {hint}", markup=False, highlight=False, soft_wrap=True)
        return int(error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
