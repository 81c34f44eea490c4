"""The one place where errors are caught: what a person is told, and the exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

from rich.console import Console

from kmatrix.values.errors import Exit, KmatrixError
from kmatrix.values.redaction import redacted


def guarded(console: Console, work: Callable[[], int], interrupted: str) -> int:
    """Run a command and return its exit code.

    Args:
        console: for people.
        work: the command; returns its exit code.
        interrupted: what to say after Ctrl-C.
    """
    # A job that is cancelled gets this, and must clean up as after Ctrl-C.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if _is_main_thread() else None
    try:
        return int(work())
    except KeyboardInterrupt:
        console.print(interrupted, markup=False, highlight=False, soft_wrap=True)
        return int(Exit.INTERRUPTED)
    except KmatrixError as error:
        console.print(redacted(f"error: {error}"), style="red", markup=False, highlight=False, soft_wrap=True)
        if error.hint:
            hint = f"{error.hint[:1].upper()}{error.hint[1:]}"
            console.print(redacted(f"       {hint}"), markup=False, highlight=False, soft_wrap=True)
        return int(error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
    except Exception:
        console.print(redacted(traceback.format_exc()), markup=False, highlight=False, soft_wrap=True)
        words = "error: this is a fault of kmatrix itself; what was finished is kept. Please report the lines above."
        console.print(words, style="red", markup=False, highlight=False, soft_wrap=True)
        return int(Exit.ERRORED)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
