"""The one place where errors are caught: exit codes, and what is never shown."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from kmatrix.commands.guard import guarded
from kmatrix.values.errors import InputError, KmatrixError, ToolError, UnreachableError


def told(error: BaseException) -> tuple[int, str]:
    out = io.StringIO()

    def work() -> int:
        raise error

    return guarded(Console(file=out, width=400), work, "interrupted"), out.getvalue()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), 2),
        (ToolError("x"), 3),
        (KmatrixError("x"), 3),
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
    assert "fault of kmatrix itself" in said


def test_a_hint_is_told() -> None:
    assert "Do this." in told(InputError("x", "do this."))[1]


@pytest.mark.parametrize("text", ["https://user:s3cret@host/path", "user:s3cret@host/x", "--target=user:s3cret@h/x"])
def test_a_password_in_an_address_is_not_shown(text: str) -> None:
    assert "s3cret" not in told(InputError(f"{text!r} is wrong"))[1]
    assert "s3cret" not in told(ValueError(f"{text!r} is wrong"))[1]
