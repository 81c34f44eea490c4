"""The runner of a workflow's steps understands expressions as GitHub does, and nothing that it does not know."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.support.workflow.expressions import condition, evaluate, substituted

CONTEXTS: dict[str, Any] = {
    "needs": {"a": {"result": "success", "outputs": {"any": "true", "matrix": '{"include":[]}'}}},
    "matrix": {"id": "001"},
    "vars": {},
}
FUNCTIONS = {"always": lambda: True, "cancelled": lambda: False, "success": lambda: True, "failure": lambda: False}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("needs.a.result == 'success'", True),
        ("needs.a.result == 'SUCCESS'", True),
        ("needs.a.outputs.any != 'true'", False),
        ("vars.KMATRIX_TARGET != ''", False),
        ("!cancelled() && needs.a.result == 'success'", True),
        ("cancelled() || failure()", False),
        ("!(cancelled() || failure())", True),
        ("vars.x || 'it''s'", "it's"),
        ("fromJSON(needs.a.outputs.matrix)", {"include": []}),
        ("needs.nothing.there", None),
        ("true", True),
    ],
)
def test_an_expression_has_its_value(text: str, value: object) -> None:
    assert evaluate(text, CONTEXTS, FUNCTIONS) == value


@pytest.mark.parametrize("text", ["github.token", "toJSON(needs)", "needs.a ==", "a b", "1 +", "(true", "needs.a }"])
def test_what_is_not_known_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"context|function|understood|early|expected|missing"):
        evaluate(text, CONTEXTS, FUNCTIONS)


def test_a_text_has_the_values_in_place_of_expressions() -> None:
    assert substituted("results-${{ matrix.id }}-${{vars.none}}", CONTEXTS, FUNCTIONS) == "results-001-"


@pytest.mark.parametrize(
    ("text", "failed", "runs"),
    [
        ("", False, True),
        ("", True, False),
        ("always()", True, True),
        ("${{ !cancelled() }}", True, True),
        ("needs.a.outputs.any == 'true'", True, False),
        ("needs.a.outputs.any == 'true'", False, True),
        ("needs.a.outputs.any == 'false'", False, False),
    ],
)
def test_after_a_failure_only_conditions_that_name_a_status_hold(text: str, failed: bool, runs: bool) -> None:
    functions = {**FUNCTIONS, "success": lambda: not failed, "failure": lambda: failed}
    assert condition(text, CONTEXTS, functions) == runs
