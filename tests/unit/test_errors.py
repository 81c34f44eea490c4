"""The tree of errors that stands on top of their module is the one that the module defines."""

from __future__ import annotations

import inspect
import re

from kmatrix.values import errors
from kmatrix.values.errors import Exit, InterruptedRunError, KmatrixError


def drawn() -> dict[str, tuple[int, int]]:
    """Return depth and exit code of each class of the drawing."""
    found = re.findall(r"^    ([│├└─ ]+)(\w+Error) +(\d+) ", errors.__doc__ or "", re.M)
    return {name: (len(stem) // 4, int(code)) for stem, name, code in found}


def test_the_drawing_has_every_class_at_its_depth_with_its_exit_code() -> None:
    own = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]
    faults = [each for each in own if issubclass(each, Exception)]
    codes = {each: each.exit_code if issubclass(each, KmatrixError) else Exit.INTERRUPTED for each in faults}
    assert InterruptedRunError in codes
    assert drawn() == {each.__name__: (each.__mro__.index(Exception), int(code)) for each, code in codes.items()}


def test_every_exit_code_of_an_error_is_one_of_the_commands() -> None:
    assert {code for _, code in drawn().values()} <= set(Exit)
