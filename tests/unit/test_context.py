"""Build contexts: labels come in one instruction, and say what they were to say."""

from __future__ import annotations

import pytest

from kmatrix.effects.archives import regular_files
from kmatrix.effects.context import labelled_context, pack_context
from kmatrix.values.errors import ToolError


def test_all_labels_are_one_instruction_at_the_end() -> None:
    context = labelled_context(pack_context("FROM scratch\nCOPY a /\n", {"a": b"x"}), {"two": "b c", "one": 'q" $x \\'})
    files = regular_files(context)
    assert files["a"] == b"x"
    assert files["Dockerfile"].decode() == 'FROM scratch\nCOPY a /\nLABEL "one"="q\\" \\$x \\\\" "two"="b c"\n'


def test_without_labels_a_context_stays_as_it_is() -> None:
    context = pack_context("FROM scratch\n", {"a": b"#!/bin/sh\n"})
    assert labelled_context(context, {}) is context


@pytest.mark.parametrize(("name", "value"), [("a", "x\nRUN id"), ("a\rb", "x"), ("a", "x\x00")])
def test_a_label_cannot_add_an_instruction(name: str, value: str) -> None:
    with pytest.raises(ToolError, match="no label can have"):
        labelled_context(pack_context("FROM scratch\n", {}), {name: value})
