"""A command that a next step names acts on the profile that it is about, whatever a person's default is."""

from __future__ import annotations

import shlex

import pytest

from kmatrix.values.command_lines import command


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (("plan",), "`nox -s plan`"),
        (("discover", "okd"), "`nox -s discover -- --profile okd`"),
        (("build", "okd", "--only", "8.1-*"), "`nox -s build -- --profile okd --only '8.1-*'`"),
        (("build", "", "--force"), "`nox -s build -- --force`"),
    ],
)
def test_a_command_has_its_profile_and_survives_a_shell(given: tuple[str, ...], shown: str) -> None:
    assert command(*given) == shown
    assert shlex.split(shown.strip("`"))[-1] == given[-1]
