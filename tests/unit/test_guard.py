"""The one place where errors are caught: exit codes, messages, and secrets that are never shown."""

from __future__ import annotations

import io
import os
import signal

import pytest
from rich.console import Console

from kmatrix.commands.guard import guarded
from kmatrix.effects.process.signals import held
from kmatrix.values.errors import (
    BuildError,
    Exit,
    InputError,
    InterruptedRunError,
    KmatrixError,
    ToolError,
    UnreachableError,
)

RESUME = "interrupted; run the same command to resume."


def told(error: BaseException) -> tuple[int, str]:
    out = io.StringIO()

    def work() -> int:
        raise error

    return guarded(Console(file=out, width=400), work, "interrupted"), out.getvalue()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x", "Do it."), 2),
        (ToolError("x", "Do it."), 3),
        (KmatrixError("x", "Do it."), 3),
        (UnreachableError("registry", "r", "gone"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert told(error)[0] == code


def test_a_fault_of_the_tool_never_looks_like_a_failed_cell() -> None:
    code, said = told(ZeroDivisionError("oh"))
    assert code == 3
    assert "ZeroDivisionError" in said
    assert "this is a bug in kmatrix" in said


@pytest.mark.parametrize("error", [InputError("cannot write x: full", "Make room."), ZeroDivisionError("oh")])
def test_an_error_amid_an_interruption_is_told_too(error: Exception) -> None:
    out = io.StringIO()

    def work() -> int:
        with held(), held():
            os.kill(os.getpid(), signal.SIGINT)
            raise error

    assert guarded(Console(file=out, width=400), work, "interrupted") == 130
    said = out.getvalue().splitlines()
    assert said[-1] == RESUME
    assert str(error) in out.getvalue()
    if isinstance(error, InputError):
        assert said == ["error: cannot write x: full", "       Make room.", RESUME]


def test_what_only_the_interruption_broke_off_is_no_error() -> None:
    out = io.StringIO()

    def work() -> int:
        with held():
            os.kill(os.getpid(), signal.SIGINT)
            raise InterruptedRunError

    assert guarded(Console(file=out, width=400), work, "interrupted") == 130
    assert out.getvalue() == f"{RESUME}\n"


def test_a_hint_is_told() -> None:
    assert "Do this." in told(InputError("x", "do this."))[1]


@pytest.mark.parametrize("error", [UnreachableError("registry", "r", "gone"), BuildError("the build failed")])
def test_an_error_that_is_raised_without_more_knowledge_has_a_next_step_of_its_kind(error: KmatrixError) -> None:
    assert error.hint in told(error)[1].splitlines()[-1]
    assert error.hint.endswith(".")


def test_what_is_known_about_a_next_step_goes_before_that_of_the_kind() -> None:
    assert UnreachableError("registry", "r", "gone", "Start it.").hint == "Start it."
    assert BuildError("the build failed", (), "Start it.").hint == "Start it."


@pytest.mark.parametrize("text", ["https://user:s3cret@host/path", "user:s3cret@host/x", "--target=user:s3cret@h/x"])
def test_a_password_in_an_address_is_not_shown(text: str) -> None:
    assert "s3cret" not in told(InputError(f"{text!r} is wrong", "Do it."))[1]
    assert "s3cret" not in told(ValueError(f"{text!r} is wrong"))[1]


def test_a_run_that_is_told_to_stop_in_the_middle_of_a_step_was_interrupted() -> None:
    assert told(InterruptedRunError())[0] == Exit.INTERRUPTED


@pytest.mark.parametrize("error", [InputError("x", "Do it."), ZeroDivisionError("oh"), KeyboardInterrupt()])
def test_a_note_of_how_to_go_on_is_the_last_line(error: BaseException) -> None:
    error.add_note("`nox -s build` goes on with the other cells")
    said = told(error)[1]
    assert said.count("goes on") == 1
    goes_on = "`nox -s build` goes on with the other cells."
    wanted = f"interrupted; {goes_on}" if isinstance(error, KeyboardInterrupt) else f"       {goes_on}"
    assert said.splitlines()[-1] == wanted


def test_an_error_is_announced_and_an_interruption_is_not() -> None:
    announced: list[Exception] = []

    def run(error: BaseException) -> None:
        def work() -> int:
            raise error

        guarded(Console(file=io.StringIO()), work, "interrupted", announced.append)

    fault = ToolError("x", "Do it.")
    for error in (fault, KeyboardInterrupt(), InterruptedRunError()):
        run(error)
    assert announced == [fault]
