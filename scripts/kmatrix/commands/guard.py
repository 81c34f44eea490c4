"""The one place where errors are caught: the message that is printed, and the exit code."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from rich.console import Console

from kmatrix.effects.process.outputs import Outputs, watched_outputs
from kmatrix.effects.process.signals import interruptible
from kmatrix.values.errors import Exit, InterruptedRunError, KmatrixError
from kmatrix.values.redaction import redacted
from kmatrix.values.text import plain


def guarded(
    console: Console,
    work: Callable[[], int],
    interrupted: str,
    announce: Callable[[Exception], None] = lambda _: None,
) -> int:
    """Run a command and return its exit code.

    A signal that ends a run, and a reader of our output that goes away, are an interruption. An exception's notes
    (`add_note`) are clauses about the command that goes on; they are printed last.

    Args:
        console: for human-readable output.
        work: the command; returns its exit code.
        interrupted: the message after an interruption, without a full stop.
        announce: is given the error that ended the command, once that is printed.
    """
    try:
        with interruptible(), watched_outputs() as outputs:
            try:
                code = _run(console, work, interrupted, announce)
            except SystemExit:
                # The option parser leaves this way after `--help` and `--version`.
                outputs.flush()
                if outputs.reader_gone:
                    return int(Exit.INTERRUPTED)
                raise
            return _written(console, outputs, code)
    except KeyboardInterrupt:
        # It came while the last message was printed.
        return int(Exit.INTERRUPTED)


def _run(console: Console, work: Callable[[], int], interrupted: str, announce: Callable[[Exception], None]) -> int:
    try:
        return int(work())
    except (KeyboardInterrupt, InterruptedRunError) as stop:
        # An error while the signal was held back may be the reason that something was not saved.
        broken = stop.__cause__ if isinstance(stop, KeyboardInterrupt) else None
        if isinstance(broken, Exception) and not isinstance(broken, InterruptedRunError):
            print_error(console, broken)
        message = "; ".join([interrupted, *(_notes(stop) or ["run the same command to resume"])])
        console.print(f"{message}.", markup=False, highlight=False, soft_wrap=True)
        return int(Exit.INTERRUPTED)
    except Exception as error:
        print_error(console, error)
        announce(error)
        return int(error.exit_code if isinstance(error, KmatrixError) else Exit.ERRORED)


def _written(console: Console, outputs: Outputs, code: int) -> int:
    """Return the exit code of a command that ended with `code`, once its output is written or lost."""
    outputs.flush()
    if outputs.reader_gone:
        return int(Exit.INTERRUPTED)
    error = outputs.results_lost
    if error is None:
        return code
    hint = "Redirect it to a writable place; build/ has the results of the last run."
    _print(console, f"cannot write standard output: {error.strerror or error}", hint)
    return code or int(Exit.USAGE)


def print_error(console: Console, error: Exception) -> None:
    """Print an error with its next step, an unexpected one with its traceback; then the command that goes on."""
    if isinstance(error, KmatrixError):
        _print(console, str(error), error.hint)
    else:
        trace = traceback.TracebackException.from_exception(error)
        # They are no part of the bug, and are printed below it.
        trace.__notes__ = None
        console.print(redacted(plain("".join(trace.format()))), markup=False, highlight=False, soft_wrap=True)
        message = "Internal error: this is a bug in kmatrix. Please report the traceback above."
        console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    for note in _notes(error):
        console.print(f"       {note}.", markup=False, highlight=False, soft_wrap=True)


def _notes(error: BaseException) -> list[str]:
    return [redacted(plain(note)) for note in getattr(error, "__notes__", [])]


def _print(console: Console, message: str, hint: str) -> None:
    console.print(redacted(plain(f"error: {message}")), style="red", markup=False, highlight=False, soft_wrap=True)
    if hint:
        hint = f"{hint[:1].upper()}{hint[1:]}"
        console.print(redacted(plain(f"       {hint}")), markup=False, highlight=False, soft_wrap=True)
